"""What is asked of the audit log: checked once, then read in parts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypedDict, Unpack

from sqlalchemy import ColumnElement, Connection, RowMapping

from ..domain import rules
from ..domain.clock import to_micros
from ..domain.keytext import is_key_id
from ..domain.records import AuditEvent
from ..errors import BadRequest
from ..store.audit import EventStore, to_event
from ..store.database import Database
from ..store.keys import KeyStore

_AT_ONCE = 1000
OUTCOMES = ("allowed", "denied", "refused")


class Filters(TypedDict, total=False):
    """The filters of :meth:`.AuditLog.find`."""

    key: str | None
    lineage: bool
    kind: str | None
    outcome: str | None
    reason: str | None
    status: int | None
    method: str | None
    route: str | None
    since: datetime | None
    until: datetime | None


@dataclass(frozen=True, slots=True)
class Search:
    """Filters that have been checked.

    :ivar equal: column names and the values that they must have.
    :ivar since: microseconds since the epoch, inclusive; ``until`` is exclusive.
    """

    key: str | None
    lineage: bool
    equal: dict[str, object]
    since: int | None
    until: int | None

    @classmethod
    def of(cls, **filters: Unpack[Filters]) -> Search:
        """:raises BadRequest: for a filter that cannot be."""
        key, outcome, status = filters.get("key"), filters.get("outcome"), filters.get("status")
        if key is not None and not (isinstance(key, str) and is_key_id(key)):
            raise BadRequest("key must be a key id: 12 letters and digits")
        if outcome is not None and outcome not in OUTCOMES:
            raise BadRequest(f"outcome must be one of {', '.join(OUTCOMES)}")
        given: dict[str, Any] = {name: filters.get(name) for name in ("kind", "reason", "method", "route")}
        for name, text in given.items():
            if text is not None:
                rules.search_text(name, text)
        if status is not None and (type(status) is not int or not 0 <= status <= 999):
            raise BadRequest("status must be an HTTP status")
        equal = {**given, "outcome": outcome, "status": status}
        return cls(
            key,
            bool(filters.get("lineage")),
            {name: value for name, value in equal.items() if value is not None},
            _bound("since", filters.get("since")),
            _bound("until", filters.get("until")),
        )

    def key_ids(self, connection: Connection, keys: KeyStore) -> Sequence[str] | None:
        """The keys whose events are asked for; ``None`` for those of all."""
        if self.key is None:
            return None
        return keys.lineage(connection, self.key) if self.lineage else [self.key]

    def read(
        self,
        connection: Connection,
        events: EventStore,
        key_ids: Sequence[str] | None,
        conditions: Sequence[ColumnElement[bool]],
        *,
        before: str | None,
        limit: int,
    ) -> list[RowMapping]:
        """Up to ``limit`` rows, newest first, with ids below ``before``."""
        return events.find(
            connection,
            *conditions,
            key_ids=key_ids,
            limit=limit,
            before=before,
            since=self.since,
            until=self.until,
            equal=self.equal,
        )

    def parts(
        self,
        database: Database,
        events: EventStore,
        key_ids: Sequence[str] | None,
        conditions: Sequence[ColumnElement[bool]],
    ) -> Iterator[AuditEvent]:
        """All events, newest first, with no more than a page of them in memory; each page is read by itself."""
        before = None
        while True:
            with database.read() as connection:
                rows = self.read(connection, events, key_ids, conditions, before=before, limit=_AT_ONCE)
            yield from map(to_event, rows)
            if len(rows) < _AT_ONCE:
                return
            before = rows[-1]["id"]


def _bound(name: str, moment: datetime | None) -> int | None:
    if moment is None:
        return None
    if not isinstance(moment, datetime) or moment.utcoffset() is None:
        raise BadRequest(f"{name} must be a time with its time zone, as in 2030-01-31T00:00:00Z")
    return to_micros(moment)
