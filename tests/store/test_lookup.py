"""The hot read, on SQLite files and on PostgreSQL."""

from __future__ import annotations

import gc
import os
import sqlite3
import threading
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import create_engine, event
from sqlalchemy.pool import NullPool, StaticPool

from flask_archie_keys import StoreUnavailable
from flask_archie_keys.store import lookup as module
from flask_archie_keys.store.database import Database, create_tables
from flask_archie_keys.store.lookup import KeyLookup, KeyRow
from flask_archie_keys.store.models import keys

from ..support.postgres import PostgresServer

ROW = {"id": "k" * 12, "project": "p", "environment": "e", "name": "n", "prefix": "a", "roles": '["viewer"]'}
ROW |= {"context": "{}", "digest": "d", "created_at": 1, "created_by": "system", "version": 1}
EXPECTED = KeyRow("p", "e", "d", "n", "a", '["viewer"]', "{}", None, None, None, None, None)
made: list[Any] = []


def make(url: str, staleness: timedelta = timedelta(0), **options: Any) -> KeyLookup:
    engine = create_engine(url, **options)
    create_tables(engine)
    with engine.begin() as connection:
        connection.execute(keys.delete())
        connection.execute(keys.insert(), ROW)
    lookup = KeyLookup(Database(lambda: engine), staleness)
    made.append((lookup, engine))
    return lookup


@pytest.fixture(autouse=True)
def close() -> Any:
    yield
    while made:
        lookup, engine = made.pop()
        lookup.close()
        engine.dispose()


def change(lookup: KeyLookup, **values: Any) -> None:
    with lookup._database.engine.begin() as connection:
        connection.execute(keys.update().values(**values))


@pytest.mark.parametrize("options", [{}, {"poolclass": NullPool}, {"pool_pre_ping": True}], ids=str)
def test_each_read_sees_the_newest_commit(url: str, options: dict[str, Any]) -> None:
    lookup = make(url, **options)
    assert lookup.read("k" * 12) == tuple(EXPECTED)
    assert lookup.read("x" * 12) is None
    change(lookup, name="new", expires_at=7)
    assert lookup.read("k" * 12) == tuple(EXPECTED._replace(name="new", expires_at=7))


def test_a_connection_for_all_threads_is_shared_with_the_host() -> None:
    lookup = make("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
    assert lookup.read("k" * 12) == tuple(EXPECTED)


def test_threads_share_the_connections_that_are_free(url: str) -> None:
    lookup = make(url, pool_size=2)
    errors: list[Any] = []

    def run() -> None:
        for _ in range(50):
            if lookup.read("k" * 12) != tuple(EXPECTED):
                errors.append("wrong row")

    threads = [threading.Thread(target=run) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert 1 <= len(lookup._free) <= 16
    assert lookup._database.engine.pool.checkedout() == 0, "the host's pool is whole"  # type: ignore[attr-defined]


def test_the_hosts_connection_set_up_applies(sqlite_url: str) -> None:
    """SQLCipher keys, IAM tokens, search paths: what the host does to its connections, it does to ours."""
    engine = create_engine(sqlite_url)
    prepared = []
    event.listen(engine, "connect", lambda connection, record: prepared.append(connection))
    create_tables(engine)
    lookup = KeyLookup(Database(lambda: engine))
    lookup.read("k" * 12)
    assert lookup._free[0].connection in prepared
    lookup.close()
    engine.dispose()


def test_a_read_leaves_no_lock_behind(sqlite_url: str) -> None:
    lookup = make(sqlite_url)
    lookup.read("k" * 12)
    other = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), timeout=0, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    other.execute("UPDATE archie_api_keys SET name = 'new'")
    other.execute("COMMIT")
    other.close()
    row = lookup.read("k" * 12)
    assert row is not None and row[3] == "new"


def test_a_table_that_is_away_is_unavailable_and_mends_itself(url: str) -> None:
    lookup = make(url)
    lookup.read("k" * 12)
    with lookup._database.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE archie_api_keys RENAME TO away")
    with pytest.raises(StoreUnavailable, match="the key store cannot be read"):
        lookup.read("k" * 12)
    with lookup._database.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE away RENAME TO archie_api_keys")
    assert lookup.read("k" * 12) == tuple(EXPECTED)


def test_a_restarted_server_is_connected_to_again(postgres_server: PostgresServer) -> None:
    lookup = make(postgres_server.new_database(), pool_pre_ping=True)
    assert lookup.read("k" * 12) == tuple(EXPECTED)
    postgres_server.stop()
    try:
        with pytest.raises(StoreUnavailable):
            lookup.read("k" * 12)
    finally:
        postgres_server.start()
    assert lookup.read("k" * 12) == tuple(EXPECTED)


def test_connections_that_went_stale_while_free_are_replaced(postgres_server: PostgresServer) -> None:
    lookup = make(postgres_server.new_database())
    barrier = threading.Barrier(4)
    threads = [threading.Thread(target=lambda: (barrier.wait(), lookup.read("k" * 12))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    postgres_server.stop()
    postgres_server.start()
    assert lookup.read("k" * 12) == tuple(EXPECTED)


def test_a_child_after_a_fork_leaves_the_parents_connections_alone(url: str) -> None:
    lookup = make(url)
    lookup.read("k" * 12)
    child = os.fork()
    if child == 0:
        left = len(lookup._free) == 0 and (url.startswith("sqlite") or len(module._inherited) >= 1)
        gc.collect()
        os._exit(0 if left and lookup.read("k" * 12) == tuple(EXPECTED) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert lookup.read("k" * 12) == tuple(EXPECTED)


def test_staleness_is_bounded_and_forgotten_on_purpose(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Clock:
        now = 0.0

        def monotonic(self) -> float:
            return self.now

    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    lookup = make(url, timedelta(seconds=1))
    assert lookup.read("x" * 12) is None
    assert lookup.read("k" * 12) == tuple(EXPECTED)
    change(lookup, name="new")
    clock.now = 0.9
    assert lookup.read("k" * 12) == tuple(EXPECTED)
    clock.now = 1.0
    assert lookup.read("k" * 12) == tuple(EXPECTED._replace(name="new"))
    change(lookup, name="newer")
    lookup.forget("k" * 12)
    assert lookup.read("k" * 12) == tuple(EXPECTED._replace(name="newer"))
    change(lookup, id="y" * 12)
    clock.now = 5.0
    assert lookup.read("k" * 12) is None
    change(lookup, id="k" * 12)
    assert lookup.read("k" * 12) is not None, "what is not there is not remembered"


def test_what_is_remembered_is_bounded(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CACHE_SIZE", 3)
    lookup = make(sqlite_url, timedelta(seconds=60))
    with lookup._database.engine.begin() as connection:
        connection.execute(keys.insert(), [{**ROW, "id": f"{n:012}"} for n in range(10)])
    for n in range(10):
        lookup.read(f"{n:012}")
    assert len(lookup._cache) == 3
