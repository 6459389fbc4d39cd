"""Sends the signals of a change, after its commit."""

from __future__ import annotations

import logging
from collections.abc import Callable

from blinker import Signal

from ..domain.principals import Acting

logger = logging.getLogger("flask_archie_keys")


class Sender:
    """Sends signals in the name of an application.

    :param of: the sender that receivers see.
    :param acting: who makes the change.
    """

    def __init__(self, of: object, acting: Callable[[], Acting]) -> None:
        self._of = of
        self._acting = acting

    def send(self, signal: Signal, **arguments: object) -> None:
        """Call each receiver. One that fails is logged: the change is done, and its answer must reach the caller."""
        actor = self._acting().actor
        for receiver in signal.receivers_for(self._of):
            try:
                receiver(self._of, actor=actor, **arguments)
            except Exception:
                logger.exception("a receiver of %r failed", signal)
