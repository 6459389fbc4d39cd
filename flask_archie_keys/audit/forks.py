"""Forks and the thread that drains: one waits for the other."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .log import AuditLog


class NotWhileForking:
    """Lets no fork happen while the thread is inside the database's library.

    A child that is forked while another thread holds a lock of the SQLite library waits for that lock for ever.

    :param logs: those whose threads do not come along.
    """

    longest = 5.0  # seconds that a fork waits for the thread

    def __init__(self, logs: Iterable[AuditLog]) -> None:
        self._logs = logs
        self.lock = threading.Lock()
        self._held = False

    def before(self) -> None:
        self._held = self.lock.acquire(timeout=self.longest)

    def after_in_parent(self) -> None:
        if self._held:
            self._held = False
            self.lock.release()

    def after_in_child(self) -> None:
        self.lock = threading.Lock()
        self._held = False
        for log in list(self._logs):
            log.forget()
