"""The pages about the audit log: filters, chart, one event, files; and who may see them."""

from __future__ import annotations

import csv
import io
import json
from datetime import timedelta
from typing import Any

import pytest

from flask_archie_keys import require_api_key
from flask_archie_keys.domain.clock import utcnow
from flask_archie_keys.domain.permissions import Grant

from ...conftest import MakeHost
from .console import HOSTILE, Console, links, ok, text_of


@pytest.fixture
def console(make_host: MakeHost) -> Console:
    """A console with one key's request that was let in, one that was denied, and one with a bad key."""
    console = Console(make_host)
    host = console.host
    host.app.add_url_rule("/orders/<n>", "orders", require_api_key(resource="api_keys", action="read")(lambda n: n))
    host.save("clerk", Grant("api_keys", read=True, filter="owner = 'me'"))
    created = host.create("Warehouse", ("clerk",))
    console.key, console.secret = created.key, created.secret  # type: ignore[attr-defined]
    host.get("/orders/7", created.secret)
    host.get("/viewer", created.secret)
    host.get("/me", f"archie_{'a' * 12}_" + "b" * 38)
    return console


def key_of(console: Console) -> Any:
    return console.key  # type: ignore[attr-defined]


def routes(answer: Any) -> str:
    """The rows of the list."""
    table = answer.text.partition('class="archie-table archie-events"')[2].partition("</table>")[0]
    return text_of(type("Answer", (), {"text": table}))


def event_ids(answer: Any) -> list[str]:
    found = [link.rpartition("/")[2] for link in links(answer) if link.startswith("/settings/audit/")]
    return [each for each in found if len(each) == 32]


# -- the list


def test_the_newest_events_come_first(console: Console) -> None:
    rows = routes(ok(console.get("/audit")))
    assert rows.index("/me") < rows.index("/viewer") < rows.index("/orders/7") < rows.index("key.created")
    assert "refused" in rows and "denied" in rows and "allowed" in rows and "missing_role" in rows


@pytest.mark.parametrize(
    ("query", "there", "not_there"),
    [
        ({"outcome": "denied"}, "/viewer", "/orders/7"),
        ({"reason": "bad_checksum"}, "/me", "/viewer"),
        ({"status": "403"}, "/viewer", "/me"),
        ({"kind": "key.created"}, "key.created", "GET"),
        ({"route": "/orders/<n>"}, "/orders/7", "/viewer"),
        ({"method": "GET"}, "/orders/7", "key.created"),
        ({"since": "2000-01-01T00:00"}, "/orders/7", "nothing"),
        ({"since": "2000-01-01T00:00:00", "until": ""}, "/orders/7", "nothing"),
    ],
)
def test_filters(console: Console, query: dict[str, str], there: str, not_there: str) -> None:
    answer = ok(console.get("/audit", **query))
    assert there in routes(answer) and not_there not in routes(answer)
    for name, value in query.items():
        assert f'name="{name}"' in answer.text
        assert not value or f'value="{value}"'.replace("<", "&lt;").replace(">", "&gt;") in answer.text, "it stays"


def test_the_events_of_a_key_and_of_its_lineage(console: Console) -> None:
    old = key_of(console)
    with console.host.app.app_context():
        new = console.host.keys.service.rotate(old.id).key
    answer = ok(console.get("/audit", key=new.id))
    assert "/orders/7" not in routes(answer) and "Events of one key: Warehouse" in text_of(answer)
    answer = ok(console.get("/audit", key=new.id, lineage="1"))
    assert "/orders/7" in routes(answer) and "checked" in answer.text


def test_a_key_that_is_pasted_whole_is_not_shown_again(console: Console) -> None:
    secret = console.secret  # type: ignore[attr-defined]
    answer = ok(console.get("/audit", key=secret))
    assert secret not in answer.text and secret[-38:] not in answer.text
    assert f'value="{key_of(console).id}"' in answer.text and "/orders/7" in routes(answer)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"status": "abc"}, "must be an HTTP status"),
        ({"status": "-1"}, "must be an HTTP status"),
        ({"status": "²²²"}, "must be an HTTP status"),
        ({"since": "yesterday"}, "must be a date and a time"),
        ({"until": "9999-99-99T00:00"}, "must be a date and a time"),
        ({"key": "short"}, "key must be a key id"),
        ({"outcome": "lost"}, "outcome must be one of"),
        ({"route": "a\x00b"}, "route"),
        ({"cursor": "forged"}, "cursor"),
    ],
)
def test_filters_that_cannot_be(console: Console, query: dict[str, str], said: str) -> None:
    answer = ok(console.get("/audit", **query), 400)
    assert said in text_of(answer) and not event_ids(answer)


@pytest.mark.parametrize("name", ["key", "kind", "reason", "status", "method", "route", "since", "until", "outcome"])
def test_hostile_text_in_a_filter_is_text(console: Console, name: str) -> None:
    answer = console.get("/audit", **{name: HOSTILE})
    ok(answer, answer.status_code)
    assert answer.status_code in (200, 400)


def test_times_far_away_are_no_mistake(console: Console) -> None:
    assert "No event is like that" in text_of(ok(console.get("/audit", since="9999-12-31T23:59:59")))
    ok(console.get("/audit", since="0001-01-01T00:00:00", until="9999-12-31T23:59:59+00:00"))
    ok(console.get("/audit", since="0001-01-01T00:00:00+14:00"))


def test_pages(console: Console) -> None:
    key = key_of(console)
    for _ in range(60):
        console.host.get("/me", console.secret)  # type: ignore[attr-defined]
    first = ok(console.get("/audit", key=key.id, outcome="allowed"))
    assert len(event_ids(first)) == 50
    (older,) = [link for link in links(first) if "cursor=" in link]
    assert f"key={key.id}" in older and "outcome=allowed" in older
    second = ok(console.client.get(older))
    assert 10 <= len(event_ids(second)) < 50 and not set(event_ids(first)) & set(event_ids(second))
    assert "Newest events" in text_of(second)


def test_nothing_yet(make_host: MakeHost) -> None:
    console = Console(make_host)
    assert "Nothing has happened yet" in text_of(ok(console.get("/audit")))


# -- the chart


def test_the_chart_has_a_bar_for_each_interval(console: Console) -> None:
    since = (utcnow() - timedelta(minutes=5)).strftime("%Y-%m-%dT%H:%M:%S")
    answer = ok(console.get("/audit", since=since, kind="request"))
    assert answer.text.count("data-since=") >= 30
    for outcome in ("allowed", "denied", "refused"):
        assert f'class="archie-bar-{outcome}"' in answer.text
    assert "allowed 1 denied 1 refused 1" in text_of(answer)
    assert '<form class="archie-card archie-filters" id="event-filters" method="get"' in answer.text


def test_each_interval_of_the_table_leads_to_a_closer_look(console: Console) -> None:
    answer = ok(console.get("/audit", outcome="denied"))
    narrower = [link for link in links(answer) if "since=" in link and "until=" in link]
    assert narrower and all("outcome=denied" in link for link in narrower)
    assert "/viewer" in routes(ok(console.client.get(narrower[0])))


# -- one event


def test_an_event_with_its_permission_decision(console: Console) -> None:
    (event_id,) = event_ids(ok(console.get("/audit", route="/orders/<n>")))
    answer = ok(console.get(f"/audit/{event_id}"))
    text = text_of(answer)
    assert "Permission decisions" in text and "api_keys read allowed owner = 'me'" in text
    for said in ("/orders/<n>", "/orders/7", "Status 200", "Warehouse", key_of(console).id, event_id, "werkzeug"):
        assert said.lower() in text.lower(), said
    assert any(f"key={key_of(console).id}" in link for link in links(answer))


def test_an_event_of_a_change_shows_its_details(console: Console) -> None:
    (event_id,) = event_ids(ok(console.get("/audit", kind="role.saved")))
    text = text_of(ok(console.get(f"/audit/{event_id}")))
    assert '"name": "clerk"' in text and "Permission decisions" not in text


@pytest.mark.parametrize(
    "details", [{"permissions": "x"}, {"permissions": [1]}, {"permissions": []}, {HOSTILE: HOSTILE}]
)
def test_details_of_another_form(console: Console, details: dict[str, object]) -> None:
    from flask_archie_keys.domain.principals import Acting

    with console.host.app.app_context():
        console.host.keys.audit.noted("odd", Acting("system"), details)
    (event_id,) = event_ids(ok(console.get("/audit", kind="odd")))
    ok(console.get(f"/audit/{event_id}"))


def test_hostile_text_of_a_request_is_text(console: Console) -> None:
    console.host.client.get(
        "/orders/%22%3E%3Cimg%20src=x%20onerror=alert(1)%3E",
        headers={"User-Agent": HOSTILE.encode("latin-1", "ignore").decode(), "X-Request-ID": "<img src=x>"},
        environ_overrides={"HTTP_AUTHORIZATION": f"Bearer {console.secret}"},  # type: ignore[attr-defined]
    )
    answer = ok(console.get("/audit", route="/orders/<n>"))
    answer = ok(console.get(f"/audit/{event_ids(answer)[0]}"))
    assert "&lt;img src=x" in answer.text


@pytest.mark.parametrize("event_id", ["0" * 32, "x", "..", "%00", "<img src=x>"])
def test_an_event_that_is_not_there(console: Console, event_id: str) -> None:
    assert console.get(f"/audit/{event_id}").status_code in (404, 308)


# -- files


def test_files_have_what_is_filtered(console: Console) -> None:
    answer = console.get("/audit.csv", outcome="denied")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [row["path"] for row in rows] == ["/viewer"] and answer.mimetype == "text/csv"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="audit.csv"'
    answer = console.get("/audit.ndjson", key=key_of(console).id, kind="request")
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert [line["path"] for line in lines] == ["/viewer", "/orders/7"]
    assert answer.headers["Content-Type"] == "application/x-ndjson" and answer.headers["Cache-Control"] == "no-store"


def test_the_page_leads_to_the_files_of_its_filters(console: Console) -> None:
    found = links(ok(console.get("/audit", outcome="denied", since="2020-01-01T00:00")))
    for form in ("csv", "ndjson"):
        (link,) = [each for each in found if each.startswith(f"/settings/audit.{form}")]
        assert "outcome=denied" in link and "since=2020-01-01T00:00" in link.replace("%3A", ":")


@pytest.mark.parametrize("query", [{"status": "abc"}, {"since": "x"}, {"key": "short"}, {"outcome": "lost"}])
def test_files_of_filters_that_cannot_be(console: Console, query: dict[str, str]) -> None:
    assert console.get("/audit.csv", **query).status_code == 400
    assert console.get("/audit.xlsx").status_code == 404


# -- who may see it

PAGES = ("/audit", "/audit.csv", "/audit.ndjson", f"/audit/{'0' * 32}", "/audit?status=abc")


@pytest.mark.parametrize("path", PAGES)
def test_without_a_grant_there_is_nothing(console: Console, path: str) -> None:
    console.roles = ("viewer",)
    answer = console.get(path)
    assert answer.status_code == 403 and "/orders/7" not in answer.text
    console.roles = None
    assert console.get(path).status_code == 401


def test_some_events_only(console: Console) -> None:
    (hidden,) = event_ids(ok(console.get("/audit", outcome="denied")))
    console.host.save("some", Grant("audit_events", read=True, filter="outcome = 'refused'"))
    console.roles = ("some",)
    answer = ok(console.get("/audit"))
    assert len(event_ids(answer)) == 1 and "/viewer" not in answer.text
    assert "allowed 0 denied 0 refused 1" in text_of(answer)
    assert console.get(f"/audit/{hidden}").status_code == 404
    assert "/viewer" not in console.get("/audit.csv").text


def test_keys_that_may_not_be_seen_are_not_named(console: Console) -> None:
    console.host.save("auditor", Grant("audit_events", read=True))
    console.host.save("half", Grant("audit_events", read=True), Grant("api_keys", read=True, filter="name = 'other'"))
    for role in ("auditor", "half"):
        console.roles = (role,)
        answer = ok(console.get("/audit", key=key_of(console).id, kind="request"))
        assert key_of(console).id in routes(answer) and "Events of one key" not in text_of(answer)
        detail = ok(console.get(f"/audit/{event_ids(answer)[0]}"))
        assert "Warehouse" not in detail.text


def test_nothing_changes_by_these_pages(console: Console) -> None:
    for path in PAGES:
        assert console.post(path).status_code == 405


def test_a_key_page_leads_to_all_of_its_events(console: Console) -> None:
    found = links(ok(console.get(f"/api-keys/{key_of(console).id}")))
    (link,) = [each for each in found if each.startswith("/settings/audit?")]
    assert f"key={key_of(console).id}" in link and "lineage=1" in link
    console.host.save("keeper", Grant("api_keys", read=True))
    console.roles = ("keeper",)
    assert not [each for each in links(ok(console.get(f"/api-keys/{key_of(console).id}"))) if "audit" in each]
