"""Reads and writes of audit events."""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    RowMapping,
    Select,
    and_,
    bindparam,
    case,
    func,
    insert,
    or_,
    select,
    text,
    true,
    update,
)
from werkzeug.datastructures import ImmutableDict

from ..domain.clock import from_micros
from ..domain.ids import first_event_id
from ..domain.records import AuditEvent
from .models import events, keys

#: The outcomes of requests whose key was good: these are uses of it.
USES = ("allowed", "denied")
_IDS_AT_ONCE = 500  # bound parameters of one statement


def to_event(row: RowMapping) -> AuditEvent:
    """The record of a row."""
    return AuditEvent(
        **{name: row[name] for name in _PLAIN},
        occurred_at=from_micros(row["occurred_at"]),
        duration_ms=None if row["duration_us"] is None else row["duration_us"] / 1000,
        details=ImmutableDict(json.loads(row["details"]) if row["details"] else {}),
    )


_PLAIN = [c.name for c in events.c if c.name not in ("occurred_at", "duration_us", "details")]


def insert_event(connection: Connection, row: Mapping[str, Any]) -> None:
    """Insert one new event."""
    connection.execute(insert(events), dict(row))


def merge(connection: Connection, rows: Sequence[Mapping[str, Any]], endings: Sequence[Mapping[str, Any]]) -> None:
    """Take in what was read from a spool; doing it again changes nothing.

    :param rows: whole events, with how they ended where that is known. Those that are there already (their first part
        was taken in before) only get their ending.
    :param endings: how events that are there already ended. Their details go over those that are there, see
        :func:`merged`.
    """
    ended = list(endings)
    if rows and _insert_new(connection, rows) < len(rows):
        ended += [row for row in rows if row["status"] is not None]
    if ended:
        connection.execute(_COMPLETE, [{"event_id": r["id"], **{f"new_{n}": r[n] for n in _ENDINGS}} for r in ended])
        _merge_details(connection, [(r["id"], r["details"]) for r in ended if r["details"] is not None])


def merged(first: str | None, later: str) -> str:
    """Details with later ones over them, by top-level name: what both have is the later one's, whole."""
    if first is None:
        return later
    return json.dumps({**json.loads(first), **json.loads(later)}, ensure_ascii=False, separators=(",", ":"))


def _merge_details(connection: Connection, given: Sequence[tuple[str, str]]) -> None:
    for start in range(0, len(given), _IDS_AT_ONCE):
        some = given[start : start + _IDS_AT_ONCE]
        there = select(events.c.id, events.c.details).where(events.c.id.in_([event_id for event_id, _ in some]))
        known: dict[str, str | None] = {row.id: row.details for row in connection.execute(there)}
        for event_id, details in some:
            known[event_id] = merged(known.get(event_id), details)
        connection.execute(_DETAILS, [{"event_id": i, "new_details": d} for i, d in known.items()])


def _insert_new(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> int:
    """Insert the events that are not there yet; how many. One statement a batch where the database has one for it."""
    if connection.dialect.driver == "psycopg" and _copy(connection, rows):
        return len(rows)
    if connection.dialect.name == "postgresql":
        statement = text(_INSERT_JSON.format(table=_name(connection)))
        known = [{name: value for name, value in row.items() if value is not None} for row in rows]
        return connection.execute(statement, {"rows": json.dumps(known)}).rowcount
    if connection.dialect.name == "sqlite":
        places = ", ".join("?" * len(_COLUMNS))
        statement_ = f"INSERT INTO {_name(connection)} ({', '.join(_COLUMNS)}) VALUES ({places}) ON CONFLICT DO NOTHING"
        return connection.exec_driver_sql(statement_, [_VALUES(row) for row in rows]).rowcount
    there: set[str] = set()
    ids = [row["id"] for row in rows]
    for start in range(0, len(ids), _IDS_AT_ONCE):
        some = ids[start : start + _IDS_AT_ONCE]
        there.update(connection.execute(select(events.c.id).where(events.c.id.in_(some))).scalars())
    new = [row for row in rows if row["id"] not in there]
    if new:
        connection.execute(insert(events), new)
    return len(new)


def _copy(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> bool:
    """COPY the rows, twice as fast as INSERT; False if the database refuses any of them, as one that is there."""
    driver: Any = connection.connection.driver_connection
    dbapi: Any = connection.dialect.loaded_dbapi
    try:
        statement = f"COPY {_name(connection)} ({', '.join(_COLUMNS)}) FROM STDIN"
        with connection.begin_nested(), driver.cursor() as cursor, cursor.copy(statement) as copy:
            for row in rows:
                copy.write_row(_VALUES(row))
    except dbapi.Error:
        return False
    return True


def _name(connection: Connection) -> str:
    """The table's name in SQL, with the schema that it has in this database."""
    schema = (connection.get_execution_options().get("schema_translate_map") or {}).get(None)
    if schema is None:
        return events.name
    return f"{connection.dialect.identifier_preparer.quote_schema(schema)}.{events.name}"


_COLUMNS = tuple(events.c.keys())
_VALUES = itemgetter(*_COLUMNS)
_INSERT_JSON = (
    f"INSERT INTO {{table}} ({', '.join(_COLUMNS)}) SELECT {', '.join(_COLUMNS)} "
    "FROM json_populate_recordset(NULL::{table}, :rows) ON CONFLICT DO NOTHING"
)
_ENDINGS = ("outcome", "reason", "status", "duration_us", "streamed")
_DETAILS = update(events).where(events.c.id == bindparam("event_id")).values(details=bindparam("new_details"))
_COMPLETE = (
    update(events)
    .where(events.c.id == bindparam("event_id"))
    .values(
        # the outcome is told again only when it changed after the key was checked
        outcome=func.coalesce(bindparam("new_outcome", type_=events.c.outcome.type), events.c.outcome),
        reason=func.coalesce(bindparam("new_reason", type_=events.c.reason.type), events.c.reason),
        status=bindparam("new_status", type_=events.c.status.type),
        duration_us=bindparam("new_duration_us", type_=events.c.duration_us.type),
        streamed=bindparam("new_streamed", type_=events.c.streamed.type),
    )
)


def set_last_used(connection: Connection, moments: Mapping[str, int]) -> None:
    """Move ``last_used_at`` of keys forward, never back."""
    if moments:
        connection.execute(_LAST_USED, [{"used_key": k, "used_at": m} for k, m in sorted(moments.items())])


_LAST_USED = (
    update(keys)
    .where(
        keys.c.id == bindparam("used_key"),
        or_(keys.c.last_used_at.is_(None), keys.c.last_used_at < bindparam("used_at")),
    )
    .values(last_used_at=bindparam("used_at"))
)


class EventStore:
    """The audit events of one project and environment."""

    def __init__(self, project: str, environment: str) -> None:
        self._scope = (events.c.project == project, events.c.environment == environment)

    def find(
        self,
        connection: Connection,
        *conditions: ColumnElement[bool],
        key_ids: Sequence[str] | None,
        limit: int,
        before: str | None,
        since: int | None,
        until: int | None,
        equal: Mapping[str, object],
    ) -> list[RowMapping]:
        """Up to ``limit`` rows, newest first, with ids below ``before``.

        :param key_ids: only events of these keys; each is one range of an index, so depth costs nothing.
        :param since: microseconds since the epoch, inclusive; ``until`` is exclusive.
        :param equal: column names and the values that they must have.
        """
        statement = select(events).where(*self._scope, *conditions)
        if before is not None:
            statement = statement.where(events.c.id < before)
        if since is not None:
            statement = statement.where(events.c.id >= first_event_id(since))
        if until is not None:
            statement = statement.where(events.c.id < first_event_id(until))
        for column, value in equal.items():
            statement = statement.where(events.c[column] == value)
        statement = statement.order_by(events.c.id.desc()).limit(limit)
        if key_ids is None:
            return list(connection.execute(statement).mappings())
        of_keys = (self._of_key(connection, statement, key_id) for key_id in key_ids)
        merged = heapq.merge(*of_keys, key=lambda row: str(row["id"]), reverse=True)
        return [row for row, _ in zip(merged, range(limit), strict=False)]

    @staticmethod
    def _of_key(connection: Connection, statement: Select[Any], key_id: str) -> Iterable[RowMapping]:
        return list(connection.execute(statement.where(events.c.key_id == key_id)).mappings())

    def get(self, connection: Connection, event_id: str, *conditions: ColumnElement[bool]) -> RowMapping | None:
        """The row of an event."""
        statement = select(events).where(*self._scope, events.c.id == event_id, *conditions)
        return connection.execute(statement).mappings().first()

    # -- by time

    def oldest(self, connection: Connection, key_ids: Sequence[str] | None) -> int | None:
        """When the oldest event was, of some keys or of all, in microseconds since the epoch; ``None`` for none."""
        found = [
            connection.execute(select(func.min(events.c.id)).where(*self._scope, *of_key)).scalar()
            for of_key in _each(key_ids)
        ]
        return min((micros_of(event_id) for event_id in found if event_id is not None), default=None)

    def has_at_most(
        self, connection: Connection, key_ids: Sequence[str] | None, since: int, until: int, number: int
    ) -> bool:
        """Whether a range has no more than ``number`` events, found in an index alone; times in microseconds."""
        left = number
        for of_key in _each(key_ids):
            some = select(events.c.id).where(*self._scope, *of_key, *_range(since, until)).limit(left + 1).subquery()
            left -= connection.execute(select(func.count()).select_from(some)).scalar_one()
            if left < 0:
                return False
        return True

    def count(
        self,
        connection: Connection,
        *conditions: ColumnElement[bool],
        key_ids: Sequence[str] | None,
        since: int,
        until: int,
        first: int,
        width: int,
        equal: Mapping[str, object],
    ) -> dict[int, dict[str, int]]:
        """Requests and changes by interval and outcome: ``{0: {"allowed": 17}}``, counted from ``first``.

        :param since: microseconds since the epoch, as all times here; ``width`` is that of one interval.
        """
        interval: ColumnElement[int] = (events.c.occurred_at - first) // width
        found: dict[int, dict[str, int]] = {}
        for of_key in _each(key_ids):
            statement = (
                select(interval, events.c.outcome, func.sum(events.c.count))
                .where(*self._scope, *of_key, *_range(since, until), *conditions, *_equal(equal))
                .group_by(interval, events.c.outcome)
            )
            for number, outcome, count in connection.execute(statement):
                _add(found.setdefault(int(number), {}), outcome, int(count))
        return found

    def estimate(
        self,
        connection: Connection,
        *conditions: ColumnElement[bool],
        key_ids: Sequence[str] | None,
        since: int,
        until: int,
        equal: Mapping[str, object],
        sample: int,
        counted: int,
    ) -> dict[str, int]:
        """About how many events of a range there were, by outcome.

        Its newest ``sample`` are looked at, up to ``counted`` are counted by an index; what lies beyond is taken to
        come as fast as those. So the cost is bounded, whatever there is. A range of no more than ``sample`` is exact.
        """
        found: dict[str, int] = {}
        meets: ColumnElement[bool] = and_(true(), *conditions, *_equal(equal))
        weight = case((meets, events.c.count), else_=0).label("weight")
        for of_key in _each(key_ids):
            newest = (*self._scope, *of_key, *_range(since, until))
            some = select(events.c.outcome, weight).where(*newest).order_by(events.c.id.desc()).limit(sample).subquery()
            grouped = select(some.c.outcome, func.sum(some.c.weight), func.count()).group_by(some.c.outcome)
            rows = [(outcome, int(weight), seen) for outcome, weight, seen in connection.execute(grouped)]
            seen = sum(row[2] for row in rows)
            factor = self._all(connection, newest, since, until, counted) / seen if seen >= sample else 1
            for outcome, weighed, _ in rows:
                if weighed:
                    _add(found, outcome, round(weighed * factor))
        return found

    @staticmethod
    def _all(
        connection: Connection, where: Sequence[ColumnElement[bool]], since: int, until: int, counted: int
    ) -> float:
        some = select(events.c.id).where(*where).order_by(events.c.id.desc()).limit(counted).subquery()
        number, oldest = connection.execute(select(func.count(), func.min(some.c.id)).select_from(some)).one()
        if number < counted:
            return float(number)
        return float(number * max((until - since) / max(until - micros_of(oldest), 1), 1))

    def uses(self, connection: Connection, key_id: str, since: int, width: int) -> dict[int, int]:
        """How many requests a good key made by interval: ``{0: 17, 3: 2}``, counted from ``since``.

        :param since: microseconds since the epoch.
        :param width: microseconds of one interval.
        """
        interval: ColumnElement[int] = (events.c.occurred_at - since) // width
        statement = (
            select(interval, func.sum(events.c.count))
            .where(*self._scope, events.c.key_id == key_id, events.c.id >= first_event_id(since))
            .where(events.c.kind == "request", events.c.outcome.in_(USES))
            .group_by(interval)
        )
        return {int(number): int(count) for number, count in connection.execute(statement)}

    def newest_id(self, connection: Connection) -> str | None:
        """The id of the newest event."""
        return connection.execute(select(func.max(events.c.id)).where(*self._scope)).scalar()

    def remove_before(self, connection: Connection, moment: int, limit: int) -> int:
        """Remove up to ``limit`` events older than ``moment`` (microseconds since the epoch); how many."""
        old = select(events.c.id).where(*self._scope, events.c.id < first_event_id(moment)).limit(limit)
        return connection.execute(events.delete().where(events.c.id.in_(old))).rowcount


def micros_of(event_id: str) -> int:
    """When an event was, to the millisecond, in microseconds since the epoch."""
    return int(event_id[:12], 16) * 1000


def _each(key_ids: Sequence[str] | None) -> list[tuple[ColumnElement[bool], ...]]:
    """The conditions on keys, one by one: each is one range of an index."""
    return [()] if key_ids is None else [(events.c.key_id == key_id,) for key_id in key_ids]


def _range(since: int, until: int) -> tuple[ColumnElement[bool], ...]:
    return events.c.id >= first_event_id(since), events.c.id < first_event_id(until)


def _equal(equal: Mapping[str, object]) -> list[ColumnElement[bool]]:
    return [events.c[column] == value for column, value in equal.items()]


def _add(counts: dict[str, int], outcome: str, count: int) -> None:
    counts[outcome] = counts.get(outcome, 0) + count
