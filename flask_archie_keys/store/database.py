"""Short transactions of our own on the host's engine.

Reads and writes of this package never take part in the host's session: a key that was made stays made when the view
rolls back, and making one does not commit what the view has pending.
"""

from __future__ import annotations

import os
import random
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError
from sqlalchemy.pool import QueuePool, SingletonThreadPool, StaticPool

from ..errors import StoreUnavailable
from .models import Base

#: Seconds that a writer waits for the writers before it on SQLite, which has one at a time.
SQLITE_WRITE_TIMEOUT = 30.0

HOST_IS_WRITING = (
    "db.session has changes that are not committed, and SQLite has one writer at a time: "
    "commit or roll back before keys are changed or the audit log is read"
)


class Database:
    """The engine that holds our tables.

    :param engine: the host's engine, or a function that finds it (called once, when first needed).
    :param schema: the schema of our tables, where the host's metadata has a default one.
    :param owned: the database is ours alone: its tables are made when first needed, its engine is closed by us.
    :param host_is_writing: whether the host's session in this thread has written there and not committed yet.
    """

    def __init__(
        self,
        engine: Callable[[], Engine],
        *,
        schema: str | None = None,
        owned: bool = False,
        host_is_writing: Callable[[Engine], bool] = lambda engine: False,
    ) -> None:
        self._find = engine
        self._schema = schema
        self._owned = owned
        self._host_is_writing = host_is_writing
        self._engine: Engine | None = None
        self._shared: Connection | None = None
        self._lock = threading.RLock()
        _databases.add(self)

    @property
    def engine(self) -> Engine:
        """The engine, with the schema of our tables.

        :raises StoreUnavailable: if a database of our own cannot be made.
        """
        if self._engine is None:
            with _as_unavailable():
                engine = self._find()
                if self._schema is not None:
                    engine = engine.execution_options(schema_translate_map={None: self._schema})
                if self._owned:
                    create_tables(engine)
            self._engine = engine
        return self._engine

    @property
    def is_sqlite(self) -> bool:
        """Whether the database is SQLite."""
        return self.engine.dialect.name == "sqlite"

    @property
    def is_shared_connection(self) -> bool:
        """Whether all threads share one connection, as with SQLite in memory: then our transactions are the host's."""
        return isinstance(self.engine.pool, (StaticPool, SingletonThreadPool))

    @property
    def has_plain_pool(self) -> bool:
        """Whether connections come from an ordinary pool, so that one may be kept for the hot read."""
        return type(self.engine.pool) is QueuePool

    @property
    def schema(self) -> str | None:
        """The schema of our tables; ``None`` for the connection's default."""
        return self._schema

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection for reading.

        :raises StoreUnavailable: if the database cannot be reached or lacks our tables.
        """
        if isinstance(self.engine.pool, StaticPool):
            with self._savepoint() as connection:
                yield connection
        else:
            with _as_unavailable(), self.engine.connect() as connection:
                yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One write transaction: committed at the end of the block, rolled back on any error.

        On SQLite it begins with ``BEGIN IMMEDIATE``: a transaction that reads first and writes later is refused at
        once when another one wrote in between; one that begins as a writer waits its turn.

        :raises StoreUnavailable: if the database cannot be reached, lacks our tables or stays locked.
        """
        if isinstance(self.engine.pool, StaticPool):
            with self._savepoint() as connection:
                yield connection
        elif self.is_sqlite:
            if self._host_is_writing(self.engine):
                raise StoreUnavailable(HOST_IS_WRITING)  # it would wait for itself
            with _as_unavailable(), self.engine.connect() as connection, _immediate(connection):
                yield connection
        else:
            with _as_unavailable(), self.engine.begin() as connection:
                yield connection

    @contextmanager
    def _savepoint(self) -> Iterator[Connection]:
        """A part of the host's transaction, where there is but one connection, as with SQLite in memory.

        The connection is kept: giving it back would roll back what the host has flushed.
        """
        with _as_unavailable(), self._lock:
            if self._shared is None:
                self._shared = self.engine.connect()
            self._shared.exec_driver_sql("SAVEPOINT archie_keys")
            try:
                yield self._shared
            except BaseException:
                self._shared.exec_driver_sql("ROLLBACK TO archie_keys")
                raise
            finally:
                self._shared.exec_driver_sql("RELEASE archie_keys")

    def missing_tables(self) -> list[str]:
        """The names of our tables that the database lacks."""
        with self.read() as connection:
            existing = set(inspect(connection).get_table_names(schema=self._schema))
        return [name for name in Base.metadata.tables if name not in existing]

    def close(self) -> None:
        """Close the connections of a database of our own; the host's engine is the host's to close."""
        if self._owned and self._engine is not None:
            self._engine.dispose()


@contextmanager
def _as_unavailable() -> Iterator[None]:
    try:
        yield
    except (SQLAlchemyError, OSError) as error:
        raise StoreUnavailable("the key store cannot be used") from error


def is_locked(error: BaseException | None) -> bool:
    """Whether an error of SQLite says that another connection is writing."""
    return isinstance(error, sqlite3.OperationalError) and "locked" in str(error)


@contextmanager
def _immediate(connection: Connection) -> Iterator[None]:
    """``BEGIN IMMEDIATE`` … ``COMMIT``, past the driver's own transaction control, which is left as it was."""
    deadline = time.monotonic() + SQLITE_WRITE_TIMEOUT
    connection.begin()  # for SQLAlchemy; a host's listener may send a BEGIN of its own here
    raw: Any = connection.connection.dbapi_connection
    implicit = getattr(raw, "autocommit", -1) is False  # the driver's new transaction control, Python 3.12
    level = raw.isolation_level
    if implicit:
        raw.autocommit = True
    elif raw.in_transaction:
        raw.rollback()
    raw.isolation_level = None
    try:
        _until(deadline, connection, "BEGIN IMMEDIATE")
        try:
            yield
            _until(deadline, connection, "COMMIT")
        except BaseException:
            connection.exec_driver_sql("ROLLBACK")
            raise
    finally:
        raw.isolation_level = level
        if implicit:
            raw.autocommit = False


def _until(deadline: float, connection: Connection, statement: str) -> None:
    """Run a statement, again and again while others hold the lock that it needs."""
    while True:
        try:
            connection.exec_driver_sql(statement)
            return
        except OperationalError as error:
            if not is_locked(error.orig) or time.monotonic() > deadline:
                raise
            time.sleep(random.uniform(0.005, 0.05))


def create_tables(engine: Engine) -> None:
    """Make the tables that are missing. Safe when several processes do it at once."""
    for attempt in range(3):
        try:
            Base.metadata.create_all(engine)
            return
        except DBAPIError:
            if attempt == 2:
                raise
            time.sleep(0.05)  # another process made one between our look and our CREATE


def own_sqlite(path: Path) -> Engine:
    """An engine on an SQLite file of our own, for a host without a database. It is disposed of with its last user."""
    path.parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": 15})

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, record: Any) -> None:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")

    weakref.finalize(engine, engine.pool.dispose)
    return engine


_databases: weakref.WeakSet[Database] = weakref.WeakSet()


def _close_before_fork() -> None:
    """A child must not find a file of ours open: SQLite's locks and log belong to the process that opened it."""
    for database in list(_databases):
        database.close()


os.register_at_fork(before=_close_before_fork)
