"""What the decision point of the tests answers: the examples of the specification, and what is wrong with answers."""

from __future__ import annotations

import json
from typing import NamedTuple

TOKEN = "mF_9." + "B5f-4.1JqM"
EVALUATION = "/access/v1/evaluation"

# -- from the specification, to the letter; OpenID AuthZEN Authorization API 1.0, (c) 2026 The OpenID Foundation

#: Section 10.1, the example of an HTTPS access evaluation request.
SPECIFIED_HEADERS = {
    "Content-Type": "application/json",
    "Authorization": f"Bearer {TOKEN}",
    "X-Request-ID": "bfe9eb29-ab87-4ca3-be83-a1d5d8305716",
}
SPECIFIED_REQUEST = b"""\
{
  "subject": {
    "type": "user",
    "id": "alice@example.com"
  },
  "resource": {
    "type": "todo",
    "id": "1"
  },
  "action": {
    "name": "can_read"
  },
  "context": {
    "time": "1985-10-26T01:22-07:00"
  }
}
"""
#: Section 6.1, the example of a request.
SPECIFIED_REQUEST_WITH_PROPERTIES = b"""\
{
  "subject": {
    "type": "user",
    "id": "alice@example.com"
  },
  "resource": {
    "type": "account",
    "id": "123"
  },
  "action": {
    "name": "can_read",
    "properties": {
      "method": "GET"
    }
  },
  "context": {
    "time": "1985-10-26T01:22-07:00"
  }
}
"""
#: Section 5.5, the examples of decisions, by the resource that gets them; the last is of section 7.2.
SPECIFIED_DECISIONS = {
    "example_of_a_decision": b"""\
{
  "decision": true
}
""",
    "example_of_reasons": b"""\
{
  "decision": false,
  "context": {
    "reason_admin": {
      "403": "Request failed policy C076E82F"
    },
    "reason_user": {
      "403": "Insufficient privileges. Contact your administrator"
    }
  }
}
""",
    "example_of_metadata": b"""\
{
  "decision": false,
  "context": {
    "metadata": {
      "response_time": 60,
      "response_time_unit": "ms"
    },
    "environment": {
      "ip": "10.10.0.1",
      "datetime": "2025-06-27T18:03-07:00",
      "os": "ubuntu24.04.2LTS-AMDx64"
    }
  }
}
""",
    "example_of_step_up": b"""\
{
  "decision": false,
  "context": {
    "acr_values": "urn:com:example:loa:3",
    "amr_values": "mfa hwk"
  }
}
""",
    "example_of_a_reason": b"""\
{
  "decision": false,
  "context": {
    "reason": "Subject is a viewer of the resource"
  }
}
""",
}

# -- what is wrong, by the name of the resource that gets it

ALL_ROWS = b'{"decision": true}'
#: Documents that are no decision, or not for sure. Who lets one of these pass lets too much pass.
WRONG_DOCUMENTS: dict[str, bytes] = {
    "nothing": b"",
    "no_json": b"yes",
    "a_list": b'[{"decision": true}]',
    "a_word": b"true",
    "null": b"null",
    "half": b'{"decision": true, "context": {"filter": "id = 1"',
    "two": b'{"decision": true} {"decision": false}',
    "utf_16": ALL_ROWS.decode().encode("utf-16"),
    "a_mark_first": b"\xef\xbb\xbf" + ALL_ROWS,
    "latin_1": '{"decision": true, "context": {"reason": "\xe9"}}'.encode("latin-1"),
    "not_a_number": b'{"decision": true, "context": {"risk": NaN}}',
    "infinity": b'{"decision": true, "context": {"risk": -Infinity}}',
    "a_huge_number": b'{"decision": true, "context": {"risk": ' + 5000 * b"9" + b"}}",
    "deep": b'{"decision": true, "context": {"deep": ' + 30_000 * b"[" + 30_000 * b"]" + b"}}",
    "no_decision": b'{"context": {}}',
    "decision_null": b'{"decision": null}',
    "decision_one": b'{"decision": 1}',
    "decision_text": b'{"decision": "true"}',
    "decision_other_case": b'{"Decision": true}',
    "decision_list": b'{"decision": [true]}',
    "decision_object": b'{"decision": {"allow": true}}',
    "decision_twice": b'{"decision": false, "decision": true}',
    "decision_twice_escaped": b'{"decision": false, "deci\\u0073ion": true}',
    "context_null": b'{"decision": true, "context": null}',
    "context_list": b'{"decision": true, "context": []}',
    "context_text": b'{"decision": true, "context": "id = 1"}',
    "context_twice": b'{"decision": true, "context": {"filter": "id = 1"}, "context": {}}',
    "filter_null": b'{"decision": true, "context": {"filter": null}}',
    "filter_empty": b'{"decision": true, "context": {"filter": ""}}',
    "filter_blank": b'{"decision": true, "context": {"filter": " "}}',
    "filter_empty_list": b'{"decision": true, "context": {"filter": []}}',
    "filter_true": b'{"decision": true, "context": {"filter": true}}',
    "filter_number": b'{"decision": true, "context": {"filter": 0}}',
    "filter_object": b'{"decision": true, "context": {"filter": {"region": "eu"}}}',
    "filter_list_with_null": b'{"decision": true, "context": {"filter": ["id = 1", null]}}',
    "filter_list_with_empty": b'{"decision": true, "context": {"filter": ["id = 1", ""]}}',
    "filter_list_in_list": b'{"decision": true, "context": {"filter": [["id = 1"]]}}',
    "filter_twice": b'{"decision": true, "context": {"filter": "id = 1", "filter": "id = 2"}}',
    "filter_half": b'{"decision": true, "context": {"filter": "region ="}}',
    "filter_true_text": b'{"decision": true, "context": {"filter": "1 = 1"}}',
    "filter_sql": b'{"decision": true, "context": {"filter": "id IN (SELECT id FROM orders)"}}',
    "filter_comment": b'{"decision": true, "context": {"filter": "id = 1 -- AND region = \'eu\'"}}',
    "filter_second_bad": b'{"decision": true, "context": {"filter": ["id = 1", "id = "]}}',
    "filters_too_many": json.dumps(
        {"decision": True, "context": {"filter": [f"id = {number}" for number in range(21)]}}
    ).encode(),
    "filters": b'{"decision": true, "context": {"filters": ["id = 1"]}}',
    "filter_upper_case": b'{"decision": true, "context": {"Filter": "id = 1"}}',
    "row_filter": b'{"decision": true, "context": {"row_filter": "id = 1"}}',
    "row_filter_beside": b'{"decision": true, "context": {"filter": "id = 1", "rowFilters": ["id = 2"]}}',
    "filter_outside": b'{"decision": true, "filter": "id = 1"}',
}


class Answer(NamedTuple):
    """An answer that is wrong before one reads it."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "application/json"),)
    body: bytes = ALL_ROWS


JSON = ("Content-Type", "application/json")
STATUSES = (201, 202, 203, 206, 300, 301, 302, 303, 307, 308, 400, 401, 403, 404, 409, 418, 429, 500, 502, 503, 504)
WRONG_ANSWERS: dict[str, Answer] = {
    **{f"status_{status}": Answer(status, (JSON, ("Location", EVALUATION))) for status in STATUSES},
    "type_html": Answer(headers=(("Content-Type", "text/html"),)),
    "type_text": Answer(headers=(("Content-Type", "text/plain; charset=application/json"),)),
    "type_like": Answer(headers=(("Content-Type", "application/json-seq"),)),
    "type_none": Answer(headers=()),
    "type_twice": Answer(headers=(JSON, ("Content-Type", "text/html"))),
    "another_question": Answer(headers=(JSON, ("X-Request-ID", "bfe9eb29-ab87-4ca3-be83-a1d5d8305716"))),
    "compressed": Answer(headers=(JSON, ("Content-Encoding", "gzip")), body=b"\x1f\x8b\x08\x00"),
    "huge": Answer(body=ALL_ROWS + 70_000 * b" "),
}
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
#: Bytes on the wire that are no answer at all; the connection is closed behind them.
WRONG_BYTES: dict[str, bytes] = {
    "cut": b"",
    "cut_status": b"HTTP/1.1 200 O",
    "cut_headers": HEAD,
    "cut_body": HEAD + b"Content-Length: 40\r\n\r\n" + ALL_ROWS,
    "cut_chunk": HEAD + b"Transfer-Encoding: chunked\r\n\r\n12\r\n" + ALL_ROWS,
    "two_lengths": HEAD + b"Content-Length: 18\r\nContent-Length: 0\r\n\r\n" + ALL_ROWS,
    "no_http": b"220 mail.example ESMTP\r\n",
    "only_a_body": ALL_ROWS,
    "endless_headers": b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: x\r\n" % number for number in range(20_000)),
    "upgraded": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n" + ALL_ROWS,
}
#: What comes at once, and what then comes at 100 milliseconds each, for ten seconds.
SLOW: dict[str, tuple[bytes, list[bytes]]] = {
    "slow_silence": (b"", []),
    "slow_status": (b"", [b"%c" % c for c in HEAD]),
    "slow_headers": (HEAD, [b"%c" % c for c in b"X-A: 1\r\n" * 20]),
    "slow_hints": (b"", [b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"] * 100),
    "slow_body": (HEAD + b"Content-Length: 40\r\n\r\n", [b"%c" % c for c in ALL_ROWS + 22 * b" "]),
    "slow_chunks": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", [b"1\r\n \r\n"] * 100),
    "slow_end": (HEAD + b"Content-Length: 19\r\n\r\n" + ALL_ROWS, []),
}
