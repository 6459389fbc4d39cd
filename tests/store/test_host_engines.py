"""Engines that their hosts have set up in ways of their own: ours work on them, and leave the host's work as it was."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine, event, inspect, text

from ..conftest import Host, MakeHost
from ..support.postgres import PostgresServer


def plain(engine: Engine) -> None:
    """As it comes: the driver begins a transaction before the first write."""


def documented_recipe(engine: Engine) -> None:
    """SQLAlchemy's documentation of pysqlite: SAVEPOINT and SERIALIZABLE work when BEGIN is sent by oneself."""

    @event.listens_for(engine, "connect")
    def connect(connection: Any, record: Any) -> None:
        connection.isolation_level = None

    @event.listens_for(engine, "begin")
    def begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN")


def begins_as_a_writer(engine: Engine) -> None:
    """The same recipe, as hosts use it who want no transaction to fail half-way."""

    @event.listens_for(engine, "connect")
    def connect(connection: Any, record: Any) -> None:
        connection.isolation_level = None

    @event.listens_for(engine, "begin")
    def begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")


NO_OPTIONS: dict[str, Any] = {}
NO_TRANSACTIONS = ("isolation level autocommit", "autocommit=True")
SET_UPS: dict[str, tuple[Callable[[Engine], None], dict[str, Any]]] = {
    "plain": (plain, NO_OPTIONS),
    "recipe": (documented_recipe, NO_OPTIONS),
    "recipe, immediate": (begins_as_a_writer, NO_OPTIONS),
    "isolation level autocommit": (plain, {"isolation_level": "AUTOCOMMIT"}),
}
if sys.version_info >= (3, 12):  # the driver's new transaction control came with it
    SET_UPS["autocommit=False"] = (plain, {"connect_args": {"autocommit": False}})
    SET_UPS["autocommit=True"] = (plain, {"connect_args": {"autocommit": True}})


@pytest.fixture(params=SET_UPS)
def set_up(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def host(make_host: MakeHost, set_up: str) -> Host:
    prepare, options = SET_UPS[set_up]
    host = make_host(SQLALCHEMY_ENGINE_OPTIONS={**options})
    with host.app.app_context():
        host.db.engine.dispose()
        prepare(host.db.engine)
    return host


def orders(host: Host) -> list[int]:
    """What is committed, as another process sees it."""
    with host.app.app_context():
        path = host.db.engine.url.database
    assert path is not None
    other = sqlite3.connect(path)
    try:
        return [row[0] for row in other.execute("SELECT id FROM orders ORDER BY id")]
    finally:
        other.close()


def test_keys_and_audit_work(host: Host) -> None:
    created = host.create()
    assert [host.get("/viewer", created.secret).status_code for _ in range(3)] == [200] * 3
    with host.app.app_context():
        service = host.keys.service
        rotated = service.rotate(created.key.id)
        assert host.keys.audit.drain() is not None
        kinds = [event.kind for event in host.keys.audit.find()]
        assert sorted(kinds) == ["key.created", "key.created", "key.rotated", *["request"] * 3]
        assert [key.id for key in service.find()] == [rotated.key.id, created.key.id]
        assert service.delete(created.key.id).status == "deleted"
    assert host.get("/viewer", created.secret).status_code == 401
    assert host.get("/viewer", rotated.secret).status_code == 200


def test_a_change_that_fails_is_rolled_back(host: Host) -> None:
    host.sql("ALTER TABLE archie_audit_events RENAME TO away")
    with host.app.app_context(), pytest.raises(Exception, match="the key store cannot be used"):
        host.keys.service.create(name="x")
    host.sql("ALTER TABLE away RENAME TO archie_audit_events")
    assert host.sql("SELECT count(*) FROM archie_api_keys") == [(0,)]
    assert host.create().key.version == 1


@pytest.mark.parametrize("set_up", [name for name in SET_UPS if name not in NO_TRANSACTIONS], indirect=True)
def test_the_hosts_own_transactions_commit_and_roll_back_as_before(host: Host) -> None:
    secret = host.create().secret
    with host.app.app_context():
        session = host.db.session
        for number in range(1, 7):
            session.add(host.order(id=number))
            session.flush()
            session.commit() if number % 2 else session.rollback()
            host.keys.service.create(name="between")
            assert host.get("/viewer", secret).status_code == 200
            host.keys.audit.find()
        assert orders(host) == [1, 3, 5]
        with host.db.engine.connect() as connection:
            connection.execute(text("INSERT INTO orders (id) VALUES (7)"))
        assert orders(host) == [1, 3, 5], "a connection that is given back without a commit commits nothing"
        with host.db.engine.begin() as connection:
            connection.execute(text("INSERT INTO orders (id) VALUES (9)"))
    assert orders(host) == [1, 3, 5, 9]


def test_connections_go_back_as_they_came(host: Host) -> None:
    """The same connection of the host's pool, before and after a change of ours."""

    def facts() -> tuple[Any, ...]:
        raw = host.db.engine.raw_connection()
        try:
            inner: Any = raw.dbapi_connection
            return id(inner), inner.isolation_level, getattr(inner, "autocommit", None)
        finally:
            raw.close()

    with host.app.app_context():
        before = facts()
        host.keys.service.create(name="x")
        assert facts() == before
        with pytest.raises(Exception, match="name"):
            host.keys.service.create(name="")
        host.sql("ALTER TABLE archie_audit_events RENAME TO away")
        with pytest.raises(Exception, match="cannot be used"):
            host.keys.service.create(name="x")
        assert facts() == before


# -- schemas


def test_the_hosts_own_translation_of_schemas_holds_for_our_tables(
    make_host: MakeHost, postgres_server: PostgresServer
) -> None:
    """Also for the hot read, which is a statement of our own below SQLAlchemy."""
    url = postgres_server.new_database()
    make_host(url).sql("CREATE SCHEMA shop")
    options = {"execution_options": {"schema_translate_map": {None: "shop"}}}
    host = make_host(url, SQLALCHEMY_ENGINE_OPTIONS=options)
    created = host.create()
    assert host.get("/viewer", created.secret).status_code == 200
    assert [event.status for event in host.events()] == [200]
    assert host.sql("SELECT count(*) FROM shop.archie_api_keys") == [(1,)]
    assert host.sql("SELECT count(*) FROM public.archie_api_keys") == [(0,)]
    with host.app.app_context():
        assert "archie_api_keys" in inspect(host.db.engine).get_table_names(schema="shop")
        host.keys.service.delete(created.key.id)
    assert host.get("/viewer", created.secret).status_code == 401
