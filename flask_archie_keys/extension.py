"""The extension object: it wires, it decides nothing."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import weakref
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from flask import Flask, Response, current_app, has_app_context
from sqlalchemy import Engine, MetaData

from . import authorization, context
from .audit.log import AuditLog
from .authentication import Authenticator
from .config import Config, load
from .context import AppState, Environment
from .domain.cursors import Cursors
from .domain.hashing import Hasher
from .domain.records import Traffic
from .errors import ConfigurationError, ServiceError
from .faces import problems
from .services.keys import KeyService
from .store.database import Database, own_sqlite
from .store.lookup import KeyLookup
from .store.models import copy_tables


class ArchieKeys:
    """API keys for Flask applications.

    One object serves many applications; all state is kept in each application.

    :param app: an application to initialize at once; see :meth:`init_app`.
    :param db: its Flask-SQLAlchemy or Flask-SQLAlchemy-Lite.
    """

    def __init__(self, app: Flask | None = None, db: Any = None) -> None:
        if app is not None:
            self.init_app(app, db)

    def init_app(self, app: Flask, db: Any = None, *, metadata: MetaData | None = None) -> None:
        """Read the settings of an application and make its keys work.

        :param db: the application's Flask-SQLAlchemy or Flask-SQLAlchemy-Lite; found by itself when it was initialized
            before. An application without one gets an SQLite file of our own in its instance folder.
        :param metadata: where to copy our tables to, for hosts whose metadata cannot be found, as with Lite.
        :raises ConfigurationError: if a setting is wrong, or the application has an ArchieKeys already.
        """
        if context.EXTENSION in app.extensions:
            raise ConfigurationError(
                f"the application {app.name!r} has an ArchieKeys already; call init_app once for each application"
            )
        configs = load(app.config)
        host = _Host(app, db if db is not None else app.extensions.get("sqlalchemy"))
        for config in configs.values():
            if host.db is None and config.bind_key is not None:
                raise ConfigurationError("ARCHIE_KEYS_BIND_KEY needs a database of the application; pass db=db")
            target = metadata if metadata is not None else host.metadata(config.bind_key)
            if target is not None:
                copy_tables(target)
        hashers = {name: _hasher(config) for name, config in configs.items()}
        served = next(iter(configs.values()))
        state = AppState(
            configs,
            lambda name: _build(app, host, configs[name], hashers[name], metadata),
            problems.respond,
            served.environment,
            served.environment_header,
        )
        app.extensions[context.EXTENSION] = state
        authorization.install(app, state)
        if ServiceError not in app.error_handler_spec[None][None]:
            app.register_error_handler(ServiceError, lambda error: _respond(state, error))
        if "cli" in served.faces:
            from .faces.cli import keys_command

            app.cli.add_command(keys_command)

    guard = staticmethod(authorization.guard)

    @property
    def service(self) -> KeyService:
        """The keys of the current environment: the request's, or the one that the process serves."""
        return context.current_environment().service

    @property
    def audit(self) -> AuditLog:
        """The audit log of the current environment."""
        return context.current_environment().audit

    def traffic(self, key_id: str) -> Traffic:
        """Whether a key of the current environment is still used; the spool of this machine is drained first."""
        return context.current_environment().traffic(key_id)

    def for_environment(self, name: str) -> Environment:
        """Another configured environment of the current application.

        :raises BadRequest: if it is not configured.
        """
        return context.app_state().environment(name)

    def close(self, app: Flask) -> None:
        """Stop what runs for an application and close what is open. It opens again when needed."""
        for environment in context.app_state(app).environments.values():
            environment.close()


class _Host:
    """The host application's database, whichever extension it uses."""

    def __init__(self, app: Flask, db: Any) -> None:
        self.app = app
        self.db = db

    def metadata(self, bind_key: str | None) -> MetaData | None:
        """The metadata of a bind of Flask-SQLAlchemy; Lite has none, its models are the host's own."""
        metadatas = getattr(self.db, "metadatas", None)
        if metadatas is None:
            return None
        if bind_key not in metadatas:
            metadatas[bind_key] = MetaData(info={"bind_key": bind_key})
        found: MetaData = metadatas[bind_key]
        return found

    def engine(self, bind_key: str | None) -> Engine:
        """The engine of a bind.

        :raises ConfigurationError: if there is no such bind, or the database extension came after this one.
        """
        with self.app.app_context():
            engines = self.db.engines
        name = bind_key if bind_key is not None or hasattr(self.db, "metadatas") else "default"
        if name not in engines:
            known = ", ".join(repr(key) for key in engines)
            raise ConfigurationError(f"ARCHIE_KEYS_BIND_KEY: the application has no engine {name!r}, only {known}")
        engine: Engine = engines[name]
        return engine

    def is_writing(self, engine: Engine) -> bool:
        """Whether the host's session in this context has written to this SQLite file and not committed yet."""
        if not has_app_context() or current_app._get_current_object() is not self.app:  # type: ignore[attr-defined]
            return False
        session = self.db.session
        registry = getattr(session, "registry", None)  # Flask-SQLAlchemy's is scoped, Lite's is a session
        if registry is not None:
            if not registry.has():
                return False
            session = registry()
        if not session.in_transaction():
            return False
        connection = session.connection()
        writing = getattr(connection.connection.dbapi_connection, "in_transaction", False)
        return bool(writing) and connection.engine.url.database == engine.url.database


def _respond(state: AppState, error: ServiceError) -> Response:
    """What a client gets when one of our errors leaves a view of the host, unless the host has a handler for it."""
    return state.respond(error, state.configs[state.default])


def _hasher(config: Config) -> Hasher:
    return Hasher(config.peppers, config.project, config.environment, config.import_schemes)


def _build(app: Flask, host: _Host, config: Config, hasher: Hasher, metadata: MetaData | None) -> Environment:
    database = _database(app, host, config, metadata)
    cursors = Cursors(config.peppers[-1] if config.peppers else "", config.project, config.environment)
    lookup = KeyLookup(database, config.max_staleness)
    audit = AuditLog(config, database, spool_directory(app, config, database), cursors)
    service = KeyService(
        config,
        database,
        hasher,
        audit,
        cursors,
        known_roles=_known_roles(app, config),
        acting=context.acting,
        changed=lookup.forget,
        sender=app,
    )
    authenticator = Authenticator(config, lookup, hasher, service.rehash)
    return Environment(config, database, lookup, authenticator, service, audit)


def _database(app: Flask, host: _Host, config: Config, metadata: MetaData | None) -> Database:
    if host.db is None:
        if "sqlalchemy" in app.extensions:
            raise ConfigurationError(
                "the application's database was initialized after ArchieKeys; call db.init_app(app) first, "
                "or pass it: keys.init_app(app, db=db)"
            )
        path = Path(app.instance_path) / "archie_keys.sqlite"
        return Database(lambda: own_sqlite(path), owned=True)
    target = metadata if metadata is not None else host.metadata(config.bind_key)
    schema = None if target is None else target.schema
    return Database(lambda: host.engine(config.bind_key), schema=schema, host_is_writing=host.is_writing)


def _known_roles(app: Flask, config: Config) -> Callable[[], Collection[str]]:
    return lambda: {*config.roles, *authorization.roles_of_views(app)}


def spool_directory(app: Flask, config: Config, database: Database) -> Path:
    """The spool folder of one environment in one database.

    Two applications that share an instance folder and not a database, as in tests, must not drain each other's events.
    """
    if database.is_shared_connection:  # its events die with it, so its spool does
        folder = Path(tempfile.mkdtemp(prefix="archie-keys-"))
        weakref.finalize(database, shutil.rmtree, folder, ignore_errors=True)
        return folder
    root = Path(config.audit.directory or Path(app.instance_path) / "archie_keys" / "spool")
    url = f"{database.engine.url.render_as_string(hide_password=True)} {database.schema or ''}"
    return root / f"{config.project}.{config.environment}.{hashlib.sha256(url.encode()).hexdigest()[:12]}"
