"""Databases full of audit events, for the benchmarks of the drain and of the pages.

Events come from real requests through the decorator. What is inserted "raw" goes into a table of
the same columns, constraints and indexes, by the fastest way that the driver has: ``executemany``
in one transaction on SQLite, ``COPY`` on PostgreSQL.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from . import _ours, _postgres
from ._sqlite import sqlite_uri
from ._wsgi import Client, bearer, environ

EVENTS = "archie_audit_events"
RAW = "raw_events"
ENGINES = ("sqlite", "postgresql")

Row = tuple[Any, ...]


class Database:
    """An application with its key, and the database behind it.

    :param name: of the engine, for the table.
    :param made: the application; its requests are cheap (``MAX_STALENESS``), its drain is ours to
        call.
    """

    def __init__(self, name: str, made: _ours.Made) -> None:
        self.name = name
        self.made = made
        self.secret = _ours.prepare(made)
        self.key_id = self.secret.split("_")[-2]
        self._client = Client(name, made.app, [environ(bearer(self.secret))])

    def requests(self, number: int) -> None:
        """Put the events of so many requests into the spool."""
        for _ in range(number):
            self._client()

    def drain(self) -> float:
        """Drain the spool; the seconds it took."""
        with self.made.app.app_context():
            start = time.perf_counter()
            self.made.keys.audit.drain()
            return time.perf_counter() - start

    def count(self) -> int:
        """How many events of requests the table holds."""
        sql = f"SELECT count(*) FROM {EVENTS} WHERE kind = 'request'"
        return int(self.query(sql)[1][0][0])

    def newest(self, number: int) -> tuple[list[str], list[Row]]:
        """The table's columns and its newest rows."""
        return self.query(f"SELECT * FROM {EVENTS} WHERE kind = 'request' ORDER BY id DESC LIMIT {number}")

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> tuple[list[str], list[Row]]:
        """Column names and rows of a statement, by the driver alone."""
        with self.driver() as connection:
            cursor = connection.cursor()
            cursor.execute(sql, parameters)
            return [column[0] for column in cursor.description], cursor.fetchall()

    @contextmanager
    def driver(self) -> Iterator[Any]:
        """A connection of the driver; committed at the end."""
        raise NotImplementedError

    def make_raw_table(self) -> None:
        """Make the empty table that raw rows go into."""
        raise NotImplementedError

    def insert(self, table: str, columns: Sequence[str], rows: Iterable[Row]) -> float:
        """Insert rows in the fastest way; the seconds it took, commit included."""
        raise NotImplementedError

    def close(self) -> None:
        """Close what the application keeps open."""
        self.made.close()


class Sqlite(Database):
    """SQLite in WAL mode with ``synchronous=NORMAL``."""

    def __init__(self, folder: Path) -> None:
        uri = sqlite_uri(folder)
        self._path = uri.removeprefix("sqlite:///")
        made = _ours.build(folder, uri=uri, staleness=_ours.STALE, background=False)
        super().__init__("SQLite", made)

    @contextmanager
    def driver(self) -> Iterator[sqlite3.Connection]:
        connection = sqlite3.connect(self._path)
        connection.execute("PRAGMA synchronous=NORMAL")
        try:
            with connection:
                yield connection
        finally:
            connection.close()

    def make_raw_table(self) -> None:
        sql = "SELECT sql FROM sqlite_master WHERE tbl_name = ? AND sql NOT NULL ORDER BY type DESC"
        with self.driver() as connection:
            for (statement,) in connection.execute(sql, (EVENTS,)).fetchall():
                connection.execute(statement.replace(EVENTS, RAW))

    def insert(self, table: str, columns: Sequence[str], rows: Iterable[Row]) -> float:
        places = ",".join("?" * len(columns))
        names = ",".join(f'"{column}"' for column in columns)
        start = time.perf_counter()
        with self.driver() as connection:
            connection.executemany(f"INSERT INTO {table} ({names}) VALUES ({places})", rows)
        return time.perf_counter() - start


class Postgresql(Database):
    """PostgreSQL on 127.0.0.1, ``fsync`` off."""

    def __init__(self, folder: Path, server: _postgres.Server) -> None:
        self._server = server
        made = _ours.build(folder, uri=server.uri, staleness=_ours.STALE, background=False)
        super().__init__("PostgreSQL", made)

    @contextmanager
    def driver(self) -> Iterator[Any]:
        import psycopg

        with psycopg.connect(self._server.conninfo) as connection:
            yield connection

    def make_raw_table(self) -> None:
        with self.driver() as connection:
            connection.execute(f"CREATE TABLE {RAW} (LIKE {EVENTS} INCLUDING ALL)")

    def insert(self, table: str, columns: Sequence[str], rows: Iterable[Row]) -> float:
        names = ",".join(f'"{column}"' for column in columns)
        start = time.perf_counter()
        with (
            self.driver() as connection,
            connection.cursor() as cursor,
            cursor.copy(f"COPY {table} ({names}) FROM STDIN") as copy,
        ):
            for row in rows:
                copy.write_row(row)
        return time.perf_counter() - start


@contextmanager
def databases(folder: Path, engines: Sequence[str]) -> Iterator[list[Database]]:
    """The databases of the named engines, until the end of the block.

    :raises PostgresqlMissing: if PostgreSQL is wanted and not installed.
    """
    with ExitStack() as stack:
        made: list[Database] = []
        for engine in engines:
            own = folder / engine
            own.mkdir()
            if engine == "sqlite":
                made.append(Sqlite(own))
            else:
                made.append(Postgresql(own, stack.enter_context(_postgres.server())))
            stack.callback(made[-1].close)
        yield made
