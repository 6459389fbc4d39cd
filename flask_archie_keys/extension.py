"""The extension object: it wires, it decides nothing."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import shutil
import tempfile
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from flask import Flask, current_app, has_app_context
from sqlalchemy import Engine, MetaData
from werkzeug.exceptions import NotFound

from . import authorization, context, guarded_views, rows
from .audit.log import AuditLog
from .authentication import Authenticator
from .config import Config, load
from .context import AppState, Environment
from .domain.cursors import Cursors
from .domain.hashing import Hasher
from .domain.permissions import Action, as_action
from .domain.principals import Principal
from .domain.records import Traffic
from .errors import ConfigurationError, RowNotFound, ServiceError
from .faces import problems
from .permissions.authzen import AuthZenPermissions
from .permissions.roles import DatabasePermissions
from .permissions.service import PermissionsService
from .rows import schema_of
from .services.authority import Authority
from .services.explain import Explainer, Explanation
from .services.keys import KeyService
from .services.preview import Previews
from .services.profiles import Profiles
from .services.roles import RoleService
from .services.sender import Sender
from .setting_rules import FACES
from .store.database import Database, own_sqlite
from .store.lookup import KeyLookup
from .store.models import copy_tables
from .store.protection import resources

if TYPE_CHECKING:
    from .faces.openapi_security import ViewSecurity


class ArchieKeys:
    """API keys for Flask applications.

    One object serves many applications; all state is kept in each application.

    :param app: an application to initialize at once; see :meth:`init_app`.
    :param db: its Flask-SQLAlchemy or Flask-SQLAlchemy-Lite.
    """

    def __init__(self, app: Flask | None = None, db: Any = None) -> None:
        self._user_loader: Callable[[], Principal | None] | None = None
        if app is not None:
            self.init_app(app, db)

    def init_app(
        self,
        app: Flask,
        db: Any = None,
        *,
        metadata: MetaData | None = None,
        permissions: PermissionsService | None = None,
    ) -> None:
        """Read the settings of an application and make its keys work.

        :param db: the application's Flask-SQLAlchemy or Flask-SQLAlchemy-Lite; found by itself when it was initialized
            before. An application without one gets an SQLite file of our own in its instance folder.
        :param metadata: where to copy our tables to, for hosts whose metadata cannot be found, as with Lite.
        :param permissions: who decides what keys may do; the roles in the database when left out, or the decision point
            of ``ARCHIE_KEYS_PERMISSIONS_URL``.
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
            if config.row_security and (permissions is not None or config.permissions_url is not None):
                raise ConfigurationError(
                    "ARCHIE_KEYS_ROW_SECURITY goes with the roles in the database: PostgreSQL's policies cannot know "
                    "the filters of another permissions service"
                )
            _check_remote(config)
            target = metadata if metadata is not None else host.metadata(config.bind_key)
            if target is not None:
                copy_tables(target)
        hashers = {name: _hasher(config) for name, config in configs.items()}
        served = next(iter(configs.values()))
        state = AppState(
            configs,
            lambda name: _build(app, host, configs[name], hashers[name], metadata, permissions),
            problems.respond,
            served.environment,
            served.environment_header,
            user_loader=lambda: None if self._user_loader is None else self._user_loader(),
            has_user_loader=lambda: self._user_loader is not None,
        )
        app.extensions[context.EXTENSION] = state
        authorization.install(app, state)
        if any(config.row_security for config in configs.values()):
            rows.secure(app)
        if ServiceError not in app.error_handler_spec[None][None]:
            app.register_error_handler(ServiceError, lambda error: _respond(state, error))
        if "api" in served.faces:
            from .faces import api

            api.register(app, served)
        if _offers(served, "graphql", "graphql"):
            from .faces import graphql

            graphql.register(app, served)
        if _offers(served, "pages", "flask_wtf"):
            from .faces import pages

            pages.register(app, served)
        if "cli" in served.faces:
            from .faces.cli import keys_command

            app.cli.add_command(keys_command)

    guard = staticmethod(authorization.guard)

    @property
    def service(self) -> KeyService:
        """The keys of the current environment: the request's, or the one that the process serves."""
        return context.current_environment().service

    @property
    def roles(self) -> RoleService:
        """The roles of the current environment."""
        return context.current_environment().roles

    @property
    def audit(self) -> AuditLog:
        """The audit log of the current environment."""
        return context.current_environment().audit

    def user_loader(self, loader: Callable[[], Principal | None]) -> Callable[[], Principal | None]:
        """Say who is logged in, so that users of the host have roles and row filters as keys have.

        In filters, ``$userId`` is theirs.

        Called in requests that were not authenticated by a key, in every application that this object serves. It works
        as a decorator, too: ``@keys.user_loader``.

        :param loader: gives ``Principal.user(…)``, or ``None`` where nobody is logged in.
        """
        self._user_loader = loader
        return loader

    def protect(
        self, model: Any = None, *, resource: str | None = None, unscoped: Literal["refuse", "allow"] = "refuse"
    ) -> Any:
        """Keep the rows of a mapped class inside what who acts may see and change, in every session and engine.

        A class decorator as well: ``@keys.protect(resource="orders")``. Needs SQLAlchemy 2.1.

        :param resource: its name in grants; the name of its table when left out.
        :param unscoped: what happens where nobody acts: ``"refuse"``, or ``"allow"`` to let everything pass.
        :raises ConfigurationError: if the mapping cannot be guarded, or SQLAlchemy is older.
        """
        if model is None:
            return functools.partial(self.protect, resource=resource, unscoped=unscoped)
        rows.protect(model, resource, unscoped)
        return model

    def unprotected(self, model: Any) -> Any:
        """Say that a table which refers to a protected one needs no rule of its own: all its rows may be seen by all.

        A class decorator as well.
        """
        rows.unprotected(model)
        return model

    def scope(self, statement: Any, action: Action = "read") -> Any:
        """A statement with the filters of who acts, for Core and for sessions of one's own.

        :param statement: a select, update or delete on protected tables.
        :raises Forbidden: if there is no grant.
        :raises NobodyActs: if nobody acts.
        :raises Unguarded: if the statement reaches a protected table in a way that cannot be filtered.
        """
        return rows.scope(statement, as_action(action))

    def allows(self, row: object, action: Action) -> bool:
        """Whether who acts may do something with a row as it is now, by the filters' evaluation in Python.

        :param row: an object of a protected class.
        :raises NobodyActs: if nobody acts.
        """
        return rows.allows(row, as_action(action))

    def unrestricted(self, reason: str) -> AbstractContextManager[None]:
        """Lift the row filters in a ``with`` block, and write that to the audit log first.

        What is pending in a session is flushed at the end of the block, and protected objects that were loaded inside
        leave their sessions.

        :param reason: why, for the audit log: 1 to 200 characters.
        :raises AuditUnavailable: if it cannot be written down; the block is not entered then.
        """
        return context.unrestricted(reason, rows.enter, rows.leave)

    def act_as(self, principal: Principal) -> AbstractContextManager[None]:
        """Let a key or a user act in a ``with`` block, as in a background thread that works for a request.

        :param principal: for instance the ``current_principal()`` of that request.
        """
        return context.act_as(principal)

    def explain(self, key_id: str, **asked: Any) -> Explanation:
        """Why a key would be let in or refused; see :meth:`.Explainer.explain`."""
        return context.current_environment().explainer.explain(key_id, **asked)

    def traffic(self, key_id: str) -> Traffic:
        """Whether a key of the current environment is still used; the spool of this machine is drained first."""
        return context.current_environment().traffic(key_id)

    def for_environment(self, name: str) -> Environment:
        """Another configured environment of the current application.

        :raises BadRequest: if it is not configured.
        """
        return context.app_state().environment(name)

    def openapi_security(self, view: Any, method: str | None = None) -> ViewSecurity:
        """What an OpenAPI document of the application should say of a view: security, roles, grants and responses.

        Needs an application context.

        :param view: an endpoint, a view, or a ``MethodView`` or a method of one. Guards of its blueprint count where it
            is registered.
        :param method: the HTTP method, for a class, and where the grant depends on it.
        :raises LookupError: for an endpoint that there is not.
        :raises ValueError: if it depends on the method and there is none.
        """
        from .faces.openapi_security import security_of

        return security_of(current_app, view, method)

    def close(self, app: Flask) -> None:
        """Stop what runs for an application and close what is open. It opens again when needed."""
        for environment in context.app_state(app).environments.values():
            environment.close()


def _offers(config: Config, face: str, package: str) -> bool:
    """Whether an application offers a face. One that needs a package is there by default where the package is.

    :raises ConfigurationError: if the settings ask for the face and the package is missing.
    """
    if face not in config.faces or importlib.util.find_spec(package) is not None:
        return face in config.faces
    if config.faces is FACES:
        return False
    raise ConfigurationError(f"ARCHIE_KEYS_FACES has {face}, which needs: pip install 'flask-archie-keys[{face}]'")


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


def _respond(state: AppState, error: ServiceError) -> Any:
    """What a client gets when one of our errors leaves a view of the host, unless the host has a handler for it.

    A row that may not be seen is answered by the host's own 404, like one that never existed.
    """
    if isinstance(error, RowNotFound):
        return current_app.handle_http_exception(NotFound())
    context.note_denied(error)
    return state.respond(error, state.configs[state.default])


def _hasher(config: Config) -> Hasher:
    return Hasher(config.peppers, config.project, config.environment, config.import_schemes)


def _build(
    app: Flask,
    host: _Host,
    config: Config,
    hasher: Hasher,
    metadata: MetaData | None,
    permissions: PermissionsService | None,
) -> Environment:
    database = _database(app, host, config, metadata)
    cursors = Cursors(config.peppers[-1] if config.peppers else "", config.project, config.environment)
    lookup = KeyLookup(database, config.max_staleness)
    roles = DatabasePermissions(config, database, lambda: guarded_views.roles_of_views(app))
    remote = None if permissions is not None else _remote(config)
    deciding = permissions or remote
    authority = Authority(
        config, roles, acting=context.acting, access=context.restricted_access, remote=deciding is not None
    )
    audit = AuditLog(config, database, spool_directory(app, config, database), cursors, authority.readable)
    sender = Sender(app, context.acting)
    service = KeyService(
        config,
        database,
        hasher,
        audit,
        cursors,
        authority,
        sender,
        changed=lookup.forget,
        schema_of=schema_of,
    )
    role_service = RoleService(
        config,
        database,
        authority,
        sender,
        schema_of=schema_of,
        resources=lambda: {*resources(), *guarded_views.resources_of_views(app)},
        changed=lookup.forget_all,
        of_environment=lambda name: context.app_state(app).environment(name).roles,
    )
    authenticator = Authenticator(config, lookup, hasher, service.rehash)
    profiles = Profiles(None if deciding is not None else roles, database)
    explainer = Explainer(service, deciding or roles, roles, database)
    previews = Previews(
        config,
        service,
        roles,
        database,
        access=context.restricted_access,
        protection=rows.protection_here,
        reading=rows.reading,
        remote=deciding is not None,
    )
    return Environment(
        config,
        database,
        lookup,
        authenticator,
        deciding or roles,
        service,
        role_service,
        explainer,
        audit,
        profiles,
        previews,
        remote,
    )


def _check_remote(config: Config) -> None:
    """Refuse a wrong decision point when the application starts, and not at its first request.

    :raises ConfigurationError: naming the setting.
    """
    if config.permissions_url is None and config.permissions_token is not None:
        raise ConfigurationError(
            "ARCHIE_KEYS_PERMISSIONS_TOKEN is for a decision point; set ARCHIE_KEYS_PERMISSIONS_URL"
        )
    try:
        remote = _remote(config)
    except ConfigurationError as error:
        what = str(error).partition(": ")[2]
        setting = "TOKEN" if what.startswith("token") else "TIMEOUT" if what.startswith("timeout") else "URL"
        raise ConfigurationError(f"ARCHIE_KEYS_PERMISSIONS_{setting}: {what}") from None
    if remote is not None:
        remote.close()


def _remote(config: Config) -> AuthZenPermissions | None:
    """The decision point of the settings."""
    if config.permissions_url is None:
        return None
    return AuthZenPermissions(
        config.permissions_url, timeout=config.permissions_timeout, token=config.permissions_token
    )


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
