"""How many events there were by time: what the chart over the audit log shows, at a cost that does not grow with it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import ColumnElement, Connection

from ..domain.clock import from_micros
from ..domain.records import AuditEvent
from ..store.audit import EventStore

if TYPE_CHECKING:
    from .search import Search

#: Up to so many events in a range are counted one by one.
EXACT_MAX = 100_000
#: Of more, so many are looked at in each interval (more where they are filtered), and so many only counted.
SAMPLE = 500
FILTERED_SAMPLE = 2_000
COUNTED_MAX = 10_000
_SECOND = 1_000_000
#: What intervals can be, in seconds; longer ones are whole days.
_WIDTHS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)
_DAY = 86400
_LATEST = 221_845_392_000 * _SECOND  # the year 9000: times beyond what Python knows are near


@dataclass(frozen=True, slots=True)
class Interval:
    """The events of one interval.

    :ivar end: exclusive.
    :ivar counts: how many, by outcome; those that there were none of are left out.
    """

    start: datetime
    end: datetime
    counts: Mapping[str, int]

    @property
    def total(self) -> int:
        """How many there were in all."""
        return sum(self.counts.values())


@dataclass(frozen=True, slots=True)
class Timeline:
    """Events by time, oldest interval first.

    :ivar exact: false where there were so many that each interval was estimated from its newest events.
    """

    intervals: tuple[Interval, ...]
    exact: bool

    @property
    def counts(self) -> dict[str, int]:
        """All counts by outcome."""
        found: dict[str, int] = {}
        for interval in self.intervals:
            for outcome, count in interval.counts.items():
                found[outcome] = found.get(outcome, 0) + count
        return found

    def of(self, events: Iterable[AuditEvent]) -> Timeline:
        """The same intervals with the counts of these events, which are known to be all that there are."""
        found: dict[datetime, dict[str, int]] = {interval.start: {} for interval in self.intervals}
        starts = list(found)
        for event in events:
            at = bisect_right(starts, event.occurred_at) - 1
            if at >= 0:
                counts = found[starts[at]]
                counts[event.outcome] = counts.get(event.outcome, 0) + event.count
        return Timeline(tuple(replace(each, counts=found[each.start]) for each in self.intervals), True)


def measure(
    connection: Connection,
    events: EventStore,
    search: Search,
    key_ids: Sequence[str] | None,
    conditions: Sequence[ColumnElement[bool]],
    *,
    now: int,
    parts: int,
) -> Timeline:
    """Count what a search finds, in at most about ``parts`` intervals over its range.

    The range is that of the search; where it is open, from the oldest event that there is, and to ``now``.

    :param now: microseconds since the epoch.
    """
    until = now + 1 if search.until is None else min(search.until, _LATEST)
    since = events.oldest(connection, key_ids) if search.since is None else max(search.since, 0)
    if since is None or since >= until:
        return Timeline((), True)
    width = width_of(since, until, parts)
    first = since // width * width
    starts = range(first, until, width)
    exact = events.has_at_most(connection, key_ids, since, until, EXACT_MAX)
    found = {}
    if exact:
        found = events.count(
            connection, *conditions, key_ids=key_ids, since=since, until=until, first=first, width=width,
            equal=search.equal,
        )  # fmt: skip
    else:
        sample = FILTERED_SAMPLE if search.equal or conditions else SAMPLE
        for number, start in enumerate(starts):
            found[number] = events.estimate(
                connection, *conditions, key_ids=key_ids, since=max(start, since), until=min(start + width, until),
                equal=search.equal, sample=sample, counted=COUNTED_MAX,
            )  # fmt: skip
    return Timeline(
        tuple(
            Interval(from_micros(start), from_micros(start + width), found.get(number, {}))
            for number, start in enumerate(starts)
        ),
        exact,
    )


def width_of(since: int, until: int, parts: int) -> int:
    """The width of intervals, in microseconds: one that people count in, so that there are no more than ``parts``."""
    wanted = -(-(until - since) // (parts - 1)) if parts > 1 else until - since
    for seconds in _WIDTHS:
        if seconds * _SECOND >= wanted:
            return seconds * _SECOND
    return -(-wanted // (_DAY * _SECOND)) * _DAY * _SECOND
