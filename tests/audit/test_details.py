"""What else an event holds: bounded in the line, merged in the database, on every way into it."""

from __future__ import annotations

import json
import time
from collections import UserDict
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_archie_keys.audit.details import encode, to_column
from flask_archie_keys.audit.drain import Drained
from flask_archie_keys.audit.event import (
    BadLine,
    Request,
    completed_line,
    first_line,
    head,
    parse,
    to_ending,
    to_row,
)
from flask_archie_keys.audit.flood import FloodGate, Refused
from flask_archie_keys.audit.log import AuditLog
from flask_archie_keys.audit.management import record
from flask_archie_keys.domain.ids import new_event_id
from flask_archie_keys.domain.keytext import redact
from flask_archie_keys.domain.principals import Acting
from flask_archie_keys.store.audit import merged

from ..conftest import Host, MakeHost

SCOPE = head("default", "master")
REQUEST = Request("GET", "/x", "/x", "192.0.2.1", "test/1", None)
READ = {"resource": "orders", "action": "read", "decision": "allowed", "filter": "region = $context.region"}
UPDATE = {"resource": "orders", "action": "update", "decision": "denied", "why": "no grant"}
KEY = "archie_7f3Kq2Zt9bXa_" + "s" * 38
SHOWN = "archie_7f3Kq2Zt9bXa_…"

texts = st.text(max_size=300) | st.builds(lambda a, b: f"{a}{KEY}{b}", st.text(max_size=9), st.text(max_size=9))
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=30) | st.dictionaries(texts, inner, max_size=5),
    max_leaves=60,
)
some_details = st.dictionaries(texts, values, min_size=1, max_size=5)
facts = st.none() | st.text(max_size=3000)


def received(event_id: str, details: Mapping[str, object] | None = None, **kwargs: Any) -> bytes:
    given = {"key_id": "k" * 12, "outcome": "allowed", **kwargs}
    return first_line(event_id, "received", time.time_ns(), SCOPE, REQUEST, details=details, **given)


# -- the lines


@given(some_details, st.integers(1024, 65536), st.tuples(facts, facts, facts, facts, facts, facts))
def test_any_details_leave_the_lines_bounded_and_ascii(
    details: dict[str, Any], longest: int, request: tuple[str | None, ...]
) -> None:
    reason, largest = "r" * 64, 2**63 - 1
    first = first_line(
        "0" * 32,
        "refused",
        largest,
        head("p" * 64, "e" * 64),
        Request(*request),
        key_id="k" * 12,
        outcome="refused",
        reason=reason,
        status=503,
        duration_us=largest,
        count=10**9,
        details=details,
        longest=longest,
    )
    last = completed_line(
        "0" * 32, 500, largest, outcome="refused", reason=reason, streamed=True, details=details, longest=longest
    )
    for line in (first, last):
        assert line.isascii() and line.count(b"\n") == 1 and line.endswith(b"\n") and len(line) <= longest
        assert type(json.loads(line)["details"]) is dict
        assert len(parse(line)["details"]) <= len(encode(details, longest)) <= min(1024, longest // 4)


def test_the_documented_form() -> None:
    details = {"permissions": [READ, UPDATE]}
    for line in (received("0" * 32, details), completed_line("0" * 32, 200, 1, details=details)):
        assert json.loads(line)["details"] == details
    assert b'"details":{"permissions":[{"resource":"orders","action":"read",' in line


@pytest.mark.parametrize("nothing", [None, {}])
def test_a_line_without_details_has_no_such_member(nothing: dict[str, Any] | None) -> None:
    for line in (received("0" * 32, nothing), completed_line("0" * 32, 200, 1, details=nothing)):
        assert b"details" not in line


def test_entries_are_dropped_from_the_end() -> None:
    entries = [{**READ, "why": f"rule {n}"} for n in range(100)]
    written = encode({"permissions": entries, "more": [1, 2]}, 4096)
    found = json.loads(written)
    kept = len(found["permissions"])
    assert found == {"permissions": entries[:kept], "more": [], "truncated": True}
    assert len(written) > 1024 - len(json.dumps(entries[0])), "another one would not fit"
    tuples = encode({"permissions": tuple(entries)}, 4096)
    assert json.loads(tuples)["permissions"] == entries[:kept]


def test_texts_are_cut_before_entries_are_dropped() -> None:
    """A filter may have 2 000 characters; the decision must not go with it."""
    entry = {**READ, "filter": "region = 'x' OR " * 125}
    found = json.loads(encode({"permissions": [entry, UPDATE], "note": "n" * 2000}, 4096))
    assert found["permissions"] == [{**READ, "filter": ("region = 'x' OR " * 8) + "…"}, UPDATE]
    assert found["note"] == "n" * 128 + "…" and found["truncated"] is True


CIRCLE: dict[str, Any] = {}
CIRCLE["self"] = CIRCLE
DEEP: list[Any] = []
for _ in range(100_000):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    "details",
    [
        {"n" * 2000: 1},
        {"not": {"a": "list", "b": "x" * 100, **{f"c{n}": "y" * 100 for n in range(20)}}},
        {"not a number": float("nan")},
        {("a", "tuple"): 1},
        CIRCLE,
        {"deep": DEEP},
        {"too many digits": 10**5000},
    ],
    ids=range(7),
)
def test_what_cannot_be_told_is_said_to_be_missing(details: dict[Any, Any]) -> None:
    assert json.loads(encode(details, 4096)) == {"truncated": True}


def test_values_of_other_types_are_told_as_text() -> None:
    moment = datetime(2030, 1, 31, tzinfo=UTC)
    inner = MappingProxyType({"at": moment})
    assert json.loads(encode(UserDict({"a": inner, "b": (1, 2)}), 4096)) == {
        "a": {"at": "2030-01-31 00:00:00+00:00"},
        "b": [1, 2],
    }


@given(some_details)
def test_keys_lose_their_secret_wherever_they_stand(details: dict[str, Any]) -> None:
    written = encode(details, 4096)
    assert KEY not in written
    if "truncated" not in written:
        assert written == json.dumps(_redacted(details), separators=(",", ":"))


def _redacted(value: Any) -> Any:
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {redact(name): _redacted(member) for name, member in value.items()}
    return [_redacted(entry) for entry in value] if isinstance(value, list) else value


@pytest.mark.parametrize("before", ["", "\n", "\\", '"', "\\u", "é", "\0"])
def test_no_escape_hides_a_key(before: str) -> None:
    details = {f"{before}{KEY}{before}": [{"why": f"{before}{KEY}{before}"}]}
    shown = f"{before}{SHOWN}{before}"
    assert json.loads(encode(details, 4096)) == {shown: [{"why": shown}]}


@pytest.mark.parametrize("position", [0, 80, 100, 120, 127])
def test_no_cut_hides_a_key(position: int) -> None:
    """Half a secret would no longer look like one."""
    text = "x" * position + KEY + "y" * 2000
    assert "ssss" not in encode({"permissions": [{"why": text}]}, 4096)


# -- reading them back


def test_what_no_database_takes_is_replaced() -> None:
    assert to_column({"a\0": ["\0", "\ud800", "\\u0000", "\\\0", "\\\\u0000é😀"]}) == (
        '{"a\ufffd":["\ufffd","?","\\\\u0000","\\\\\ufffd","\\\\\\\\u0000é😀"]}'
    )
    line = received("0" * 32, {"why": "\0\ud800"})
    assert to_row(parse(line))["details"] == '{"why":"\ufffd?"}'
    assert to_ending(parse(completed_line("x", 200, 1, details={"why": "\0\ud800"})))["details"] == '{"why":"\ufffd?"}'
    assert to_row(parse(received("0" * 32)))["details"] is None


@pytest.mark.parametrize(
    "bad",
    [
        b"[]",
        b'"text"',
        b"7",
        b"true",
        b'{"a":NaN}',
        b'{"a":1e999}',
        b'{"a":"' + b"x" * 1020 + b'"}',
        b'{"a":' + b"[" * 600 + b"]" * 600 + b"}",
        b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
    ids=range(9),
)
def test_other_details_are_bad(bad: bytes) -> None:
    with pytest.raises(BadLine):
        parse(b'{"id":"x","phase":"completed","duration_us":1,"details":' + bad + b"}")


@pytest.mark.parametrize("nothing", [b"{}", b"null"])
def test_empty_details_are_none(nothing: bytes) -> None:
    record = parse(b'{"id":"x","phase":"completed","duration_us":1,"details":' + nothing + b"}")
    assert to_ending(record)["details"] is None


def test_later_details_go_over_earlier_ones_by_top_level_name() -> None:
    first, later = {"a": {"x": 1, "y": 2}, "b": [1, 2], "c": "é"}, {"a": {"x": 3}, "b": [], "d": None}
    assert json.loads(merged(json.dumps(first), json.dumps(later))) == {"a": {"x": 3}, "b": [], "c": "é", "d": None}
    assert merged(None, '{"a":1}') == '{"a":1}'


# -- into the database


@pytest.fixture(params=["as it is", "another driver", "another database"])
def host(request: pytest.FixtureRequest, make_host: MakeHost, url: str, monkeypatch: pytest.MonkeyPatch) -> Host:
    """On each engine: the fastest way in, the one without COPY, and the one that every database knows."""
    host = make_host(url)
    with host.app.app_context():
        dialect = host.db.engine.dialect
    if request.param != "as it is":
        monkeypatch.setattr(dialect, "driver", "another")
    if request.param == "another database":
        monkeypatch.setattr(dialect, "name", "another")
    return host


@pytest.fixture
def log(host: Host) -> AuditLog:
    with host.app.app_context():
        return host.keys.audit


def spool_file(log: AuditLog, content: bytes) -> Path:
    log.spool.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = log.spool.directory / "host-1-dead.jsonl"
    path.write_bytes(content)
    return path


def at_once(log: AuditLog, first: bytes, last: bytes) -> None:
    spool_file(log, first + last)
    assert log.drain() == Drained(lines=2, files=1)


def one_by_one(log: AuditLog, first: bytes, last: bytes) -> None:
    for line in (first, last):
        spool_file(log, line)
        assert log.drain() == Drained(lines=1, files=1)


def again(log: AuditLog, first: bytes, last: bytes) -> None:
    """As after a crash before the place was noted: the first line is there, then both come."""
    spool_file(log, first)
    log.drain()
    for _ in range(2):
        spool_file(log, first + last)
        assert log.drain() == Drained(lines=2, files=1)


@pytest.mark.parametrize("drained", [at_once, one_by_one, again])
@pytest.mark.parametrize(
    ("first", "last", "merged"),
    [
        ({"permissions": [READ]}, None, {"permissions": [READ]}),
        (None, {"permissions": [READ]}, {"permissions": [READ]}),
        ({"permissions": [READ], "kept": 1}, {"permissions": [UPDATE]}, {"permissions": [UPDATE], "kept": 1}),
        ({"a": {"x": 1, "y": [1]}}, {"a": {"y": []}, "b": "\0é😀"}, {"a": {"y": []}, "b": "\ufffdé😀"}),
        (None, None, {}),
    ],
    ids=range(5),
)
def test_the_end_of_a_request_adds_to_its_details(
    host: Host, log: AuditLog, drained: Callable[..., None], first: Any, last: Any, merged: dict[str, Any]
) -> None:
    other, event_id = new_event_id(time.time_ns() - 1_000_000), new_event_id()
    spool_file(log, received(other, {"other": 1}))
    log.drain()
    drained(log, received(event_id, first), completed_line(event_id, 200, 1, details=last))
    untouched, event = host.events()
    assert (event.id, event.status, event.details) == (event_id, 200, merged)
    assert (untouched.id, untouched.details) == (other, {"other": 1})


def test_many_ends_in_one_batch(host: Host, log: AuditLog) -> None:
    """More than a statement takes parameters for; some with details, some without, some of events that are unknown."""
    ids = [new_event_id() for _ in range(1203)]
    spool_file(log, b"".join(received(event_id, {"n": n}) for n, event_id in enumerate(ids)))
    log.drain()
    ends = [
        completed_line(event_id, 200, 1, details={"end": n} if n % 3 else None)
        for n, event_id in enumerate([*ids, new_event_id()])
    ]
    spool_file(log, b"".join(ends))
    assert log.drain() == Drained(lines=1204, files=1)
    rows = host.sql("SELECT id, details, status FROM archie_audit_events")
    assert {row[0]: (json.loads(row[1]), row[2]) for row in rows} == {
        event_id: ({"n": n, "end": n} if n % 3 else {"n": n}, 200) for n, event_id in enumerate(ids)
    }


def test_the_log_takes_details_of_requests(host: Host, log: AuditLog) -> None:
    now = time.time_ns()
    event_id = log.received(now, REQUEST, "k" * 12, details={"permissions": [READ], "kept": 1})
    log.completed(event_id, 200, now, details={"permissions": [READ, UPDATE]})
    log.refused(Refused(REQUEST, "k" * 12, "denied", "missing_grant", 403, now + 1000, {"permissions": [UPDATE]}))
    assert [event.details for event in host.events()] == [
        {"permissions": [READ, UPDATE], "kept": 1},
        {"permissions": [UPDATE]},
    ]


def test_details_keep_to_the_longest_line_of_the_settings(make_host: MakeHost) -> None:
    host = make_host(ARCHIE_KEYS_AUDIT={"max_record": 1024})
    with host.app.app_context():
        log = host.keys.audit
    many = {"permissions": [READ] * 9}
    event_id = log.received(time.time_ns(), REQUEST, "k" * 12, details=many)
    log.completed(event_id, 200, time.time_ns(), details=many)
    lines = b"".join(path.read_bytes() for path in log.spool.directory.glob("*.jsonl")).splitlines()
    assert [len(json.loads(line)["details"]["permissions"]) for line in lines] == [2, 2]


def test_what_stands_for_the_rest_of_a_flood_has_no_details() -> None:
    written: list[Refused] = []
    gate = FloodGate(0, lambda refused, count: written.append(refused))
    for n in range(65):
        request = REQUEST._replace(remote_address=f"192.0.2.{n}")
        gate.admit(Refused(request, None, "refused", "unknown", 401, 1, {"n": n}))
    gate.flush()
    assert [refused.details for refused in written] == [*({"n": n} for n in range(64)), None]


# -- events of changes


def test_a_change_of_a_role_has_no_key(host: Host, log: AuditLog) -> None:
    with host.app.app_context():
        state = host.app.extensions["archie_keys"].environment("master")
        for kind in ("role.saved", "role.deleted"):
            with state.database.write() as connection:
                record(connection, log.config, Acting("key:" + "k" * 12), kind, None, {"name": "clerk"})
        (event,) = log.find(kind="role.saved")
        assert (event.key_id, event.actor, event.details) == (None, "key:" + "k" * 12, {"name": "clerk"})
        assert [event.kind for event in log.find()] == ["role.deleted", "role.saved"]
