"""Every setting, once: its name, default, unit, rule and help.

``app.config`` is read once, in ``init_app``, into one frozen :class:`Config` for each environment. The field ``prefix``
is the setting ``ARCHIE_KEYS_PREFIX``. The configuration page of the documentation is made from :func:`settings`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields
from datetime import timedelta
from typing import Any, Literal

from werkzeug.datastructures import ImmutableDict

from .domain import rules
from .domain.keytext import is_prefix
from .domain.permissions import is_role_name
from .errors import ConfigurationError

PREFIX = "ARCHIE_KEYS_"
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # RFC 9110 section 5.6.2
_NAME_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")
FACES = ("pages", "api", "graphql", "cli")


class _Wrong(Exception):
    """What is wrong with a value, as the end of a sentence that begins with the setting's name."""


def _setting(default: Any, check: Callable[[Any], Any], help: str, *, shared: bool = False, repr: bool = True) -> Any:
    """A field of :class:`Config`. ``shared``: one value for the application, not one for each environment."""
    return field(default=default, repr=repr, metadata={"check": check, "help": help, "shared": shared})


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise _Wrong(f"must be a non-empty string, not {value!r}")
    return value


def _scope_name(value: object) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= 64 or not set(value) <= _NAME_CHARACTERS:
        raise _Wrong(f"must be 1 to 64 letters, digits, '_', '.' or '-', not {value!r}")
    return value


def _header(value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or _TOKEN.fullmatch(value) is None or value.lower() in ("authorization", "cookie"):
        raise _Wrong(f"must be the name of a header of its own, not {value!r}")
    return value


def _optional_text(value: object) -> str | None:
    return None if value is None else _text(value)


def _key_prefix(value: object) -> str:
    if not isinstance(value, str) or not is_prefix(value):
        raise _Wrong(f"must be 1 to 32 of a-z, 0-9 and _, start with a letter and not end in _, not {value!r}")
    return value


def _peppers(value: object) -> tuple[str, ...]:
    if isinstance(value, (str, bytes)) or not isinstance(value, (list, tuple)):
        raise _Wrong("must be a list of strings, oldest first")
    peppers = tuple(value)
    for pepper in peppers:  # never shown in a message
        if not isinstance(pepper, str) or (pepper and len(pepper) < 16) or not pepper.isascii():
            raise _Wrong("must hold strings of 16 or more ASCII characters, e.g. of secrets.token_urlsafe(32)")
    if peppers == ("",):
        raise _Wrong('must not be [""]: the empty pepper stands for none, beside one that is being taken up')
    if len(set(peppers)) != len(peppers):
        raise _Wrong("must not hold a pepper twice")
    return peppers


def _duration(value: object) -> timedelta:
    if not isinstance(value, timedelta):
        raise _Wrong(f"must be a timedelta, not {value!r}")
    if not timedelta(0) <= value <= timedelta(days=36525):
        raise _Wrong(f"must be zero or more, and at most 100 years, not {value!r}")
    return value


def _max_age(value: object) -> timedelta | None:
    if value is None:
        return None
    if not _duration(value):
        raise _Wrong("must be more than zero, or None for keys that need not end")
    return _duration(value)


def _staleness(value: object) -> timedelta:
    if _duration(value) > timedelta(minutes=5):
        raise _Wrong(f"must be at most five minutes, not {value!r}: a deleted key would work on for that long")
    return _duration(value)


def _roles(value: object) -> Mapping[str, str]:
    if not isinstance(value, Mapping):
        raise _Wrong('must be a mapping such as {"viewer": {"description": "…"}}')
    for name, role in value.items():
        if not isinstance(name, str) or not is_role_name(name):
            raise _Wrong(f"names a role {name!r}; role names are snake_case, at most 63 characters")
        if not isinstance(role, Mapping) or set(role) - {"description"}:
            raise _Wrong(f'must give {name!r} a mapping such as {{"description": "…"}}')
        if not isinstance(role.get("description", ""), str):
            raise _Wrong(f"must give {name!r} a description that is a string")
    return ImmutableDict({name: role.get("description", "") for name, role in value.items()})


def _faces(value: object) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)) or not all(face in FACES for face in value):
        raise _Wrong(f"must be a list of some of {', '.join(FACES)}, not {value!r}")
    return tuple(value)


def _url_prefix(value: object) -> str:
    if not isinstance(value, str) or not value.startswith("/") or value.endswith("/"):
        raise _Wrong(f"must be a path such as /settings, not {value!r}")
    return value


def _schemes(value: object) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, (list, tuple)) or not all(isinstance(s, str) for s in value):
        raise _Wrong("must be a list of names of passlib schemes")
    if any("plaintext" in scheme for scheme in value):
        raise _Wrong("must not hold plaintext: whoever can read rows could use the keys")
    return tuple(value)


def _not_yet(value: object) -> None:
    """A setting that is reserved. Taking a value without effect would promise a protection that is not there."""
    if value is not None:
        raise _Wrong("has no effect in this version; leave it out")


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise _Wrong(f"must be True or False, not {value!r}")
    return value


def _count(least: int, most: int) -> Callable[[object], int]:
    def check(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise _Wrong(f"must be a whole number from {least} to {most}, not {value!r}")
        return value

    return check


def _on_failure(value: object) -> str:
    if value not in ("closed", "open"):
        raise _Wrong(f"must be 'closed' or 'open', not {value!r}")
    return str(value)


def _directory(value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, (str, os.PathLike)) or not os.path.isabs(value) or "\0" in str(value):
        raise _Wrong(f"must be an absolute path, not {value!r}")
    return os.fspath(value)


def _interval(value: object) -> timedelta:
    if not timedelta(milliseconds=10) <= _duration(value) <= timedelta(hours=1):
        raise _Wrong(f"must be from 10 milliseconds to one hour, not {value!r}")
    return _duration(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditConfig:
    """The members of the setting ``ARCHIE_KEYS_AUDIT``."""

    enabled: bool = _setting(True, _flag, "Write an audit event for each request. Changes of keys are always recorded.")
    directory: str | None = _setting(
        None,
        _directory,
        "Absolute path of the spool, on a local disk that outlives the process. "
        "None is ``archie_keys/spool`` in the instance folder. Each environment gets a folder of its own in it.",
    )
    on_failure: Literal["closed", "open"] = _setting(
        "closed",
        _on_failure,
        "What a request gets when its event cannot be written: ``closed`` is 503 before the view runs, "
        "``open`` serves it and counts the loss.",
    )
    retention: timedelta | None = _setting(
        None, _max_age, "How long events are kept in the database. None keeps them for ever."
    )
    background: bool = _setting(
        True,
        _flag,
        "Drain the spool from a thread of each process. False leaves it to ``flask keys drain`` and to readers of "
        "the audit log.",
    )
    interval: timedelta = _setting(timedelta(seconds=1), _interval, "How often the thread drains the spool.")
    max_record: int = _setting(4096, _count(1024, 65536), "The longest spool record, in bytes; longer texts are cut.")
    max_file: int = _setting(
        8 * 2**20, _count(4096, 2**40), "The size in bytes at which a process begins a new spool file."
    )
    max_spool: int = _setting(
        2**30, _count(65536, 2**50), "The size in bytes of the whole spool beyond which ``on_failure`` decides."
    )
    refused_per_second: int = _setting(
        50,
        _count(1, 100_000),
        "How many refused requests a second get an event of their own in each process; "
        "further ones are counted by reason, key and address.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The settings of one environment. Frozen: a setting cannot change under a running application."""

    project: str = _setting("default", _scope_name, "The project that keys belong to.", shared=True)
    environment: str = _setting("master", _scope_name, "The environment that this process serves.", shared=True)
    environments: tuple[str, ...] = _setting(
        None,
        lambda value: value,  # read by load(), which gives each environment a Config of its own
        "The environments that can be managed, each with its own values for any setting that is not of the whole "
        'application: ``{"master": {}, "staging": {"PREFIX": "archie_test"}}``. When left out, just the one served.',
        shared=True,
    )
    environment_header: str | None = _setting(
        None,
        _header,
        "The request header that picks the environment, for a process that serves several. "
        "A name that is not configured is answered with 400.",
        shared=True,
    )
    bind_key: str | None = _setting(
        None, _optional_text, "The Flask-SQLAlchemy bind (or Lite engine) that holds the environment's keys."
    )
    prefix: str = _setting("archie", _key_prefix, "The prefix of new keys that are made without one.")
    peppers: tuple[str, ...] = _setting(
        (),
        _peppers,
        "Secrets outside the database that digests depend on, oldest first. All of them verify, the last one makes "
        "digests; a key is stored anew under it when it is next used. "
        "Not SECRET_KEY: changing that must not end every key.",
        repr=False,
    )
    import_schemes: tuple[str, ...] = _setting(
        (),
        _schemes,
        "passlib schemes whose digests, put there by an import, are accepted until first use, e.g. "
        '``["pbkdf2_sha256"]``. Whoever can write rows can make a key while this is not empty.',
    )
    max_age: timedelta | None = _setting(
        None, _max_age, "The longest life of a key, and the life of one made without an expiry. None: for ever."
    )
    rotation_overlap: timedelta = _setting(
        timedelta(hours=24), _duration, "How long an old key works on after it was rotated."
    )
    quiet_period: timedelta = _setting(
        timedelta(minutes=15), _duration, "How long a key must be unused before it counts as safe to delete."
    )
    max_staleness: timedelta = _setting(
        timedelta(0),
        _staleness,
        "How old what is known of a key may be, at most five minutes. Zero reads it at every request, so that a "
        "deletion holds at the very next one; expiry is checked at each request in any case.",
    )
    rate_limit: None = _setting(None, _not_yet, "Reserved.")
    audit: AuditConfig = _setting(
        AuditConfig(), lambda value: _audit(value), "A mapping with any of the members listed below."
    )
    roles: Mapping[str, str] = _setting(
        ImmutableDict({}),
        _roles,
        'Roles that keys may have besides those that views name: ``{"viewer": {"description": "…"}}``.',
    )
    redis_url: None = _setting(None, _not_yet, "Reserved.")
    permissions_url: None = _setting(None, _not_yet, "Reserved.")
    faces: tuple[str, ...] = _setting(
        FACES,
        _faces,
        "The ways to manage keys that the application offers. This version has ``cli``; the others are reserved.",
        shared=True,
    )
    url_prefix: str = _setting("/settings", _url_prefix, "Where the pages stand. Reserved.", shared=True)
    api_prefix: str = _setting("/archie/v1", _url_prefix, "Where the management API stands. Reserved.", shared=True)


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
        except _Wrong as wrong:
            raise ConfigurationError(f"{label(name)} {wrong}") from None
    return checked


def _audit(value: object) -> AuditConfig:
    if isinstance(value, AuditConfig):
        return value
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise _Wrong('must be a mapping such as {"retention": timedelta(days=90)}')
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
        _scope_name(name)
    except _Wrong as wrong:
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
