"""The hot read: one key's row by its id, at every request, below the ORM.

A read through :class:`~sqlalchemy.orm.Session` costs ten times the SELECT itself. Here a connection is taken out of
the host's pool once (``detach``: made by the host's own creator, with its event listeners), set to autocommit so that
each read sees the newest commit, and kept on a free list. The list grows to the number of reads that ran at the same
time. Pools that are not plain, and databases other than SQLite and PostgreSQL by psycopg, get an ordinary read through
the pool.
"""

from __future__ import annotations

import os
import time
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable
from datetime import timedelta
from typing import Any, NamedTuple

from sqlalchemy import bindparam, select
from sqlalchemy.exc import SQLAlchemyError

from ..errors import StoreUnavailable
from .database import Database, is_locked
from .models import epochs, keys


class KeyRow(NamedTuple):
    """What is read of a key at each request; times in microseconds since the epoch, JSON as text.

    The last field is not of the key: it tells whether the roles of its environment changed.
    """

    project: str
    environment: str
    digest: str | None
    name: str
    prefix: str
    roles: str
    context: str
    owner: str | None
    allowed_networks: str | None
    expires_at: int | None
    disabled_at: int | None
    deleted_at: int | None
    policy_epoch: int | None = None


Row = tuple[Any, ...]
_Reader = Callable[[str], "Row | None"]
_CACHE_SIZE = 10_000
_inherited: list[Any] = []  # connections of the parent process: never used here, and never closed under the parent


class KeyLookup:
    """Reads key rows. The row is a plain tuple with the fields of :class:`KeyRow`.

    :param max_staleness: how long a row that was read may be used again; zero reads at every call.
    """

    def __init__(self, database: Database, max_staleness: timedelta = timedelta(0)) -> None:
        self._database = database
        self._staleness = max_staleness.total_seconds()
        self._cache: OrderedDict[str, tuple[float, Row]] = OrderedDict()
        self._free: deque[_Kept] = deque()
        self._reader: _Reader | None = None
        _lookups.add(self)
        weakref.finalize(self, _close_all, self._free)

    def read(self, key_id: str) -> Row | None:
        """The row of ``key_id`` in whatever project and environment it is; ``None`` if there is none.

        :raises StoreUnavailable: if the database cannot be read.
        """
        if not self._staleness:
            return (self._reader or self._choose())(key_id)
        now = time.monotonic()
        cached = self._cache.get(key_id)
        if cached is not None and now - cached[0] < self._staleness:
            return cached[1]
        row = (self._reader or self._choose())(key_id)
        if row is None:
            self._cache.pop(key_id, None)
        else:
            self._cache[key_id] = (now, row)
            while len(self._cache) > _CACHE_SIZE:
                self._cache.popitem(last=False)
        return row

    def forget(self, key_id: str) -> None:
        """Read ``key_id`` anew at the next request; this process has just changed it."""
        self._cache.pop(key_id, None)

    def forget_all(self) -> None:
        """Read every key anew; this process has just changed a role."""
        self._cache.clear()

    def close(self) -> None:
        """Close the connections that are not in use."""
        _close_all(self._free)

    def close_sqlite(self) -> None:
        """Close the connections that are not in use, if they are SQLite's."""
        if self._reader is not None and self._database.is_sqlite:
            self.close()

    def abandon(self) -> None:
        """Let go of connections inherited over a fork, without touching them."""
        _inherited.extend(self._free)
        self._free.clear()

    def _choose(self) -> _Reader:
        database = self._database
        driver = f"{database.engine.dialect.name}+{database.engine.dialect.driver}"
        translated = database.engine.get_execution_options().get("schema_translate_map", {None: database.schema})
        plain = database.has_plain_pool and translated == {None: database.schema}
        if driver not in _PREPARE or not plain:
            self._reader = self._read_pooled
            return self._reader
        schema = ""
        if database.schema is not None:
            schema = f"{database.engine.dialect.identifier_preparer.quote_schema(database.schema)}."
        place = "?" if database.is_sqlite else "%s"
        self._sql = (
            f"SELECT {', '.join(KeyRow._fields[:-1])}, (SELECT epoch FROM {schema}{epochs.name} e "
            f"WHERE e.project = k.project AND e.environment = k.environment) "
            f"FROM {schema}{keys.name} k WHERE id = {place}"
        )
        self._reader = self._read_kept
        return self._reader

    def _connect(self) -> _Kept:
        engine = self._database.engine
        try:
            fairy = engine.raw_connection()
            connection = fairy.dbapi_connection
            fairy.detach()
            execute = _PREPARE[f"{engine.dialect.name}+{engine.dialect.driver}"](connection)
        except (SQLAlchemyError, engine.dialect.loaded_dbapi.Error) as error:
            raise StoreUnavailable("the key store cannot be reached") from error
        return _Kept(execute, connection, fairy, {} if self._database.is_sqlite else None)

    def _read_kept(self, key_id: str) -> Row | None:
        while True:
            try:
                kept, fresh = self._free.pop(), False
            except IndexError:
                kept, fresh = self._connect(), True
            try:
                row = self._read_row(kept, key_id)
            except self._database.engine.dialect.loaded_dbapi.Error as error:
                if is_locked(error):
                    self._free.append(kept)
                    raise StoreUnavailable("the key store is locked") from error
                kept.connection.close()
                if fresh:
                    raise StoreUnavailable("the key store cannot be read") from error
                continue  # the server was restarted meanwhile; in the end a fresh connection decides
            self._free.append(kept)
            return row

    def _read_row(self, kept: _Kept, key_id: str) -> Row | None:
        """The row by one statement, or what was read before where the database says that nothing changed since.

        SQLite's ``data_version`` differs when any other connection, of any process, has committed; ours only read.
        It costs half of the SELECT, and one more statement when something did change. Each row here was read after
        ``version`` was, so it is never older than that.
        """
        if kept.rows is not None and key_id in kept.rows:
            version = kept.execute("PRAGMA data_version").fetchone()
            if version == kept.version:
                return kept.rows[key_id]
            kept.rows.clear()
            kept.version = version
        rows: list[Row] = kept.execute(self._sql, (key_id,)).fetchall()
        if not rows:
            return None
        if kept.rows is not None and len(kept.rows) < _CACHE_SIZE:
            kept.rows[key_id] = rows[0]
        return rows[0]

    def _read_pooled(self, key_id: str) -> Row | None:
        with self._database.read() as connection:
            row = connection.execute(_SELECT, {"key_id": key_id}).first()
        return None if row is None else tuple(row)


class _Kept:
    """A connection out of the pool, its ``execute``, and the pool's handle, which must live as long.

    :ivar rows: the rows read at ``version`` of the database; ``None`` where the database has no such number.
    """

    __slots__ = ("connection", "execute", "handle", "rows", "version")

    def __init__(self, execute: Callable[..., Any], connection: Any, handle: Any, rows: dict[str, Row] | None) -> None:
        self.execute = execute
        self.connection = connection
        self.handle = handle
        self.rows = rows
        self.version: Row | None = None


def _prepare_sqlite(connection: Any) -> Callable[..., Any]:
    if getattr(connection, "autocommit", -1) != -1:  # the driver's new transaction control, Python 3.12
        connection.autocommit = True
    connection.isolation_level = None
    return connection.execute  # type: ignore[no-any-return]


def _prepare_psycopg(connection: Any) -> Callable[..., Any]:
    connection.rollback()
    connection.autocommit = True
    return connection.cursor().execute  # type: ignore[no-any-return]


_PREPARE = {"sqlite+pysqlite": _prepare_sqlite, "postgresql+psycopg": _prepare_psycopg}
_EPOCH = select(epochs.c.epoch).where(epochs.c.project == keys.c.project, epochs.c.environment == keys.c.environment)
_SELECT = select(*[keys.c[name] for name in KeyRow._fields[:-1]], _EPOCH.scalar_subquery()).where(
    keys.c.id == bindparam("key_id")
)
_lookups: weakref.WeakSet[KeyLookup] = weakref.WeakSet()


def _close_all(free: deque[_Kept]) -> None:
    while free:
        free.pop().connection.close()


def _close_sqlite() -> None:
    """Before a fork: see :func:`~.database._close_before_fork`."""
    for lookup in list(_lookups):
        lookup.close_sqlite()


def _abandon_all() -> None:
    for lookup in list(_lookups):
        lookup.abandon()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_close_sqlite, after_in_child=_abandon_all)
