"""What may be written in a role."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from flask_archie_keys import FieldError, Grant, ValidationFailed
from flask_archie_keys.domain import role_rules
from flask_archie_keys.domain.filters import LENGTH_MAX

ORDERS = {"resource": "orders", "read": True}
OBJECT = 'must be an object such as {"resource": "orders", "read": true}'


def refused(rule: Callable[[Any], Any], value: object) -> list[FieldError]:
    with pytest.raises(ValidationFailed) as caught:
        rule(value)
    return list(caught.value.errors)


@pytest.mark.parametrize("name", ["viewer", "a", "a_1", "a" * 63])
def test_names(name: str) -> None:
    assert role_rules.name(name) == name


@pytest.mark.parametrize(
    "name", ["", "Viewer", "1a", "_a", "a-b", "a b", "a" * 64, "ä", "a\n", None, 7, True, b"a", ["a"]]
)
def test_wrong_names(name: object) -> None:
    assert [(error.field, error.rule) for error in refused(role_rules.name, name)] == [("name", "pattern")]


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("", ""),
        ("Sells", "Sells"),
        ("  Sells ", "Sells"),
        (" ", ""),
        ("\t\n\x1c\u2028", ""),
        ("ß \u2028 x", "ß \u2028 x"),
    ],
)
def test_descriptions(given: str, kept: str) -> None:
    assert role_rules.description(given) == kept


@pytest.mark.parametrize(
    ("given", "rule"),
    [
        (None, "type"),
        (7, "type"),
        ("a\0b", "characters"),
        ("a\nb", "characters"),
        ("\ud800", "characters"),
        ("a" * 2001, "length"),
        (" " * 2001, "length"),
    ],
)
def test_wrong_descriptions(given: object, rule: str) -> None:
    assert [(error.field, error.rule) for error in refused(role_rules.description, given)] == [("description", rule)]


@pytest.mark.parametrize(
    "given",
    [
        [ORDERS],
        (ORDERS,),
        iter([ORDERS]),
        [Grant("orders", read=True)],
        [{**ORDERS, "write": False, "update": False, "delete": False, "filter": None}],
    ],
)
def test_grants(given: object) -> None:
    assert role_rules.grants(given) == (Grant("orders", read=True),)


def test_a_role_may_grant_nothing() -> None:
    assert role_rules.grants([]) == ()


def test_a_filter_is_kept_as_it_was_written() -> None:
    text = " region  =  'eu' or OPEN = true "
    (grant,) = role_rules.grants([{**ORDERS, "filter": text}])
    assert grant.filter == text


@pytest.mark.parametrize("given", [None, "orders", {"resource": "orders"}, 7, True])
def test_grants_that_are_no_list(given: object) -> None:
    assert refused(role_rules.grants, given) == [("grants", "type", "must be a list of grants")]


def test_there_are_no_more_than_200_grants() -> None:
    assert len(role_rules.grants([ORDERS] * 200)) == 200
    assert refused(role_rules.grants, [ORDERS] * 201) == [("grants", "length", "must be at most 200 grants")]


@pytest.mark.parametrize("action", ["read", "write", "update", "delete"])
@pytest.mark.parametrize("value", [1, 0, 1.0, "true", "false", "yes", "", None, [], [True], {}])
def test_an_action_is_granted_by_true_alone(action: str, value: object) -> None:
    """``"false"`` is a text, and true; 1 equals true."""
    given = {"resource": "orders", "read": True, "write": True, action: value}
    assert refused(role_rules.grants, [given]) == [(f"grants[0].{action}", "type", "must be true or false")]
    grant = Grant(**{"resource": "orders", "read": True, "write": True, action: value})  # type: ignore[arg-type]
    assert refused(role_rules.grants, [grant]) == [(f"grants[0].{action}", "type", "must be true or false")]


@pytest.mark.parametrize(
    ("given", "errors"),
    [
        ("orders", [("grants[0]", "type", OBJECT)]),
        (None, [("grants[0]", "type", OBJECT)]),
        ([("resource", "orders"), ("read", True)], [("grants[0]", "type", OBJECT)]),
        ({**ORDERS, 1: True}, [("grants[0]", "type", OBJECT)]),
        (
            {**ORDERS, "filters": "a = 1"},
            [("grants[0].filters", "unknown", "is no part of a grant; did you mean 'filter'?")],
        ),
        ({**ORDERS, "x" * 100: 1}, [(f"grants[0].{'x' * 63}", "unknown", "is no part of a grant")]),
        (
            {"read": True},
            [("grants[0].resource", "pattern", "must be the name of a resource, in snake_case")],
        ),
        (
            {"resource": "Orders", "read": True},
            [("grants[0].resource", "pattern", "must be the name of a resource, in snake_case")],
        ),
        (
            {"resource": ["orders"], "read": True},
            [("grants[0].resource", "pattern", "must be the name of a resource, in snake_case")],
        ),
        ({"resource": "orders"}, [("grants[0]", "required", "must grant one of read, write, update, delete")]),
        (
            {"resource": "orders", "read": False},
            [("grants[0]", "required", "must grant one of read, write, update, delete")],
        ),
        (
            {"resource": "*", "read": "all", "all": True},
            [
                ("grants[0].all", "unknown", "is no part of a grant"),
                ("grants[0].resource", "pattern", "must be the name of a resource, in snake_case"),
                ("grants[0].read", "type", "must be true or false"),
                ("grants[0]", "required", "must grant one of read, write, update, delete"),
            ],
        ),
    ],
)
def test_wrong_grants(given: object, errors: list[tuple[str, str, str]]) -> None:
    assert refused(role_rules.grants, [given]) == errors


@pytest.mark.parametrize(
    ("filter", "rule"),
    [
        ("", "filter"),
        ("  ", "filter"),
        ("\n", "filter"),
        (True, "type"),
        (0, "type"),
        ([], "type"),
        ({}, "type"),
        (["a = 1"], "type"),
        ("a =", "filter"),
        ("true", "filter"),
        ("1 = 1", "filter"),
        ("a = 1 --", "filter"),
        ("a = 1; b = 2", "filter"),
        ("a = '\0'", "filter"),
        ("a = 1 OR", "filter"),
        ("a = 1" + " " * LENGTH_MAX, "filter"),
    ],
)
def test_a_filter_that_is_none_is_refused_and_never_means_all_rows(filter: object, rule: str) -> None:
    (error,) = refused(role_rules.grants, [ORDERS, {**ORDERS, "filter": filter}])
    assert (error.field, error.rule) == ("grants[1].filter", rule)


def test_the_mistake_in_a_filter_has_its_place() -> None:
    (error,) = refused(role_rules.grants, [{**ORDERS, "filter": "region = 'eu' AND x = NULL"}])
    assert error.message.endswith("(at character 23)") and "IS NULL" in error.message


def test_all_that_is_wrong_is_said_at_once() -> None:
    found = refused(role_rules.grants, [{**ORDERS, "filter": "a ="}, ORDERS, {"resource": "x", "read": "true"}])
    assert [error.field for error in found] == ["grants[0].filter", "grants[2].read", "grants[2]"]
