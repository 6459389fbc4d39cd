"""Why a key would be let in or refused: each check, the filter with its values, the SQL; never the secret."""

from __future__ import annotations

import json
from typing import Any

import pytest

from flask_archie_keys import (
    Allowed,
    BadRequest,
    Denied,
    Forbidden,
    Grant,
    KeyNotFound,
    Principal,
    require_api_key,
)
from flask_archie_keys.faces import schemas

from ..conftest import Host, MakeHost
from ..support.sales import SALES

on_sqlite = pytest.mark.parametrize("url", ["sqlite"], indirect=True)


def explain(host: Host, key: Any, **asked: Any) -> Any:
    with host.app.app_context():
        return host.keys.explain(key.id, **asked)


def verdicts(explanation: Any) -> dict[str, bool]:
    return {check.name: check.passed for check in explanation.checks}


@on_sqlite
def test_a_good_key_passes_every_check(host: Host) -> None:
    found = explain(host, host.create().key)
    assert found.allowed and verdicts(found) == {"deleted": True, "disabled": True, "expired": True, "network": True}
    assert (found.filter, found.sql, dict(found.parameters)) == (None, None, {})
    assert [check.why for check in found.checks] == ["not deleted", "not disabled", "does not end", "any address"]


@on_sqlite
@pytest.mark.parametrize("state", ["deleted", "disabled", "expired"])
def test_what_stands_against_a_key_is_said(host: Host, state: str) -> None:
    key = host.create().key
    column = {"deleted": "deleted_at", "disabled": "disabled_at", "expired": "expires_at"}[state]
    host.sql(f"UPDATE archie_api_keys SET {column} = 1000000")
    found = explain(host, key, roles=["viewer"])
    assert not found.allowed and [name for name, passed in verdicts(found).items() if not passed] == [state]
    (check,) = [check for check in found.checks if not check.passed]
    assert (
        check.why
        == {
            "deleted": "deleted 1970-01-01T00:00:01.000Z",
            "disabled": "disabled",
            "expired": "ends 1970-01-01T00:00:01.000Z",
        }[state]
    )


@on_sqlite
def test_networks_are_checked_where_an_address_is_given(host: Host) -> None:
    key = host.create(allowed_networks=["10.0.0.0/8"]).key
    assert "network" not in verdicts(explain(host, key))
    assert verdicts(explain(host, key, remote_address="10.1.2.3"))["network"] is True
    found = explain(host, key, remote_address="192.0.2.1")
    assert verdicts(found)["network"] is False and found.checks[-1].why == "allowed are 10.0.0.0/8"


@on_sqlite
@pytest.mark.parametrize(
    ("asked", "passed"),
    [
        ({"roles": ["viewer"]}, True),
        ({"roles": ["editor", "viewer"]}, True),
        ({"roles": ["editor", "viewer"], "match": "all"}, False),
        ({"roles": ["editor"]}, False),
        ({"roles": ["ghost"]}, False),
    ],
)
def test_roles_are_checked_as_a_view_does(host: Host, asked: dict[str, Any], passed: bool) -> None:
    found = explain(host, host.create().key, **asked)
    assert (verdicts(found)["roles"], found.allowed) == (passed, passed)
    assert found.checks[-1].why.startswith("has viewer; asked for ")


def test_a_filter_is_shown_with_its_values_and_as_sql(host: Host) -> None:
    text = "region = $context.region AND (level IN $context.levels OR seller = $userId)"
    host.save("clerk", Grant(SALES, read=True, update=True, filter=text))
    host.save("boss", Grant(SALES, read=True, filter="open = true"))
    context = {"region": "it's", "levels": [1, 2]}
    key = host.create("k", ("clerk", "viewer"), context=context, owner="42").key
    found = explain(host, key, resource=SALES, action="read")
    assert found.allowed
    assert [tuple(check) for check in found.checks[-2:]] == [
        ("role clerk", True, f"grants sales:read on rows where {text}"),
        ("grant", True, "sales:read on the rows of the filter"),
    ]
    assert found.filter == "region = 'it''s' AND (level IN (1, 2) OR seller = '42')"
    assert "sales.region" in found.sql and "FROM" not in found.sql
    assert set(found.parameters.values()) == {"it's", 1, 2, "42"}
    for name in found.parameters:
        assert f":{name}" in found.sql and "'" not in found.sql.replace('"C"', "")
    with_two = host.create("k", ("clerk", "boss"), context=context, owner="42").key
    found = explain(host, with_two, resource=SALES, action="read")
    assert found.filter == f"({explain(host, key, resource=SALES).filter}) OR (open = true)"
    assert explain(host, with_two, resource=SALES, action="update").filter == explain(host, key, resource=SALES).filter


@on_sqlite
def test_a_grant_on_all_rows_has_no_filter(host: Host) -> None:
    host.save("all", Grant(SALES, read=True), Grant(SALES, read=True, filter="open = true"))
    found = explain(host, host.create("k", ("all",)).key, resource=SALES)
    assert found.allowed and (found.filter, found.sql) == (None, None)
    assert [check.why for check in found.checks[-3:]] == [
        "grants sales:read on all rows",
        "grants sales:read on rows where open = true",
        "sales:read on all rows",
    ]


@on_sqlite
def test_a_grant_that_is_lacking_is_said(host: Host) -> None:
    host.save("clerk", Grant(SALES, read=True))
    key = host.create("k", ("clerk",)).key
    for asked in ({"resource": SALES, "action": "delete"}, {"resource": "nothing"}, {"resource": "no such! name"}):
        found = explain(host, key, **asked)
        assert not found.allowed and found.checks[-1] == ("grant", False, found.checks[-1].why)
        assert found.checks[-1].why == f"no grant for {asked['resource']}:{asked.get('action', 'read')}"


def test_a_variable_without_a_value_is_named(host: Host) -> None:
    host.save("clerk", Grant(SALES, read=True))
    key = host.create("k", ("clerk",)).key
    host.save("clerk", Grant(SALES, read=True, filter="region = $context.region"))
    found = explain(host, key, resource=SALES)
    assert not found.allowed and (found.filter, found.sql) == (None, None)
    assert found.checks[-1].why == ("no grant for sales:read: region = $context.region: $context.region has no value")


@on_sqlite
def test_a_filter_that_cannot_be_read_denies_and_says_why(host: Host) -> None:
    host.save("clerk", Grant(SALES, read=True, filter="open = true"))
    key = host.create("k", ("clerk",)).key
    host.sql("UPDATE archie_grants SET filter = 'open ='")
    found = explain(host, key, resource=SALES)
    assert not found.allowed and found.checks[-1].why.startswith("no grant for sales:read: open =: ")


@on_sqlite
def test_a_role_that_is_gone_is_named_and_refuses_nothing_by_itself(host: Host) -> None:
    host.save("ghost", Grant(SALES, update=True))
    host.save("clerk", Grant(SALES, read=True))
    key = host.create("k", ("ghost", "clerk")).key
    host.sql("DELETE FROM archie_grants WHERE role = 'ghost'")
    host.sql("DELETE FROM archie_roles WHERE name = 'ghost'")
    found = explain(host, key, resource=SALES)
    assert found.allowed
    assert ("known roles", True, "there is no role ghost any more: it grants nothing") in found.checks
    assert not explain(host, key, resource=SALES, action="update").allowed


@on_sqlite
def test_our_own_resources_are_explained_too(host: Host) -> None:
    host.save("manager", Grant("api_keys", read=True, filter="owner = $userId AND id != $keyId"))
    key = host.create("k", ("manager",), owner="42").key
    found = explain(host, key, resource="api_keys")
    assert found.filter == f"owner = '42' AND id != '{key.id}'"
    assert found.sql.startswith("archie_api_keys.owner") or "archie_api_keys.owner" in found.sql


@on_sqlite
def test_what_is_asked_must_make_sense(host: Host) -> None:
    key = host.create().key
    for asked, said in (
        ({"match": "some"}, "match must be any or all"),
        ({"resource": SALES, "action": "fly"}, "action must be one of read, write, update, delete"),
        ({"action": "read"}, "an action needs a resource"),
        ({"roles": "viewer"}, "roles must be a list of role names"),
        ({"resource": ["sales"]}, "resource must be the name of a resource"),
    ):
        with pytest.raises(BadRequest, match=said):
            explain(host, key, **asked)


@on_sqlite
def test_whoever_may_not_read_a_key_is_told_nothing_of_it(host: Host) -> None:
    host.save("own_keys", Grant("api_keys", read=True, filter="owner = $userId"))
    mine = host.create("mine", ("own_keys",), owner="42").key
    hidden = host.create("hidden", ("own_keys",), owner="43").key
    blind = host.create("blind").key
    with host.acting(mine):
        assert host.keys.explain(mine.id).allowed
        with pytest.raises(KeyNotFound):
            host.keys.explain(hidden.id)
    with host.acting(blind), pytest.raises(Forbidden):
        host.keys.explain(mine.id)


def test_the_secret_is_in_no_explanation(host: Host) -> None:
    host.save("clerk", Grant(SALES, read=True, filter="region = $context.region"))
    created = host.create("k", ("clerk",), context={"region": "eu"})
    found = explain(host, created.key, roles=["clerk"], resource=SALES, remote_address="10.0.0.1")
    digest = host.sql("SELECT digest FROM archie_api_keys")[0][0]
    for text in (repr(found), json.dumps(schemas.plain(schemas.explanation(found)))):
        assert created.secret[-38:] not in text and digest not in text and "digest" not in text


@on_sqlite
def test_the_json_of_an_explanation(host: Host) -> None:
    host.save("clerk", Grant(SALES, read=True, filter="level IN $context.levels AND shopper.region = 'eu'"))
    key = host.create("k", ("clerk",), context={"levels": [1, 2]}).key
    body = schemas.plain(schemas.explanation(explain(host, key, resource=SALES)))
    assert set(body) == {"keyId", "allowed", "checks", "filter", "sql", "parameters"}
    assert (body["keyId"], body["allowed"]) == (key.id, True)
    assert body["checks"][0] == {"name": "deleted", "passed": True, "why": "not deleted"}
    assert json.loads(json.dumps(body)) == body


def test_what_another_service_says_is_shown(make_host: MakeHost) -> None:
    """The roles in the database are not asked then."""

    class Service:
        def decide(self, principal: Principal, resource: str, action: str, request: Any = None) -> Allowed | Denied:
            assert principal.kind == "key"
            if action == "read":
                return Allowed(("region = $context.region",), why="by the book")
            return Denied("missing_grant", f"{resource}:{action}", why="not on Sundays")

    host = make_host(permissions=Service())
    host.save("clerk", Grant(SALES, update=True))
    host.app.add_url_rule("/s", "s", require_api_key(resource=SALES)(lambda: "s"), methods=["GET", "PUT"])
    created = host.create("k", ("clerk",), context={"region": "eu"})
    found = explain(host, created.key, resource=SALES)
    assert (found.filter, found.checks[-1].why) == (
        "region = 'eu'",
        "sales:read on the rows of the filter: by the book",
    )
    found = explain(host, created.key, resource=SALES, action="update")
    assert found.checks[-1] == ("grant", False, "no grant for sales:update: not on Sundays")
    assert not any(check.name.startswith("role ") for check in found.checks)
    assert host.get("/s", created.secret).status_code == 200
    assert host.client.put("/s", headers={"Authorization": f"Bearer {created.secret}"}).status_code == 403
