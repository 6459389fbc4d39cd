"""Lines that come a second time, as after a crash between a commit and the note of how far it came. On both engines."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from flask_archie_keys.audit.drain import Drained
from flask_archie_keys.audit.event import Request, completed_line, first_line, head
from flask_archie_keys.audit.log import AuditLog
from flask_archie_keys.domain.ids import new_event_id

from ..conftest import Host, MakeHost

SCOPE = head("default", "master")


@pytest.fixture
def host(make_host: MakeHost, url: str) -> Host:
    return make_host(url)


@pytest.fixture
def log(host: Host) -> AuditLog:
    with host.app.app_context():
        return host.keys.audit


def lines(number: int) -> tuple[bytes, bytes]:
    """A request's first line and its end."""
    event_id, ns = new_event_id(), time.time_ns()
    request = Request("GET", "/x", f"/{number}", "192.0.2.1", None, None)
    received = first_line(event_id, "received", ns, SCOPE, request, key_id="k" * 12, outcome="allowed")
    return received, completed_line(event_id, 200 + number, 1)


def spool_file(log: AuditLog, content: bytes) -> Path:
    log.spool.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = log.spool.directory / "host-1-dead.jsonl"
    path.write_bytes(content)
    return path


def statuses(host: Host) -> list[tuple[str, int | None]]:
    return sorted((event.path, event.status) for event in host.events())


def test_lines_that_are_there_already_are_no_poison(host: Host, log: AuditLog) -> None:
    """Neither stored twice nor refused: new ones among them arrive, and the ends of old ones."""
    first, second, third = (lines(number) for number in range(3))
    spool_file(log, first[0] + first[1] + second[0])
    assert log.drain() == Drained(lines=3, files=1)
    assert statuses(host) == [("/0", 200), ("/1", None)]
    spool_file(log, b"".join([*first, *second, *third]))
    assert log.drain() == Drained(lines=6, quarantined=0, files=1)
    assert statuses(host) == [("/0", 200), ("/1", 201), ("/2", 202)]
    spool_file(log, b"".join([*third, *second, *first]))
    assert log.drain() == Drained(lines=6, quarantined=0, files=1)
    assert statuses(host) == [("/0", 200), ("/1", 201), ("/2", 202)]


def test_the_same_line_twice_in_one_batch_is_one_event(host: Host, log: AuditLog) -> None:
    received, completed = lines(0)
    spool_file(log, received * 3 + completed * 2)
    assert log.drain() == Drained(lines=5, quarantined=0, files=1)
    assert statuses(host) == [("/0", 200)]
