"""The rows of protected models: what the extension offers for them, wired to who acts now.

The guard itself is imported with the first model that is protected; an application without one has no hook in its
sessions.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Literal

import sqlalchemy
from flask import Flask, current_app, has_app_context
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from .context import EXTENSION, AppState, Environment, app_state, current_access, current_environment, nobody
from .domain.filters import Schema, UnknownColumn
from .domain.kinds import Kind
from .domain.permissions import Action
from .domain.rules import nearest
from .errors import ConfigurationError, StoreUnavailable
from .guarded_views import applications
from .permissions.access import OWN_MODELS, Access, models_of
from .store.protection import Protection, Unrestricted, protection_of, protections, registry, resources
from .store.roles import RoleStore
from .store.scope import ModelSchema

if TYPE_CHECKING:
    from .store.row_security import Who
    from .store.row_security_check import Problem

_OWN_COLUMNS = {
    "api_keys": ("id", "name", "prefix", "owner", "created_by"),
    "roles": ("name",),
    "audit_events": ("key_id", "kind", "actor", "outcome", "reason", "method", "route", "status", "remote_address"),
}


def protect(model: Any, resource: str | None, unscoped: Literal["refuse", "allow"]) -> None:
    """See :meth:`.ArchieKeys.protect`."""
    from .store import guard

    guard.install(current_access)
    guard.protect(model, resource or str(getattr(model, "__tablename__", "")), unscoped)


def unprotected(model: Any) -> None:
    """See :meth:`.ArchieKeys.unprotected`."""
    from .store import guard

    guard.unprotected(model)


def problems() -> list[str]:
    """The mappings around protected models that cannot be guarded, a sentence for each."""
    if not resources():
        return []
    from .store import guard

    return guard.problems()


def protected() -> list[str]:
    """The names of the host's resources."""
    return sorted(resources())


def scope(statement: Any, action: Action) -> Any:
    """See :meth:`.ArchieKeys.scope`."""
    access = current_access()
    if access is None:
        raise nobody("keys.scope()")
    if isinstance(access, Unrestricted):
        return statement
    from .store import guard

    return guard.scope(statement, action, access)


def allows(row: object, action: Action) -> bool:
    """See :meth:`.ArchieKeys.allows`."""
    protection = protection_of(type(row))
    if protection is None:
        raise ConfigurationError(f"{type(row).__name__} is not protected; call keys.protect({type(row).__name__})")
    access = current_access()
    if access is None:
        raise nobody("keys.allows()")
    if isinstance(access, Unrestricted):
        return True
    rule = access.may(protection.resource, action, protection.model)
    return rule is not None and rule.allows(row)


def enter(who: Access | Unrestricted | None) -> None:
    """Before an ``unrestricted`` block: what is pending is of who acts until then."""
    if resources():
        from .store import guard

        guard.enter(who)


def leave(block: Unrestricted, failed: bool) -> None:
    """The end of an ``unrestricted`` block: see :meth:`.ArchieKeys.unrestricted`."""
    try:
        if resources():
            from .store import guard

            guard.leave(block, failed)
    finally:
        for leave_row_security in _leave_row_security:
            leave_row_security(block)


class _OwnSchema:
    """The columns of one of our own tables that filters may name."""

    def __init__(self, schema: Schema, resource: str) -> None:
        self._schema = schema
        self._resource = resource

    def kind(self, path: tuple[str, ...]) -> Kind:
        names = _OWN_COLUMNS[self._resource]
        if len(path) != 1 or path[0] not in names:
            said = ".".join(path)
            raise UnknownColumn(f"{self._resource} has no column {said!r} for filters{nearest(said, names)}")
        return self._schema.kind(path)


@lru_cache(maxsize=256)
def _schema(model: type, resource: str) -> Schema:
    schema = ModelSchema(model)
    return _OwnSchema(schema, resource) if OWN_MODELS.get(resource) is model else schema


class _AnySchema:
    """The columns of several models that are protected as the same resource, in several applications."""

    def __init__(self, schemas: list[Schema]) -> None:
        self._schemas = schemas

    def kind(self, path: tuple[str, ...]) -> Kind:
        *others, last = self._schemas
        for schema in others:
            with suppress(UnknownColumn):
                return schema.kind(path)
        return last.kind(path)


def schema_of(resource: str) -> Schema | None:
    """The columns of a resource that filters may name; ``None`` for one whose rows are not protected."""
    schemas = [_schema(model, resource) for model in models_of(resource)]
    return None if not schemas else schemas[0] if len(schemas) == 1 else _AnySchema(schemas)


# -- previews


def protection_here(resource: str) -> Protection | None:
    """What is protected as a resource in the current application."""
    return next((each for each in protections() if each.resource == resource and _is_ours(each)), None)


@contextmanager
def reading(protection: Protection) -> Iterator[Connection]:
    """A connection of its own to the database that a protected class is in.

    :raises StoreUnavailable: if that cannot be told, or cannot be used.
    """
    engine = next((engine for engine, of in _engines().items() if protection in of), None)
    if engine is None:
        raise StoreUnavailable(f"the database of {protection.table} is not known; pass db= to init_app")
    with _reading(engine) as connection:
        yield connection


# -- PostgreSQL's own row security

_leave_row_security: list[Callable[[Unrestricted], None]] = []


def secure(app: Flask) -> None:
    """Have PostgreSQL told who acts, and see before the first request that its policies bind the application."""
    if tuple(int(part) for part in sqlalchemy.__version__.split(".")[:2]) < (2, 1):
        raise ConfigurationError(f"ARCHIE_KEYS_ROW_SECURITY needs SQLAlchemy 2.1; this is {sqlalchemy.__version__}")
    from .store.row_security import row_security

    row_security.current = _who
    row_security.listen()
    _leave_row_security[:] = [row_security.leave]
    passed: list[int] = []

    def check_row_security() -> None:
        changes = registry.changes
        if passed == [changes]:
            return
        engines = _engines()
        for engine, protected in engines.items():
            if not row_security.is_checked(engine):
                with _reading(engine) as connection:
                    row_security.check(connection, protected)
        if all(map(row_security.is_checked, engines)):
            passed[:] = [changes]

    app.before_request_funcs.setdefault(None, []).insert(0, check_row_security)


def _is_secured(state: AppState) -> bool:
    return any(config.row_security for config in state.configs.values())


def _who() -> Who | None:
    """Who acts, for row security; ``None`` where that is off."""
    if not has_app_context() or EXTENSION not in current_app.extensions or not _is_secured(app_state()):
        return None
    acts = current_access()
    if isinstance(acts, Access):
        environment = app_state().environment(acts.principal.environment)
    else:
        environment = current_environment()
    if not environment.config.row_security:
        return None
    from .store.row_security import Who

    return Who(acts, partial(_grants, acts, environment), _is_ours)


def _grants(acts: Access | Unrestricted | None, environment: Environment) -> Mapping[str, object]:
    """What a transaction is told. The audit log does not hold these decisions: nobody has asked for them."""
    from .store.row_security import everything, granted, nobodys

    if acts is None:
        return nobodys()
    if isinstance(acts, Unrestricted):
        return everything()
    principal = acts.principal
    if principal.policy_epoch is None:  # else it would be read for each decision
        config = environment.config
        with environment.database.read() as connection:
            epoch = RoleStore(config.project, config.environment).epoch(connection)
        principal = replace(principal, policy_epoch=epoch)
    return granted(partial(environment.permissions.decide, principal), acts.variables)


def _is_ours(protection: Protection) -> bool:
    """Whether a class is not known to be of another application of this process."""
    metadata = protection.table.metadata
    app = current_app._get_current_object()  # type: ignore[attr-defined]
    others = [other for other in list(applications) if other is not app]
    return metadata in _metadata(app) or not any(metadata in _metadata(other) for other in others)


def _metadata(app: Flask) -> Collection[object]:
    """The metadata of an application's Flask-SQLAlchemy; Lite knows none."""
    return list(getattr(app.extensions.get("sqlalchemy"), "metadatas", {}).values())


def _engines() -> dict[Engine, list[Protection]]:
    """The engines of the application's database extension that protected tables are in."""
    from .store.row_security import engine_of

    db: Any = current_app.extensions.get("sqlalchemy")
    found: dict[Engine, list[Protection]] = {}
    for protection in filter(_is_ours, protections() if db is not None else ()):
        engine = engine_of(db.session, protection)
        if engine is not None:
            found.setdefault(engine, []).append(protection)
    return found


@contextmanager
def _reading(engine: Engine) -> Iterator[Connection]:
    try:
        with engine.connect() as connection:
            yield connection
    except SQLAlchemyError as error:
        raise StoreUnavailable("the database of the protected tables cannot be used") from error


class Secured:
    """Row security on one database of the current application, for the command line.

    :param bind: the name of the bind, where protected tables are in several databases.
    :ivar engine: the application's; ``None`` if its database extension is not known.
    :raises ConfigurationError: if nothing is protected, or not in PostgreSQL.
    """

    def __init__(self, bind: str | None = None) -> None:
        if not resources():
            raise ConfigurationError("nothing is protected: keys.protect(<a model>) comes first")
        from .store.row_security_ddl import Policies

        self.engine, protected = self._database(bind)
        if self.engine is not None and self.engine.dialect.name != "postgresql":
            raise ConfigurationError(f"row security is PostgreSQL's, and the database is {self.engine.dialect.name}")
        roles = [role for name in app_state().configs for role in app_state().environment(name).roles.find()]
        self.policies = Policies(protected, roles)
        self.protected = protected

    def _database(self, bind: str | None) -> tuple[Engine | None, list[Protection]]:
        engines = _engines()
        if not engines and bind is None:
            return None, list(filter(_is_ours, protections()))
        named = {key or "default": engine for key, engine in _binds().items() if engine in engines}
        if bind is None and len(engines) == 1:
            return next(iter(engines.items()))
        if bind not in named:
            raise ConfigurationError(
                f"name the bind of a database with protected tables: {', '.join(sorted(named)) or 'none'}"
            )
        return named[bind], engines[named[bind]]

    @property
    def script(self) -> str:
        """The DDL, for psql."""
        from .store.row_security_ddl import script

        return script(self.policies)

    def apply(self, url: str | None = None) -> None:
        """Execute the DDL in one transaction.

        :param url: of the database, with the role that owns the tables; the application's own when left out.
        :raises ConfigurationError: if that is no URL, or the database refuses.
        """
        from .store.row_security_ddl import apply

        apply(self.policies, self.engine, url)

    def problems(self) -> list[Problem]:
        """What keeps it from holding, or from letting through what roles grant."""
        from .store.row_security_check import Problem, drift, look

        found = [
            Problem(f"ARCHIE_KEYS_ROW_SECURITY is off in {name}, where no row will be there", "set it to True")
            for name, config in app_state().configs.items()
            if not config.row_security
        ]
        if self.engine is None:
            return [*found, Problem("the application's engine is not known", "pass db= to init_app")]
        with _reading(self.engine) as connection:
            seen = look(connection, self.protected)
            found += [Problem(f"{table} is not there", "run your migrations") for table in seen.missing]
            return [*found, *seen.problems, *drift(connection, self.policies)]


def _binds() -> dict[str | None, Engine]:
    """The engines of the application by the names of their binds."""
    db = current_app.extensions.get("sqlalchemy")
    return {} if db is None else dict(db.engines)
