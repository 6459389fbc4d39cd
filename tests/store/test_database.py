from __future__ import annotations

import sqlite3
import threading
import time
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, inspect, select
from sqlalchemy.pool import StaticPool

from flask_archie_keys import StoreUnavailable
from flask_archie_keys.store import database as module
from flask_archie_keys.store.database import Database, create_tables, own_sqlite
from flask_archie_keys.store.models import keys


@pytest.fixture
def engine(url: str) -> Engine:
    engine = create_engine(url)
    create_tables(engine)
    return engine


@pytest.fixture
def database(engine: Engine):  # type: ignore[no-untyped-def]
    yield Database(lambda: engine)
    engine.dispose()


ROW = {"id": "k" * 12, "project": "p", "environment": "e", "name": "n", "prefix": "a", "roles": "[]", "context": "{}"}
ROW |= {"created_at": 1, "created_by": "system", "version": 1}


def count(database: Database) -> int:
    with database.read() as connection:
        return len(connection.execute(select(keys.c.id)).all())


def test_a_write_is_committed_at_the_end_of_its_block(database: Database) -> None:
    with database.write() as connection:
        connection.execute(keys.insert(), ROW)
    assert count(database) == 1


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_any_error_rolls_a_write_back(database: Database, error: type[BaseException]) -> None:
    with pytest.raises(error), database.write() as connection:
        connection.execute(keys.insert(), ROW)
        raise error
    assert count(database) == 0


def test_errors_of_the_database_are_one_error_with_its_cause_for_the_log(database: Database) -> None:
    with pytest.raises(StoreUnavailable) as caught, database.write() as connection:
        connection.exec_driver_sql("SELECT * FROM no_such_table")
    assert str(caught.value) == "the key store cannot be used"
    assert "no_such_table" in (caught.value.cause or "")


def test_missing_tables_are_named(url: str) -> None:
    engine = create_engine(url)
    database = Database(lambda: engine)
    assert sorted(database.missing_tables()) == [
        "archie_api_keys",
        "archie_audit_events",
        "archie_grants",
        "archie_idempotency_keys",
        "archie_policy_epochs",
        "archie_roles",
    ]
    create_tables(engine)
    create_tables(engine)
    assert database.missing_tables() == []
    engine.dispose()


@pytest.mark.parametrize("journal", ["wal", "delete"])
def test_writers_on_sqlite_wait_their_turn(sqlite_url: str, journal: str) -> None:
    """Also beyond the driver's own time-out, and in the journal mode of an ordinary file."""
    path = sqlite_url.removeprefix("sqlite:///")
    engine = create_engine(sqlite_url, connect_args={"timeout": 0.01})
    with engine.connect() as connection:
        connection.exec_driver_sql(f"PRAGMA journal_mode={journal}")
    create_tables(engine)
    database = Database(lambda: engine)
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    timer = threading.Timer(0.5, lambda: other.execute("COMMIT"))
    timer.start()
    began = time.monotonic()
    with database.write() as connection:
        connection.execute(keys.insert(), ROW)
    assert time.monotonic() - began > 0.4
    timer.join()
    other.close()
    assert count(database) == 1
    engine.dispose()


def test_a_writer_that_read_first_is_not_refused(sqlite_url: str) -> None:
    """A deferred transaction that has read is told "database is locked" at once when another one wrote meanwhile."""
    engine = create_engine(sqlite_url)
    create_tables(engine)
    database = Database(lambda: engine)
    errors: list[Exception] = []

    def run(name: str) -> None:
        try:
            for n in range(20):
                with database.write() as connection:
                    connection.execute(select(keys.c.id)).all()
                    connection.execute(keys.insert(), {**ROW, "id": f"{name}{n:010}"})
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(f"t{n}",)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == [] and count(database) == 120
    engine.dispose()


def test_a_database_that_stays_locked_is_unavailable_in_the_end(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SQLITE_WRITE_TIMEOUT", 0.1)
    engine = create_engine(sqlite_url, connect_args={"timeout": 0.01})
    create_tables(engine)
    other = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable) as caught, Database(lambda: engine).write():
        pass
    assert "locked" in (caught.value.cause or "")
    other.close()
    engine.dispose()


def test_a_database_of_our_own_is_made_when_first_needed(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "own.sqlite"
    database = Database(lambda: own_sqlite(path), owned=True)
    assert not path.exists()
    assert database.missing_tables() == []
    with database.read() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
    database.close()


def test_connections_shared_by_all_threads_are_known(url: str, engine: Engine) -> None:
    assert not Database(lambda: engine).is_shared_connection
    engine.dispose()
    memory = create_engine("sqlite://", poolclass=StaticPool)
    create_tables(memory)
    database = Database(lambda: memory)
    assert database.is_shared_connection
    with database.write() as connection:
        connection.execute(keys.insert(), ROW)
    assert count(database) == 1
    memory.dispose()


def test_every_constraint_and_index_has_a_name_of_ours(engine: Engine) -> None:
    looked = inspect(engine)
    for table in ("archie_api_keys", "archie_audit_events"):
        assert all(index["name"].startswith(f"ix_{table}_") for index in looked.get_indexes(table))  # type: ignore[union-attr]
        if engine.dialect.name == "postgresql":
            assert looked.get_pk_constraint(table)["name"] == f"pk_{table}"
    engine.dispose()
