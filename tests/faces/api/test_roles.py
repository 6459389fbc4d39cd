"""Roles in the JSON API: every route, its shape, headers, statuses and problem types."""

from __future__ import annotations

from typing import Any

import pytest

from flask_archie_keys.domain.permissions import Grant

from .conftest import Api, MakeApi, problem, refused

GRANT = {"resource": "api_keys", "read": True, "filter": "owner = 'eu'"}
SHOWN = {**GRANT, "write": False, "update": False, "delete": False}


def test_create_answers_with_the_role(api: Api) -> None:
    answer = api.post("/roles", {"name": "clerk", "description": "Looks", "grants": [GRANT]})
    assert answer.status_code == 201 and answer.content_type == "application/json"
    assert answer.headers["Location"] == "/archie/v1/roles/clerk"
    assert answer.headers["ETag"] == '"1"' and answer.headers["Cache-Control"] == "no-store"
    data = answer.json["data"]
    assert data == {
        "name": "clerk",
        "description": "Looks",
        "grants": [SHOWN],
        "source": "saved",
        "project": "default",
        "environment": "master",
        "createdAt": data["createdAt"],
        "updatedAt": data["createdAt"],
        "version": 1,
        "lockedOut": [],
    }
    shown = api.get("/roles/clerk")
    assert shown.json == answer.json and shown.headers["ETag"] == '"1"'
    problem(api.post("/roles", {"name": "clerk"}), 409, "conflict", "there is a role 'clerk' already")
    assert api.get("/roles/clerk").json == answer.json


def test_list_has_all_roles_by_name(api: Api) -> None:
    api.post("/roles", {"name": "clerk"})
    answer = api.get("/roles").json
    assert [(role["name"], role["source"]) for role in answer["data"]] == [
        ("admin", "settings"),
        ("clerk", "saved"),
        ("editor", "settings"),
        ("viewer", "settings"),
    ]
    assert answer["meta"] == {"pagination": {"limit": 4, "hasNextPage": False, "nextCursor": None}}
    problem(api.get("/roles?limit=1"), 400, "bad-request")


def test_put_makes_and_replaces_a_whole_role(api: Api) -> None:
    made = api.ask("PUT", "/roles/clerk", {"description": "Looks", "grants": [GRANT]})
    assert made.status_code == 201 and made.headers["ETag"] == '"1"'
    saved = api.ask("PUT", "/roles/clerk", {"grants": [{"resource": "roles", "read": True}]}, If_Match='"1"')
    assert saved.status_code == 200 and saved.headers["ETag"] == '"2"'
    assert (saved.json["data"]["description"], saved.json["data"]["grants"]) == (
        "",
        [{**SHOWN, "resource": "roles", "filter": None}],
    )
    problem(api.ask("PUT", "/roles/clerk", {}, If_Match='"1"'), 412, "precondition-failed")
    problem(api.ask("PUT", "/roles/clerk", {}, If_None_Match="*"), 412, "precondition-failed")
    problem(api.ask("PUT", "/roles/clerk", {}, If_Match='"x"'), 412, "precondition-failed")
    assert api.ask("PUT", "/roles/clerk", {"description": "any"}, If_Match="*").status_code == 200
    assert api.ask("PUT", "/roles/other", {}, If_None_Match="*").status_code == 201
    problem(api.ask("PUT", "/roles/third", {}, If_Match='"1"'), 412, "precondition-failed")
    problem(api.ask("PUT", "/roles/third", {}, If_Match="*"), 412, "precondition-failed")
    assert api.get("/roles/third").status_code == 404


def test_a_change_of_a_role_holds_at_the_next_request(api: Api) -> None:
    secret = api.with_grants(Grant("api_keys", read=True))
    assert api.get("/keys", key=secret).status_code == 200
    api.ask("PUT", "/roles/clerk", {"grants": []})
    problem(api.get("/keys", key=secret), 403, "forbidden")


WRONG: list[tuple[Any, list[tuple[str, str]]]] = [
    ({}, [("name", "required")]),
    ({"name": "No Such"}, [("name", "pattern")]),
    ({"name": "a\0"}, [("name", "pattern")]),
    ({"name": "x", "grants": {}}, [("grants", "type")]),
    ({"name": "x", "grants": [{}]}, [("grants[0].resource", "required")]),
    ({"name": "x", "grants": [GRANT, {"resource": "roles", "raed": True}]}, [("grants[1].raed", "unknown")]),
    ({"name": "x", "grants": [{**GRANT, "read": 1}]}, [("grants[0].read", "type")]),
    ({"name": "x", "source": "saved"}, [("source", "read_only")]),
    ({"name": "x", "description": None}, [("description", "type")]),
    ({"name": "x", "grant": []}, [("grant", "unknown")]),
]


def test_create_refuses_each_wrong_member_by_name(api: Api) -> None:
    for body, errors in WRONG:
        assert refused(api.post("/roles", body)) == errors, body
    for grant in ({"resource": "api_keys"}, {**GRANT, "filter": "owner ="}, {**GRANT, "filter": "nothing = 1"}):
        answer = problem(api.post("/roles", {"name": "x", "grants": [grant]}), 422, "validation-failed")
        assert answer["errors"][0]["field"].startswith("grants")
    assert refused(api.ask("PUT", "/roles/x", {"name": "x"})) == [("name", "read_only")]
    assert len(api.get("/roles").json["data"]) == 3


def test_roles_of_the_settings_are_read_only(api: Api) -> None:
    problem(api.ask("PUT", "/roles/viewer", {}), 409, "conflict")
    problem(api.ask("DELETE", "/roles/viewer"), 409, "conflict")
    problem(api.post("/roles", {"name": "viewer"}), 409, "conflict")


def test_delete_answers_with_nothing_and_spares_roles_in_use(api: Api) -> None:
    api.post("/roles", {"name": "clerk"})
    key = api.host.create("user", ("clerk",)).key
    problem(api.ask("DELETE", "/roles/clerk"), 409, "conflict")
    answer = api.ask("DELETE", "/roles/clerk?takeFromKeys=true")
    assert (answer.status_code, answer.data) == (204, b"") and "Content-Type" not in answer.headers
    assert api.get(f"/keys/{key.id}").json["data"]["roles"] == []
    for name in ("clerk", "No Such", "%00", "é", "a" * 3000):
        problem(api.ask("DELETE", f"/roles/{name}"), 404, "not-found")
        problem(api.get(f"/roles/{name}"), 404, "not-found")
    problem(api.ask("DELETE", "/roles/clerk?takeFromKeys=1&takeFromKeys=0"), 400, "bad-request")


def test_a_key_that_does_not_fit_the_new_filters_is_named(api: Api) -> None:
    api.post("/roles", {"name": "clerk"})
    key = api.host.create("user", ("clerk",)).key
    grant = {"resource": "api_keys", "read": True, "filter": "owner = $context.region"}
    answer = api.ask("PUT", "/roles/clerk", {"grants": [grant]})
    assert answer.json["data"]["lockedOut"] == [key.id]


@pytest.mark.parametrize(
    ("method", "path", "body", "action"),
    [
        ("GET", "/roles", None, "read"),
        ("POST", "/roles", {"name": "x"}, "write"),
        ("GET", "/roles/target", None, "read"),
        ("PUT", "/roles/target", {"description": "changed"}, "update"),
        ("DELETE", "/roles/target", None, "delete"),
    ],
)
def test_each_route_needs_its_grant(api: Api, method: str, path: str, body: Any, action: str) -> None:
    api.host.save("target")
    secret = api.with_grants(Grant("roles", **{n: n != action for n in ("read", "write", "update", "delete")}))
    answer = api.ask(method, path, body, key=secret)
    problem(answer, 403, "forbidden")
    assert answer.headers["WWW-Authenticate"].endswith(f'error="insufficient_scope", scope="roles:{action}"')
    assert api.get("/roles/target").json["data"]["version"] == 1


def test_a_filter_hides_roles_like_ones_that_there_are_not(make_api: MakeApi, url: str) -> None:
    api = make_api(url)
    api.host.save("target")
    grant = Grant("roles", read=True, write=True, update=True, delete=True, filter="name IN ('mine', 'new')")
    secret = api.with_grants(grant)
    api.host.save("mine")
    assert [role["name"] for role in api.get("/roles", key=secret).json["data"]] == ["mine"]
    for method in ("GET", "DELETE"):
        hidden = problem(api.ask(method, "/roles/target", key=secret), 404, "not-found")
        none = problem(api.ask(method, "/roles/absent", key=secret), 404, "not-found")
        assert {**hidden, "detail": hidden["detail"].replace("target", "absent")} == none
    problem(api.ask("PUT", "/roles/target", {}, key=secret), 403, "forbidden")
    problem(api.post("/roles", {"name": "other"}, key=secret), 403, "forbidden")
    assert api.post("/roles", {"name": "new"}, key=secret).status_code == 201
    assert api.ask("DELETE", "/roles/mine", key=secret).status_code == 204


def test_the_ceiling_holds(api: Api) -> None:
    secret = api.with_grants(Grant("roles", read=True, write=True, update=True))
    wide = [{"resource": "api_keys", "read": True}]
    problem(api.post("/roles", {"name": "wide", "grants": wide}, key=secret), 403, "forbidden")
    problem(api.ask("PUT", "/roles/wide", {"grants": wide}, key=secret), 403, "forbidden")
    assert api.get("/roles/wide").status_code == 404
