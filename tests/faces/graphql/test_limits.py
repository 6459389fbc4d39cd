"""Documents that would cost much are refused before they are validated; those of tools are not."""

from __future__ import annotations

from typing import Any

import pytest
from graphql import build_client_schema, get_introspection_query, lexicographic_sort_schema, parse, print_schema

from flask_archie_keys.errors import BadRequest
from flask_archie_keys.faces.graphql import execution, limits

from ..api.conftest import problem
from .conftest import GraphQL, MakeGraphQL

FULL = get_introspection_query()


def chain(count: int, spreads: int = 1, last: str = "me { id }") -> str:
    """Fragments each of which spreads the next one."""
    inner = [f"fragment F{n} on Query {{ {f'...F{n + 1} ' * spreads} }}" for n in range(count - 1)]
    return " ".join(["{ ...F0 }", *inner, f"fragment F{count - 1} on Query {{ {last} }}"])


def numbered(text: str, count: int) -> str:
    return " ".join(text.replace("N", str(n)) for n in range(count))


HOSTILE = {
    "deep": ("{ a " * 300 + "}" * 300, "deep"),
    "deep, and never closed": ("{ a " * 600, "deep"),
    "just too deep": ("{ a " * 17 + "}" * 17, "more than 16 levels deep"),
    "deep in inline fragments": ("{ ... " * 450, "deep"),
    "deep lists": ("{ apiKeys(q: " + "[" * 900, "deep"),
    "deep objects": ("{ apiKeys(q: " + "{a: " * 600, "deep"),
    "aliases": (f"{{ {numbered('aN: me { id }', 31)} }}", "more than 30 aliases"),
    "aliases further down": (f"{{ me {{ {numbered('aN: id', 31)} }} }}", "more than 30 aliases"),
    "aliases in a fragment": (f"{{ me {{ ...F }} }} fragment F on Me {{ {numbered('aN: id', 31)} }}", "30 aliases"),
    "aliases in a fragment that is spread twice": (
        f"{{ me {{ ...F }} apiKey(id: 1) {{ ...F }} }} fragment F on Me {{ {numbered('aN: id', 16)} }}",
        "30 aliases",
    ),
    "calls": (f"{{ {numbered('aN: me { id }', 11)} }}", "more than 10 queries or changes"),
    "calls in fragments": (
        f"{{ ...F ...G }} fragment F on Query {{ {numbered('fN: me { id }', 6)} }} "
        f"fragment G on Query {{ {numbered('gN: me { id }', 6)} }}",
        "more than 10 queries or changes",
    ),
    "a field again and again": ("{ " + "me { id } " * 32 + "}", "more than 30 repeated fields"),
    "a field again and again, further down": ("{ me { " + "id " * 32 + "} }", "more than 30 repeated fields"),
    "fields that are merged": ("{ " + ("me { " + "id " * 6 + "} ") * 6 + "}", "repeated fields"),
    "fields of other names": (f"{{ me {{ {numbered('fieldN', 500)} }} }}", "more than 500 fields and fragments"),
    "a fragment that spreads itself": ("{ ...F } fragment F on Query { ...F }", "spreads itself"),
    "fragments in a circle": (
        "{ ...F } fragment F on Query { ...G me { id } } fragment G on Query { ...F }",
        "spreads itself",
    ),
    "fragments in a circle that nobody spreads": (
        "{ me { id } } fragment F on Query { ...G } fragment G on Query { ...F }",
        "spreads itself",
    ),
    "fragments in a circle with fields between": ("{ a { ...F } } fragment F on A { a { ...F } }", "16 levels deep"),
    "a fragment behind another one of its name": (
        "{ me { id } } fragment F on Me { " + "id " * 400 + "} fragment F on Me { id }",
        "two fragments of the same name",
    ),
    "fragments that double": (chain(15, 2), "more than 500 fields and fragments"),
    "fragments that double, which nobody spreads": (
        "{ me { id } } " + chain(15, 2).removeprefix("{ ...F0 }"),
        "more than 500 fields and fragments",
    ),
    "fragments": ("{ me { id } } " + numbered("fragment FN on Me { id }", 21), "more than 20 fragments"),
    "operations": (numbered("query QN { me { id } }", 11), "more than 10 operations"),
    "tokens": ("{ me" + " @skip(if: false)" * 400 + " { id } }", "more than 2000 tokens"),
    "variables that are declared": (f"query({numbered('$vN: Int', 600)}) {{ me {{ id }} }}", "more than 2000 tokens"),
    "comments": ("#\n" * 10_001 + "{ me { id } }", "longer than 20000 characters"),
    "blanks": (" " * 900_000 + "{ me { id } }", "longer than 20000 characters"),
    "a long name": (f"{{ {'x' * 19_000} }}", "x" * 200),
    "a long number": (f"{{ apiKeys(limit: {'9' * 19_000}) {{ data {{ id }} }} }}", "Int"),
    "a long text": (f'{{ apiKeys(limit: "{"x" * 19_000}") {{ data {{ id }} }} }}', "Int"),
    "mistakes": (f"{{ me {{ {numbered('fieldN', 480)} }} }}", "'field0'"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_document_is_a_bad_request(graphql: GraphQL, name: str) -> None:
    document, said = HOSTILE[name]
    detail = problem(graphql.send({"query": document, "operationName": None}), 400, "bad-request")["detail"]
    assert said in detail and len(detail) < 2_000


def test_what_is_too_big_is_not_validated() -> None:
    """Else the time that validation takes would be the caller's to choose."""
    for name in ("aliases", "fields that are merged", "fragments that double", "just too deep"):
        with pytest.raises(BadRequest, match=HOSTILE[name][1]):
            limits.check(parse(HOSTILE[name][0]), introspection=True)


@pytest.mark.parametrize(
    "document",
    [
        f"{{ me {{ {numbered('aN: id', 30)} }} }}",
        f"{{ {numbered('aN: me { id }', 10)} }}",
        "{ me { " + "id " * 31 + "} }",
        chain(20),
        chain(5, 2),
        f"{numbered('query QN { me { id } }', 9)} query Asked {{ me {{ id }} }}",
    ],
)
def test_what_is_within_the_limits_is_answered(graphql: GraphQL, document: str) -> None:
    name = "Asked" if "Asked" in document else None
    answer = graphql.send({"query": document, "operationName": name})
    assert (answer.status_code, "errors" in answer.json) == (200, False), answer.text


VARIABLES: list[dict[str, Any]] = [
    {"input": {"name": "x", "roles": ["viewer"] * 10_001}},
    {"input": {"name": "x", "roles": [1] * 10_001}},
    {"input": {"name": "x", "context": {"a": [[n] for n in range(5_001)]}}},
    {"input": {f"member{n}": 1 for n in range(10_001)}},
]


@pytest.mark.parametrize("variables", VARIABLES)
def test_variables_are_counted_before_they_are_looked_at(graphql: GraphQL, variables: Any) -> None:
    answer = graphql.send(
        {"query": "mutation($input: NewApiKey!) { createApiKey(input: $input) { secret } }", "variables": variables}
    )
    assert "more than 10000 values" in problem(answer, 400, "bad-request")["detail"]


def test_the_largest_role_is_within_the_limits(graphql: GraphQL) -> None:
    grant = {"resource": "api_keys", "read": True, "write": True, "update": True, "delete": True, "filter": "id = 'x'"}
    query = 'mutation($input: RoleInput!) { saveRole(name: "large", input: $input) { grants { resource filter } } }'
    answer = graphql.answer(query, input={"grants": [grant] * 200})
    assert "errors" not in answer or answer["errors"][0]["extensions"]["status"] == 422


# -- introspection


@pytest.mark.parametrize("query", [FULL, "{ __schema { types { name } } }", '{ __type(name: "Query") { name } }'])
def test_introspection_is_off(graphql: GraphQL, query: str) -> None:
    detail = problem(graphql.send({"query": query}), 400, "bad-request")["detail"]
    assert "introspection is off" in detail
    hidden = "{ ...F } fragment F on Query { ... { s: __schema { types { name } } } }"
    assert "introspection is off" in problem(graphql.send({"query": hidden}), 400, "bad-request")["detail"]
    assert graphql.data("{ me { __typename } }") == {"__typename": "Me"}


def test_introspection_gives_the_schema_where_it_is_on(make_graphql: MakeGraphQL) -> None:
    graphql = make_graphql(ARCHIE_KEYS_GRAPHQL_INTROSPECTION=True)
    answer = graphql.answer(FULL)
    assert "errors" not in answer
    twice = (
        '{ __schema { types { fields { name } fields { type { name } } } } __type(name: "Query") { fields { name } } }'
    )
    assert "errors" not in graphql.answer(twice)
    found = build_client_schema(answer["data"])
    assert print_schema(lexicographic_sort_schema(found)) == print_schema(lexicographic_sort_schema(execution.schema()))
    problem(graphql.send({"query": FULL}, key=None), 401, "unauthorized")


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("{ __schema { types { fields { type { fields { name } } } } } }", "fields inside of another list of types"),
        ("{ __schema { types { interfaces { possibleTypes { name } } } } }", "possibleTypes inside of another"),
        ("{ a: __schema { types { name } } }", "no aliases"),
        ("{ __schema { types { fields { a: name } } } }", "no aliases"),
        ("{ __schema { a: types { fields { name } } } }", "no aliases"),
        ("{ __schema { types { ...F } } } fragment F on __Type { fields { type { ...F } } }", "inside of another"),
    ],
)
def test_introspection_does_not_multiply(make_graphql: MakeGraphQL, query: str, said: str) -> None:
    graphql = make_graphql(ARCHIE_KEYS_GRAPHQL_INTROSPECTION=True)
    assert said in problem(graphql.send({"query": query}), 400, "bad-request")["detail"]
