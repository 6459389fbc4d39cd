"""Bounds what a flood of bad keys can write.

The first refused requests of each second have an event of their own. The rest of that second are counted by reason, key
and address, and written as one event for each, with its count. The number of different ones is bounded as well: beyond
it they are counted by reason alone.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from .event import Request

_GROUPS_MAX = 64


class Refused(NamedTuple):
    """A refused request.

    :ivar started_ns: its time in nanoseconds since the epoch.
    :ivar details: what else there is to know; see :func:`.event.first_line`.
    """

    request: Request
    key_id: str | None
    outcome: str
    reason: str
    status: int
    started_ns: int
    details: Mapping[str, object] | None = None


class FloodGate:
    """Lets the first refused requests of a second through and counts the others.

    :param write: called with the first request of each counted group and how many it stands for.
    """

    def __init__(self, per_second: int, write: Callable[[Refused, int], None]) -> None:
        self._per_second = per_second
        self._write = write
        self._lock = threading.Lock()
        self._second = 0
        self._seen = 0
        self._groups: dict[tuple[str | None, ...], tuple[Refused, int]] = {}

    def admit(self, refused: Refused) -> bool:
        """Whether this one gets an event of its own. Writes the counts of a second that is over."""
        second = int(time.monotonic())
        with self._lock:
            over = self._take() if second != self._second else []
            if second != self._second:
                self._second, self._seen = second, 0
            self._seen += 1
            own = self._seen <= self._per_second
            if not own:
                self._count(refused)
        self._write_all(over)
        return own

    def flush(self) -> None:
        """Write what was counted so far."""
        with self._lock:
            counted = self._take()
        self._write_all(counted)

    def forget(self) -> None:
        """In the child after a fork: the counts are the parent's to write."""
        self._lock = threading.Lock()
        self._groups = {}

    def _count(self, refused: Refused) -> None:
        group: tuple[str | None, ...] = (refused.reason, refused.key_id, refused.request.remote_address)
        if group not in self._groups and len(self._groups) >= _GROUPS_MAX:
            group = (refused.reason,)
            refused = refused._replace(key_id=None, request=Request(None, None, None, None, None, None), details=None)
        first, count = self._groups.get(group, (refused, 0))
        self._groups[group] = (first, count + 1)

    def _take(self) -> list[tuple[Refused, int]]:
        taken = list(self._groups.values())
        self._groups = {}
        return taken

    def _write_all(self, counted: list[tuple[Refused, int]]) -> None:
        for refused, count in counted:
            self._write(refused, count)
