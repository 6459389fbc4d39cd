"""Serving on 127.0.0.1 with Werkzeug's server, on a port that is taken before all else."""

from __future__ import annotations

import errno
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from flask import Flask
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

HOST = "127.0.0.1"


class PortBusy(Exception):
    """Another program listens on the port already, or it may not be used."""


class _Silent(WSGIRequestHandler):
    """Writes no line for each request."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        pass


def listen(port: int) -> socket.socket:
    """Take a port; 0 means any free one.

    :raises PortBusy: with a sentence that says what to do.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        reason = {errno.EADDRINUSE: "is in use by another program", errno.EACCES: "may not be used"}
        if error.errno not in reason:
            raise
        raise PortBusy(
            f"Port {port} {reason[error.errno]}. Choose another one with --port, for example --port {_other(port)}."
        ) from error
    return listener


def address_of(listener: socket.socket) -> str:
    """The URL of a listening socket, without a slash at the end."""
    host, port = listener.getsockname()[:2]
    return f"http://{host}:{port}"


def serve(app: Flask, listener: socket.socket) -> None:
    """Serve until the process is stopped."""
    _server(app, listener, WSGIRequestHandler).serve_forever()


@contextmanager
def served_in_background(app: Flask) -> Iterator[str]:
    """Serve on a free port in a thread while the block runs; gives the server's URL."""
    with listen(0) as listener:
        server = _server(app, listener, _Silent)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield address_of(listener)
        finally:
            server.shutdown()
            thread.join()


def _server(app: Flask, listener: socket.socket, handler: type[WSGIRequestHandler]) -> BaseWSGIServer:
    host, port = listener.getsockname()[:2]
    return make_server(host, port, app, threaded=True, request_handler=handler, fd=listener.fileno())


def _other(port: int) -> int:
    return port + 1 if 1024 <= port < 65535 else 5001
