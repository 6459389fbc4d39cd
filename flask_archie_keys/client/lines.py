"""Reading a stream of lines, a JSON object each (NDJSON)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

import msgspec

from .errors import BadAnswer

T = TypeVar("T")
#: The longest line, in bytes: what answers without line ends must not fill the memory.
LINE_MAX = 1_000_000


class Lines(Generic[T]):
    """Takes bytes as they come and gives what whole lines hold. Only LF ends a line: texts may hold other line ends."""

    def __init__(self, reader: Callable[[bytes], T]) -> None:
        self._reader = reader
        self._rest = b""

    def feed(self, chunk: bytes) -> Iterator[T]:
        """What the lines that end in this chunk hold.

        :raises BadAnswer: if one of them is not what is expected.
        """
        *whole, self._rest = (self._rest + chunk).split(b"\n")
        for line in whole:
            yield self._read(line)
        if len(self._rest) > LINE_MAX:
            raise BadAnswer("the stream has a line that is too long", status=200)

    def end(self) -> None:
        """:raises BadAnswer: if the last line is not whole."""
        if self._rest:
            raise BadAnswer("the stream ended within a line", status=200)

    def _read(self, line: bytes) -> T:
        try:
            return self._reader(line)
        except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError) as error:
            what = f"the stream has a line that is not what the management API answers: {type(error).__name__}"
        raise BadAnswer(what, status=200)
