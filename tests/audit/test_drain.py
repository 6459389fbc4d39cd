"""From the spool into the database, on SQLite files and on PostgreSQL."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from flask_archie_keys import StoreUnavailable
from flask_archie_keys.audit import drain as drain_module
from flask_archie_keys.audit import spool as spool_module
from flask_archie_keys.audit.drain import Drained, count_quarantined, waiting
from flask_archie_keys.audit.event import Request, completed_line, first_line, head
from flask_archie_keys.audit.log import AuditLog
from flask_archie_keys.audit.spool import Spool
from flask_archie_keys.config import AuditConfig
from flask_archie_keys.domain.clock import from_micros, now_micros
from flask_archie_keys.domain.ids import new_event_id

from ..conftest import Host, MakeHost

SCOPE = head("default", "master")
REQUEST = Request("GET", "/x", "/x", "192.0.2.1", "test/1", None)


@pytest.fixture
def host(make_host: MakeHost, url: str) -> Host:
    return make_host(url)


@pytest.fixture
def log(host: Host) -> AuditLog:
    with host.app.app_context():
        return host.keys.audit


def received(key_id: str = "k" * 12, at: int | None = None, request: Request = REQUEST) -> tuple[str, bytes]:
    ns = time.time_ns() if at is None else at * 1000
    event_id = new_event_id(ns)
    return event_id, first_line(event_id, "received", ns, SCOPE, request, key_id=key_id, outcome="allowed")


def spool_file(log: AuditLog, content: bytes, name: str = "host-1-dead.jsonl") -> Path:
    """A file that a dead process has left."""
    directory = log.spool.directory
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = directory / name
    path.write_bytes(content)
    return path


@contextmanager
def writer(path: Path) -> Iterator[None]:
    """Somebody who still writes to the file."""
    with open(path, "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def all_events(host: Host) -> list[Any]:
    with host.app.app_context():
        return list(host.keys.audit.find(limit=200))


def test_a_request_of_two_lines_is_one_event(host: Host, log: AuditLog) -> None:
    event_id, line = received()
    path = spool_file(log, line + completed_line(event_id, 204, 1500))
    assert log.drain() == Drained(lines=2, quarantined=0, files=1)
    assert not path.exists()
    (event,) = all_events(host)
    assert (event.id, event.status, event.duration_ms, event.outcome) == (event_id, 204, 1.5, "allowed")


def test_the_end_may_come_later_than_the_beginning(host: Host, log: AuditLog) -> None:
    event_id, line = received()
    path = spool_file(log, line)
    with writer(path):
        log.drain()
        assert [event.status for event in all_events(host)] == [None]
        with path.open("ab") as file:
            file.write(completed_line(event_id, 403, 7, outcome="denied", reason="missing_role"))
        log.drain()
        (event,) = all_events(host)
        assert (event.status, event.outcome, event.reason) == (403, "denied", "missing_role")
        assert path.exists() and waiting(log.spool.directory) == {}
    assert log.drain() == Drained(files=1)


def test_draining_twice_changes_nothing(host: Host, log: AuditLog) -> None:
    """As after a crash between the commit and the note of how far it came."""
    lines = b""
    for n in range(50):
        event_id, line = received()
        lines += line + (completed_line(event_id, 200 + n, n) if n % 2 else b"")
    spool_file(log, lines)
    log.drain()
    before = all_events(host)
    spool_file(log, lines)
    log.drain()
    assert all_events(host) == before and len(before) == 50


def test_a_crash_between_two_batches_loses_and_doubles_nothing(
    host: Host, log: AuditLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read the beginning, committed, died; the next drainer reads beginning and end together."""
    event_id, line = received()
    path = spool_file(log, line)
    with writer(path):
        monkeypatch.setattr(drain_module, "_write_offset", _crash)
        with pytest.raises(KeyboardInterrupt):
            log.drain()
        monkeypatch.undo()
        with path.open("ab") as file:
            file.write(completed_line(event_id, 200, 9))
        log.drain()
    assert [(event.id, event.status) for event in all_events(host)] == [(event_id, 200)]


def _crash(path: Path, offset: int) -> None:
    raise KeyboardInterrupt


def test_a_torn_last_line_waits_for_a_live_writer(host: Host, log: AuditLog) -> None:
    _, line = received()
    path = spool_file(log, line[:50])
    with writer(path):
        assert log.drain() == Drained()
        with path.open("ab") as file:
            file.write(line[50:])
        assert log.drain() == Drained(lines=1)


def test_a_torn_last_line_of_a_dead_writer_is_quarantined(host: Host, log: AuditLog) -> None:
    _, line = received()
    path = spool_file(log, line + line[:50])
    assert log.drain() == Drained(lines=1, quarantined=1, files=1)
    assert not path.exists()
    entry = json.loads((log.spool.directory / "quarantine.log").read_text())
    assert entry["line"].encode() == line[:50] and entry["error"] == "not a whole line"


def test_the_end_in_a_newer_file_is_taken_in_after_its_beginning(
    host: Host, log: AuditLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool_module, "_CHECK_EVERY", 0)
    with host.app.app_context():
        small = Spool(log.spool.directory, AuditConfig(max_file=4096))
    for _ in range(30):
        event_id, line = received()
        small.write(line + b"\n" * 4096)  # blank lines: the file is full
        small.write(completed_line(event_id, 200, 1))
    log.drain()
    assert {event.status for event in all_events(host)} == {200}
    small.close()


def test_a_disk_that_is_full_does_not_stop_the_drain(
    host: Host, log: AuditLog, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The spool's disk, that is: finished files are removed, which makes room."""
    path = spool_file(log, received()[1] + b"poison\n")

    def no_room(*args: Any, **kwargs: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", no_room)
    real_open = os.open
    monkeypatch.setattr(
        drain_module.os, "open", lambda p, *a, **k: no_room() if "quarantine" in str(p) else real_open(p, *a, **k)
    )
    assert log.drain() == Drained(lines=1, quarantined=1, files=1)
    monkeypatch.undo()
    assert not path.exists() and len(all_events(host)) == 1
    assert "poison" in caplog.text, "what could not be kept is in the log"


POISON = [
    b"not json\n",
    b"{}\n",
    b'{"id":"x","phase":"received","ts":1,"project":"p","environment":"e","outcome":"allowed","status":{}}\n',
    b"\xff\xfe\n",
    b'{"id":"x","phase":"received","ts":1,"project":"p","environment":"e","outcome":"allowed","method":{}}\n',
    b'{"id":"x","phase":"received","ts":1,"project":"p","environment":"e","outcome":"allowed","truncated":"yes"}\n',
    b'{"id":"x","phase":"completed","duration_us":1,"status":{"a":1}}\n',
    b'{"id":"x","phase":"received","ts":1,"project":"p","environment":"e","outcome":"allowed","count":"many"}\n',
    b"x" * 2_000_000 + b"\n",
]


@pytest.mark.parametrize("poison", POISON, ids=range(len(POISON)))
def test_poison_is_quarantined_counted_and_blocks_nothing(host: Host, log: AuditLog, poison: bytes) -> None:
    lines = [received()[1] for _ in range(5)]
    spool_file(log, lines[0] + lines[1] + poison + b"".join(lines[2:]))
    done = log.drain()
    assert done is not None and done.lines == 5 and done.quarantined >= 1
    assert count_quarantined(log.spool.directory) == done.quarantined
    assert len(all_events(host)) == 5


def test_what_the_database_refuses_is_found_in_its_batch(host: Host, log: AuditLog) -> None:
    """Too long for the column on PostgreSQL; SQLite takes it."""
    bad = received()[1].replace(b'"received"', b'"received","reason":"' + b"x" * 300 + b'"')
    lines = [received()[1] for _ in range(40)]
    spool_file(log, b"".join([*lines[:17], bad, *lines[17:]]))
    done = log.drain()
    with host.app.app_context():
        refuses = host.db.engine.dialect.name == "postgresql"
    assert done == Drained(lines=40 if refuses else 41, quarantined=int(refuses), files=1)


def test_spools_of_dead_processes_are_taken_over(host: Host, log: AuditLog) -> None:
    for n in range(3):
        spool_file(log, received()[1], f"other-{n}-x.jsonl")
    assert log.drain() == Drained(lines=3, files=3)
    assert sorted(path.name for path in log.spool.directory.iterdir()) == ["drainer.lock"]


def test_one_drainer_at_a_time(host: Host, log: AuditLog) -> None:
    spool_file(log, received()[1])
    lock = os.open(log.spool.directory / "drainer.lock", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    assert log.drain(wait=0) is None
    os.close(lock)
    assert log.drain(wait=0) == Drained(lines=1, files=1)


def test_drainers_racing_writers_lose_and_double_nothing(host: Host, log: AuditLog) -> None:
    key = host.create().key
    stop = threading.Event()
    errors: list[Exception] = []

    def drain() -> None:
        while not stop.is_set():
            try:
                log.drain()
            except Exception as error:
                errors.append(error)

    def write() -> None:
        for _ in range(300):
            event_id = log.received(time.time_ns(), REQUEST, key.id)
            log.completed(event_id, 200, time.time_ns())

    drainers = [threading.Thread(target=drain) for _ in range(2)]
    writers = [threading.Thread(target=write) for _ in range(4)]
    for thread in [*drainers, *writers]:
        thread.start()
    for thread in writers:
        thread.join()
    stop.set()
    for thread in drainers:
        thread.join()
    log.drain()
    assert errors == []
    counts = host.sql("SELECT count(*), count(status) FROM archie_audit_events WHERE kind = 'request'")
    assert tuple(counts[0]) == (1200, 1200)


def test_last_used_comes_from_the_drain_and_goes_forward_only(host: Host, log: AuditLog) -> None:
    key_id = host.create().key.id
    now = now_micros()
    spool_file(log, received(key_id, now)[1] + received(key_id, now - 1_000_000)[1])
    log.drain()
    spool_file(log, received(key_id, now - 5_000_000)[1])
    log.drain()
    with host.app.app_context():
        assert host.keys.service.get(key_id).last_used_at == from_micros(now)
        assert host.keys.service.get(key_id).version == 1


def test_refused_requests_are_no_use_of_a_key(host: Host, log: AuditLog) -> None:
    """Else whoever knows a key id could keep it from ever being quiet."""
    key = host.create()
    with host.app.app_context():
        host.keys.service.disable(key.key.id)
    host.get("/me", key.secret)
    assert len(host.events(key=key.key.id)) == 1
    with host.app.app_context():
        assert host.keys.service.get(key.key.id).last_used_at is None


def test_a_database_that_is_away_keeps_the_lines(host: Host, log: AuditLog) -> None:
    path = spool_file(log, received()[1])
    host.sql("ALTER TABLE archie_audit_events RENAME TO away")
    with pytest.raises(StoreUnavailable):
        log.drain()
    assert path.exists() and count_quarantined(log.spool.directory) == 0
    host.sql("ALTER TABLE away RENAME TO archie_audit_events")
    assert log.drain() == Drained(lines=1, files=1)


def test_links_in_the_spool_are_not_followed(host: Host, log: AuditLog, tmp_path: Path) -> None:
    spool_file(log, b"")
    outside = tmp_path / "outside"
    outside.write_bytes(received()[1])
    (log.spool.directory / "link.jsonl").symlink_to(outside)
    (log.spool.directory / "folder.jsonl").mkdir()
    spool_file(log, received()[1], "z.jsonl")
    for _ in range(3):
        log.drain()
    assert outside.exists() and len(all_events(host)) == 1
    assert len(os.listdir("/proc/self/fd")) < 200


def test_retention_removes_old_events_only(make_host: MakeHost, url: str) -> None:
    from datetime import timedelta

    host = make_host(url, ARCHIE_KEYS_AUDIT={"retention": timedelta(days=1)})
    with host.app.app_context():
        log = host.keys.audit
    now = now_micros()
    spool_file(log, received(at=now)[1] + received(at=now - 2 * 86_400_000_000)[1])
    log.drain()
    assert log.purge() == 1
    assert [event.occurred_at for event in all_events(host)] == [from_micros(now)]
    assert log.purge() == 0
