"""The audit log of one environment: where requests are written down, and where they are read."""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Unpack

from sqlalchemy import ColumnElement, Connection, Table

from ..config import Config
from ..domain import rules
from ..domain.clock import from_micros, now_micros
from ..domain.cursors import Cursors
from ..domain.ids import is_event_id, new_event_id
from ..domain.keytext import is_key_id
from ..domain.principals import Acting
from ..domain.records import AuditEvent, Page, Traffic, TrafficCount, status_at
from ..errors import KeyNotFound, NotFound
from ..store.audit import EventStore, to_event
from ..store.database import Database
from ..store.keys import KeyStore
from ..store.models import events, keys
from .drain import Drained, Drainer
from .event import Request, completed_line, first_line, head, is_kind, noted_line
from .flood import FloodGate, Refused
from .forks import NotWhileForking
from .search import Filters, Search
from .spool import Spool
from .timeline import Timeline, measure

_HOUR = 3_600_000_000  # microseconds
_READ_WAIT = 10.0  # seconds that a reader waits for another drainer
_REMOVE_AT_ONCE = 5000
Readable = Callable[[str, Table], Sequence[ColumnElement[bool]]]
logger = logging.getLogger("flask_archie_keys.audit")


class AuditLog:
    """Writes events to the spool, drains it, reads events back.

    :param readable: gives the conditions of the rows of a table that whoever acts may read, or refuses.
    """

    def __init__(
        self,
        config: Config,
        database: Database,
        directory: Path,
        cursors: Cursors,
        readable: Readable = lambda resource, table: (),
    ) -> None:
        self.config = config
        self.spool = Spool(directory, config.audit)
        self.drainer = Drainer(directory, database)
        self._database = database
        self._events = EventStore(config.project, config.environment)
        self._keys = KeyStore(config.project, config.environment)
        self._cursors = cursors
        self._readable = readable
        self._scope = head(config.project, config.environment)
        self._flood = FloodGate(config.audit.refused_per_second, self._write_refused)
        self._longest = config.audit.max_record
        self._running = False
        self._start_lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._next_retention = 0.0
        _logs.add(self)

    # -- writing, from requests

    def received(
        self, started_ns: int, request: Request, key_id: str, *, details: Mapping[str, object] | None = None
    ) -> str:
        """Write that a request with a good key is about to run; the event's id.

        :param started_ns: nanoseconds since the epoch.
        :param details: what else there is to know; see :func:`.event.first_line`.
        :raises AuditUnavailable: if it cannot be written; the view must not run then.
        """
        event_id = new_event_id(started_ns)
        line = first_line(
            event_id,
            "received",
            started_ns,
            self._scope,
            request,
            key_id=key_id,
            outcome="allowed",
            details=details,
            longest=self._longest,
        )
        self.spool.write(line)
        if not self._running:
            self._start()
        return event_id

    def completed(
        self,
        event_id: str,
        status: int | None,
        started_ns: int,
        *,
        outcome: str | None = None,
        reason: str | None = None,
        streamed: bool = False,
        details: Mapping[str, object] | None = None,
    ) -> None:
        """Write how a request ended. A failure is counted, not raised: the view has run.

        :param details: what became known since it was received; see :func:`.event.completed_line`.
        """
        duration = max(time.time_ns() - started_ns, 0) // 1000
        line = completed_line(
            event_id,
            status,
            duration,
            outcome=outcome,
            reason=reason,
            streamed=streamed,
            details=details,
            longest=self._longest,
        )
        self.spool.note(line)

    def refused(self, refused: Refused) -> None:
        """Write that a request was turned away, or count it while there is a flood of them.

        One with a good key that may not do this always has an event of its own: it names the key that was used.

        :raises AuditUnavailable: if it cannot be written.
        """
        if refused.outcome == "denied" or self._flood.admit(refused):
            self._write_refused(refused, 1, counted=False)
        if not self._running:
            self._start()

    def _write_refused(self, refused: Refused, count: int, *, counted: bool = True) -> None:
        line = first_line(
            new_event_id(refused.started_ns),
            "refused",
            refused.started_ns,
            self._scope,
            refused.request,
            key_id=refused.key_id,
            outcome=refused.outcome,
            reason=refused.reason,
            status=refused.status,
            duration_us=max(time.time_ns() - refused.started_ns, 0) // 1000,
            count=count,
            details=refused.details,
            longest=self._longest,
        )
        if counted:
            self.spool.note(line, count)
        else:
            self.spool.write(line)

    # -- writing, of other acts

    def noted(self, kind: str, acting: Acting, details: Mapping[str, object], *, key_id: str | None = None) -> None:
        """Write that something is about to be done that is neither a request nor a change in our tables.

        It is written when this returns, whatever the settings ``enabled`` and ``on_failure`` say.

        :param kind: what is done: lower case, digits, ``_`` and ``.``, at most 32 characters; not ``request``.
        :param details: what else there is to know; see :func:`.event.first_line`.
        :param key_id: the key that does it.
        :raises AuditUnavailable: if it cannot be written; it must not be done then.
        :raises ValueError: if ``kind`` or ``key_id`` has another form.
        """
        if not is_kind(kind):
            raise ValueError(f"not a kind of event: {kind!r}")
        if key_id is not None and not is_key_id(key_id):
            raise ValueError("not a key id")
        now_ns = time.time_ns()
        line = noted_line(
            new_event_id(now_ns),
            now_ns,
            self._scope,
            kind,
            acting,
            key_id=key_id,
            details=details,
            longest=self._longest,
        )
        self.spool.insist(line)
        if not self._running:
            self._start()

    # -- draining

    def drain(self, *, wait: float = _READ_WAIT) -> Drained | None:
        """Take what is in the spool into the database; ``None`` if another drainer was at it for ``wait`` seconds."""
        self._flood.flush()
        return self.drainer.drain(wait=wait)

    def _start(self) -> None:
        """Start the thread that drains, once in each process, at its first record."""
        with self._start_lock:
            if self._running:
                return
            self._running = True
        if self.config.audit.background and not self._database.is_shared_connection:
            self._stop = threading.Event()
            arguments = (weakref.ref(self), self._stop, self.config.audit.interval.total_seconds())
            self._thread = threading.Thread(
                target=_drain_forever, args=arguments, name="archie-keys-drain", daemon=True
            )
            self._thread.start()

    def tick(self) -> None:
        """What the thread does at each interval: drain, and once an hour remove what is past retention."""
        self.drain(wait=0)
        if time.monotonic() >= self._next_retention:
            self._next_retention = time.monotonic() + 3600
            self.purge()

    def purge(self) -> int:
        """Remove the events past their retention; how many. Nothing is removed where no retention is set."""
        if self.config.audit.retention is None:
            return 0
        moment = now_micros() - self.config.audit.retention // timedelta(microseconds=1)
        removed = 0
        while True:
            with self._database.write() as connection:
                some = self._events.remove_before(connection, moment, _REMOVE_AT_ONCE)
            removed += some
            if some < _REMOVE_AT_ONCE:
                return removed

    def close(self) -> None:
        """Write the counts of a flood and stop the thread. What is in the spool stays for the next drainer."""
        self._flood.flush()
        self._stop.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout=5)
        self._thread, self._running = None, False
        self.spool.close()

    def forget(self) -> None:
        """In the child after a fork: threads did not come along, and the counts are the parent's."""
        self._thread, self._running = None, False
        self._stop = threading.Event()
        self._start_lock = threading.Lock()
        self._flood.forget()

    # -- reading

    def find(self, *, limit: int = 50, cursor: str | None = None, **filters: Unpack[Filters]) -> Page[AuditEvent]:
        """Events, newest first. The spool of this machine is drained first, so what was just done is there.

        :param key: a key id. Events that used this key or changed it.
        :param lineage: also those of the keys that it replaced and that replaced it.
        :param kind: ``request``, or what else was done: ``key.created``, ``role.saved``, ``unrestricted``, …
        :param outcome: ``allowed``, ``denied`` or ``refused``.
        :param reason: why it was not allowed; ``status``, ``method`` and ``route`` are those of the request.
        :param since: aware; from this time on. ``until``: before this time.
        :param limit: 1 to 200.
        :raises BadRequest: for a filter that cannot be, a wrong limit or a cursor of another list.
        :raises StoreUnavailable: if the database cannot be read.
        :raises Forbidden: if who acts has no grant to read ``audit_events``.
        """
        conditions = self._readable("audit_events", events)
        rules.limit(limit)
        search = Search.of(**filters)
        before = None if cursor is None else str(self._cursors.load("audit", cursor, [str])[0])
        self.drain()
        with self._database.read() as connection:
            key_ids = search.key_ids(connection, self._keys)
            rows = search.read(connection, self._events, key_ids, conditions, before=before, limit=limit + 1)
        items = tuple(to_event(row) for row in rows[:limit])
        more = len(rows) > limit
        return Page(items, self._cursors.dump("audit", [items[-1].id]) if more else None)

    def get(self, event_id: str) -> AuditEvent:
        """One event.

        :raises NotFound: if there is none of that id here, or none that who acts may read.
        :raises Forbidden: if who acts has no grant to read ``audit_events``.
        """
        conditions = self._readable("audit_events", events)
        self.drain()
        with self._database.read() as connection:
            row = self._events.get(connection, event_id, *conditions) if is_event_id(event_id) else None
        if row is None:
            raise NotFound(f"there is no audit event {str(event_id)[:100]!r} in {self.config.environment}")
        return to_event(row)

    def timeline(self, *, parts: int = 60, **filters: Unpack[Filters]) -> Timeline:
        """How many events there were by time and outcome; the filters are those of :meth:`find`.

        Where there are very many, each interval is estimated from its newest events: ``exact`` is false then. An event
        that stands for several requests counts as those.

        :param parts: the most intervals, 2 to 500.
        """
        conditions = self._readable("audit_events", events)
        search = Search.of(**filters)
        self.drain()
        with self._database.read() as connection:
            key_ids = search.key_ids(connection, self._keys)
            return measure(
                connection, self._events, search, key_ids, conditions, now=now_micros(), parts=min(max(parts, 2), 500)
            )

    def stream(self, **filters: Unpack[Filters]) -> Iterator[AuditEvent]:
        """All events that :meth:`find` would page through, with no more than a page of them in memory.

        What may be refused is refused at once; the events are read as they are asked for, in transactions of their own.
        Events that come in meanwhile are left out.
        """
        conditions = self._readable("audit_events", events)
        search = Search.of(**filters)
        self.drain()
        with self._database.read() as connection:
            key_ids = search.key_ids(connection, self._keys)
        return search.parts(self._database, self._events, key_ids, conditions)

    def newest_id(self, connection: Connection) -> str | None:
        """The id of the newest event in the database."""
        return self._events.newest_id(connection)

    def traffic(self, key_id: str) -> Traffic:
        """Whether a key is still used, with its requests of the last 24 hours by the hour.

        While another drainer is at work for so long that what waits could not be looked at, nothing is safe to delete.

        :raises KeyNotFound: if there is no such key here.
        :raises Forbidden: if who acts has no grant to read ``api_keys``.
        """
        return self.measure(key_id, *self._readable("api_keys", keys))

    def activity(self, key_ids: Iterable[str]) -> dict[str, tuple[int, ...]]:
        """The requests of some keys in the last 24 hours, by the hour, oldest first.

        :param key_ids: of keys that who acts may read, as :meth:`KeyService.find` gives them.
        """
        self.drain(wait=0)
        start = now_micros() // _HOUR * _HOUR - 23 * _HOUR
        with self._database.read() as connection:
            uses = {key_id: self._events.uses(connection, key_id, start, _HOUR) for key_id in key_ids}
        return {key_id: tuple(found.get(hour, 0) for hour in range(24)) for key_id, found in uses.items()}

    def measure(self, key_id: str, *conditions: ColumnElement[bool]) -> Traffic:
        """The traffic of a key that meets the conditions; for services, which have asked already who may."""
        known = self.drain() is not None and self.config.audit.enabled
        now = now_micros()
        start = now // _HOUR * _HOUR - 23 * _HOUR
        with self._database.read() as connection:
            is_id = isinstance(key_id, str) and is_key_id(key_id)
            row = self._keys.get(connection, key_id, *conditions) if is_id else None
            if row is None:
                raise KeyNotFound(f"there is no key {str(key_id)[:100]!r} in {self.config.environment}")
            uses = self._events.uses(connection, key_id, start, _HOUR)
        status = status_at(
            now, **{name: row[name] for name in ("expires_at", "disabled_at", "deleted_at", "replaced_by")}
        )
        last = row["last_used_at"]
        quiet = timedelta(microseconds=max(now - (row["created_at"] if last is None else last), 0))
        return Traffic(
            last_used_at=None if last is None else from_micros(last),
            quiet=quiet,
            safe_to_delete=status in ("expired", "deleted") or (known and quiet >= self.config.quiet_period),
            counts=tuple(TrafficCount(from_micros(start + n * _HOUR), uses.get(n, 0)) for n in range(24)),
        )


def _drain_forever(ref: weakref.ref[AuditLog], stop: threading.Event, interval: float) -> None:
    """The thread. It ends with the application that it drains for, and outlives any failure of the database."""
    while not stop.wait(interval):
        log = ref()
        if log is None:
            return
        try:
            with _not_while_forking.lock:
                log.tick()
        except Exception:  # a thread that ends would leave the spool to nobody
            logger.exception("the audit spool could not be drained; its records are kept")
        del log


_logs: weakref.WeakSet[AuditLog] = weakref.WeakSet()
_not_while_forking = NotWhileForking(_logs)


def _close_all() -> None:
    for log in list(_logs):
        log.close()


atexit.register(_close_all)
os.register_at_fork(
    before=_not_while_forking.before,
    after_in_parent=_not_while_forking.after_in_parent,
    after_in_child=_not_while_forking.after_in_child,
)
