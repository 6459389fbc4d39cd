"""SQLite in rollback-journal mode, as a file is unless somebody changes it: readers and writers wait for each other."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, select

from flask_archie_keys.store.database import Database, create_tables
from flask_archie_keys.store.models import keys

from ..conftest import Host, MakeHost

TIMEOUT = 0.5  # seconds, the host's own


@pytest.fixture
def host(make_host: MakeHost) -> Host:
    return make_host(SQLALCHEMY_ENGINE_OPTIONS={"connect_args": {"timeout": TIMEOUT}})


@pytest.fixture
def other(sqlite_url: str) -> Iterator[sqlite3.Connection]:
    """Somebody else's connection to the file."""
    path = Path(sqlite_url.removeprefix("sqlite:///"))
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    yield connection
    connection.close()


def test_a_request_waits_for_one_time_out_and_not_for_one_of_each_kept_connection(
    host: Host, other: sqlite3.Connection
) -> None:
    secret = host.create().secret
    assert other.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    with host.app.app_context():
        lookup = host.keys.for_environment("master").lookup
    other.execute("BEGIN EXCLUSIVE")
    statuses: list[int] = []

    def ask() -> None:
        answer = host.app.test_client().get("/me", headers={"Authorization": f"Bearer {secret}"})
        statuses.append(answer.status_code)

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:  # all wait at once, so each has a connection of its own, which is kept
        thread.start()
    time.sleep(TIMEOUT / 3)
    other.execute("COMMIT")
    for thread in threads:
        thread.join()
    assert statuses.count(200) >= 4 and len(lookup._free) >= 4
    other.execute("BEGIN EXCLUSIVE")
    began = time.monotonic()
    answer = host.get("/me", secret)
    took = time.monotonic() - began
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert TIMEOUT * 0.8 < took < TIMEOUT * 2.5, "one time-out"
    other.execute("COMMIT")
    assert host.get("/me", secret).status_code == 200
    assert len(lookup._free) >= 4, "a connection that found the file locked is a good one"


def test_a_commit_waits_for_a_reader_beyond_the_drivers_time_out(sqlite_url: str, other: sqlite3.Connection) -> None:
    """A reader does not keep a writer from beginning; it keeps its commit waiting."""
    engine = create_engine(sqlite_url, connect_args={"timeout": 0.01})
    create_tables(engine)
    database = Database(lambda: engine)
    other.execute("BEGIN")
    other.execute("SELECT count(*) FROM archie_api_keys").fetchall()
    timer = threading.Timer(0.6, lambda: other.execute("COMMIT"))
    row = {"id": "k" * 12, "project": "p", "environment": "e", "name": "n", "prefix": "a", "roles": "[]"}
    row |= {"context": "{}", "created_at": 1, "created_by": "system", "version": 1}
    timer.start()
    began = time.monotonic()
    with database.write() as connection:
        connection.execute(keys.insert(), row)
    assert time.monotonic() - began > 0.5
    timer.join()
    with database.read() as connection:
        assert connection.execute(select(keys.c.id)).all() == [("k" * 12,)]
    engine.dispose()


def test_a_service_waits_for_a_reader_too(host: Host, other: sqlite3.Connection) -> None:
    host.create()
    other.execute("BEGIN")
    other.execute("SELECT count(*) FROM archie_api_keys").fetchall()
    timer = threading.Timer(3 * TIMEOUT, lambda: other.execute("COMMIT"))
    timer.start()
    assert host.create(name="waited").key.name == "waited"
    timer.join()
    assert host.sql("SELECT count(*) FROM archie_api_keys") == [(2,)]
