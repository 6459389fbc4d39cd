"""One request to a WSGI application, in this process, as a server would make it.

The cost of the request itself is the same for every contender: a copy of a ready environ, the call,
the body consumed and closed, the status compared.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from werkzeug.test import create_environ

from ._measure import WrongAnswer

PATH = "/items"
BODY = {"items": [1, 2, 3], "ok": True}

App = Callable[..., Iterable[bytes]]


def environ(headers: Mapping[str, str] | None = None, address: str = "127.0.0.1") -> dict[str, Any]:
    """The environ of ``GET /items`` as a server on loopback would pass it."""
    made = create_environ(PATH, "http://127.0.0.1:8000", headers=dict(headers or {}))
    made.update({"REMOTE_ADDR": address, "HTTP_USER_AGENT": "benchmark/1", "wsgi.input": io.BytesIO()})
    return made


def bearer(secret: str) -> dict[str, str]:
    """The header that a client sends."""
    return {"Authorization": f"Bearer {secret}"}


class Client:
    """A contender of the round-robin: calls one application with prepared requests, in turn.

    :param name: its row in the table.
    :param app: the WSGI application.
    :param environs: the requests; a pool is gone through again and again.
    :param status: the HTTP status that every answer must have.
    :param close: closes what the application keeps open, before its files are removed.
    """

    def __init__(
        self,
        name: str,
        app: App,
        environs: Sequence[dict[str, Any]],
        status: int = 200,
        close: Callable[[], None] | None = None,
    ) -> None:
        self.name = name
        self._app = app
        self._next: Iterator[dict[str, Any]] = itertools.cycle(environs)
        self.status = status
        self._due = f"{status} "
        self._got = ""
        self.close = close or _nothing

    def _start(self, status: str, headers: Any, exc_info: Any = None) -> Callable[[bytes], Any]:
        self._got = status
        return _write

    def __call__(self) -> None:
        """Make one request.

        :raises WrongAnswer: if the status is another.
        """
        body = self._app(next(self._next).copy(), self._start)
        try:
            for _ in body:
                pass
        finally:
            close = getattr(body, "close", None)
            if close is not None:
                close()
        if not self._got.startswith(self._due):
            raise WrongAnswer(f"{self.name}: status {self._got!r} where {self.status} is due")

    def read(self) -> bytes:
        """The body of one request, to check it once before anything is timed."""
        body = self._app(next(self._next).copy(), self._start)
        try:
            return b"".join(body)
        finally:
            close = getattr(body, "close", None)
            if close is not None:
                close()


def _nothing() -> None:
    """What a contender without files of its own does when it is closed."""


def _write(data: bytes) -> None:
    raise NotImplementedError("no contender uses the write callable")
