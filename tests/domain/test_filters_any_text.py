"""What holds for any text and any values: no error but our own, no way to widen."""

from __future__ import annotations

import string

from hypothesis import given, settings
from hypothesis import strategies as st

from flask_archie_keys.domain.filters import FilterError, Unbound, bind, check, evaluate, parse, variable_kinds

from .test_filters import KINDS, SCHEMA

SEARCH = settings(max_examples=400, derandomize=True, deadline=None, database=None)

PIECES = [
    *KINDS,
    *["$userId", "$keyId", "$now", "$context.a", "$context", "$", "'eu'", "''", "'", "5", "-5", "0.5", "1e5", "true"],
    *["=", "!=", "<>", "<", "<=", ">", ">=", "(", ")", ",", "AND", "or", "Not", "IN", "between", "IS", "NULL", "like"],
    *["--", "/*", ";", '"', "\\", "\0", "\ud800", "\u2028", "🚀", ".", "lower(", "SELECT"],
]
TEXTS = st.one_of(
    st.text(max_size=60),
    st.text(st.sampled_from(string.printable), max_size=60),
    st.lists(st.sampled_from(PIECES), max_size=25).map(" ".join),
    st.lists(st.sampled_from(PIECES), max_size=25).map("".join),
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.binary(max_size=4),
    st.decimals(),
    st.datetimes(),
    st.dates(),
    st.times(),
    st.uuids(),
    st.just("\ud800"),
    st.just("2026-01-31"),
    st.just("42"),
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=2)
)


@SEARCH
@given(TEXTS)
def test_any_text_is_a_filter_or_a_filter_error(text: str) -> None:
    try:
        filter = parse(text)
    except FilterError as error:
        assert 0 <= error.position <= len(text)
        return
    assert parse(str(filter)).tree == filter.tree
    try:
        check(filter, SCHEMA)
    except FilterError as error:
        assert 0 <= error.position <= len(text)
    else:
        assert set(variable_kinds(filter, SCHEMA)) == filter.variables


@SEARCH
@given(
    st.sampled_from([name for name in KINDS if "." not in name]),
    st.sampled_from(["= $context.a", "!= $context.a", "IN $context.a", "NOT IN ($context.a)"]),
    VALUES,
)
def test_any_value_is_bound_or_unbound(column: str, rest: str, value: object) -> None:
    filter = parse(f"{column} {rest}")
    check(filter, SCHEMA)
    try:
        bound = bind(filter, SCHEMA, {"context.a": value})
    except Unbound as unbound:
        assert unbound.variable == "context.a"
        return
    assert value not in (None, [], ())
    assert "IN" in rest or not isinstance(value, list)
    assert evaluate(bound, lambda path: None) is None
    assert hash(bound) == hash(bind(filter, SCHEMA, {"context.a": value}))
