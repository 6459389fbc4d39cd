"""Every setting, once: its name, default, unit, rule and help.

``app.config`` is read once, in ``init_app``, into one frozen :class:`Config` for each environment. The field ``prefix``
is the setting ``ARCHIE_KEYS_PREFIX``. The configuration page of the documentation is made from :func:`settings`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields
from datetime import timedelta
from typing import Any, Literal

from werkzeug.datastructures import ImmutableDict

from . import setting_rules as check
from .domain import rules
from .domain.permissions import Role
from .errors import ConfigurationError

PREFIX = "ARCHIE_KEYS_"


def _setting(default: Any, check: Callable[[Any], Any], help: str, *, shared: bool = False, repr: bool = True) -> Any:
    """A field of :class:`Config`. ``shared``: one value for the application, not one for each environment."""
    return field(default=default, repr=repr, metadata={"check": check, "help": help, "shared": shared})


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditConfig:
    """The members of the setting ``ARCHIE_KEYS_AUDIT``."""

    enabled: bool = _setting(
        True, check.flag, "Write an audit event for each request. Changes of keys are always recorded."
    )
    directory: str | None = _setting(
        None,
        check.directory,
        "Absolute path of the spool, on a local disk that outlives the process. "
        "None is ``archie_keys/spool`` in the instance folder. Each environment gets a folder of its own in it.",
    )
    on_failure: Literal["closed", "open"] = _setting(
        "closed",
        check.on_failure,
        "What a request gets when its event cannot be written: ``closed`` is 503 before the view runs, "
        "``open`` serves it and counts the loss.",
    )
    retention: timedelta | None = _setting(
        None, check.max_age, "How long events are kept in the database. None keeps them for ever."
    )
    background: bool = _setting(
        True,
        check.flag,
        "Drain the spool from a thread of each process. False leaves it to ``flask keys drain`` and to readers of "
        "the audit log.",
    )
    interval: timedelta = _setting(timedelta(seconds=1), check.interval, "How often the thread drains the spool.")
    max_record: int = _setting(
        4096, check.count(1024, 65536), "The longest spool record, in bytes; longer texts are cut."
    )
    max_file: int = _setting(
        8 * 2**20, check.count(4096, 2**40), "The size in bytes at which a process begins a new spool file."
    )
    max_spool: int = _setting(
        2**30, check.count(65536, 2**50), "The size in bytes of the whole spool beyond which ``on_failure`` decides."
    )
    refused_per_second: int = _setting(
        50,
        check.count(1, 100_000),
        "How many refused requests a second get an event of their own in each process; "
        "further ones are counted by reason, key and address.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The settings of one environment. Frozen: a setting cannot change under a running application."""

    project: str = _setting("default", check.scope_name, "The project that keys belong to.", shared=True)
    environment: str = _setting("master", check.scope_name, "The environment that this process serves.", shared=True)
    environments: tuple[str, ...] = _setting(
        None,
        lambda value: value,  # read by load(), which gives each environment a Config of its own
        "The environments that can be managed, each with its own values for any setting that is not of the whole "
        'application: ``{"master": {}, "staging": {"PREFIX": "archie_test"}}``. When left out, just the one served.',
        shared=True,
    )
    environment_header: str | None = _setting(
        None,
        check.header,
        "The request header that picks the environment, for a process that serves several. "
        "A name that is not configured is answered with 400.",
        shared=True,
    )
    bind_key: str | None = _setting(
        None, check.optional_text, "The Flask-SQLAlchemy bind (or Lite engine) that holds the environment's keys."
    )
    prefix: str = _setting("archie", check.key_prefix, "The prefix of new keys that are made without one.")
    peppers: tuple[str, ...] = _setting(
        (),
        check.peppers,
        "Secrets outside the database that digests depend on, oldest first. All of them verify, the last one makes "
        "digests; a key is stored anew under it when it is next used. "
        "Not SECRET_KEY: changing that must not end every key.",
        repr=False,
    )
    import_schemes: tuple[str, ...] = _setting(
        (),
        check.schemes,
        "passlib schemes whose digests, put there by an import, are accepted until first use, e.g. "
        '``["pbkdf2_sha256"]``. Whoever can write rows can make a key while this is not empty.',
    )
    max_age: timedelta | None = _setting(
        None, check.max_age, "The longest life of a key, and the life of one made without an expiry. None: for ever."
    )
    rotation_overlap: timedelta = _setting(
        timedelta(hours=24), check.duration, "How long an old key works on after it was rotated."
    )
    quiet_period: timedelta = _setting(
        timedelta(minutes=15), check.duration, "How long a key must be unused before it counts as safe to delete."
    )
    max_staleness: timedelta = _setting(
        timedelta(0),
        check.staleness,
        "How old what is known of a key may be, at most five minutes. Zero reads it at every request, so that a "
        "deletion holds at the very next one; expiry is checked at each request in any case.",
    )
    rate_limit: None = _setting(None, check.not_yet, "Reserved.")
    audit: AuditConfig = _setting(
        AuditConfig(), lambda value: _audit(value), "A mapping with any of the members listed below."
    )
    roles: Mapping[str, Role] = _setting(
        ImmutableDict({}),
        check.roles,
        "Roles besides those that are saved and those that views name, with their grants: "
        '``{"viewer": {"description": "…", "grants": [{"resource": "orders", "read": True, "filter": "…"}]}}``. '
        "They are shown as declared in the settings, and cannot be edited.",
    )
    redis_url: None = _setting(None, check.not_yet, "Reserved.")
    permissions_url: str | None = _setting(
        None,
        check.optional_text,
        "The URL of a decision point that speaks the OpenID AuthZEN Authorization API 1.0, which then decides instead "
        "of the roles in the database.",
    )
    permissions_token: str | None = _setting(
        None, check.optional_text, "The bearer token that the decision point asks for.", repr=False
    )
    permissions_timeout: timedelta = _setting(
        timedelta(seconds=2),
        check.interval,
        "How long a decision may take in all; a request that waits longer is answered with 503.",
    )
    row_security: bool = _setting(
        False,
        check.flag,
        "Tell PostgreSQL at the beginning of each transaction who acts, for the policies that "
        "``flask keys row-security`` makes; and refuse to serve where they are missing or do not bind the application.",
    )
    faces: tuple[str, ...] = _setting(
        check.FACES,
        check.faces,
        "The ways to manage keys that the application offers. When left out, ``pages`` and ``graphql`` are among them "
        "where the packages of the extras of these names are installed.",
        shared=True,
    )
    url_prefix: str = _setting("/settings", check.url_prefix, "Where the pages stand.", shared=True)
    base_template: str = _setting(
        "archie_keys/base.html",
        check.text,
        "The template that the pages extend: one of yours, with the blocks ``title`` and ``content``.",
        shared=True,
    )
    login_endpoint: str | None = _setting(
        None,
        check.optional_text,
        "The endpoint of your login page, where visitors of the pages are sent who are not logged in, with the path "
        "in ``next``. None answers them with your own 401.",
        shared=True,
    )
    api_prefix: str = _setting("/archie/v1", check.url_prefix, "Where the management API stands.", shared=True)
    graphql_introspection: bool = _setting(
        False,
        check.flag,
        "Let callers ask GraphQL for its schema. They need a key for that; the schema itself is no secret.",
        shared=True,
    )


@dataclass(frozen=True, slots=True)
class Setting:
    """What the documentation says of one setting."""

    name: str
    default: Any
    help: str
    shared: bool


def settings(of: type = Config) -> Iterator[Setting]:
    """All settings, in the order of the documentation; members of ``ARCHIE_KEYS_AUDIT`` with ``of=AuditConfig``."""
    for f in fields(of):
        name = PREFIX + f.name.upper() if of is Config else f.name
        yield Setting(name, f.default, f.metadata["help"], f.metadata["shared"])


def _checked(of: type, values: Mapping[str, Any], label: Callable[[str], str]) -> dict[str, Any]:
    """The values with each one's rule applied; ``values`` has field names."""
    known = {f.name: f for f in fields(of)}
    checked = {}
    for name, value in values.items():
        if name not in known:
            raise ConfigurationError(f"{label(name)} is not a setting{rules.nearest(label(name), map(label, known))}")
        default = known[name].default
        if default is not MISSING and value is default:
            continue
        try:
            checked[name] = known[name].metadata["check"](value)
        except check.Wrong as wrong:
            raise ConfigurationError(f"{label(name)} {wrong}") from None
    return checked


def _audit(value: object) -> AuditConfig:
    if isinstance(value, AuditConfig):
        return value
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise check.Wrong('must be a mapping such as {"retention": timedelta(days=90)}')
    config = AuditConfig(**_checked(AuditConfig, value, lambda name: f'ARCHIE_KEYS_AUDIT["{name}"]'))
    if config.max_file > config.max_spool // 2:
        raise ConfigurationError('ARCHIE_KEYS_AUDIT["max_file"] must be at most half of ARCHIE_KEYS_AUDIT["max_spool"]')
    return config


def load(app_config: Mapping[str, Any]) -> dict[str, Config]:
    """Read ``app.config``: one frozen :class:`Config` for each environment, the served one first.

    :raises ConfigurationError: naming the setting as the user typed it and what it must be.
    """
    names = [name for name in app_config if isinstance(name, str) and name.startswith(PREFIX)]
    for name in names:
        if name != name.upper():
            raise ConfigurationError(f"{name} is not a setting; did you mean {name.upper()!r}?")
    given = {name.removeprefix(PREFIX).lower(): app_config[name] for name in names}
    common = _checked(Config, given, lambda name: PREFIX + name.upper())
    served = common.pop("environment", Config.__dataclass_fields__["environment"].default)
    environments = common.pop("environments", None)
    if environments is None:
        environments = {served: {}}
    if not isinstance(environments, Mapping) or not all(isinstance(v, Mapping) for v in environments.values()):
        raise ConfigurationError('ARCHIE_KEYS_ENVIRONMENTS must be a mapping such as {"master": {}, "staging": {}}')
    if served not in environments:
        raise ConfigurationError(
            f"ARCHIE_KEYS_ENVIRONMENT is {served!r}, which is not one of ARCHIE_KEYS_ENVIRONMENTS: "
            f"{', '.join(map(str, environments))}"
        )
    configs = {name: _environment(name, common, own, environments) for name, own in environments.items()}
    return {served: configs.pop(served), **configs}


def _environment(name: Any, common: Mapping[str, Any], own: Mapping[Any, Any], all_: Mapping[str, Any]) -> Config:
    def label(member: str) -> str:
        return f'ARCHIE_KEYS_ENVIRONMENTS["{name}"]["{member.upper()}"]'

    try:
        check.scope_name(name)
    except check.Wrong as wrong:
        raise ConfigurationError(f"ARCHIE_KEYS_ENVIRONMENTS: the name of an environment {wrong}") from None
    values = {str(member).lower(): value for member, value in own.items()}
    shared = {f.name for f in fields(Config) if f.metadata["shared"]}
    for member in values:
        if member in shared:
            raise ConfigurationError(
                f"{label(member)} cannot differ between environments; set {PREFIX}{member.upper()} instead"
            )
    if isinstance(values.get("audit"), Mapping) and "audit" in common:
        given = {f.name: getattr(common["audit"], f.name) for f in fields(AuditConfig)}
        values["audit"] = {**given, **values["audit"]}  # what the environment does not say, the application does
    checked = _checked(Config, values, label)
    return Config(**{**common, **checked, "environment": name, "environments": tuple(all_)})
