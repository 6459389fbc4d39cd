"""Deadlines, connections, threads, forks and TLS: with real servers, some of which are slow, gone or rude."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from flask_archie_keys.domain.permissions import Allowed
from flask_archie_keys.errors import PermissionsUnavailable
from flask_archie_keys.permissions import wire
from flask_archie_keys.permissions.authzen import AuthZenPermissions
from flask_archie_keys.permissions.wire import LOOKUPS_MAX

from ..support.decision_point import ROOT, DecisionPoint
from .answers import SLOW, TOKEN, WRONG_BYTES
from .asking import DETAIL, VIEWER, key
from .conftest import Ask

SOON = timedelta(milliseconds=300)
#: Far more than SOON, far less than what the slow ones take.
LATE = 5.0


@contextlib.contextmanager
def no_answer(cause: str | None = None) -> Iterator[None]:
    """The code in the block must find no answer, and must not wait for it for long."""
    started = time.monotonic()
    with pytest.raises(PermissionsUnavailable) as caught:
        yield
    assert time.monotonic() - started < LATE
    assert caught.value.detail == DETAIL
    assert caught.value.cause and (cause is None or cause in caught.value.cause)


@pytest.fixture
def deaf() -> Iterator[int]:
    """The port of a server that takes connections, and nothing else."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


# -- the deadline is one for the whole


@pytest.mark.parametrize("resource", SLOW)
def test_slow_servers(point: DecisionPoint, connect: Ask, resource: str) -> None:
    permissions = connect(point.url, timeout=SOON)
    with no_answer("time"):
        permissions.decide(VIEWER, resource, "read")
    assert permissions.decide(VIEWER, "example_of_a_decision", "read") == Allowed()  # and the next is no worse off


def test_a_server_that_takes_nothing(deaf: int, connect: Ask) -> None:
    permissions = connect(f"http://127.0.0.1:{deaf}", timeout=SOON)
    with no_answer("time"):
        permissions.decide(VIEWER, "orders", "read")
    with no_answer("time"):  # more than the buffers of both sides
        permissions.decide(key("viewer", context={"much": 30_000_000 * "x"}), "orders", "read")


def test_a_handshake_that_does_not_end(deaf: int, connect: Ask) -> None:
    with no_answer("time"):
        connect(f"https://localhost:{deaf}", timeout=SOON).decide(VIEWER, "orders", "read")


def cause(permissions: AuthZenPermissions) -> str:
    """Why there is no answer."""
    with pytest.raises(PermissionsUnavailable) as caught:
        permissions.decide(VIEWER, "orders", "read")
    return str(caught.value.cause)


def test_a_resolver_that_hangs(connect: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def hang(*args: Any, **kwargs: Any) -> Any:
        asked.append(args)
        time.sleep(2)
        raise socket.gaierror(socket.EAI_AGAIN, "try again")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    permissions = connect("http://pdp.example", timeout=SOON)
    started = time.monotonic()
    with ThreadPoolExecutor(2 * LOOKUPS_MAX) as pool:
        causes = set(pool.map(cause, 2 * LOOKUPS_MAX * [permissions]))
    assert time.monotonic() - started < 1.5
    assert len(asked) == LOOKUPS_MAX  # the process does not fill with threads that wait for it
    assert causes == {"its address was not found in time", "the look-ups of its address hang"}


def test_a_resolver_that_knows_nothing(connect: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **kwargs: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    permissions = connect("http://pdp.example")
    causes = [cause(permissions) for _ in range(LOOKUPS_MAX + 1)]
    assert set(causes) == {f"[Errno {int(socket.EAI_NONAME)}] Name or service not known"}
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: [])
    assert cause(permissions) == "it has no address"


LINUX = pytest.mark.skipif(sys.platform != "linux", reason="the queue of a listening socket is full elsewhere later")


@pytest.mark.parametrize("first", [pytest.param("full", marks=LINUX), "refuses"])
def test_the_second_address_is_tried_in_time(
    point: DecisionPoint, connect: Ask, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    """A server whose queue is full drops what comes, as a firewall does."""
    resolve = socket.getaddrinfo
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        ports = [server.getsockname()[1] if first == "full" else 1, point.port]
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(server.getsockname())

        def both(host: str, *args: Any, **kwargs: Any) -> Any:
            if host != "pdp.example":
                return resolve(host, *args, **kwargs)
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)) for port in ports]

        monkeypatch.setattr(socket, "getaddrinfo", both)
        permissions = connect("http://pdp.example", timeout=timedelta(seconds=1))
        try:
            assert permissions.decide(VIEWER, "example_of_a_decision", "read") == Allowed()
        finally:
            for one in waiting:
                one.close()


# -- servers that are gone, or rude


@pytest.mark.parametrize("resource", [*WRONG_BYTES, "reset"])
def test_what_is_no_answer(permissions: AuthZenPermissions, point: DecisionPoint, resource: str) -> None:
    with no_answer():
        permissions.decide(VIEWER, resource, "read")
    assert len(point.take()["questions"]) == 1
    assert permissions.decide(VIEWER, "example_of_a_decision", "read") == Allowed()


def test_nobody_there(connect: Ask) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with no_answer("Connection refused"):
        connect(f"http://127.0.0.1:{port}").decide(VIEWER, "orders", "read")


def test_no_proxy_of_the_environment_is_asked(
    permissions: AuthZenPermissions, monkeypatch: pytest.MonkeyPatch, deaf: int
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{deaf}")
    assert permissions.decide(VIEWER, "example_of_a_decision", "read") == Allowed()


# -- connections


def test_one_connection_for_many_questions(permissions: AuthZenPermissions, point: DecisionPoint) -> None:
    for _ in range(20):
        permissions.decide(VIEWER, "orders", "read")
    seen = point.take()
    assert (seen["connections"], len(seen["questions"])) == (1, 20)


def test_decisions_are_not_kept(permissions: AuthZenPermissions, point: DecisionPoint) -> None:
    for _ in range(3):
        assert permissions.decide(VIEWER, "orders", "read")
    assert len(point.take()["questions"]) == 3


def test_a_wrong_document_costs_no_connection(permissions: AuthZenPermissions, point: DecisionPoint) -> None:
    for resource in ("decision_null", "status_503", "orders"):
        with pytest.raises(PermissionsUnavailable) if resource != "orders" else contextlib.nullcontext():
            permissions.decide(VIEWER, resource, "read")
    assert point.take()["connections"] == 1


def test_a_connection_that_was_closed_while_it_was_kept(permissions: AuthZenPermissions, point: DecisionPoint) -> None:
    for _ in range(5):
        assert permissions.decide(VIEWER, "answers_and_closes", "read") == Allowed()
        time.sleep(0.02)  # the end of the connection arrives
    assert point.take()["connections"] == 5


def test_a_connection_that_is_closed_just_then(permissions: AuthZenPermissions, point: DecisionPoint) -> None:
    """The question is asked again, once, over a new connection: only the old one was at fault."""
    for _ in range(3):
        assert permissions.decide(VIEWER, "answers_once", "read") == Allowed()
    seen = point.take()
    assert (seen["connections"], len(seen["questions"])) == (3, 5)


def test_an_answer_that_was_there_before_the_question(permissions: AuthZenPermissions) -> None:
    """What comes behind an answer is not taken for the next one."""
    assert not permissions.decide(VIEWER, "answers_twice", "read")
    with no_answer("what came is no answer to this question"):
        permissions.decide(VIEWER, "audit_events", "delete")
    assert not permissions.decide(VIEWER, "answers_twice_slowly", "read")
    time.sleep(0.2)
    assert not permissions.decide(VIEWER, "audit_events", "delete")


def test_an_answer_that_breaks_off_is_not_asked_for_again(
    permissions: AuthZenPermissions, point: DecisionPoint
) -> None:
    permissions.decide(VIEWER, "orders", "read")
    for resource in ("cut_body", "cut_status"):
        with no_answer():
            permissions.decide(VIEWER, resource, "read")
    assert len(point.take()["questions"]) == 3


def test_connections_are_not_kept_for_ever(point: DecisionPoint, connect: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "IDLE_FOR", 0.01)
    permissions = connect(point.url)
    for _ in range(2):
        permissions.decide(VIEWER, "orders", "read")
        time.sleep(0.05)
    assert point.take()["connections"] == 2


def test_close(permissions: AuthZenPermissions, point: DecisionPoint) -> None:
    permissions.close()
    for _ in range(2):
        permissions.decide(VIEWER, "orders", "read")
        permissions.close()
        permissions.close()
    assert point.take()["connections"] == 2


def test_threads_share_it(permissions: AuthZenPermissions, point: DecisionPoint) -> None:
    """Each gets the answer to its own question."""

    def ask(number: int) -> bool:
        action = ("read", "write", "update", "delete")[number % 4]
        decision = permissions.decide(VIEWER, "orders", action, None)  # type: ignore[arg-type]
        return decision.why == ("viewers may" if number % 4 == 0 else f"no policy lets 7f3Kq2Zt9bXa {action} orders")

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(200)))
    seen = point.take()
    assert len(seen["questions"]) == 200
    assert seen["connections"] <= 8


FORKS = """
import json, os, sys
from flask_archie_keys.domain.principals import Principal
from flask_archie_keys.errors import PermissionsUnavailable
from flask_archie_keys.permissions import wire
from flask_archie_keys.permissions.authzen import AuthZenPermissions

def ask(name, times):
    principal = Principal("key", name, name, "shop", "master")
    return {permissions.decide(principal, "orders", "read").why for _ in range(times)}

permissions = AuthZenPermissions(sys.argv[1], token=sys.argv[2])
ask("before", 1)
pid = os.fork()
name = "child" if pid == 0 else "parent"
right = ask(name, 50) == {f"no policy lets {name} read orders"}
if pid == 0:
    os._exit(0 if right else 1)
print(json.dumps([right, os.waitpid(pid, 0)[1]]))
permissions.close()
"""


def test_a_fork_does_not_share_a_connection(point: DecisionPoint) -> None:
    script = [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", "-c", FORKS, point.url, TOKEN]
    done = subprocess.run(script, capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert (done.stdout.strip(), done.stderr) == (json.dumps([True, 0]), "")
    seen = point.take()
    assert (seen["connections"], len(seen["questions"])) == (2, 101)


# -- TLS


def test_tls(served_by_tls: DecisionPoint, connect: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whom the operator trusts is trusted, under its name, and its connections are kept too."""
    served_by_tls.take()
    monkeypatch.setenv("SSL_CERT_FILE", str(served_by_tls.certificate))
    permissions = connect(f"https://localhost:{served_by_tls.port}")
    for _ in range(5):
        assert permissions.decide(VIEWER, "example_of_a_decision", "read") == Allowed()
    seen = served_by_tls.take()
    assert (seen["connections"], len(seen["questions"])) == (1, 5)
    for _ in range(3):
        assert permissions.decide(VIEWER, "answers_once", "read") == Allowed()
    endpoint: Any = permissions._endpoint
    assert len(endpoint._ssl_context.get_ca_certs()) == 1  # and nobody besides, such as certifi's
    with no_answer("certificate verify failed: IP address mismatch"):
        connect(served_by_tls.url).decide(VIEWER, "example_of_a_decision", "read")


def test_tls_of_a_stranger(served_by_tls: DecisionPoint, connect: Ask) -> None:
    served_by_tls.take()
    with no_answer("certificate verify failed"):
        connect(f"https://localhost:{served_by_tls.port}").decide(VIEWER, "example_of_a_decision", "read")
    assert served_by_tls.take()["questions"] == []


def test_tls_with_a_context_of_the_hosts_own(served_by_tls: DecisionPoint, connect: Ask) -> None:
    context = ssl.create_default_context(cafile=served_by_tls.certificate)
    permissions = connect(f"https://localhost:{served_by_tls.port}", ssl_context=context)
    assert permissions.decide(VIEWER, "example_of_a_decision", "read") == Allowed()


@pytest.mark.parametrize("resource", ["slow_headers", "slow_body"])
def test_slow_servers_by_tls(served_by_tls: DecisionPoint, connect: Ask, resource: str) -> None:
    context = ssl.create_default_context(cafile=served_by_tls.certificate)
    with no_answer("time"):
        connect(f"https://localhost:{served_by_tls.port}", ssl_context=context, timeout=SOON).decide(
            VIEWER, resource, "read"
        )


def test_tls_to_a_server_without(point: DecisionPoint, connect: Ask) -> None:
    with no_answer("SSL"):
        connect(point.url.replace("http:", "https:")).decide(VIEWER, "example_of_a_decision", "read")
