"""Whether keys have what the filters of their roles need: when they are made and changed, and when roles are saved."""

from __future__ import annotations

from typing import Any

import pytest

from flask_archie_keys import Grant, Role, ValidationFailed
from flask_archie_keys.rows import schema_of
from flask_archie_keys.services.fits import misfits, wrong_grants
from flask_archie_keys.services.keys import KeyService
from flask_archie_keys.store.keys import dump

from ..conftest import Host
from ..support.sales import SALES


def row(context: dict[str, Any] | None = None, owner: str | None = None) -> dict[str, Any]:
    """A key's row, as far as it matters."""
    return {"id": "7f3Kq2Zt9bXa", "project": "p", "environment": "e", "context": dump(context or {}), "owner": owner}


def role(*filters: str | None, resource: str = SALES, name: str = "clerk") -> Role:
    return Role(name=name, grants=tuple(Grant(resource, read=True, filter=text) for text in filters))


@pytest.mark.parametrize(
    ("filter", "context", "owner"),
    [
        (None, {}, None),
        ("region = 'eu'", {}, None),
        ("region = $context.region", {"region": "eu"}, None),
        ("region IN $context.regions", {"regions": ["eu", "us"]}, None),
        ("region IN $context.region", {"region": "eu"}, None),
        ("level = $context.level", {"level": 3}, None),
        ("open = $context.open", {"open": True}, None),
        ("seller = $userId", {}, "42"),
        ("id = $userId", {}, "42"),
        ("seller = $keyId AND region = $environment AND seller != $project", {}, None),
        ("shopper.region = $context.region", {"region": "eu"}, None),
        ("no_such = 1", {}, None),  # no key can mend that
        ("region =", {}, None),
    ],
)
def test_a_key_that_has_what_the_filter_needs(filter: str | None, context: dict[str, Any], owner: str | None) -> None:
    assert misfits([role(filter)], row(context, owner), schema_of) == []


@pytest.mark.parametrize(
    ("filter", "context", "owner", "error"),
    [
        (
            "region = $context.region",
            {"Region": "eu"},
            None,
            ("context.region", "required", "the role 'clerk' filters sales by $context.region, which has no value"),
        ),
        (
            "region = 'eu' OR region = $context.region",  # in one branch of an OR, too
            {},
            None,
            ("context.region", "required", "the role 'clerk' filters sales by $context.region, which has no value"),
        ),
        (
            "region = $context.region",
            {"region": 7},
            None,
            ("context.region", "type", "the role 'clerk' filters sales by $context.region, which must be a string"),
        ),
        (
            "region = $context.region",
            {"region": ["eu"]},
            None,
            ("context.region", "type", "the role 'clerk' filters sales by $context.region, which must be a string"),
        ),
        (
            "region IN $context.regions",
            {"regions": []},
            None,
            ("context.regions", "type", "the role 'clerk' filters sales by $context.regions, which is an empty list"),
        ),
        (
            "region IN $context.regions",
            {"regions": ["eu", 7]},
            None,
            ("context.regions", "type", "the role 'clerk' filters sales by $context.regions, which must be a string"),
        ),
        (
            "level = $context.level",
            {"level": "1"},
            None,
            ("context.level", "type", "the role 'clerk' filters sales by $context.level, which must be an integer"),
        ),
        (
            "level = $context.level",
            {"level": True},
            None,
            ("context.level", "type", "the role 'clerk' filters sales by $context.level, which must be an integer"),
        ),
        (
            "level = $context.level",
            {"level": 1.0},
            None,
            ("context.level", "type", "the role 'clerk' filters sales by $context.level, which must be an integer"),
        ),
        (
            "open = $context.open",
            {"open": 1},
            None,
            ("context.open", "type", "the role 'clerk' filters sales by $context.open, which must be true or false"),
        ),
        (
            "open = $context.open",
            {"open": "true"},
            None,
            ("context.open", "type", "the role 'clerk' filters sales by $context.open, which must be true or false"),
        ),
        (
            "seller = $userId",
            {},
            None,
            ("owner", "required", "the role 'clerk' filters sales by $userId (the key's owner), which has no value"),
        ),
        (
            "id = $userId",
            {},
            "ann",
            ("owner", "type", "the role 'clerk' filters sales by $userId (the key's owner), which must be an integer"),
        ),
    ],
)
def test_a_key_that_lacks_something_is_told_what_and_for_which_role(
    filter: str, context: dict[str, Any], owner: str | None, error: tuple[str, str, str]
) -> None:
    assert misfits([role(), role(filter)], row(context, owner), schema_of) == [error]


def test_all_that_is_lacking_is_named_once_with_the_first_role_that_needs_it() -> None:
    roles = [
        role("region = $context.region"),
        role("level = $context.level AND region = $context.region AND seller = $userId", name="other"),
    ]
    found = misfits(roles, row(), schema_of)
    assert [(error.field, "'clerk'" in error.message) for error in found] == [
        ("context.region", True),
        ("context.level", False),
        ("owner", False),
    ]


def test_of_a_resource_that_this_process_does_not_know_only_what_is_missing_is_said() -> None:
    roles = [role("region = $context.region", resource="reports")]
    assert misfits(roles, row({"region": 7}), schema_of) == []
    assert [error.field for error in misfits(roles, row(), schema_of)] == ["context.region"]


@pytest.mark.parametrize(
    ("grant", "field", "rule", "said"),
    [
        (Grant("sale", read=True), "resource", "unknown", "there is no resource 'sale'; did you mean 'sales'?"),
        (
            Grant("api_key", read=True),
            "resource",
            "unknown",
            "there is no resource 'api_key'; did you mean 'api_keys'?",
        ),
        (Grant("zzz", read=True), "resource", "unknown", "there is no resource 'zzz'"),
        (
            Grant("sales", read=True, filter="region = 'eu' AND regoin = 'eu'"),
            "filter",
            "filter",
            "there is no column regoin; did you mean 'region'? (at character 19)",
        ),
        (
            Grant("sales", read=True, filter="shopper.name = 'x'"),
            "filter",
            "filter",
            "there is no column shopper.name (at character 1)",
        ),
        (
            Grant("sales", read=True, filter="level = '1'"),
            "filter",
            "filter",
            "'1' must be an integer to be compared with level (at character 9)",
        ),
        (
            Grant("sales", read=True, filter="notes = 'x'"),
            "filter",
            "filter",
            "notes cannot be filtered: it holds JSON (at character 1)",
        ),
        (
            Grant("api_keys", read=True, filter="digest = 'x'"),
            "filter",
            "filter",
            "api_keys has no column 'digest' for filters",
        ),
        (
            Grant("roles", read=True, filter="project = 'x'"),
            "filter",
            "filter",
            "roles has no column 'project' for filters",
        ),
        (
            Grant("reports", read=True, filter="id = 1"),
            "filter",
            "unprotected",
            "reports is not protected, so its rows cannot be filtered",
        ),
    ],
)
def test_a_grant_that_does_not_fit_its_table_is_refused_with_the_place(
    grant: Grant, field: str, rule: str, said: str
) -> None:
    fine = Grant("sales", read=True)
    (error,) = wrong_grants([fine, grant], schema_of, ["sales", "reports"])
    assert (error.field, error.rule) == (f"grants[1].{field}", rule) and said in error.message


# -- making and changing keys


@pytest.fixture
def clerk(host: Host) -> Host:
    """A host with the role ``clerk``, which filters sales by ``$context.region`` and ``$userId``."""
    text = "region = $context.region AND seller = $userId"
    host.save("clerk", Grant("sales", read=True, filter=text))
    host.save("free", Grant("sales", read=True))
    return host


def test_a_key_is_made_with_what_its_roles_need_or_not_at_all(clerk: Host, service: KeyService) -> None:
    with pytest.raises(ValidationFailed) as caught:
        clerk.create("k", ("free", "clerk"), context={"region": ["eu"]})
    assert caught.value.errors == (
        ("owner", "required", "the role 'clerk' filters sales by $userId (the key's owner), which has no value"),
    )
    with pytest.raises(ValidationFailed) as caught:
        clerk.create("k", ("clerk",), owner="42")
    assert [error.field for error in caught.value.errors] == ["context.region"]
    for null in ({"region": None}, {"region": {"a": "b"}}, {"region": [None]}):
        with pytest.raises(ValidationFailed, match=r"context\.region"):
            clerk.create("k", ("clerk",), owner="42", context=null)
    assert service.find().items == ()
    assert clerk.create("k", ("clerk",), owner="42", context={"region": "eu"}).key.roles == ("clerk",)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"context": {}}, "context.region"),
        ({"context": None}, "context.region"),
        ({"context": {"region": 7}}, "context.region"),
        ({"context": {"region": []}}, "context.region"),
        ({"owner": None}, "owner"),
        ({"name": "renamed", "owner": None}, "owner"),
    ],
)
def test_a_key_is_not_changed_so_that_its_roles_lack_something(
    clerk: Host, service: KeyService, changes: dict[str, Any], field: str
) -> None:
    key = clerk.create("k", ("clerk",), owner="42", context={"region": "eu"}).key
    with pytest.raises(ValidationFailed) as caught:
        service.update(key.id, **changes)
    assert [error.field for error in caught.value.errors] == [field]
    assert service.get(key.id) == key


def test_a_key_is_not_given_a_role_whose_filters_it_does_not_fit(clerk: Host, service: KeyService) -> None:
    key = clerk.create("k", ("free",)).key
    with pytest.raises(ValidationFailed) as caught:
        service.update(key.id, roles=["free", "clerk"])
    assert [error.field for error in caught.value.errors] == ["context.region", "owner"]
    given = service.update(key.id, roles=["free", "clerk"], owner="42", context={"region": "eu"})
    assert given.roles == ("free", "clerk")


def test_a_key_that_is_locked_out_can_be_renamed_rotated_mended_and_ended(clerk: Host, service: KeyService) -> None:
    key = clerk.create("k", ("free",), context={"region": "eu"}).key
    clerk.save("free", Grant("sales", read=True, filter="level = $context.level"))
    assert service.update(key.id, name="renamed").name == "renamed"
    service.disable(key.id)
    service.enable(key.id)
    with pytest.raises(ValidationFailed) as caught:
        service.update(key.id, context={"region": "us"})
    assert [error.field for error in caught.value.errors] == ["context.level"]
    successor = service.rotate(key.id).key
    assert (successor.roles, dict(successor.context)) == (("free",), {"region": "eu"})
    assert service.update(successor.id, context={"level": 3}).context["level"] == 3
    service.delete(successor.id)
