"""The pages about keys, request by request."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from flask_archie_keys.domain.keytext import parse

from .conftest import Console, MakeConsole, User, mistakes, secret_in


def test_the_list(console: Console, admin: User) -> None:
    console.host.create("Import", ("viewer",), context={"region": "eu", "live": True, "limit": 2.5, "shops": [1, 2]})
    console.host.create("Export", ("reader",), owner="ann")
    page = admin.get().text
    assert [page.count(name) for name in (">Import<", ">Export<")] == [1, 1]
    for value in ("region: eu", "live: true", "limit: 2.5", "shops: 1, 2"):
        assert f"<bdi>{value}</bdi>" in page
    for asked in ("q=exp", "q=ann", "role=reader", "status=active&q=export"):
        found = admin.get(f"/api-keys?{asked}").text
        assert (">Export<" in found, ">Import<" in found) == (True, False), asked
    assert "No key is like that" in admin.get("/api-keys?status=disabled").text


@pytest.mark.parametrize("asked", ["status=lost", "cursor=x", "q=%00"])
def test_a_question_that_cannot_be_is_a_page(admin: User, asked: str) -> None:
    answer = admin.get(f"/api-keys?{asked}")
    assert (answer.status_code, answer.mimetype) in ((400, "text/html"), (422, "text/html"))


def test_the_last_use_and_the_chart_are_of_the_same_moment(console: Console, admin: User) -> None:
    made = console.host.create("Used")
    console.host.get("/me", made.secret)
    page = admin.get().text
    assert "1 request in 24 hours" in page
    assert ">never<" not in page


def test_a_key_is_made(console: Console, admin: User) -> None:
    answer = admin.post(
        name="Nightly",
        prefix="night",
        roles=["regional", "viewer"],
        context_name=["region", "limit", "", "live", "tags"],
        context_kind=["text", "number", "text", "truth", "list"],
        context_value=["eu", "7", "", "True", "a, b"],
        expires="30",
        owner=" ann ",
        networks="10.0.0.0/8, 192.0.2.1\n",
    )
    assert answer.status_code == 201
    secret = secret_in(answer)
    assert f"Bearer {secret}" in answer.text
    key_id = parse(secret)
    assert key_id is not None and secret.startswith("night_")
    with console.host.app.app_context():
        key = console.host.keys.service.get(key_id)
    assert (key.name, sorted(key.roles), key.owner) == ("Nightly", ["regional", "viewer"], "ann")
    assert dict(key.context) == {"region": "eu", "limit": 7, "live": True, "tags": ("a", "b")}
    assert key.allowed_networks == ("10.0.0.0/8", "192.0.2.1/32")
    assert key.expires_at is not None and key.expires_at - key.created_at > timedelta(days=29)
    assert key.created_by == "user:admin"


def test_mistakes_keep_what_was_typed(console: Console, admin: User) -> None:
    typed: dict[str, Any] = {"prefix": "No!", "roles": "regional", "expires": "date", "expires_on": "2099-01-01T00:00"}
    answer = admin.post(name="", owner="ann", networks="nowhere", **typed)
    assert answer.status_code == 422
    assert {name for name, _ in mistakes(answer)} == {"name", "prefix", "allowed_networks"}
    for value in ("No!", "2099-01-01T00:00", "ann"):
        assert f'value="{value}"' in answer.text
    assert "nowhere</textarea>" in answer.text
    assert re.search(r'id="role-regional"[^>]* checked', answer.text)
    assert "<dialog" not in answer.text
    assert "<dialog" in admin.post(name="", in_dialog="1").text
    with console.host.app.app_context():
        assert list(console.host.keys.service.find()) == []


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        ("number", "seven", "limit: must be a number"),
        ("number", "nan", None),
        ("truth", "perhaps", "limit: must be true or false"),
    ],
)
def test_a_value_of_another_kind(admin: User, kind: str, value: str, message: str | None) -> None:
    answer = admin.post(name="x", context_name="limit", context_kind=kind, context_value=value)
    assert answer.status_code == 422
    ((field, said),) = mistakes(answer)
    assert field == "context" and said == (message or said) != ""
    assert f'value="{value}"' in answer.text


def test_a_name_that_is_there_twice(admin: User) -> None:
    answer = admin.post(name="x", context_name=["a", "a"], context_kind=["text", "text"], context_value=["1", "2"])
    assert mistakes(answer) == [("context", "a: is there twice")]


def test_a_variable_that_is_needed_gets_a_row(admin: User) -> None:
    answer = admin.post(name="x", roles="regional")
    assert answer.status_code == 422
    assert [field for field, _ in mistakes(answer)] == ["context"]
    assert '<input name="context_name" value="region"' in answer.text


def test_what_was_sent_twice_makes_one_key_and_shows_no_secret_again(console: Console, admin: User) -> None:
    first = admin.post(name="Once", request_id="a-1")
    second = admin.post(name="Once", request_id="a-1")
    assert (first.status_code, second.status_code) == (201, 409)
    assert secret_in(first) not in second.text
    assert "This key was made already" in second.text
    with console.host.app.app_context():
        assert len(list(console.host.keys.service.find(q="Once"))) == 1


def test_every_form_has_a_name_of_its_own(admin: User) -> None:
    found = [
        re.search(r'name="request_id" value="([^"]+)"', admin.get(path).text)
        for path in ("/api-keys", "/api-keys/new") * 2
    ]
    assert len({each[1] for each in found if each}) == 4


def test_a_longest_life_is_offered_and_kept(make_console: MakeConsole) -> None:
    console = make_console(ARCHIE_KEYS_MAX_AGE=timedelta(days=10))
    user = console.user()
    page = user.get("/api-keys/new").text
    assert "As long as keys may live: 10d" in page
    assert ">Never<" not in page
    assert user.post(name="Short").status_code == 201
    with console.host.app.app_context():
        (key,) = console.host.keys.service.find()
        assert key.expires_at == key.created_at + timedelta(days=10)
    assert [field for field, _ in mistakes(user.post(name="Long", expires="365"))] == ["expires_at"]
    assert ">Never<" not in user.get(f"/api-keys/{key.id}/edit").text


@pytest.mark.parametrize("on", ["", "soon", "2099-13-01T00:00"])
def test_a_date_that_is_none(admin: User, on: str) -> None:
    answer = admin.post(name="x", expires="date", expires_on=on)
    assert mistakes(answer) == [("expires_at", "choose a date and a time")]


def edited(key: Any, **changes: Any) -> dict[str, Any]:
    """The form of a key as the page shows it, with changes."""
    form = {"name": key.name, "roles": list(key.roles), "version": str(key.version), "owner": key.owner or ""}
    form |= {
        "expires": "never" if key.expires_at is None else "date",
        "networks": "\n".join(key.allowed_networks or ()),
    }
    if key.expires_at is not None:
        form["expires_on"] = key.expires_at.strftime("%Y-%m-%dT%H:%M")
    return {**form, **changes}


def test_a_key_is_edited(console: Console, admin: User) -> None:
    key = console.host.create("Before", ("viewer",), expires_at=datetime(2099, 1, 1, 12, 0, 30, tzinfo=UTC)).key
    answer = admin.post(f"/api-keys/{key.id}/edit", **edited(key, name="After", roles=["viewer", "reader"]))
    assert (answer.status_code, answer.location) == (302, f"/settings/api-keys/{key.id}")
    assert "The key was changed." in admin.get(f"/api-keys/{key.id}").text
    with console.host.app.app_context():
        now = console.host.keys.service.get(key.id)
    assert (now.name, set(now.roles)) == ("After", {"viewer", "reader"})
    assert now.expires_at == key.expires_at  # nobody touched it, and its seconds are not in the form
    assert "changed" not in admin.get(f"/api-keys/{key.id}").text.replace("key.updated", "")


def test_an_edit_of_an_old_version_is_refused(console: Console, admin: User) -> None:
    key = console.host.create("Contended").key
    assert admin.post(f"/api-keys/{key.id}/edit", **edited(key, name="First")).status_code == 302
    answer = admin.post(f"/api-keys/{key.id}/edit", **edited(key, name="Second"))
    assert answer.status_code == 422
    assert f'name="version" value="{key.version}"' in answer.text
    assert 'value="Second"' in answer.text
    with console.host.app.app_context():
        assert console.host.keys.service.get(key.id).name == "First"


def test_the_life_of_a_key(console: Console, admin: User) -> None:
    made = console.host.create("Switched")
    for path, status in (("disable", 401), ("enable", 200)):
        answer = admin.post(f"/api-keys/{made.key.id}/{path}")
        assert (answer.status_code, answer.location) == (302, f"/settings/api-keys/{made.key.id}")
        assert console.host.get("/me", made.secret).status_code == status
    refused = admin.post(f"/api-keys/{made.key.id}/delete")
    assert refused.status_code == 409
    assert "type its name" in refused.text
    assert admin.post(f"/api-keys/{made.key.id}/delete", name="switched").status_code == 409
    assert admin.post(f"/api-keys/{made.key.id}/delete", name="Switched").status_code == 302
    assert console.host.get("/me", made.secret).status_code == 401
    page = admin.get(f"/api-keys/{made.key.id}").text
    assert "archie-status-deleted" in page
    for path in ("edit", "rotate", "disable", "delete"):
        assert f"/{made.key.id}/{path}" not in page
    assert admin.post(f"/api-keys/{made.key.id}/enable").status_code == 409


def test_a_quiet_key_is_deleted_without_its_name(make_console: MakeConsole) -> None:
    console = make_console(ARCHIE_KEYS_QUIET_PERIOD=timedelta(seconds=0))
    key = console.host.create("Quiet").key
    user = console.user()
    assert "safe to delete" in user.get(f"/api-keys/{key.id}/delete").text
    assert user.post(f"/api-keys/{key.id}/delete").status_code == 302


def test_nothing_is_changed_by_get(console: Console, admin: User) -> None:
    made = console.host.create("Kept")
    for path in ("edit?name=x", "rotate", "delete?name=Kept"):
        assert admin.get(f"/api-keys/{made.key.id}/{path}").status_code == 200
    for path in ("disable", "enable"):
        assert admin.get(f"/api-keys/{made.key.id}/{path}").status_code == 405
    with console.host.app.app_context():
        assert console.host.keys.service.get(made.key.id) == made.key


def test_effective_grants_and_recent_events(console: Console, admin: User) -> None:
    made = console.host.create("Shown", ("regional",), context={"region": "eu"})
    console.host.get("/viewer", made.secret)
    page = admin.get(f"/api-keys/{made.key.id}").text
    assert "<code>region = $context.region</code>" in page
    assert "<bdi>GET /viewer</bdi>" in page and "missing_role" in page


def test_a_page_for_a_key_that_is_not_there(admin: User) -> None:
    for path in ("", "/edit", "/rotate", "/rotation", "/rotation.json", "/delete"):
        for key_id in ("7f3Kq2Zt9bXa", "x", "%00"):
            answer = admin.get(f"/api-keys/{key_id}{path}")
            assert (answer.status_code, answer.mimetype) == (404, "text/html"), (key_id, path)
