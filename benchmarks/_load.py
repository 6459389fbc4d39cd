"""Closed-loop HTTP load from a process of its own: ``python -m benchmarks._load``.

Reads one order a line from standard input, ``{"port": …, "authorization": …, "seconds": …,
"connections": …}``, and answers each with a line of figures. Every slot opens a connection, sends
one request, reads to the end of the answer and begins again: gunicorn's sync workers close the
connection after each answer, so there is nothing to keep alive. One thread, waiting in ``select``.
"""

from __future__ import annotations

import json
import selectors
import socket
import sys
import time
from dataclasses import dataclass, field
from typing import Any

from ._wsgi import PATH

OK = b"HTTP/1.1 200 "


@dataclass
class _Slot:
    """One connection of the closed loop."""

    started: float = 0.0
    answer: bytearray = field(default_factory=bytearray)
    socket: socket.socket | None = None


class Load:
    """The load of one order.

    :param port: of the server on 127.0.0.1.
    :param authorization: the header's value; empty for none.
    :param seconds: how long new requests are begun.
    :param connections: how many requests are under way at once.
    """

    def __init__(self, port: int, authorization: str, seconds: float, connections: int) -> None:
        self._address = ("127.0.0.1", port)
        header = f"Authorization: {authorization}\r\n" if authorization else ""
        host = f"Host: 127.0.0.1:{port}\r\n"
        self._request = f"GET {PATH} HTTP/1.1\r\n{host}{header}User-Agent: benchmark/1\r\n\r\n".encode()
        self._seconds = seconds
        self._connections = connections
        self._taken: list[float] = []
        self._failed: list[str] = []

    def run(self) -> dict[str, Any]:
        """Make the load; requests/s, the 50th and 99th percentile in ms, and what failed."""
        begun = time.perf_counter()
        end = begun + self._seconds
        with selectors.DefaultSelector() as selector:
            for _ in range(self._connections):
                self._begin(_Slot(), selector)
            while selector.get_map():
                for key, _ in selector.select(timeout=10):
                    self._read(key.data, selector, end)
        lasted = time.perf_counter() - begun
        taken = sorted(self._taken)
        return {
            "requests": len(taken),
            "per_second": len(taken) / lasted,
            "p50_ms": 1000 * taken[len(taken) // 2],
            "p99_ms": 1000 * taken[min(len(taken) - 1, int(0.99 * len(taken)))],
            "failed": self._failed[:3],
        }

    def _begin(self, slot: _Slot, selector: selectors.BaseSelector) -> None:
        slot.started = time.perf_counter()
        slot.answer.clear()
        slot.socket = socket.create_connection(self._address, timeout=10)
        slot.socket.sendall(self._request)
        selector.register(slot.socket, selectors.EVENT_READ, slot)

    def _read(self, slot: _Slot, selector: selectors.BaseSelector, end: float) -> None:
        assert slot.socket is not None
        part = slot.socket.recv(65536)
        if part:
            slot.answer += part
            return
        now = time.perf_counter()
        selector.unregister(slot.socket)
        slot.socket.close()
        self._taken.append(now - slot.started)
        if not slot.answer.startswith(OK):
            self._failed.append(slot.answer[:60].decode("latin-1"))
        if now < end:
            self._begin(slot, selector)


def main() -> None:
    """Serve orders until standard input ends."""
    for line in sys.stdin:
        print(json.dumps(Load(**json.loads(line)).run()), flush=True)


if __name__ == "__main__":
    main()
