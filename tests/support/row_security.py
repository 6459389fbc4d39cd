"""Databases with an owner and an application role, protected models of their own, and somebody who acts."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
import sqlalchemy
from sqlalchemy import Connection, Engine, MetaData, create_engine, text
from sqlalchemy.engine import make_url

from flask_archie_keys.domain.permissions import Allowed, Denied, Grant, Role, scope_of, union
from flask_archie_keys.store import guard
from flask_archie_keys.store.guarding.rows import OURS
from flask_archie_keys.store.protection import KEY, Unrestricted, protections, registry
from flask_archie_keys.store.row_security import Who, everything, granted, nobodys, row_security
from flask_archie_keys.store.row_security_ddl import Policies, apply

from .postgres import PostgresServer

OWNER, APP = "archie_owner", "archie_app"
#: Past the session guard, which other tests of the process may have set up.
PAST = {KEY: OURS}


def as_role(url: str, role: str) -> str:
    """The same database for another role."""
    return make_url(url).set(username=role).render_as_string(hide_password=False)


def new_database(server: PostgresServer) -> str:
    """A database of the owner's; its URL for a superuser."""
    url = server.new_database()
    with psycopg.connect(server.dsn(str(make_url(url).database)), autocommit=True) as connection:
        for role in (OWNER, APP):
            if connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role]).fetchone() is None:
                connection.execute(f"CREATE ROLE {role} LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB")
        connection.execute(f"ALTER DATABASE {make_url(url).database} OWNER TO {OWNER}")
    return url


def grant(owner: Engine) -> None:
    """What the application's role may do at all."""
    with owner.begin() as connection:
        connection.exec_driver_sql(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {APP}")
        connection.exec_driver_sql(f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {APP}")


def role(*grants: Grant, name: str = "tester") -> Role:
    return Role(name=name, grants=grants)


class World:
    """One database with its owner, the application's engine, and who acts."""

    def __init__(self, server: PostgresServer, metadata: MetaData) -> None:
        self.url = new_database(server)
        # a test that has failed may hold a lock
        self.owner = create_engine(as_role(self.url, OWNER), connect_args={"options": "-c lock_timeout=5s"})
        # what values mean must not depend on what a database is set to
        settings = "-c TimeZone=Asia/Kolkata -c DateStyle=German -c standard_conforming_strings=off"
        self.engine = create_engine(as_role(self.url, APP), connect_args={"options": settings})
        self.who: Who | None = None
        metadata.create_all(self.owner)
        grant(self.owner)

    def secure(self, *grants: Grant) -> Policies:
        """Make the policies for some grants."""
        policies = Policies(protections(), [role(*grants)])
        apply(policies, self.owner, None)
        return policies

    def fill(self, *statements: str) -> None:
        """Run statements as the owner, who is told that everything is granted."""
        with self.owner.begin() as connection:
            connection.exec_driver_sql("""SELECT set_config('archie.grants', '{"*": true}', true)""")
            for statement in statements:
                connection.exec_driver_sql(statement, execution_options=PAST)

    def all(self, statement: str) -> list[Any]:
        """What the owner sees."""
        with self.owner.begin() as connection:
            connection.exec_driver_sql("""SELECT set_config('archie.grants', '{"*": true}', true)""")
            return [tuple(row) for row in connection.execute(text(statement), execution_options=PAST)]

    def become(self, *grants: Grant, **context: object) -> None:
        """Somebody else acts, with these grants and this context."""
        self.who = acting(grants, {f"context.{name}": value for name, value in context.items()})

    @contextmanager
    def lifted(self) -> Iterator[None]:
        """An ``unrestricted`` block."""
        before, block = self.who, Unrestricted("a test")
        self.who = Who(block, everything)
        try:
            yield
        finally:
            row_security.leave(block)
            self.who = before

    def nobody(self) -> None:
        self.who = Who(None, nobodys)

    def close(self) -> None:
        self.owner.dispose()
        self.engine.dispose()


def acting(grants: Iterable[Grant], variables: Mapping[str, object]) -> Who:
    """Somebody with some grants."""
    held = tuple(grants)

    def decide(resource: str, action: Any) -> Allowed | Denied:
        return union(held, resource, action) or Denied("missing_grant", scope_of(resource, action))

    return Who(object(), lambda: granted(decide, variables))


@contextmanager
def isolated() -> Iterator[pytest.MonkeyPatch]:
    """Nothing is protected but what is from now on, and the session guard lets all pass: it has tests of its own."""
    if tuple(map(int, sqlalchemy.__version__.split(".")[:2])) < (2, 1):
        pytest.skip("needs SQLAlchemy 2.1")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "mappers", weakref.WeakSet())
        patch.setattr(registry, "metadata", ())
        registry.changed()
        block = Unrestricted("only the database is tested")
        patch.setattr(guard._guard, "tell", lambda: block)
        patch.setattr(row_security, "_passed", weakref.WeakKeyDictionary())
        yield patch
    registry.changed()


def told(connection: Connection) -> str | None:
    """The setting as PostgreSQL has it."""
    value: str | None = (
        connection.connection.cursor().execute("SELECT current_setting('archie.grants', true)").fetchone()[0]
    )
    return value
