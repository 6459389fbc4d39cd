"""Keys in the JSON API: every route, its shape, headers, statuses and problem types."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from flask_archie_keys.domain.permissions import Grant

from .conftest import Api, MakeApi, problem, refused

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
OTHER = "7f3Kq2Zt9bXa"


def test_create_answers_with_the_key_and_its_secret_once(api: Api) -> None:
    body = {
        "name": "CI",
        "roles": ["viewer"],
        "context": {"region": "eu", "shops": [1, 2]},
        "prefix": "ci",
        "expiresAt": "2100-01-01T01:00:00+01:00",
        "owner": "ann",
        "allowedNetworks": ["10.0.0.0/8"],
    }
    answer = api.post("/keys", body)
    assert answer.status_code == 201 and answer.content_type == "application/json"
    data = answer.json["data"]
    assert answer.headers["Location"] == f"/archie/v1/keys/{data['id']}"
    assert answer.headers["ETag"] == '"1"' and answer.headers["Cache-Control"] == "no-store"
    assert re.fullmatch(rf"ci_{data['id']}_[0-9A-Za-z]{{38}}", data["secret"])
    assert re.fullmatch(TIME, data["createdAt"])
    assert answer.json == {
        "data": {
            "id": data["id"],
            "name": "CI",
            "prefix": "ci",
            "hint": f"ci_{data['id']}_…",
            "project": "default",
            "environment": "master",
            "roles": ["viewer"],
            "context": {"region": "eu", "shops": [1, 2]},
            "owner": "ann",
            "status": "active",
            "createdAt": data["createdAt"],
            "createdBy": f"key:{api.admin.key.id}",
            "expiresAt": "2100-01-01T00:00:00.000Z",
            "lastUsedAt": None,
            "disabledAt": None,
            "deletedAt": None,
            "replaces": None,
            "replacedBy": None,
            "rateLimit": None,
            "allowedNetworks": ["10.0.0.0/8"],
            "version": 1,
            "secret": data["secret"],
        }
    }
    shown = api.get(answer.headers["Location"].removeprefix("/archie/v1"))
    assert shown.json["data"] == {name: value for name, value in data.items() if name != "secret"}
    assert shown.headers["ETag"] == '"1"' and shown.headers["Cache-Control"] == "no-store"
    assert api.host.changes()[-1].actor == f"key:{api.admin.key.id}"


def test_a_new_key_works_at_once(api: Api) -> None:
    assert api.get("/me", key=api.make()["secret"]).json["data"]["name"] == "made"


WRONG_KEYS: list[tuple[Any, list[tuple[str, str]]]] = [
    ({}, [("name", "required")]),
    ({"name": 7}, [("name", "type")]),
    ({"name": None}, [("name", "type")]),
    ({"name": ""}, [("name", "required")]),
    ({"name": "x", "roles": "viewer"}, [("roles", "type")]),
    ({"name": "x", "roles": ["vewer"]}, [("roles", "unknown")]),
    ({"name": "x", "roles": [None]}, [("roles[0]", "type")]),
    ({"name": "x", "context": {"a": {"b": 1}}}, [("context", "type")]),
    ({"name": "x", "expiresAt": "tomorrow"}, [("expiresAt", "value")]),
    ({"name": "x", "expiresAt": 4102444800}, [("expiresAt", "type")]),
    ({"name": "x", "expiresAt": "2100-01-01T00:00:00"}, [("expiresAt", "timezone")]),
    ({"name": "x", "expiresAt": "0001-01-01T00:00:00+14:00"}, [("expiresAt", "range")]),
    ({"name": "x", "expiresAt": "2001-01-01T00:00:00Z"}, [("expiresAt", "future")]),
    ({"name": "x", "allowedNetworks": ["10.0.0.1/8"]}, [("allowedNetworks", "network")]),
    ({"name": "x", "allowedNetworks": []}, [("allowedNetworks", "required")]),
    ({"name": "x", "scopes": ["a"], "role": ["b"]}, [("role", "unknown"), ("scopes", "unknown")]),
    ({"name": "x", "expires_at": None}, [("expires_at", "unknown")]),
    ({"name": "x", "secret": "y"}, [("secret", "unknown")]),
    ({"name": "x", "id": "y", "version": 1}, [("id", "read_only"), ("version", "read_only")]),
]


def test_create_refuses_each_wrong_member_by_name(api: Api) -> None:
    for body, errors in WRONG_KEYS:
        assert refused(api.post("/keys", body)) == errors, body
    assert len(api.get("/keys").json["data"]) == 1  # the administrator's


def test_list_is_newest_first_in_parts(api: Api) -> None:
    made = [api.make(f"key {number}")["id"] for number in range(4)][::-1]
    first = api.get("/keys?limit=3").json
    assert [key["id"] for key in first["data"]] == made[:3]
    cursor = first["meta"]["pagination"]["nextCursor"]
    assert first["meta"] == {"pagination": {"limit": 3, "hasNextPage": True, "nextCursor": cursor}}
    last = api.get(f"/keys?limit=3&cursor={cursor}").json
    assert [key["id"] for key in last["data"]] == [made[3], api.admin.key.id]
    assert last["meta"] == {"pagination": {"limit": 3, "hasNextPage": False, "nextCursor": None}}
    assert "secret" not in str(first).replace("'secret_", "") and "secret" not in first["data"][0]


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("status=active", ["admin", "used"]),
        ("status=disabled", ["off"]),
        ("role=editor", ["admin", "used"]),
        ("prefix=ci", ["off"]),
        ("q=US", ["used"]),
        ("q=nothing", []),
        ("role=editor&q=used&status=active", ["used"]),
    ],
)
def test_list_filters(api: Api, query: str, names: list[str]) -> None:
    api.post(f"/keys/{api.make('off', prefix='ci')['id']}/disable")
    api.make("used", roles=["editor"])
    assert sorted(key["name"] for key in api.get(f"/keys?{query}").json["data"]) == names


WRONG_QUERIES = [
    *(f"limit={limit}" for limit in ("0", "-1", "201", "1.5", "abc", "", "9" * 5000, "0x10", "null")),
    *(f"cursor={cursor}" for cursor in ("", "x", "W10.sig", "%00", "a" * 5000)),
    *(
        "limit=1&limit=2",
        "limt=1",
        "Limit=1",
        "status=unknown",
        "status=",
        "status=null",
        "q=%00",
        "role=%00",
        "prefix=%00",
    ),
    "q=" + "a" * 5000,
]


def test_a_wrong_query_is_a_bad_request(api: Api) -> None:
    for query in WRONG_QUERIES:
        problem(api.get(f"/keys?{query}"), 400, "bad-request")


def test_a_cursor_is_worth_nothing_elsewhere(make_api: MakeApi) -> None:
    """In another list, another environment, another project, or changed."""
    two = {"master": {}, "staging": {}}
    here = make_api(ARCHIE_KEYS_ENVIRONMENTS=two, ARCHIE_KEYS_ENVIRONMENT_HEADER="environment")
    here.make()
    cursor = here.get("/keys?limit=1").json["meta"]["pagination"]["nextCursor"]
    assert here.get(f"/keys?cursor={cursor}").status_code == 200
    there = make_api(ARCHIE_KEYS_PROJECT="other", instance="other")
    with here.host.app.app_context():
        staging = here.host.keys.for_environment("staging").service.create(name="staging", roles=["admin"])
    tampered = cursor[:-1] + ("A" if cursor[-1] != "A" else "B")
    why = "cursor is not one that this list has handed out"
    problem(here.get(f"/audit?cursor={cursor}"), 400, "bad-request", why)
    problem(here.get(f"/keys?cursor={tampered[1:]}"), 400, "bad-request", why)
    problem(here.get(f"/keys?cursor={cursor}", key=staging.secret, environment="staging"), 400, "bad-request", why)
    problem(there.get(f"/keys?cursor={cursor}"), 400, "bad-request", why)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "", None),
        ("PATCH", "", {"name": "x"}),
        ("DELETE", "", None),
        ("DELETE", "?onlyIfQuiet=true", None),
        ("POST", "/rotate", None),
        ("POST", "/disable", None),
        ("POST", "/enable", None),
        ("GET", "/traffic", None),
    ],
)
def test_a_key_that_there_is_not(api: Api, method: str, path: str, body: Any) -> None:
    for key_id in (OTHER, "x", "%00", f"{OTHER}%0A", "é", "a" * 3000, "..%2f", "'"):
        problem(api.ask(method, f"/keys/{key_id}{path}", body, If_Match='"1"'), 404, "not-found")


# -- changes


def test_patch_changes_what_it_names_and_nothing_else(api: Api) -> None:
    made = api.make("old", roles=["viewer"], owner="ann", allowedNetworks=["10.0.0.0/8"], context={"a": 1})
    body = {"name": "new", "owner": None, "expiresAt": "2100-01-01T00:00:00Z", "allowedNetworks": None}
    answer = api.ask("PATCH", f"/keys/{made['id']}", body, If_Match='"1"')
    assert answer.status_code == 200
    wanted = {**made, **body, "expiresAt": "2100-01-01T00:00:00.000Z", "version": answer.json["data"]["version"]}
    del wanted["secret"]
    assert answer.json["data"] == wanted and wanted["version"] > 1
    assert answer.headers["ETag"] == f'"{wanted["version"]}"'
    assert api.get(f"/keys/{made['id']}").json["data"] == wanted
    assert api.get("/me", key=made["secret"]).json["data"]["name"] == "new"


def test_patch_merges_members_of_the_context(api: Api) -> None:
    made = api.make(context={"region": "eu", "shop": 1, "tags": ["a"]})

    def patch(context: Any, version: str) -> Any:
        return api.ask("PATCH", f"/keys/{made['id']}", {"context": context}, If_Match=version)

    first = patch({"region": None, "shop": 2, "new": True, "absent": None}, '"1"')
    assert first.json["data"]["context"] == {"shop": 2, "tags": ["a"], "new": True}
    assert patch({}, first.headers["ETag"]).json["data"]["context"] == first.json["data"]["context"]
    assert refused(patch(None, first.headers["ETag"])) == [("context", "type")]
    assert refused(patch({"a": [None]}, first.headers["ETag"])) == [("context", "type")]


def test_patch_takes_merge_patches_by_their_media_type(api: Api) -> None:
    path, merge = f"/keys/{api.make()['id']}", "application/merge-patch+json"
    assert api.ask("PATCH", path, {"name": "b"}, If_Match='"1"', Content_Type=merge).json["data"]["name"] == "b"
    problem(api.post("/keys", {"name": "c"}, Content_Type=merge), 415, "unsupported-media-type")


@pytest.mark.parametrize(
    ("if_match", "status", "type"),
    [
        (None, 428, "precondition-required"),
        ('"2"', 412, "precondition-failed"),
        ('"0"', 412, "precondition-failed"),
        ('W/"1"', 412, "precondition-failed"),
        ('"1", "2"', 412, "precondition-failed"),
        ('"x"', 412, "precondition-failed"),
        ('"' + "9" * 5000 + '"', 412, "precondition-failed"),
        ("", 412, "precondition-failed"),
        ('"²"', 412, "precondition-failed"),
    ],
)
@pytest.mark.parametrize("body", [{"name": "x"}, {"context": {"x": 1}}], ids=str)
def test_patch_is_for_one_version(api: Api, body: Any, if_match: str | None, status: int, type: str) -> None:
    made = api.make()
    headers = {} if if_match is None else {"If_Match": if_match}
    problem(api.ask("PATCH", f"/keys/{made['id']}", body, **headers), status, type)
    assert api.get(f"/keys/{made['id']}").json["data"]["version"] == 1


@pytest.mark.parametrize("body", [{"name": "x"}, {"context": {"x": 1}}], ids=str)
def test_patch_with_a_star_is_for_whichever_version(api: Api, body: Any) -> None:
    path = f"/keys/{api.make()['id']}"
    assert api.ask("PATCH", path, {"name": "first"}, If_Match="*").status_code == 200
    assert api.ask("PATCH", path, body, If_Match="*").status_code == 200


WRONG_PATCHES: list[tuple[Any, list[tuple[str, str]]]] = [
    ({"name": None}, [("name", "type")]),
    ({"roles": None}, [("roles", "type")]),
    ({"prefix": "x"}, [("prefix", "read_only")]),
    ({"status": "active"}, [("status", "read_only")]),
    ({"createdBy": "system"}, [("createdBy", "read_only")]),
    ({"nme": "x"}, [("nme", "unknown")]),
    ({"expiresAt": "2100-01-01T00:00:00"}, [("expiresAt", "timezone")]),
    ([], [("", "type")]),
    ("x", [("", "type")]),
]


def test_patch_refuses_each_wrong_member_by_name(api: Api) -> None:
    path = f"/keys/{api.make()['id']}"
    for body, errors in WRONG_PATCHES:
        assert refused(api.ask("PATCH", path, body, If_Match="*")) == errors, body


def test_delete_keeps_the_record_and_ends_the_key(api: Api) -> None:
    made = api.make()
    answer = api.ask("DELETE", f"/keys/{made['id']}")
    assert (answer.status_code, answer.json["data"]["status"]) == (200, "deleted")
    assert re.fullmatch(TIME, answer.json["data"]["deletedAt"])
    assert api.get(f"/keys/{made['id']}").json == answer.json
    assert api.get("/me", key=made["secret"]).status_code == 401
    assert api.ask("DELETE", f"/keys/{made['id']}").json == answer.json  # again
    for path in ("disable", "enable", "rotate"):
        problem(api.post(f"/keys/{made['id']}/{path}"), 409, "conflict")
    problem(api.ask("PATCH", f"/keys/{made['id']}", {"name": "x"}, If_Match="*"), 409, "conflict")


def test_delete_waits_until_a_key_is_quiet(make_api: MakeApi) -> None:
    api = make_api(ARCHIE_KEYS_QUIET_PERIOD=timedelta(0))
    quiet = api.make()
    assert api.ask("DELETE", f"/keys/{quiet['id']}?onlyIfQuiet=true").status_code == 200
    busy = make_api(instance="busy")
    made = busy.make()
    busy.get("/me", key=made["secret"])
    problem(busy.ask("DELETE", f"/keys/{made['id']}?onlyIfQuiet=true"), 409, "key-in-use")
    problem(busy.ask("DELETE", f"/keys/{made['id']}?onlyIfQuiet=maybe"), 400, "bad-request")
    assert busy.get(f"/keys/{made['id']}").json["data"]["status"] == "active"
    assert busy.ask("DELETE", f"/keys/{made['id']}?onlyIfQuiet=false").status_code == 200


def test_rotate_makes_a_successor_and_ends_the_old_key_after_the_overlap(api: Api) -> None:
    old = api.make("CI", roles=["viewer"], context={"region": "eu"}, owner="ann")
    answer = api.post(f"/keys/{old['id']}/rotate", {"overlapSeconds": 60})
    assert answer.status_code == 201 and answer.headers["Cache-Control"] == "no-store"
    new = answer.json["data"]
    assert answer.headers["Location"] == f"/archie/v1/keys/{new['id']}" and answer.headers["ETag"] == '"1"'
    same = ("name", "roles", "context", "owner", "prefix")
    assert [new[member] for member in same] == [old[member] for member in same]
    assert new["replaces"] == old["id"] and new["secret"] != old["secret"]
    then = api.get(f"/keys/{old['id']}").json["data"]
    assert (then["status"], then["replacedBy"]) == ("retiring", new["id"])
    left = datetime.fromisoformat(then["expiresAt"]) - datetime.now(UTC)
    assert timedelta(0) < left <= timedelta(seconds=60)
    assert [api.get("/me", key=key["secret"]).status_code for key in (old, new)] == [200, 200]
    problem(api.post(f"/keys/{old['id']}/rotate"), 409, "conflict")


def test_rotate_without_an_overlap_and_with_that_of_the_settings(api: Api) -> None:
    old = api.make()
    assert api.post(f"/keys/{old['id']}/rotate", {"overlapSeconds": 0}).status_code == 201
    assert api.get("/me", key=old["secret"]).status_code == 401
    for body in (None, {}, {"overlapSeconds": None}):
        other = api.make()
        assert api.post(f"/keys/{other['id']}/rotate", body).status_code == 201
        ends = datetime.fromisoformat(api.get(f"/keys/{other['id']}").json["data"]["expiresAt"])
        assert timedelta(hours=23) < ends - datetime.now(UTC) <= timedelta(hours=24)


@pytest.mark.parametrize(
    ("body", "errors"),
    [
        ({"overlapSeconds": -1}, [("overlapSeconds", "value")]),
        ({"overlapSeconds": 1.5}, [("overlapSeconds", "type")]),
        ({"overlapSeconds": "60"}, [("overlapSeconds", "type")]),
        ({"overlapSeconds": True}, [("overlapSeconds", "type")]),
        ({"overlapSeconds": 10**18}, [("overlapSeconds", "range")]),
        ({"overlapSeconds": 10**30}, [("overlapSeconds", "range")]),
        ({"overlap": 1}, [("overlap", "unknown")]),
    ],
    ids=str,
)
def test_rotate_refuses_a_wrong_overlap(api: Api, body: Any, errors: list[tuple[str, str]]) -> None:
    made = api.make()
    assert refused(api.post(f"/keys/{made['id']}/rotate", body)) == errors
    assert api.get(f"/keys/{made['id']}").json["data"]["status"] == "active"


def test_disable_and_enable_undo_each_other(api: Api) -> None:
    made = api.make()
    off = api.post(f"/keys/{made['id']}/disable")
    assert (off.status_code, off.json["data"]["status"]) == (200, "disabled")
    assert api.get("/me", key=made["secret"]).status_code == 401
    on = api.post(f"/keys/{made['id']}/enable")
    assert (on.status_code, on.json["data"]["status"], on.json["data"]["disabledAt"]) == (200, "active", None)
    assert api.get("/me", key=made["secret"]).status_code == 200


def test_traffic_says_whether_a_key_is_still_used(api: Api) -> None:
    made = api.make()
    before = api.get(f"/keys/{made['id']}/traffic").json["data"]
    assert list(before) == ["lastUsedAt", "quietSeconds", "safeToDelete", "counts"]
    assert (before["lastUsedAt"], before["safeToDelete"]) == (None, False)
    api.get("/me", key=made["secret"])
    after = api.get(f"/keys/{made['id']}/traffic").json["data"]
    assert re.fullmatch(TIME, after["lastUsedAt"]) and type(after["quietSeconds"]) is int
    assert len(after["counts"]) == 24 and after["counts"][-1]["requests"] + after["counts"][-2]["requests"] == 1
    assert list(after["counts"][0]) == ["start", "requests"] and re.fullmatch(TIME, after["counts"][0]["start"])


# -- who may


@pytest.fixture
def filtered(make_api: MakeApi, url: str) -> tuple[Api, str, dict[str, str]]:
    """A key that may do everything with keys of its region, and the ids of one key in each region."""
    api = make_api(url)
    grant = Grant("api_keys", read=True, write=True, update=True, delete=True, filter="owner = 'eu'")
    secret = api.with_grants(grant, owner="eu")
    ids = {region: str(api.make(region, owner=region)["id"]) for region in ("eu", "us")}
    return api, secret, ids


ROUTES: list[tuple[str, str, Any]] = [
    ("GET", "/keys/{}", None),
    ("GET", "/keys/{}/traffic", None),
    ("PATCH", "/keys/{}", {"name": "changed"}),
    ("POST", "/keys/{}/disable", None),
    ("POST", "/keys/{}/enable", None),
    ("POST", "/keys/{}/rotate", None),
    ("POST", "/explain", {"keyId": "{}"}),
    ("DELETE", "/keys/{}", None),
]


def test_a_filter_hides_keys_like_ones_that_there_are_not(filtered: tuple[Api, str, dict[str, str]]) -> None:
    api, secret, ids = filtered
    assert sorted(key["name"] for key in api.get("/keys", key=secret).json["data"]) == ["clerk", "eu"]

    def ask(method: str, path: str, body: Any, key_id: str) -> Any:
        if body and "keyId" in body:
            body = {"keyId": key_id}
        return api.ask(method, path.format(key_id), body, key=secret, If_Match="*")

    for method, path, body in ROUTES:
        hidden = problem(ask(method, path, body, ids["us"]), 404, "not-found")
        none = problem(ask(method, path, body, OTHER), 404, "not-found")
        assert {**hidden, "detail": hidden["detail"].replace(ids["us"], OTHER)} == none
        assert ask(method, path, body, ids["eu"]).status_code in (200, 201), (method, path)
    assert api.get(f"/keys/{ids['us']}").json["data"]["version"] == 1


def test_a_filter_binds_what_is_made_and_changed(filtered: tuple[Api, str, dict[str, str]]) -> None:
    api, secret, ids = filtered
    why = "its filter on api_keys does not let this through"
    for owner in ("us", None):
        assert why in problem(api.post("/keys", {"name": "x", "owner": owner}, key=secret), 403, "forbidden")["detail"]
    changed = api.ask("PATCH", f"/keys/{ids['eu']}", {"owner": "us"}, key=secret, If_Match="*")
    assert why in problem(changed, 403, "forbidden")["detail"]
    assert api.post("/keys", {"name": "x", "owner": "eu"}, key=secret).status_code == 201


@pytest.mark.parametrize(
    ("method", "path", "body", "action"),
    [
        ("GET", "/keys", None, "read"),
        ("POST", "/keys", {"name": "x"}, "write"),
        ("GET", "/keys/{}", None, "read"),
        ("PATCH", "/keys/{}", {"name": "x"}, "update"),
        ("PATCH", "/keys/{}", {"context": {"x": 1}}, "update"),
        ("DELETE", "/keys/{}", None, "delete"),
        ("DELETE", "/keys/{}?onlyIfQuiet=true", None, "delete"),
        ("POST", "/keys/{}/rotate", None, "write"),
        ("POST", "/keys/{}/disable", None, "update"),
        ("POST", "/keys/{}/enable", None, "update"),
        ("GET", "/keys/{}/traffic", None, "read"),
        ("POST", "/explain", {"keyId": OTHER}, "read"),
    ],
)
def test_each_route_needs_its_grant(api: Api, method: str, path: str, body: Any, action: str) -> None:
    target = api.make()["id"]
    others = {name: name != action for name in ("read", "write", "update", "delete")}
    secret = api.with_grants(Grant("api_keys", **others))
    answer = api.ask(method, path.format(target), body, key=secret, If_Match="*")
    problem(answer, 403, "forbidden")
    scope = f'Bearer realm="default", error="insufficient_scope", scope="api_keys:{action}"'
    assert answer.headers["WWW-Authenticate"] == scope
    denied = api.host.events(outcome="denied")[-1]
    assert (denied.reason, denied.status) == ("missing_grant", 403)


def test_the_ceiling_holds(api: Api) -> None:
    secret = api.with_grants(Grant("api_keys", read=True, write=True, update=True, delete=True))
    for body in ({"name": "x", "roles": ["admin"]}, {"name": "x", "roles": ["editor"], "owner": None}):
        answer = api.post("/keys", body, key=secret)
        problem(answer, 403, "forbidden")
    mine = api.get("/me", key=secret).json["data"]["id"]
    assert (
        "does not change itself" in problem(api.post(f"/keys/{mine}/disable", key=secret), 403, "forbidden")["detail"]
    )
    target = api.make()["id"]
    more = api.ask("PATCH", f"/keys/{target}", {"roles": ["admin"]}, key=secret, If_Match="*")
    problem(more, 403, "forbidden")
    assert api.get(f"/keys/{target}").json["data"]["roles"] == []
    problem(api.post(f"/keys/{api.admin.key.id}/rotate", key=secret), 403, "forbidden")
