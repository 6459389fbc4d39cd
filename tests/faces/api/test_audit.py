"""The audit log in the JSON API: as a page of JSON, as CSV and as NDJSON."""

from __future__ import annotations

import csv
import io
import json
import re
from typing import Any

import pytest

from flask_archie_keys.domain.permissions import Grant

from .conftest import Api, MakeApi, problem

MEMBERS = [
    *("id", "occurredAt", "project", "environment", "kind", "keyId", "actor", "outcome", "reason", "method", "route"),
    *("path", "status", "durationMs", "remoteAddress", "userAgent", "requestId", "count", "truncated", "streamed"),
    "details",
]


def test_events_as_a_page_of_json(api: Api) -> None:
    made = api.make(roles=["viewer"])
    answer = api.get("/audit?limit=1&kind=key.created")
    assert answer.status_code == 200 and answer.headers["Cache-Control"] == "no-store"
    (event,) = answer.json["data"]
    assert list(event) == MEMBERS
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", event["occurredAt"])
    known = {name: event[name] for name in ("kind", "keyId", "actor", "project", "environment", "outcome", "details")}
    assert known == {
        "kind": "key.created",
        "keyId": made["id"],
        "actor": f"key:{api.admin.key.id}",
        "project": "default",
        "environment": "master",
        "outcome": "allowed",
        "details": {"name": "made", "roles": ["viewer"]},
    }
    pagination = answer.json["meta"]["pagination"]
    assert (pagination["limit"], pagination["hasNextPage"]) == (1, True)
    after = api.get(f"/audit?limit=1&kind=key.created&cursor={pagination['nextCursor']}").json
    assert [event["keyId"] for event in after["data"]] == [api.admin.key.id]
    assert after["meta"] == {"pagination": {"limit": 1, "hasNextPage": False, "nextCursor": None}}


def found(api: Api, query: str) -> list[tuple[Any, ...]]:
    answer = api.get(f"/audit?{query}")
    assert answer.status_code == 200, answer.text
    return [(e["kind"], e["keyId"], e["outcome"], e["status"]) for e in answer.json["data"]]


def test_filters(api: Api) -> None:
    old = api.make("old")
    new = api.post(f"/keys/{old['id']}/rotate", {}).json["data"]
    bad = f"{old['secret'][:-1]}{'a' if old['secret'][-1] != 'a' else 'b'}"
    assert api.get("/me", key=bad).status_code == 401
    assert api.get("/keys", key=new["secret"]).status_code == 403
    refused_ = ("request", None, "refused", 401)
    denied = ("request", new["id"], "denied", 403)
    assert [e[:3] for e in found(api, f"key={new['id']}")] == [denied[:3], ("key.created", new["id"], "allowed")]
    assert {e[1] for e in found(api, f"key={new['id']}&lineage=true")} == {old["id"], new["id"]}
    assert found(api, "outcome=refused") == found(api, "reason=bad_checksum") == [refused_]
    assert found(api, "status=403") == found(api, "outcome=denied&route=/archie/v1/keys") == [denied]
    assert found(api, "method=PATCH") == found(api, "until=2001-01-01T00:00:00Z") == []
    assert found(api, "since=2001-01-01T00:00:00%2B01:00&outcome=refused") == [refused_]


WRONG = [
    *("key=x", "key=%00", "key=", "lineage=maybe", "outcome=no", "status=x", "status=1000", "status=-1"),
    *("since=yesterday", "since=2001-01-01T00:00:00", "until=2001-01-01T00:00:00", "since=2001-01-01T00:00:00+01:00"),
    *("reason=%00", "route=%00", "method=%00", "kind=%00", "route=" + "a" * 5000, "limit=0", "limit=201", "cursor=x"),
    *(
        "outcome=null",
        "status=NULL",
        "since=null",
        "until=Null",
        "actor=x",
        "since=0001-01-01T00:00:00%2B14:00&since=x",
    ),
]


@pytest.mark.parametrize("media_type", ["application/json", "text/csv", "application/x-ndjson"])
def test_a_wrong_query_is_a_bad_request_in_every_form(api: Api, media_type: str) -> None:
    for query in WRONG:
        problem(api.get(f"/audit?{query}", Accept=media_type), 400, "bad-request")


def test_times_at_the_ends_of_the_calendar_are_no_failure(api: Api) -> None:
    for moment in ("0001-01-01T00:00:00%2B14:00", "9999-12-31T23:59:59-14:00"):
        for name in ("since", "until"):
            assert api.get(f"/audit?{name}={moment}").status_code in (200, 400), moment


HOSTILE = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", 'a"b,c', "'=1"]


def test_csv_has_a_line_an_event_and_no_formula(api: Api) -> None:
    for number, agent in enumerate(HOSTILE):
        environ = {"HTTP_USER_AGENT": agent, "HTTP_X_REQUEST_ID": str(number)}
        api.host.app.test_client().get("/me", environ_overrides=environ)
    answer = api.get("/audit?outcome=refused&limit=1", Accept="text/csv")
    assert answer.status_code == 200 and answer.content_type == "text/csv; charset=utf-8"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="audit.csv"'
    assert answer.headers["Cache-Control"] == "no-store"
    header, *lines = csv.reader(io.StringIO(answer.text, newline=""), strict=True)
    assert header == MEMBERS and len(lines) == len(HOSTILE)  # all of them, whatever the limit
    assert [line[MEMBERS.index("requestId")] for line in lines] == [str(n) for n in range(len(HOSTILE))][::-1]
    for line, agent in zip(lines[::-1], HOSTILE, strict=True):
        cell = line[MEMBERS.index("userAgent")]
        assert not cell.startswith(("=", "+", "-", "@", "\t", "\r", "＝")), cell
        assert agent[0] in "=+-@\t＝" or cell[0] == agent[0]
    assert lines[0][MEMBERS.index("truncated")] == "false" and lines[0][MEMBERS.index("details")] == ""


def test_ndjson_has_an_object_a_line(api: Api) -> None:
    for _ in range(3):
        api.make("a\u2028b")
    answer = api.get("/audit?kind=key.created&limit=1", Accept="application/x-ndjson")
    assert answer.content_type == "application/x-ndjson"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="audit.ndjson"'
    lines = answer.data.split(b"\n")
    assert lines.pop() == b"" and len(lines) == 4
    assert [list(json.loads(line)) for line in lines] == [MEMBERS] * 4
    assert json.loads(lines[0])["details"]["name"] == "a\u2028b"


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("*/*", "application/json"),
        ("", "application/json"),
        ("text/html", "application/json"),
        ("text/*", "text/csv"),
        ("text/csv;q=0.5, application/json", "application/json"),
        ("application/x-ndjson, */*;q=0.1", "application/x-ndjson"),
        ("\\;;q=x,,", "application/json"),
    ],
)
def test_the_form_is_what_accept_asks_for(api: Api, accept: str, media_type: str) -> None:
    answer = api.get("/audit?limit=1", Accept=accept)
    assert (answer.status_code, answer.mimetype) == (200, media_type)


def test_an_export_of_nothing_has_a_header(api: Api) -> None:
    assert api.get("/audit?reason=none", Accept="text/csv").text == ",".join(MEMBERS) + "\r\n"
    assert api.get("/audit?reason=none", Accept="application/x-ndjson").text == ""


@pytest.mark.parametrize("media_type", ["application/json", "text/csv", "application/x-ndjson"])
def test_events_need_their_grant(api: Api, media_type: str) -> None:
    secret = api.with_grants(Grant("api_keys", read=True), Grant("audit_events", write=True))
    answer = api.get("/audit", key=secret, Accept=media_type)
    problem(answer, 403, "forbidden")
    assert answer.headers["WWW-Authenticate"].endswith('scope="audit_events:read"')


def test_a_filter_hides_events_in_every_form(make_api: MakeApi, url: str) -> None:
    api = make_api(url)
    secret = api.with_grants(Grant("audit_events", read=True, filter="method = 'POST'"))
    api.make()
    api.get("/me")
    page = api.get("/audit", key=secret).json["data"]
    lines = api.get("/audit", key=secret, Accept="application/x-ndjson").text.splitlines()
    rows = list(csv.DictReader(io.StringIO(api.get("/audit", key=secret, Accept="text/csv").text)))
    for events in (page, [json.loads(line) for line in lines], rows):
        assert {event["method"] for event in events} == {"POST"}
    assert {event["method"] for event in api.get("/audit").json["data"]} == {"POST", "GET", None}


def test_events_of_other_environments_are_not_there(make_api: MakeApi) -> None:
    two = {"master": {}, "staging": {}}
    api = make_api(ARCHIE_KEYS_ENVIRONMENTS=two, ARCHIE_KEYS_ENVIRONMENT_HEADER="environment")
    with api.host.app.app_context():
        staging = api.host.keys.for_environment("staging").service.create(name="staging", roles=["admin"])
    for media_type in ("application/json", "application/x-ndjson"):
        assert api.admin.key.id not in api.get("/audit", key=staging.secret, environment="staging").text
        assert staging.key.id not in api.get("/audit", Accept=media_type).text
