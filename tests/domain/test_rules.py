from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from flask_archie_keys import BadRequest, ValidationFailed
from flask_archie_keys.domain import rules
from flask_archie_keys.domain.clock import to_micros


def refusal(rule: Any, *args: Any, **kwargs: Any) -> tuple[str, str]:
    with pytest.raises(ValidationFailed) as caught:
        rule(*args, **kwargs)
    assert all(error.message for error in caught.value.errors)
    return caught.value.errors[0][:2]


@pytest.mark.parametrize(
    "name", ["CI", "  CI  ", "🚀 déploy", "مفتاح", "x" * 200, '<script>alert("1")</script>', "a\u202eb"]
)
def test_names_of_any_script_are_taken_without_outer_blanks(name: str) -> None:
    assert rules.name(name) == name.strip()


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("", "required"),
        ("   ", "required"),
        ("x" * 201, "length"),
        ("x" * 10_000, "length"),
        ("a\0b", "characters"),
        ("a\nb", "characters"),
        ("a\x1b[31mb", "characters"),
        ("\ud800", "characters"),
        (None, "type"),
        (7, "type"),
        (b"x", "type"),
    ],
)
def test_names_that_are_refused(name: object, rule: str) -> None:
    assert refusal(rules.name, name) == ("name", rule)


@pytest.mark.parametrize("prefix", ["A", "a_", "", "1", "a" * 33, "a-b", "ключ", None, 7, "a\n"])
def test_prefixes_that_are_refused(prefix: object) -> None:
    assert refusal(rules.prefix, prefix)[0] == "prefix"


@pytest.mark.parametrize(
    ("roles", "rule"),
    [
        ("viewer", "type"),
        (None, "type"),
        (7, "type"),
        ([7], "type"),
        ([["viewer"]], "type"),
        ([None], "type"),
        (["viewr"], "unknown"),
        (["viewer", "�"], "unknown"),
        ([f"r{n}" for n in range(33)], "length"),
    ],
)
def test_roles_that_are_refused(roles: object, rule: str) -> None:
    assert refusal(rules.roles, roles, {"viewer", "editor"}) == ("roles", rule)


def test_an_unknown_role_names_the_nearest() -> None:
    with pytest.raises(ValidationFailed, match="there is no role 'viewr'; did you mean 'viewer'"):
        rules.roles(["viewr"], {"viewer", "editor"})


def test_a_role_given_twice_counts_once_and_the_order_stays() -> None:
    assert rules.roles(["editor", "viewer", "editor"], {"viewer", "editor"}) == ("editor", "viewer")


def test_a_context_of_every_type() -> None:
    given = {"region": "eu", "limit": 5, "ratio": 0.5, "live": True, "ids": [1, 2], "none": [], "_x": "🚀"}
    assert rules.context(given) == {**given, "ids": (1, 2), "none": ()}
    assert rules.context(None) == {}


@pytest.mark.parametrize(
    ("context", "field", "rule"),
    [
        ("region=eu", "context", "type"),
        ([("region", "eu")], "context", "type"),
        ({"a": {"b": 1}}, "context.a", "type"),
        ({"a": [[1]]}, "context.a", "type"),
        ({"a": None}, "context.a", "type"),
        ({"a": [None]}, "context.a", "type"),
        ({"a": {1, 2}}, "context.a", "type"),
        ({"a": float("nan")}, "context.a", "range"),
        ({"a": float("inf")}, "context.a", "range"),
        ({"a": 2**63}, "context.a", "range"),
        ({"a": 10**5000}, "context.a", "range"),
        ({"a": "x\0"}, "context.a", "characters"),
        ({"a": "\udfff"}, "context.a", "characters"),
        ({"a": list(range(101))}, "context.a", "length"),
        ({"1a": 1}, "context", "name"),
        ({"": 1}, "context", "name"),
        ({"a.b": 1}, "context", "name"),
        ({7: 1}, "context", "name"),
        ({"x" * 65: 1}, "context", "name"),
        ({f"n{n}": n for n in range(33)}, "context", "length"),
        ({"a": "x" * 4096}, "context", "length"),
        ({"a": "é" * 2048}, "context", "length"),
    ],
)
def test_contexts_that_are_refused(context: object, field: str, rule: str) -> None:
    assert refusal(rules.context, context) == (field, rule)


@pytest.mark.parametrize(
    ("given", "clean"),
    [
        (None, None),
        (["10.0.0.0/8"], ("10.0.0.0/8",)),
        (["192.0.2.7"], ("192.0.2.7/32",)),
        (["2001:db8::/32", "::1"], ("2001:db8::/32", "::1/128")),
        (["10.0.0.0/8", "10.0.0.0/8"], ("10.0.0.0/8",)),
    ],
)
def test_networks(given: object, clean: object) -> None:
    assert rules.allowed_networks(given) == clean


@pytest.mark.parametrize(
    ("networks", "rule"),
    [
        ([], "required"),
        ((), "required"),
        ("10.0.0.0/8", "type"),
        ([7], "type"),
        (7, "type"),
        (["10.0.0.1/8"], "network"),
        (["everywhere"], "network"),
        (["10.0.0.0/33"], "network"),
        (["10.0.0.0/8"] * 65, "length"),
    ],
)
def test_networks_that_are_refused(networks: object, rule: str) -> None:
    assert refusal(rules.allowed_networks, networks) == ("allowed_networks", rule)


def test_a_network_with_bits_behind_its_mask_names_the_right_one() -> None:
    with pytest.raises(ValidationFailed, match=r"did you mean 10\.0\.0\.0/8"):
        rules.allowed_networks(["10.0.0.1/8"])


NOW = to_micros(datetime(2030, 1, 1, tzinfo=UTC))


def expiry(value: object, max_age: timedelta | None = None) -> int | None:
    return rules.expiry(value, now=NOW, created=NOW, max_age=max_age)


def test_an_expiry_is_microseconds_in_utc() -> None:
    assert expiry(datetime(2030, 1, 2, tzinfo=UTC)) == NOW + 86_400_000_000
    assert expiry(None) is None


@pytest.mark.parametrize(
    ("value", "max_age", "rule"),
    [
        (datetime(2030, 1, 2), None, "timezone"),
        (datetime(2030, 1, 1, tzinfo=UTC), None, "future"),
        (datetime(1, 1, 1, tzinfo=UTC), None, "future"),
        (datetime(9999, 12, 31, tzinfo=UTC), None, "range"),
        ("2030-01-02", None, "type"),
        (1893456000, None, "type"),
        (datetime(2030, 2, 1, tzinfo=UTC), timedelta(days=30), "max_age"),
        (None, timedelta(days=30), "max_age"),
    ],
)
def test_expiries_that_are_refused(value: object, max_age: timedelta | None, rule: str) -> None:
    assert refusal(expiry, value, max_age) == ("expires_at", rule)


@pytest.mark.parametrize("overlap", [timedelta(microseconds=-1), timedelta(days=40_000), 60, None, "1h"])
def test_overlaps_that_are_refused(overlap: object) -> None:
    assert refusal(rules.overlap, overlap)[0] == "overlap"


@pytest.mark.parametrize("limit", [0, 201, -1, True, "50", None, 1.0])
def test_limits_that_are_refused(limit: object) -> None:
    with pytest.raises(BadRequest, match="limit must be a whole number from 1 to 200"):
        rules.limit(limit)
