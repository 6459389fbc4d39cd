"""Acts that are neither requests nor changes in our tables: written before they are done, or not done."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_archie_keys import AuditUnavailable
from flask_archie_keys.audit import spool as spool_module
from flask_archie_keys.audit.drain import Drained, count_quarantined
from flask_archie_keys.audit.event import BadLine, head, is_kind, noted_line, parse, to_row
from flask_archie_keys.audit.log import AuditLog
from flask_archie_keys.domain.clock import utcnow
from flask_archie_keys.domain.principals import Acting

from ..conftest import Host, MakeHost

SCOPE = head("default", "master")
ACTING = Acting("key:" + "k" * 12, "192.0.2.1", "test/1", "r-1")
WHY = {"reason": "nightly report"}
KEY = "archie_7f3Kq2Zt9bXa_" + "s" * 38
texts = st.text(max_size=600)


@pytest.fixture
def host(make_host: MakeHost, url: str) -> Host:
    return make_host(url)


def log_of(host: Host) -> AuditLog:
    with host.app.app_context():
        return host.keys.audit


def notes(host: Host, kind: str = "unrestricted") -> list[Any]:
    with host.app.app_context():
        return list(host.keys.audit.find(kind=kind))


def spooled(log: AuditLog) -> list[dict[str, Any]]:
    return [json.loads(line) for path in log.spool.directory.glob("*.jsonl") for line in path.read_bytes().splitlines()]


# -- the line


def test_the_documented_form() -> None:
    line = noted_line("0" * 32, 1_700_000_000_000_000_000, SCOPE, "unrestricted", ACTING, key_id="k" * 12, details=WHY)
    assert json.loads(line) == {
        "id": "0" * 32,
        "phase": "noted",
        "ts": 1_700_000_000_000_000_000,
        "project": "default",
        "environment": "master",
        "kind": "unrestricted",
        "actor": "key:" + "k" * 12,
        "outcome": "allowed",
        "key_id": "k" * 12,
        "details": {"reason": "nightly report"},
        "remote_address": "192.0.2.1",
        "user_agent": "test/1",
        "request_id": "r-1",
    }
    bare = json.loads(noted_line("0" * 32, 1, SCOPE, "unrestricted", Acting("system"), key_id=None, details={}))
    assert list(bare) == ["id", "phase", "ts", "project", "environment", "kind", "actor", "outcome"]


@given(st.builds(Acting, texts, texts, texts, texts), st.dictionaries(texts, texts), st.integers(1024, 65536))
def test_any_note_is_one_bounded_line_of_ascii_json(acting: Acting, details: dict[str, str], longest: int) -> None:
    scope = head("p" * 64, "e" * 64)
    line = noted_line("0" * 32, 2**63 - 1, scope, "k" * 32, acting, key_id="k" * 12, details=details, longest=longest)
    assert line.isascii() and line.count(b"\n") == 1 and line.endswith(b"\n") and len(line) <= longest
    row = to_row(parse(line))
    shown = acting.actor.replace("\0", "\ufffd")
    assert row["actor"] == shown or (len(row["actor"]) <= 255 and row["actor"].endswith("…"))


def test_a_long_actor_is_cut_to_what_the_column_holds() -> None:
    for actor, shown in [("u" * 255, "u" * 255), ("u" * 256, "u" * 254 + "…"), ("é" * 200, "é" * 49 + "…")]:
        line = noted_line("0" * 32, 1, SCOPE, "unrestricted", Acting(actor), key_id=None, details={}, longest=2048)
        assert json.loads(line)["actor"] == shown


def test_an_actor_holds_nothing_that_databases_refuse(host: Host) -> None:
    log_of(host).noted("unrestricted", Acting("user:\0\ud800"), WHY)
    assert [event.actor for event in notes(host)] == ["user:\ufffd?"]


def test_keys_in_a_note_lose_their_secret() -> None:
    acting = Acting(f"user:{KEY}", None, f"x {KEY}", KEY)
    line = noted_line("0" * 32, 1, SCOPE, "unrestricted", acting, key_id=None, details={"reason": KEY}).decode()
    assert "sss" not in line and line.count("archie_7f3Kq2Zt9bXa_\\u2026") == 4


KINDS = ["", "request", "Unrestricted", "un restricted", "x" * 33, "1st", "a\n", "a\0", "é"]


@pytest.mark.parametrize("kind", KINDS)
def test_other_kinds_are_refused(host: Host, kind: str) -> None:
    """``request`` above all: such a note would count as a use of the key."""
    assert not is_kind(kind)
    with pytest.raises(ValueError, match="kind"):
        log_of(host).noted(kind, ACTING, WHY)
    assert not log_of(host).spool.directory.exists()
    assert all(is_kind(good) for good in ("unrestricted", "role.saved", "x" * 32, "a1_b.c"))


@pytest.mark.parametrize("key_id", ["", "k" * 13, 'k","outcome":"x'])
def test_what_is_no_key_id_is_refused(host: Host, key_id: str) -> None:
    with pytest.raises(ValueError, match="key id"):
        log_of(host).noted("unrestricted", ACTING, WHY, key_id=key_id)


GOOD = {"id": "x", "phase": "noted", "ts": 1, "project": "p", "environment": "e", "outcome": "allowed"}
BAD: list[dict[str, Any]] = [
    *({"kind": kind} for kind in KINDS),
    *({"kind": kind} for kind in (7, None, ["unrestricted"], True)),
    *({"actor": actor} for actor in (7, None, {})),
    {"details": []},
    {"details": "text"},
]


@pytest.mark.parametrize("bad", BAD, ids=range(len(BAD)))
def test_bad_notes_are_quarantined(host: Host, bad: dict[str, Any]) -> None:
    log = log_of(host)
    good = {**GOOD, "kind": "unrestricted", "actor": "system"}
    assert parse(json.dumps(good).encode())
    line = json.dumps({**good, **bad}).encode()
    with pytest.raises(BadLine):
        parse(line)
    log.spool.directory.mkdir(mode=0o700, parents=True)
    note = noted_line("0" * 32, time.time_ns(), SCOPE, "unrestricted", ACTING, key_id=None, details=WHY)
    (log.spool.directory / "host-1-dead.jsonl").write_bytes(note + line + b"\n" + note.replace(b"0" * 32, b"1" * 32))
    assert log.drain() == Drained(lines=2, quarantined=1, files=1)
    assert count_quarantined(log.spool.directory) == 1 and len(notes(host)) == 2


def test_a_line_of_a_request_says_neither_kind_nor_actor() -> None:
    line = {**GOOD, "phase": "received", "kind": "unrestricted", "actor": "system"}
    row = to_row(parse(json.dumps(line).encode()))
    assert (row["kind"], row["actor"]) == ("request", None)


# -- the log


def test_a_note_is_on_disk_when_it_returns_and_an_event_when_it_is_drained(host: Host) -> None:
    log, before = log_of(host), utcnow()
    log.noted("unrestricted", ACTING, {"reason": "été \0"}, key_id="k" * 12)
    assert [(line["phase"], line["kind"]) for line in spooled(log)] == [("noted", "unrestricted")]
    log.noted("other", Acting("system"), {})
    (event,) = notes(host)
    assert len(event.id) == 32 and before <= event.occurred_at <= utcnow()
    assert (event.project, event.environment, event.kind) == ("default", "master", "unrestricted")
    assert (event.actor, event.key_id, event.outcome, event.reason) == (ACTING.actor, "k" * 12, "allowed", None)
    assert (event.remote_address, event.user_agent, event.request_id) == ("192.0.2.1", "test/1", "r-1")
    assert (event.method, event.route, event.path, event.status, event.duration_ms) == (None, None, None, None, None)
    assert (event.count, event.truncated, event.streamed, event.details) == (1, False, False, {"reason": "été \ufffd"})
    (other,) = notes(host, "other")
    assert (other.actor, other.key_id, other.details) == ("system", None, {})
    assert host.events() == []


def test_a_note_keeps_to_the_longest_line_of_the_settings(make_host: MakeHost) -> None:
    host = make_host(ARCHIE_KEYS_AUDIT={"max_record": 1024})
    log = log_of(host)
    log.noted("unrestricted", Acting("é" * 300, "é" * 300, "é" * 300, "é" * 300), {"reason": "é" * 300})
    (path,) = log.spool.directory.glob("*.jsonl")
    assert len(path.read_bytes()) <= 1024
    (event,) = notes(host)
    assert event.truncated and event.details == {"reason": "é" * 32 + "…", "truncated": True}


def test_a_note_that_is_read_twice_is_one_event(host: Host) -> None:
    log = log_of(host)
    line = noted_line("0" * 32, time.time_ns(), SCOPE, "unrestricted", ACTING, key_id=None, details=WHY)
    log.spool.directory.mkdir(mode=0o700, parents=True)
    for content in (line, line * 2, line + line.replace(b"0" * 32, b"1" * 32)):
        (log.spool.directory / "host-1-dead.jsonl").write_bytes(content)
        log.drain()
    assert [(event.id, event.details) for event in notes(host)] == [("1" * 32, WHY), ("0" * 32, WHY)]


def test_a_note_is_no_use_of_a_key(host: Host) -> None:
    key_id = host.create().key.id
    log_of(host).noted("unrestricted", ACTING, WHY, key_id=key_id)
    assert [event.key_id for event in notes(host)] == [key_id]
    with host.app.app_context():
        traffic = host.keys.traffic(key_id)
    assert traffic.last_used_at is None and sum(count.requests for count in traffic.counts) == 0


def test_notes_are_written_where_the_audit_of_requests_is_off(make_host: MakeHost, url: str) -> None:
    host = make_host(url, ARCHIE_KEYS_AUDIT={"enabled": False})
    log_of(host).noted("unrestricted", ACTING, WHY)
    assert [event.details for event in notes(host)] == [WHY]


@pytest.mark.parametrize("enabled", [True, False])
def test_a_note_starts_the_thread_that_drains_it(make_host: MakeHost, enabled: bool) -> None:
    settings = {"enabled": enabled, "background": True, "interval": timedelta(milliseconds=20)}
    host = make_host(ARCHIE_KEYS_AUDIT=settings)
    log_of(host).noted("unrestricted", ACTING, WHY)
    deadline = time.monotonic() + 20
    while not host.sql("SELECT 1 FROM archie_audit_events WHERE kind = 'unrestricted'"):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _folder_is_a_file(log: AuditLog) -> None:
    log.spool.directory.parent.mkdir(parents=True, exist_ok=True)
    log.spool.directory.touch()


def _folder_is_open_to_others(log: AuditLog) -> None:
    log.spool.directory.mkdir(parents=True)
    log.spool.directory.chmod(0o777)


def _spool_is_full(log: AuditLog) -> None:
    log.spool.directory.mkdir(mode=0o700, parents=True)
    (log.spool.directory / "host-1-dead.jsonl").write_bytes(b"x" * 70_000)


def _disk_is_full(log: AuditLog) -> None:
    """The file is there; the kernel refuses the write."""
    log.noted("unrestricted", ACTING, {"reason": "the one before"})
    path: Path = next(log.spool.directory.glob("*.jsonl"))
    with open(path, "rb") as file:
        log.spool._close()
        log.spool._fd, log.spool._next_check = spool_module.os.dup(file.fileno()), time.monotonic_ns() + 10**12


@pytest.mark.parametrize("on_failure", ["closed", "open"])
@pytest.mark.parametrize("fail", [_folder_is_a_file, _folder_is_open_to_others, _spool_is_full, _disk_is_full])
def test_what_cannot_be_noted_must_not_be_done(
    make_host: MakeHost, fail: Callable[[AuditLog], None], on_failure: str
) -> None:
    """Whatever the setting says: it is about requests."""
    log = log_of(make_host(ARCHIE_KEYS_AUDIT={"on_failure": on_failure, "max_spool": 65536, "max_file": 4096}))
    fail(log)
    with pytest.raises(AuditUnavailable):
        log.noted("unrestricted", ACTING, WHY)
    assert log.spool.dropped == 0
