from __future__ import annotations

import itertools
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from flask_archie_keys.domain.filter_tree import Column, Comparison, In, IsNull, Literal, Variable
from flask_archie_keys.domain.filters import (
    ABSENT,
    DEPTH_MAX,
    LENGTH_MAX,
    TERMS_MAX,
    And,
    FilterError,
    Not,
    Or,
    Unbound,
    UnknownColumn,
    bind,
    check,
    evaluate,
    parse,
    variable_kinds,
)
from flask_archie_keys.domain.kinds import (
    Boolean,
    Date,
    Datetime,
    Enumeration,
    Integer,
    Kind,
    Number,
    Numbered,
    String,
    Time,
    Uuid,
)

KINDS: Mapping[str, Kind] = {
    "region": String(),
    "name": String(),
    "owner_id": Integer(),
    "amount": Integer(),
    "price": Number(),
    "open": Boolean(),
    "day": Date(),
    "at": Time(),
    "seen_at": Datetime(),
    "zoned_at": Datetime("zone"),
    "token": Uuid(),
    "status": Enumeration(labels=(("open", "open"), ("held", "held"))),
    "customer.region": String(),
    "customer.rank": Integer(),
    "customer.city.name": String(),
    "shop.region": String(),
}


class Columns:
    """A schema by a table of names."""

    def kind(self, path: tuple[str, ...]) -> Kind:
        try:
            return KINDS[".".join(path)]
        except KeyError:
            raise UnknownColumn(f"there is no column {'.'.join(path)}") from None


SCHEMA = Columns()


def error(text: str) -> tuple[int, str]:
    with pytest.raises(FilterError) as caught:
        check(parse(text), SCHEMA)
    found = caught.value
    assert str(found) == f"{found.message} (at character {found.position + 1})"
    return found.position, found.message


def truth(text: str, row: Mapping[str, object] | None = None, **context: object) -> bool | None:
    filter = parse(text)
    check(filter, SCHEMA)
    bound = bind(filter, SCHEMA, {f"context.{name}": value for name, value in context.items()})
    return evaluate(bound, lambda path: (row or {}).get(".".join(path)))


def test_the_example_of_the_design_becomes_a_tree() -> None:
    text = "region = $context.region AND (status IN ('open','held') OR owner_id = $userId) AND archived_at IS NULL"
    filter = parse(text)
    assert filter.tree == And(
        (
            Comparison("=", Column(("region",)), Variable("context.region")),
            Or(
                (
                    In(Column(("status",)), (Literal("open"), Literal("held"))),
                    Comparison("=", Column(("owner_id",)), Variable("userId")),
                )
            ),
            IsNull(Column(("archived_at",))),
        )
    )
    assert filter.variables == {"context.region", "userId"}
    assert filter.columns == {("region",), ("status",), ("owner_id",), ("archived_at",)}
    assert filter.text == text
    assert str(filter) == text.replace("','", "', '")


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("a=1", "a = 1"),
        ("a<>1", "a != 1"),
        ("a\n=\t1 ", "a = 1"),
        ("1<a", "1 < a"),
        ("a = b", "a = b"),
        ("a >= -5 and b <= -0.50", "a >= -5 AND b <= -0.50"),
        ("a = 0.0000001", "a = 0.0000001"),
        ("a = 00012", "a = 12"),
        ("a = TRUE or a = False", "a = true OR a = false"),
        ("a = 'it''s' or a = ''", "a = 'it''s' OR a = ''"),
        ("a = ''''", "a = ''''"),
        ("a = '🚀 -- /* ; \" $x'", "a = '🚀 -- /* ; \" $x'"),
        ("a iN (1,2,$context.b)", "a IN (1, 2, $context.b)"),
        ("a not in $context.b", "a NOT IN ($context.b)"),
        ("a between 1 and 2 and b not between $now and c", "a BETWEEN 1 AND 2 AND b NOT BETWEEN $now AND c"),
        ("a is null or a is not null", "a IS NULL OR a IS NOT NULL"),
        ("not a = 1 and b = 2", "NOT a = 1 AND b = 2"),
        ("not (a = 1 and b = 2)", "NOT (a = 1 AND b = 2)"),
        ("not not a = 1", "NOT NOT a = 1"),
        ("a = 1 or b = 2 and c = 3", "a = 1 OR b = 2 AND c = 3"),
        ("(a = 1 or b = 2) and c = 3", "(a = 1 OR b = 2) AND c = 3"),
        ("(a = 1 and b = 2) or c = 3", "a = 1 AND b = 2 OR c = 3"),
        ("(a = 1 and b = 2) and c = 3", "(a = 1 AND b = 2) AND c = 3"),
        ("a = 1 or (b = 2 or c = 3)", "a = 1 OR (b = 2 OR c = 3)"),
        ("((a = 1))", "a = 1"),
        ("x.y = 1 and x.y.z_1.W = _v", "x.y = 1 AND x.y.z_1.W = _v"),
        ("$userId = a and $keyId = b and $project = c and $environment = d", None),
        ("android = 1 or nottingham = 2 or isnull = 3 or truest = 4 or inn = 5", None),
    ],
)
def test_canonical_text(text: str, canonical: str | None) -> None:
    filter = parse(text)
    assert str(filter).casefold() == (canonical or text).casefold()
    assert canonical is None or str(filter) == canonical
    assert parse(str(filter)).tree == filter.tree


def test_not_binds_closer_than_and_and_that_closer_than_or() -> None:
    a, b, c = (Comparison("=", Column((name,)), Literal(1)) for name in "abc")
    assert parse("NOT a = 1 AND b = 1 OR c = 1").tree == Or((And((Not(a), b)), c))
    assert parse("a = 1 OR b = 1 AND NOT c = 1").tree == Or((a, And((b, Not(c)))))


def test_literals_of_different_types_are_different() -> None:
    texts = ("a = 1", "a = 1.0", "a = true", "a = '1'")
    for one, other in itertools.combinations(texts, 2):
        assert parse(one).tree != parse(other).tree
    assert parse("a = 1.0").tree == Comparison("=", Column(("a",)), Literal(Decimal("1.0")))


@pytest.mark.parametrize(
    ("text", "position", "message"),
    [
        ("", 0, "a filter must not be empty"),
        (" \n ", 0, "a filter must not be empty"),
        ("region", 6, "a boolean column is written region = true; the text ends here"),
        ("open AND region = 'eu'", 5, "a boolean column is written open = true"),
        ("true", 4, "a comparison is missing"),
        ("region =", 8, "a column, a value or a variable must stand here; the text ends here"),
        ("region = = 'eu'", 9, "a column, a value or a variable must stand here"),
        ("region == 'eu'", 7, "equality is written with one ="),
        ("region = NULL", 9, "= NULL is never true; write IS NULL or IS NOT NULL"),
        ("region <> null", 10, "<> NULL is never true; write IS NULL or IS NOT NULL"),
        ("null = region", 0, "a comparison with NULL is never true; write IS NULL"),
        ("region IN ('eu', NULL)", 17, "NULL is never true"),
        ("amount BETWEEN NULL AND 5", 15, "NULL is never true"),
        ("region LIKE 'e%'", 7, "there is no LIKE"),
        ("region NOT ilike 'e%'", 11, "there is no ILIKE"),
        ("lower(region) = 'eu'", 0, "there are no functions"),
        ("region = now ()", 9, "there are no functions"),
        ("region IN (SELECT 1)", 11, "there are no sub-queries"),
        ("EXISTS (SELECT 1)", 0, "there are no sub-queries"),
        ("region = 'eu' -- all", 14, "there are no comments"),
        ("region = 'eu' /* all */", 14, "there are no comments"),
        ("region = 'eu' # all", 14, "there are no comments"),
        ("amount + 1 = 2", 7, "there is no arithmetic"),
        ("amount = 2 - 1", 11, "there is no arithmetic"),
        ("amount = -amount", 9, "there is no arithmetic"),
        ("region || 'x' = 'y'", 7, "there is no arithmetic"),
        ('"region" = 1', 0, "names stand without quotes"),
        ("`region` = 1", 0, "names stand without quotes"),
        ("region = ?", 9, "values are written as they are"),
        ("region = :region", 9, "values are written as they are"),
        ("region = %s", 9, "there is no arithmetic"),
        ("region = 'eu'; amount = 1", 13, "a filter is one condition"),
        ("region = 'eu", 9, "the string has no end"),
        ("region = 'eu''", 9, "the string has no end"),
        ("region = 'e\nu'", 11, "no control characters"),
        ("region = 'e\0u'", 11, "no control characters"),
        ("region = 'e\x85u'", 11, "no control characters"),
        ("region = 'e\ud800u'", 11, "no control characters or lone surrogates"),
        ("region\xa0= 'eu'", 6, "'\\xa0' has no meaning here"),
        ("rëgion = 'eu'", 1, "'ë' has no meaning here"),
        ("region\0 = 'eu'", 6, "'\\x00' has no meaning here"),
        ("amount = 5.", 9, "a number is written with digits"),
        ("amount = .5", 9, "'.' has no meaning here"),
        ("amount = 1e5", 9, "a number is written with digits"),
        ("amount = 0x10", 9, "a number is written with digits"),
        ("amount = 1.2.3", 9, "a number is written with digits"),
        ("amount = 1_000", 9, "a number is written with digits"),
        ("amount = ١", 9, "has no meaning here"),
        ("(amount = 1", 11, "a bracket must be closed here; the text ends here"),
        ("amount = 1)", 10, "AND or OR must stand between two conditions"),
        ("(amount) = 1", 7, "a comparison is missing"),
        ("()", 1, "a column, a value or a variable must stand here"),
        ("amount = 1 amount = 2", 11, "AND or OR must stand between two conditions"),
        ("amount = 1 AND", 14, "a column, a value or a variable must stand here; the text ends here"),
        ("AND amount = 1", 0, "a column, a value or a variable must stand here"),
        ("NOT", 3, "a column, a value or a variable must stand here"),
        ("amount NOT 5", 11, "after NOT comes IN or BETWEEN here"),
        ("amount IS 5", 10, "after IS comes NULL or NOT NULL"),
        ("open IS NOT TRUE", 12, "after IS comes NULL or NOT NULL"),
        ("amount IN ()", 11, "a list must not be empty"),
        ("amount IN 5", 10, "after IN comes a list in brackets or a variable"),
        ("amount IN (1 2)", 13, "a comma or a closing bracket must stand here"),
        ("amount IN (1, 2", 15, "a comma or a closing bracket must stand here; the text ends here"),
        ("amount IN (1, owner_id)", 14, "a list holds values and variables, not columns"),
        ("5 IN (amount)", 0, "before IN stands a column"),
        ("$context.a IN (5)", 0, "before IN stands a column"),
        ("$context.a IS NULL", 0, "before IS NULL stands a column"),
        ("amount BETWEEN 1", 16, "BETWEEN is written x BETWEEN a AND b"),
        ("amount BETWEEN 1 OR 2", 17, "BETWEEN is written x BETWEEN a AND b"),
        ("1 = 1", 2, "a comparison needs a column"),
        ("$userId = 'me'", 8, "a comparison needs a column"),
        ("1 BETWEEN 0 AND 2", 2, "a comparison needs a column"),
        ("region = $user", 9, "there is no variable $user; did you mean 'userId'?"),
        ("region = $userid", 9, "there is no variable $userid; did you mean 'userId'?"),
        ("region = $", 9, "a variable is $userId"),
        ("region = $1", 9, "a variable is $userId"),
        ("region = $context", 9, "the context is read as $context.<name>"),
        ("region = $context.a.b", 9, "the context is read as $context.<name>"),
        ("region = $Context.a", 9, "there is no variable $Context.a"),
        ("region = $context." + "x" * 65, 9, "at most 64 characters"),
        ("order.null = 1", 0, "null is a keyword"),
        ("x.select = 1", 0, "select is a keyword"),
        ("a." + "b" * 64 + " = 1", 0, "at most 63 characters"),
        ("a.b.c.d.e = 1", 0, "at most 4 parts"),
        ("a . b = 1", 2, "has no meaning here"),
        ("customer.region = shop.region", 18, "columns of two related rows cannot be compared"),
        ("region BETWEEN customer.region AND shop.region", 35, "columns of two related rows cannot be compared"),
        ("customer.region = customer.city.name", 18, "columns of two related rows cannot be compared"),
    ],
)
def test_what_is_no_filter(text: str, position: int, message: str) -> None:
    found = error(text)
    assert found[0] == position
    assert message in found[1]


@pytest.mark.parametrize(
    ("text", "position", "message"),
    [
        ("regoin = 'eu'", 0, "there is no column regoin"),
        ("region = 'eu' OR customer.name = 'x'", 17, "there is no column customer.name"),
        ("region = 5", 9, "5 must be a string to be compared with region"),
        ("region = true", 9, "true must be a string"),
        ("'5' = amount", 0, "'5' must be an integer to be compared with amount"),
        ("amount = 5.0", 9, "5.0 must be an integer"),
        ("amount = 9223372036854775808", 9, "must be a 64-bit integer"),
        ("amount IN (1, 'x')", 14, "'x' must be an integer"),
        ("amount BETWEEN 1 AND 'x'", 21, "'x' must be an integer"),
        ("price = '1'", 8, "'1' must be a number"),
        ("price = 0.12345678901234567", 8, "at most 15 significant digits"),
        ("open = 1", 7, "1 must be true or false"),
        ("day = '2026-02-30'", 6, "must be a date such as"),
        ("at = '25:00'", 5, "must be a time of day"),
        ("seen_at = 'soon'", 10, "must be a date and time"),
        ("token = 'x'", 8, "must be a UUID"),
        ("status = 'closed'", 9, "must be one of 'open', 'held'"),
        ("open < true", 5, "open has no order; write =, != or IN"),
        ("token > '0b7a9c1e-3f52-4e0a-8d5f-2f6f0c9a1b3d'", 6, "token has no order"),
        ("region = 'eu' AND status >= 'open'", 25, "status has no order"),
        ("status BETWEEN 'held' AND 'open'", 7, "status has no order"),
        ("amount = region", 9, "amount and region are not of the same type"),
        ("amount BETWEEN 5 AND region", 21, "amount and region are not of the same type"),
        ("seen_at = zoned_at", 10, "seen_at and zoned_at are not of the same type"),
        ("region = $now", 9, "$now cannot be compared with region"),
        ("amount = $keyId", 9, "$keyId cannot be compared with amount"),
        ("seen_at = $userId", 10, "$userId cannot be compared with seen_at"),
        ("token IN ($project)", 10, "$project cannot be compared with token"),
        ("region = " + "'" + "x" * 100 + "\u200b" * 900 + "' AND amount = '" + "y" * 500 + "'", 1025, "…"),
    ],
)
def test_what_does_not_fit_the_columns(text: str, position: int, message: str) -> None:
    found = error(text)
    assert found[0] == position
    assert message in found[1]
    assert len(found[1]) < 200


@pytest.mark.parametrize(
    "text",
    [
        "region = customer.region",
        "customer.region = customer.region",
        "'eu' = region",
        "amount BETWEEN owner_id AND 5",
        "$now BETWEEN seen_at AND seen_at",
        "day <= $now",
        "owner_id = $userId",
        "token = $userId",
        "region IN ($userId, $keyId, $project, $environment)",
        "status = $environment",
        "open != true",
        "open IN (true, false)",
        "token IN ('0b7a9c1e3f524e0a8d5f2f6f0c9a1b3d')",
        "price BETWEEN 1 AND 2.5",
        "zoned_at < '2026-01-01' AND at >= '08:00'",
        "customer.city.name IS NOT NULL",
        "token IS NULL OR open IS NULL",
    ],
)
def test_what_fits_the_columns(text: str) -> None:
    check(parse(text), SCHEMA)


def test_bounds_of_length_depth_and_terms() -> None:
    assert parse("a = '" + "x" * (LENGTH_MAX - 6) + "'")
    assert error("a = '" + "x" * (LENGTH_MAX - 5) + "'")[0] == LENGTH_MAX
    assert parse("(" * DEPTH_MAX + "a = 1" + ")" * DEPTH_MAX)
    assert "20 brackets" in error("(" * (DEPTH_MAX + 1) + "a = 1" + ")" * (DEPTH_MAX + 1))[1]
    assert error("NOT " * (DEPTH_MAX + 1) + "a = 1")[0] == 4 * DEPTH_MAX
    assert parse("(a = 1) AND " * 50 + "a = 1"), "depth is what is open at once"
    assert parse(" OR ".join(["a = 1"] * TERMS_MAX))
    assert "at most 100 comparisons" in error(" OR ".join(["a = 1"] * (TERMS_MAX + 1)))[1]
    assert parse(f"a IN ({', '.join(['1'] * (TERMS_MAX - 1))})")
    assert "and list items" in error(f"a IN ({', '.join(['1'] * TERMS_MAX)})")[1]


def test_a_text_whose_canonical_form_is_too_long_stays_as_it_is() -> None:
    text = "OR".join(["(a=1)"] * 99) + " OR b = '" + "x" * 1299 + "'"
    assert len(text) <= LENGTH_MAX
    assert parse(str(parse(text))).tree == parse(text).tree


def test_what_was_read_is_remembered_but_not_what_is_too_long() -> None:
    assert parse("region = 'eu'") is parse("region = 'eu'")
    with pytest.raises(FilterError):
        parse("x" * 10_000_000)


def test_the_kinds_that_variables_must_fit() -> None:
    filter = parse(
        "region = $context.a AND amount IN $context.b AND owner_id = $userId AND status IN ($context.c)"
        " AND (region IN $context.d OR amount = $context.d) AND region IN $context.e AND name = $context.e"
    )
    kinds = variable_kinds(filter, SCHEMA)
    assert kinds["context.a"] == (String(), False)
    assert kinds["context.b"] == (Integer(), True)
    assert kinds["context.c"] == (KINDS["status"], True)
    assert kinds["userId"] == (Numbered(), False)
    both, many = kinds["context.d"]
    assert not many
    with pytest.raises(ValueError, match="must be"):
        both.coerce("eu")
    with pytest.raises(ValueError, match="must be"):
        both.coerce(5)
    assert kinds["context.e"] == (String(), False), "a list is taken by one of the two only"
    with pytest.raises(FilterError):
        variable_kinds(parse("nothing = $context.a"), SCHEMA)


@pytest.mark.parametrize(
    ("text", "values", "variable", "why"),
    [
        ("region = $context.a", {}, "context.a", "has no value"),
        ("region = $context.a", {"context.a": None}, "context.a", "has no value"),
        ("region = $context.a", {"context.a": []}, "context.a", "must be a string"),
        ("region = $context.a", {"context.a": ["eu"]}, "context.a", "must be a string"),
        ("region = $context.a", {"context.a": ("eu",)}, "context.a", "must be a string"),
        ("region = $context.a", {"context.a": 5}, "context.a", "must be a string"),
        ("region = $context.a", {"context.a": b"eu"}, "context.a", "must be a string"),
        ("region = $context.a", {"context.a": "a\0"}, "context.a", "must be a string without NUL"),
        ("region = $context.a", {"context.a": {}}, "context.a", "must be a string"),
        ("region IN $context.a", {}, "context.a", "has no value"),
        ("region IN $context.a", {"context.a": ()}, "context.a", "is an empty list"),
        ("region NOT IN $context.a", {"context.a": []}, "context.a", "is an empty list"),
        ("region NOT IN ('x', $context.a)", {"context.a": []}, "context.a", "is an empty list"),
        ("region IN $context.a", {"context.a": ["eu", None]}, "context.a", "has no value"),
        ("region IN $context.a", {"context.a": ["eu", 5]}, "context.a", "must be a string"),
        ("region IN $context.a", {"context.a": ["eu", ["us"]]}, "context.a", "must be a string"),
        ("region IN $context.a", {"context.a": {"eu": 1}}, "context.a", "must be a string"),
        ("region IN $context.a", {"context.a": ["eu"] * 101}, "context.a", "must have at most 100 items"),
        ("amount BETWEEN 1 AND $context.a", {"context.a": True}, "context.a", "must be an integer"),
        ("amount BETWEEN 1 AND $context.a", {"context.a": [5]}, "context.a", "must be an integer"),
        ("amount = 1 OR region = $context.a", {}, "context.a", "has no value"),
        ("NOT region = $context.a", {}, "context.a", "has no value"),
        ("owner_id = $userId", {"userId": "me"}, "userId", "must be an integer"),
        ("owner_id = $userId", {"userId": None}, "userId", "has no value"),
        ("amount = $context.a", {"context.a": "5"}, "context.a", "must be an integer"),
        ("seen_at < $now", {}, "now", "has no value"),
    ],
)
def test_a_filter_without_a_fitting_value_is_not_bound(
    text: str, values: Mapping[str, object], variable: str, why: str
) -> None:
    filter = parse(text)
    check(filter, SCHEMA)
    with pytest.raises(Unbound) as caught:
        bind(filter, SCHEMA, values)
    assert (caught.value.variable, caught.value.why[: len(why)]) == (variable, why)
    assert str(caught.value).startswith(f"${variable} ")


def test_a_value_is_never_told_to_whoever_reads_the_refusal() -> None:
    with pytest.raises(Unbound) as caught:
        bind(parse("amount = $context.a"), SCHEMA, {"context.a": "hush-hush"})
    assert "hush" not in str(caught.value)


def test_a_bound_filter_can_be_compared_and_is_different_for_different_values() -> None:
    filter = parse("region = $context.a OR customer.rank IN $context.b")
    one = bind(filter, SCHEMA, {"context.a": "eu", "context.b": (1, 2)})
    assert one == bind(filter, SCHEMA, {"context.a": "eu", "context.b": [1, 2]})
    assert hash(one) == hash(bind(filter, SCHEMA, {"context.a": "eu", "context.b": [1, 2]}))
    assert one != bind(filter, SCHEMA, {"context.a": "us", "context.b": (1, 2)})
    assert one == bind(filter, SCHEMA, {"context.a": "eu", "context.b": (1, 2, 1)})
    assert one.columns == {("region",), ("customer", "rank")}
    assert one.size == 5
    assert str(one) == "region = 'eu' OR customer.rank IN (1, 2)"


def test_the_text_of_a_bound_filter_has_its_values() -> None:
    text = "NOT (seen_at < $now AND day BETWEEN '2026-01-31' AND $now) OR price IN (0.10, 5) AND open = true"
    assert str(bind(parse(text), SCHEMA, {"now": datetime(2026, 1, 31, 23, 30, tzinfo=UTC)})) == (
        "NOT (seen_at < '2026-01-31 23:30:00+00:00' AND day BETWEEN '2026-01-31' AND '2026-01-31')"
        " OR price IN (0.10, 5) AND open = true"
    )
    assert str(bind(parse("name = $context.a"), SCHEMA, {"context.a": "it's"})) == "name = 'it''s'"


NOW = datetime(2026, 1, 31, 23, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "row", "expected"),
    [
        ("seen_at <= $now", {"seen_at": datetime(2026, 1, 31, 23, 30)}, True),
        ("seen_at < $now", {"seen_at": datetime(2026, 1, 31, 23, 30)}, False),
        ("day = $now", {"day": NOW.date()}, True),
        ("owner_id = $userId", {"owner_id": 42}, True),
        ("owner_id = $userId", {"owner_id": 4}, False),
        ("name = $userId", {"name": "42"}, True),
        ("region = $environment", {"region": "master"}, True),
    ],
)
def test_variables_that_the_principal_and_the_clock_supply(text: str, row: dict[str, object], expected: bool) -> None:
    values = {"now": NOW, "userId": "42", "environment": "master"}
    bound = bind(parse(text), SCHEMA, values)
    assert evaluate(bound, lambda path: row[path[0]]) is expected


UNKNOWN = {"region": None, "amount": None, "customer.region": ABSENT}
TRUE, FALSE, NULL = "owner_id = 1", "owner_id = 2", "region = 'x'"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"{TRUE} AND {NULL}", None),
        (f"{FALSE} AND {NULL}", False),
        (f"{TRUE} OR {NULL}", True),
        (f"{FALSE} OR {NULL}", None),
        (f"{NULL} AND {NULL}", None),
        (f"NOT {NULL}", None),
        (f"NOT ({NULL} OR {FALSE})", None),
        (f"NOT ({NULL} AND {FALSE})", True),
        (f"NOT {TRUE}", False),
        ("region != 'x'", None),
        ("region = region", None),
        ("region IN ('x', 'y')", None),
        ("region NOT IN ('x', 'y')", None),
        ("amount BETWEEN 1 AND 2", None),
        ("amount NOT BETWEEN 1 AND 2", None),
        ("5 BETWEEN 6 AND amount", False),
        ("5 NOT BETWEEN 6 AND amount", True),
        ("5 BETWEEN 4 AND amount", None),
        ("region IS NULL", True),
        ("region IS NOT NULL", False),
        ("owner_id IS NULL", False),
        ("customer.region = 'x'", None),
        ("customer.region IS NULL", None),
        ("customer.region IS NOT NULL", None),
        ("NOT customer.region IS NULL", None),
        ("customer.region = region", None),
    ],
)
def test_three_valued_logic(text: str, expected: bool | None) -> None:
    assert truth(text, {**UNKNOWN, "owner_id": 1}) is expected


@pytest.mark.parametrize(
    ("text", "row", "expected"),
    [
        ("region = 'EU'", {"region": "eu"}, False),
        ("region = 'eu '", {"region": "eu"}, False),
        ("region = '\u00e1'", {"region": "a\u0301"}, False),
        ("region < '🚀'", {"region": "\ufffd"}, True),
        ("region = ''", {"region": ""}, True),
        ("region >= 'b' AND region < 'c'", {"region": "bz"}, True),
        ("amount BETWEEN 2 AND 1", {"amount": 1}, False),
        ("amount BETWEEN 1 AND 2", {"amount": 2}, True),
        ("amount NOT IN (1, 2)", {"amount": 3}, True),
        ("price = 0.10", {"price": Decimal("0.1")}, True),
        ("price > 5", {"price": Decimal("5.01")}, True),
        ("amount != owner_id", {"amount": 1, "owner_id": 2}, True),
        ("zoned_at = '2026-01-31T10:00:00+02:00'", {"zoned_at": datetime(2026, 1, 31, 8, tzinfo=UTC)}, True),
        ("customer.city.name = name", {"customer.city.name": "x", "name": "x"}, True),
    ],
)
def test_comparisons(text: str, row: dict[str, object], expected: bool) -> None:
    assert truth(text, row) is expected


@pytest.mark.parametrize("value", [True, "1", 1.0, 2**64, object(), b"1"])
def test_a_rows_value_of_another_type_is_unknown_and_not_null(value: Any) -> None:
    row = {"amount": value}
    assert truth("amount = 1", row) is None
    assert truth("amount != 1", row) is None
    assert truth("NOT amount = 1", row) is None
    assert truth("amount NOT IN (1)", row) is None
    assert truth("amount IS NULL", row) is False


@pytest.mark.parametrize("value", ["eu", ["eu"], ("eu", "us")])
def test_a_variable_in_a_list_is_one_value_or_several(value: object) -> None:
    assert truth("region IN $context.a", {"region": "eu"}, a=value) is True
    assert truth("region NOT IN ('x', $context.a)", {"region": "eu"}, a=value) is False
    assert truth("region NOT IN ('x', $context.a)", {"region": "x"}, a=value) is False
