"""Time, in one unit: microseconds since 1970-01-01 UTC, and aware datetimes at the edges."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def now_micros() -> int:
    """The current time in microseconds since the epoch, UTC."""
    return time.time_ns() // 1000


def utcnow() -> datetime:
    """The current time as an aware datetime in UTC."""
    return from_micros(now_micros())


def to_micros(moment: datetime) -> int:
    """Turn an aware datetime into microseconds since the epoch, exactly.

    :raises ValueError: if ``moment`` is naive: its meaning would depend on the machine.
    """
    if moment.utcoffset() is None:
        raise ValueError("a datetime without a time zone; use datetime(..., tzinfo=timezone.utc)")
    return (moment - _EPOCH) // _MICROSECOND


def from_micros(micros: int) -> datetime:
    """Turn microseconds since the epoch into an aware datetime in UTC, exactly."""
    return _EPOCH + timedelta(microseconds=micros)


def isoformat(moment: datetime) -> str:
    """ISO 8601 in UTC with milliseconds and ``Z``: the form of every face."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
