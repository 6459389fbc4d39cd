"""One connection, both ends of it in the hands of the test: what a lost one means, and that time ends."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import time
from collections.abc import Iterator

import pytest

from flask_archie_keys.permissions.wire import _HungUp, _Network, _Stream


def in_a_while() -> float:
    return time.monotonic() + 10


@contextlib.contextmanager
def connection(*, answered: bool) -> Iterator[tuple[_Stream, socket.socket]]:
    """Both ends of a connection; one that has answered a question, or a new one."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        host, port = server.getsockname()
        stream = _Network().connect_tcp(host, port, in_a_while())
        other, _ = server.accept()
    assert isinstance(stream, _Stream)
    if answered:
        stream.write(b"question", in_a_while())
        other.sendall(b"answer")
        assert stream.read(64, in_a_while()) == b"answer"
    yield stream, other
    other.close()
    stream.close()


def hang_up(other: socket.socket, how: str) -> None:
    """End a connection, or break it off."""
    if how == "reset":
        other.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    other.close()


@pytest.mark.parametrize("how", ["end", "reset"])
@pytest.mark.parametrize("answered", [False, True])
def test_only_a_kept_connection_can_be_out_of_date(how: str, answered: bool) -> None:
    with connection(answered=answered) as (stream, other):
        stream.write(b"another", in_a_while())
        assert other.recv(64) == (b"questionanother" if answered else b"another")
        hang_up(other, how)
        with pytest.raises(ConnectionError) as caught:
            stream.read(64, in_a_while())
        assert isinstance(caught.value, _HungUp) is answered


@pytest.mark.parametrize("answered", [False, True])
def test_so_it_is_when_one_writes(answered: bool) -> None:
    with connection(answered=answered) as (stream, other):
        hang_up(other, "reset")
        with pytest.raises(ConnectionError) as caught:
            for _ in range(2):  # the first tells us, the second is told
                stream.write(b"another", in_a_while())
        assert isinstance(caught.value, _HungUp) is answered


def test_in_the_middle_of_an_answer_it_is_not() -> None:
    with connection(answered=True) as (stream, other):
        stream.write(b"another", in_a_while())
        other.recv(64)
        other.sendall(b"ans")
        assert stream.read(64, in_a_while()) == b"ans"
        hang_up(other, "reset")
        with pytest.raises(ConnectionResetError):
            stream.read(64, in_a_while())


def test_a_connection_waits_for_nothing() -> None:
    """Small packets are sent at once, and a closed connection is not kept."""
    with connection(answered=False) as (stream, _):
        assert stream._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert not stream.get_extra_info("is_readable")
        stream.close()
        assert stream.get_extra_info("is_readable")


@pytest.mark.parametrize("end", [None, 0.0])
def test_when_the_time_is_up_nothing_is_begun(end: float | None) -> None:
    with connection(answered=False) as (stream, _):
        with pytest.raises(TimeoutError, match="no answer in time"):
            stream.write(b"late", end)
        with pytest.raises(TimeoutError, match="no answer in time"):
            stream.read(64, end)
        with pytest.raises(TimeoutError, match="no answer in time"):
            stream.start_tls(ssl.create_default_context(), "localhost", end)
        assert stream._socket.fileno() == -1
