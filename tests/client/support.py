"""A server that answers as a test says, and a way to run the same test with both clients."""

from __future__ import annotations

import asyncio
import inspect
import json
import ssl
import threading
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

import httpx
from flask import Flask

from flask_archie_keys.client import ArchieKeysClient, AsyncArchieKeysClient

#: The form of a key, in two parts for scanners.
SECRET = "archie_7f3Kq2Zt9bXa_" + "0123456789" * 3 + "01" + "abcdef"

#: A line of the audit log as a stream.
EVENT = (
    b'{"id":"0","occurredAt":"2030-01-01T00:00:00.000Z","project":"p","environment":"e","kind":"request","keyId":null,'
    b'"actor":null,"outcome":"allowed","reason":null,"method":"GET","route":"/","path":"/ \xe2\x80\xa8 ","status":200,'
    b'"durationMs":1.5,"remoteAddress":null,"userAgent":null,"requestId":null,"count":1,"truncated":false,'
    b'"streamed":false,"details":{}}\n'
)


class Seen(NamedTuple):
    """A request as the server got it."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


Step = Callable[["Handler"], None]


class Script:
    """A server in a thread: one step for each request, in order; the last one goes on for all that follow.

    :param app: what :func:`forward` and :func:`lose` pass requests on to.
    """

    def __init__(self, steps: Sequence[Step], app: Flask | None = None) -> None:
        self.seen: list[Seen] = []
        self.steps = list(steps)
        self.app = app
        self.released = threading.Event()
        handler = type("Bound", (Handler,), {"script": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=[0.01], daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/archie/v1"

    def step(self) -> Step:
        return self.steps[min(len(self.seen), len(self.steps)) - 1]

    def close(self) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()


class Handler(BaseHTTPRequestHandler):
    script: Script
    protocol_version = "HTTP/1.1"
    body = b""

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except OSError:  # the client has gone
            self.close_connection = True

    def _do(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.script.seen.append(Seen(self.command, self.path, dict(self.headers), self.body))
        self.script.step()(self)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _do

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""

    def answered(self) -> Any:
        """What the application answers."""
        assert self.script.app is not None
        headers = [(name, value) for name, value in self.headers.items() if name != "Content-Length"]
        return self.script.app.test_client(use_cookies=False).open(
            self.path, method=self.command, headers=headers, data=self.body, buffered=True
        )


def answer(status: int, body: bytes | str | Any = b"", media_type: str = "application/json", **headers: str) -> Step:
    """Answer that."""
    content = body if isinstance(body, bytes) else (body if isinstance(body, str) else json.dumps(body)).encode()

    def step(handler: Handler) -> None:
        handler.send_response_only(status)
        for name, value in {"Content-Type": media_type, **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    return step


def problem(status: int, kind: str, detail: str = "it is so", **members: Any) -> Step:
    """Answer a problem document."""
    headers = members.pop("headers", {})
    body = {"type": f"/errors/{kind}", "title": "T", "status": status, "detail": detail, **members}
    return answer(status, body, "application/problem+json", **headers)


def drop(handler: Handler) -> None:
    """Close the connection without an answer."""
    handler.close_connection = True
    handler.connection.close()


def hang(handler: Handler) -> None:
    """Answer nothing for as long as the test runs."""
    handler.script.released.wait(30)
    drop(handler)


def forward(handler: Handler) -> None:
    """Answer what the application answers."""
    got = handler.answered()
    handler.send_response_only(got.status_code)
    for name, value in got.headers.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(got.data)


def lose(handler: Handler) -> None:
    """Let the application do it, and lose its answer."""
    handler.answered()
    drop(handler)


def broken_stream(whole: bytes) -> Step:
    """The beginning of a chunked answer, and then nothing."""

    def step(handler: Handler) -> None:
        handler.send_response_only(200)
        handler.send_header("Content-Type", "application/x-ndjson")
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        handler.wfile.write(b"%x\r\n%s\r\n" % (len(whole), whole))
        drop(handler)

    return step


# -- both clients as one

_TRUSTED = ssl.create_default_context()  # once: it takes longer than most tests here


class Blocking:
    """An asynchronous client, used as the synchronous one: what is awaited is run to its end."""

    def __init__(self, of: Any, runner: asyncio.Runner) -> None:
        self._of = of
        self._runner = runner

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._of, name)
        return self._called(found) if callable(found) else Blocking(found, self._runner)

    def __repr__(self) -> str:
        return repr(self._of)

    def _called(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            started = method(*args, **kwargs)
            if inspect.isasyncgen(started):
                return self._items(started)
            return self._runner.run(started)

        return call

    def _items(self, items: Any) -> Any:
        try:
            while True:
                yield self._runner.run(anext(items))
        except StopAsyncIteration:
            return
        finally:
            self._runner.run(items.aclose())


class Clients:
    """Makes clients of one sort and closes them in the end."""

    def __init__(self, sort: str) -> None:
        self.sort = sort
        self._runner = asyncio.Runner()
        self._made: list[Any] = []

    def __call__(self, url: str, key: str = SECRET, **kwargs: Any) -> Any:
        if self.sort == "synchronous":
            client: Any = ArchieKeysClient(url, key, transport=httpx.HTTPTransport(verify=_TRUSTED), **kwargs)
        else:
            transport = httpx.AsyncHTTPTransport(verify=_TRUSTED)
            client = Blocking(AsyncArchieKeysClient(url, key, transport=transport, **kwargs), self._runner)
        self._made.append(client)
        return client

    def close(self) -> None:
        for client in self._made:
            client.close()
        self._runner.close()
