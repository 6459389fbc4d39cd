from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_archie_keys.audit.event import BadLine, Request, completed_line, first_line, head, parse, to_ending, to_row

SCOPE = head("shop", "master")
texts = st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=3000)


def line(request: Request, **kwargs: object) -> bytes:
    given = {"key_id": "k" * 12, "outcome": "allowed", **kwargs}
    return first_line("0" * 32, "received", 1_700_000_000_000_000_000, SCOPE, request, **given)  # type: ignore[arg-type]


@given(st.tuples(texts, texts, texts, texts, texts, texts))
def test_any_request_is_one_bounded_line_of_ascii_json(facts: tuple[str | None, ...]) -> None:
    written = line(Request(*facts))
    assert written.isascii() and written.count(b"\n") == 1 and written.endswith(b"\n")
    assert len(written) <= 4096
    record = parse(written)
    for name, fact in zip(Request._fields, facts, strict=True):
        if fact is None:
            assert name not in record
        else:
            assert fact.startswith(record[name])
            assert record[name] == fact or record["truncated"] is True


def test_the_documented_form() -> None:
    request = Request("GET", "/orders/<n>", "/orders/7", "192.0.2.1", "curl/8", "r-1")
    assert json.loads(line(request)) == {
        "id": "0" * 32,
        "phase": "received",
        "ts": 1_700_000_000_000_000_000,
        "project": "shop",
        "environment": "master",
        "outcome": "allowed",
        "key_id": "k" * 12,
        "method": "GET",
        "route": "/orders/<n>",
        "path": "/orders/7",
        "remote_address": "192.0.2.1",
        "user_agent": "curl/8",
        "request_id": "r-1",
    }
    assert json.loads(completed_line("0" * 32, 200, 1500)) == {
        "id": "0" * 32,
        "phase": "completed",
        "status": 200,
        "duration_us": 1500,
    }
    changed = json.loads(completed_line("0" * 32, None, 1, outcome="denied", reason="missing_role", streamed=True))
    assert (changed["status"], changed["outcome"], changed["reason"]) == (None, "denied", "missing_role")


def test_control_characters_and_marks_of_direction_are_not_in_the_file() -> None:
    written = line(Request("GET", None, "/\r\n\x1b[31m\u202e\u2028\x85", None, None, None))
    assert all(32 <= byte < 127 for byte in written[:-1])


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"x",
        b"[]",
        b"7",
        b"[" * 100_000,
        b'{"phase":"received"}',
        b'{"phase":"other","id":"x"}',
        b'{"phase":["received"]}',
        b'{"id":7,"phase":"completed","duration_us":1}',
        b'{"id":"x","phase":"completed","duration_us":"1"}',
        b'{"id":"x","phase":"completed","duration_us":true}',
        b'{"id":"x","phase":"completed","duration_us":-1}',
        b'{"id":"x","phase":"completed","duration_us":99999999999999999999}',
        b'{"id":"x","phase":"received","ts":1.5,"project":"p","environment":"e","outcome":"allowed"}',
        b'{"id":"\xff"}',
    ],
)
def test_other_lines_are_bad(bad: bytes) -> None:
    with pytest.raises(BadLine):
        parse(bad)


def test_rows_have_every_column_and_nothing_that_databases_refuse() -> None:
    row = to_row(parse(line(Request("GET", None, "/a\0b", None, "x" * 999, None))))
    assert (row["occurred_at"], row["kind"], row["count"], row["truncated"]) == (
        1_700_000_000_000_000,
        "request",
        1,
        True,
    )
    assert row["path"] == "/a\ufffdb" and len(row["user_agent"]) == 256
    assert row["status"] is None and row["duration_us"] is None
    assert to_ending(parse(completed_line("x", 204, 7)))["status"] == 204
