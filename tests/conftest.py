from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from flask_sqlalchemy.model import Model
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from flask_archie_keys import ArchieKeys, current_api_key, require_api_key
from flask_archie_keys.domain.permissions import Grant, Role
from flask_archie_keys.domain.principals import Principal
from flask_archie_keys.domain.records import Key
from flask_archie_keys.permissions.service import PermissionsService
from flask_archie_keys.services.explain import principal_of

from .support.postgres import Missing, PostgresServer

PEPPER = "pepper-" + "for-the-tests-only"
#: Of the hosts of tests: the routes of all faces take as long to make as the rest of an application.
FACES = ["cli"]
ALL_FACES = {"ARCHIE_KEYS_FACES": ["pages", "api", "graphql", "cli"]}


def pytest_configure() -> None:
    """What was compiled is kept: hundreds of processes that tests start would compile it again."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False


def pytest_collection_finish() -> None:
    gc.collect()
    gc.freeze()  # what was collected stays; to look at it again and again takes a fifth of the time
    gc.set_threshold(20_000, 20, 50)
    """The example application is imported by now, and protects tables that others have, too."""
    if "example_app" in sys.modules:
        from .support.protected import hide

        hide("example_app")


class Base(DeclarativeBase):
    pass


class Host:
    """A host application with its database, our extension and some views."""

    def __init__(self, app: Flask, db: SQLAlchemy, keys: ArchieKeys, order: type[Model]) -> None:
        self.app = app
        self.db = db
        self.keys = keys
        self.order = order
        self.client = app.test_client()

    def create(self, name: str = "key", roles: tuple[str, ...] = ("viewer",), **kwargs: Any) -> Any:
        with self.app.app_context():
            return self.keys.service.create(name=name, roles=roles, **kwargs)

    def save(self, name: str, *grants: Grant | dict[str, object], **kwargs: Any) -> Role:
        """Save a role, as the system."""
        with self.app.app_context():
            return self.keys.roles.save(name, grants=grants, **kwargs)

    @contextmanager
    def acting(self, who: Key | Principal) -> Iterator[None]:
        """A block in which a key or a user acts."""
        with self.app.app_context(), self.keys.act_as(who if isinstance(who, Principal) else principal_of(who)):
            yield

    def get(self, path: str, secret: str | None = None, **kwargs: Any) -> Any:
        headers = dict(kwargs.pop("headers", {}))
        if secret is not None:
            headers["Authorization"] = f"Bearer {secret}"
        return self.client.get(path, headers=headers, **kwargs)

    def events(self, **filters: Any) -> list[Any]:
        """Request events, oldest first."""
        with self.app.app_context():
            return [e for e in reversed(self.keys.audit.find(limit=200, **filters).items) if e.kind == "request"]

    def changes(self, **filters: Any) -> list[Any]:
        """Events of changes, oldest first."""
        with self.app.app_context():
            return [e for e in reversed(self.keys.audit.find(limit=200, **filters).items) if e.kind != "request"]

    def sql(self, statement: str) -> list[Any]:
        """Run a statement on the host's engine, as a database administrator would."""
        with self.app.app_context(), self.db.engine.begin() as connection:
            result = connection.exec_driver_sql(statement)
            return list(result) if result.returns_rows else []


def add_views(app: Flask) -> None:
    @app.get("/me")
    @require_api_key
    def me() -> dict[str, Any]:
        return {"id": current_api_key.id, "name": current_api_key.name, "environment": current_api_key.environment}

    @app.get("/viewer")
    @require_api_key(roles=["viewer"])
    def viewer() -> str:
        return "seen"

    @app.get("/editor")
    @require_api_key(roles=["viewer", "editor"], match="all")
    def editor() -> str:
        return "edited"

    @app.get("/optional")
    @require_api_key(optional=True)
    def optional() -> dict[str, Any]:
        return {"id": current_api_key.id if current_api_key else None}


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    try:
        server = PostgresServer()
    except Missing as missing:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(missing))
    yield server
    server.close()


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'host.sqlite'}"


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    """An empty database on each engine."""
    if request.param == "sqlite":
        yield str(request.getfixturevalue("sqlite_url"))
        return
    server = request.getfixturevalue("postgres_server")
    made = server.new_database()
    yield made
    server.give_back(made)


MakeHost = Callable[..., Host]


@contextmanager
def hosts(folder: Path) -> Iterator[MakeHost]:
    """Makes host applications on Flask-SQLAlchemy and closes them in the end."""
    made: list[Host] = []

    def make(
        url: str | None = None,
        *,
        views: bool = True,
        instance: str = "instance",
        permissions: PermissionsService | None = None,
        **config: Any,
    ) -> Host:
        app = Flask("host", instance_path=str(folder / instance))
        app.config["SQLALCHEMY_DATABASE_URI"] = url or f"sqlite:///{folder / 'host.sqlite'}"
        app.config["ARCHIE_KEYS_PEPPERS"] = [PEPPER]
        app.config["ARCHIE_KEYS_FACES"] = FACES
        app.config["ARCHIE_KEYS_ROLES"] = {"viewer": {}, "editor": {}}
        # the thread has tests of its own; here reading drains
        app.config["ARCHIE_KEYS_AUDIT"] = {"background": False, **config.pop("ARCHIE_KEYS_AUDIT", {})}
        app.config.update(config)
        db = SQLAlchemy(model_class=type("HostBase", (DeclarativeBase,), {}))

        class Order(db.Model):  # type: ignore[name-defined, misc]
            __tablename__ = "orders"
            id: Mapped[int] = mapped_column(primary_key=True)

        db.init_app(app)
        keys = ArchieKeys()
        keys.init_app(app, db=db, permissions=permissions)
        if views:
            add_views(app)
        with app.app_context():
            db.create_all()
        made.append(Host(app, db, keys, Order))
        return made[-1]

    try:
        yield make
    finally:
        for host in made:
            host.keys.close(host.app)
            with host.app.app_context():
                for engine in host.db.engines.values():
                    engine.dispose()


@pytest.fixture
def make_host(tmp_path: Path) -> Iterator[MakeHost]:
    with hosts(tmp_path) as make:
        yield make


@pytest.fixture
def host(make_host: MakeHost) -> Host:
    return make_host()
