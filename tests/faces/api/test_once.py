"""``Idempotency-Key``: of any number of the same requests, one makes a key."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest

from .conftest import Api, MakeApi, problem


def test_a_replay_is_told_which_key_was_made_and_never_its_secret(api: Api) -> None:
    made = api.post("/keys", {"name": "x"}, Idempotency_Key="one")
    again = api.post("/keys", {"name": "x"}, Idempotency_Key="one")
    key_id = made.json["data"]["id"]
    assert problem(again, 409, "conflict", f"this request was made before, and made the key {key_id}") == {
        "type": "/errors/conflict",
        "title": "Conflict",
        "status": 409,
        "detail": f"this request was made before, and made the key {key_id}",
        "keyId": key_id,
    }
    assert made.json["data"]["secret"][-38:] not in again.text
    assert len(api.get("/keys?q=x").json["data"]) == 1
    problem(api.post("/keys", {"name": "other"}, Idempotency_Key="one"), 409, "conflict")
    assert api.post("/keys", {"name": "x"}, Idempotency_Key="two").status_code == 201


def test_the_same_value_of_somebody_else_is_another_request(api: Api) -> None:
    other = api.host.create("other", ("admin",)).secret
    made = [api.post("/keys", {"name": "x"}, key=key, Idempotency_Key="one") for key in ("admin", other)]
    assert [answer.status_code for answer in made] == [201, 201]


def test_a_refused_request_is_not_remembered(api: Api) -> None:
    problem(api.post("/keys", {"name": ""}, Idempotency_Key="one"), 422, "validation-failed")
    assert api.post("/keys", {"name": "x"}, Idempotency_Key="one").status_code == 201


def test_a_rotation_is_made_once(api: Api) -> None:
    old, other = api.make("old"), api.make("other")
    new = api.post(f"/keys/{old['id']}/rotate", Idempotency_Key="one").json["data"]["id"]
    for key in (old, other):  # it names the request, whatever stands in it
        assert problem(api.post(f"/keys/{key['id']}/rotate", Idempotency_Key="one"), 409, "conflict")["keyId"] == new
    assert api.get(f"/keys/{other['id']}").json["data"]["replacedBy"] is None
    assert "keyId" not in problem(api.post(f"/keys/{old['id']}/rotate", Idempotency_Key="two"), 409, "conflict")


def test_a_value_is_visible_ascii(api: Api) -> None:
    for value in ("", "a" * 256, "é", "a\tb"):
        problem(api.post("/keys", {"name": "x"}, Idempotency_Key=value), 400, "bad-request")
    for value in ("a" * 255, "a b", '"quoted"'):
        assert api.post("/keys", {"name": "x"}, Idempotency_Key=value).status_code == 201


@pytest.mark.parametrize("what", ["create", "rotate"])
def test_32_calls_at_the_same_time_make_one_key(make_api: MakeApi, url: str, what: str) -> None:
    api = make_api(url)
    old = api.make("old")
    path, body = ("/keys", {"name": "new"}) if what == "create" else (f"/keys/{old['id']}/rotate", {})
    ready = Barrier(32)

    def call(_: int) -> Any:
        ready.wait()
        return api.post(path, body, Idempotency_Key="one")

    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(call, range(32)))
    made = [answer.json["data"]["id"] for answer in answers if answer.status_code == 201]
    told = [problem(answer, 409, "conflict")["keyId"] for answer in answers if answer.status_code != 201]
    assert len(made) == 1 and told == made * 31
    assert len(api.get("/keys").json["data"]) == 3
    assert len([event for event in api.host.changes(key=made[0]) if event.kind == "key.created"]) == 1
