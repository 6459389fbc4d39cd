"""One HTTP exchange that ends in time, on connections that are kept.

The time-outs of HTTP clients hold for one read each, so a server that sends a byte now and then keeps its caller for
hours. httpcore hands the time-outs that it is given to its network backend as they are. Here they are points in time,
and each look-up, connection, handshake, write and read gets what is left until then.
"""

from __future__ import annotations

import os
import queue
import selectors
import socket
import ssl
import threading
import time
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import httpcore

Address = tuple[Any, ...]
IDLE_MAX = 32
#: Seconds. Firewalls forget a silent connection after minutes, without telling anybody.
IDLE_FOR = 30.0
LOOKUPS_MAX = 8


class Answer(NamedTuple):
    """A whole response."""

    status: int
    headers: Sequence[tuple[bytes, bytes]]
    body: bytes

    def values(self, name: bytes) -> list[bytes]:
        """The values of a header, given in lower case."""
        return [value for header, value in self.headers if header.lower() == name]


class Endpoint:
    """Where questions are posted.

    :param timeout: seconds for an exchange as a whole.
    :param longest: the longest body of an answer, in bytes.
    """

    def __init__(self, url: httpcore.URL, *, timeout: float, longest: int, ssl_context: ssl.SSLContext | None) -> None:
        self._url = url
        self._timeout = timeout
        self._longest = longest
        # not certifi's list: this one knows the operator's own authorities, and SSL_CERT_FILE
        self._ssl_context = ssl_context or (ssl.create_default_context() if url.scheme == b"https" else None)
        # By process: two that write to one connection read each other's answers, and a lock that another thread held
        # at the fork is held for ever in the child. What was inherited is kept, untouched.
        self._pools: dict[int, httpcore.ConnectionPool] = {}

    def post(self, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> Answer:
        """Send a request and read the whole answer.

        It is sent twice where a connection that was kept turns out to be closed, so it must not change anything.

        :raises OSError: if there is no whole answer in time.
        """
        end = time.monotonic() + self._timeout
        try:
            try:
                return self._exchange(headers, body, end)
            except _HungUp:
                return self._exchange(headers, body, end)
        except (httpcore.ProtocolError, httpcore.NetworkError, httpcore.TimeoutException) as error:
            raise OSError(f"{type(error).__name__}: {error}") from error

    def close(self) -> None:
        """Close the connections of this process. The next question opens one again."""
        pool = self._pools.get(os.getpid())
        if pool is not None:
            pool.close()

    def _exchange(self, headers: Sequence[tuple[bytes, bytes]], body: bytes, end: float) -> Answer:
        extensions = {"timeout": dict.fromkeys(("connect", "read", "write"), end)}
        with self._pool().stream("POST", self._url, headers=headers, content=body, extensions=extensions) as response:
            if response.extensions["network_stream"].is_quiet:  # it came behind the last answer, in one packet with it
                raise OSError("what came is no answer to this question")
            return Answer(response.status, response.headers, self._read(response.iter_stream()))

    def _read(self, chunks: Iterable[bytes]) -> bytes:
        body = bytearray()
        for chunk in chunks:
            body += chunk
            if len(body) > self._longest:
                raise OSError(f"the answer is longer than {self._longest} bytes")
        return bytes(body)

    def _pool(self) -> httpcore.ConnectionPool:
        pid = os.getpid()
        pool = self._pools.get(pid)
        return pool if pool is not None else self._pools.setdefault(pid, self._new_pool())

    def _new_pool(self) -> httpcore.ConnectionPool:
        return httpcore.ConnectionPool(
            ssl_context=self._ssl_context,
            max_connections=None,  # as many as there are threads that ask
            max_keepalive_connections=IDLE_MAX,
            keepalive_expiry=IDLE_FOR,
            network_backend=_Network(),
        )


class _HungUp(ConnectionError):
    """A connection that was kept is closed, and nothing has come over it since the request was sent."""


def _left(end: float | None) -> float:
    left = (end or 0.0) - time.monotonic()
    if left <= 0:
        raise TimeoutError("no answer in time")
    return left


class _Stream(httpcore.NetworkStream):
    """A connection whose ``timeout`` is a point in time.

    :ivar is_quiet: nothing has come over it since something was last sent.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._has_answered = False
        self.is_quiet = True

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        self._socket.settimeout(_left(timeout))
        try:
            data = self._socket.recv(max_bytes)
        except ConnectionError as error:
            raise self._lost(error) from error
        if data:
            self._has_answered, self.is_quiet = True, False
        elif self.is_quiet:
            raise self._lost(ConnectionError("closed without an answer"))
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._socket.settimeout(_left(timeout))
        self.is_quiet = True
        try:
            self._socket.sendall(buffer)  # its time-out is one for the whole buffer
        except (ConnectionError, ssl.SSLError) as error:
            raise self._lost(error) from error

    def _lost(self, error: OSError) -> OSError:
        return _HungUp("closed while it was kept") if self._has_answered and self.is_quiet else error

    def close(self) -> None:
        self._socket.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        try:
            self._socket.settimeout(_left(timeout))
            return _Stream(ssl_context.wrap_socket(self._socket, server_hostname=server_hostname))
        except OSError:
            self._socket.close()
            raise

    def get_extra_info(self, info: str) -> Any:
        if info == "is_readable":  # one that is kept and is has been closed, or has more than the answer on it
            return self._socket.fileno() < 0 or self._is_readable()
        return None

    def _is_readable(self) -> bool:
        with selectors.DefaultSelector() as selector:
            selector.register(self._socket, selectors.EVENT_READ)
            return bool(selector.select(0))


class _Network(httpcore.NetworkBackend):
    """Makes connections."""

    def __init__(self) -> None:
        self._lookups = threading.BoundedSemaphore(LOOKUPS_MAX)

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        failure: OSError = OSError("it has no address")
        addresses = self._look_up(host, port, timeout)
        for tried, address in enumerate(addresses):
            try:
                # one that drops what it gets must leave time for the next
                sock = socket.create_connection(address, _left(timeout) / (len(addresses) - tried))
            except OSError as error:
                failure = error
            else:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return _Stream(sock)
        raise failure

    def _look_up(self, host: str, port: int, end: float | None) -> list[Address]:
        """The addresses of a host. In a thread, because a look-up takes as long as the resolver likes."""
        if not self._lookups.acquire(timeout=_left(end)):
            raise TimeoutError("the look-ups of its address hang")
        found: queue.SimpleQueue[list[Address] | OSError] = queue.SimpleQueue()
        threading.Thread(target=self._resolve, args=(host, port, found), daemon=True).start()
        try:
            addresses = found.get(timeout=_left(end))
        except queue.Empty:
            raise TimeoutError("its address was not found in time") from None
        if isinstance(addresses, OSError):
            raise addresses
        return addresses

    def _resolve(self, host: str, port: int, found: queue.SimpleQueue[list[Address] | OSError]) -> None:
        try:
            found.put([info[4][:2] for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)])
        except OSError as error:
            found.put(error)
        finally:
            self._lookups.release()
