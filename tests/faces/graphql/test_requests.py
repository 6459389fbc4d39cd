"""What a GraphQL request must look like, and what is said to one that does not."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from flask import Flask
from flask_wtf.csrf import generate_csrf

from flask_archie_keys import Principal
from flask_archie_keys.domain.permissions import Allowed, Denied

from ..api.conftest import ROLES, problem, refused
from .conftest import CREATE, PATH, GraphQL, MakeGraphQL

MUTATION = 'mutation { createApiKey(input: {name: "forged"}) { secret } }'


def names(graphql: GraphQL) -> list[str]:
    """The keys that there are."""
    with graphql.host.app.app_context():
        return [key.name for key in graphql.host.keys.service.find()]


# -- the way in


def test_without_a_key_nobody_learns_anything(graphql: GraphQL) -> None:
    for method in ("GET", "POST", "PUT"):
        for body in ({"query": MUTATION}, [], {"query": "{"}):
            answer = graphql.ask(method, "/graphql", body, key=None)
            problem(answer, 401, "unauthorized")
            assert answer.headers["WWW-Authenticate"] == 'Bearer realm="default"'
    problem(graphql.send({"query": MUTATION}, key="archie_" + "nonsense"), 401, "unauthorized")
    assert names(graphql) == ["admin"]


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "TRACE"])
def test_only_post(graphql: GraphQL, method: str) -> None:
    for path in ("/graphql", f"/graphql?query={MUTATION}"):
        answer = graphql.ask(method, path, {"query": MUTATION})
        assert (answer.status_code, answer.headers["Allow"]) == (405, "POST, OPTIONS")
    options = graphql.ask("OPTIONS", "/graphql", key=None)
    assert (options.status_code, options.headers["Allow"]) == (204, "POST, OPTIONS")
    assert names(graphql) == ["admin"]


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/x-www-form-urlencoded", b"query=mutation"),
        ("multipart/form-data; boundary=b", b'--b\r\nContent-Disposition: form-data; name="query"\r\n\r\n{}\r\n--b--'),
        ("text/plain", json.dumps({"query": MUTATION}).encode()),
        ("application/graphql", MUTATION.encode()),
        ("application/graphql-response+json", json.dumps({"query": MUTATION}).encode()),
        ("application/merge-patch+json", json.dumps({"query": MUTATION}).encode()),
        ("application/json; charset=utf-16", json.dumps({"query": MUTATION}).encode("utf-16")),
        ("", json.dumps({"query": MUTATION}).encode()),
    ],
)
def test_only_json(graphql: GraphQL, content_type: str, body: bytes) -> None:
    headers = {"Authorization": f"Bearer {graphql.admin.secret}", "Content-Type": content_type}
    answer = graphql.host.client.post(PATH, data=body, headers=headers)
    problem(answer, 415, "unsupported-media-type")
    assert names(graphql) == ["admin"]


@pytest.mark.parametrize(
    ("body", "errors"),
    [
        ([{"query": MUTATION}, {"query": MUTATION}], [("", "type")]),  # a batch
        ([], [("", "type")]),
        ("x", [("", "type")]),
        ({}, [("query", "required")]),
        ({"query": None}, [("query", "type")]),
        ({"query": [MUTATION]}, [("query", "type")]),
        ({"query": MUTATION, "operationName": 5}, [("operationName", "type")]),
        ({"query": MUTATION, "operation_name": "x"}, [("operation_name", "unknown")]),
        ({"query": MUTATION, "variables": []}, [("variables", "type")]),
        ({"query": MUTATION, "variables": "{}"}, [("variables", "type")]),
        ({"query": MUTATION, "extensions": 1}, [("extensions", "type")]),
        ({"query": MUTATION, "id": "stored"}, [("id", "unknown")]),
        ({"id": "stored", "extensions": {"persistedQuery": {"version": 1}}}, [("id", "unknown")]),
    ],
)
def test_a_body_of_another_form(graphql: GraphQL, body: Any, errors: list[tuple[str, str]]) -> None:
    assert refused(graphql.send(body)) == errors
    assert names(graphql) == ["admin"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"query": "{me{id}}", "query": "mutation{x}"}',
        b'{"query": "{me{id}}", "variables": {"a": NaN}}',
        b'{"query": "{me{id}}", "variables": {"a": "\\ud800"}}',
        b'{"query": "\xff"}',
        b'{"query": "{me{id}}", "variables": {"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}}",
        b'{"query": "{me{id}}", "variables": {"a": ' + b"9" * 5_000 + b"}}",
    ],
)
def test_a_body_that_is_no_plain_json(graphql: GraphQL, body: bytes) -> None:
    headers = {"Authorization": f"Bearer {graphql.admin.secret}", "Content-Type": "application/json"}
    problem(graphql.host.client.post(PATH, data=body, headers=headers), 400, "bad-request")


def test_a_body_that_is_too_long(graphql: GraphQL) -> None:
    problem(graphql.send({"query": "{ me { id } }", "variables": {"a": "x" * 1_000_001}}), 413, "bad-request")


def test_parameters_and_headers_that_would_say_something_else(graphql: GraphQL) -> None:
    problem(graphql.ask("POST", f"/graphql?query={MUTATION}", {"query": "{ me { id } }"}), 400, "bad-request")
    once = graphql.send({"query": MUTATION}, Idempotency_Key="a")
    assert "the argument idempotencyKey" in problem(once, 400, "bad-request")["detail"]
    match = graphql.send({"query": MUTATION}, If_Match='"1"')
    assert "the argument version" in problem(match, 400, "bad-request")["detail"]
    assert names(graphql) == ["admin"]


# -- the operation


TWO = 'query Ask { me { name } } mutation Make { createApiKey(input: {name: "made"}) { apiKey { name } } }'


def test_one_operation_is_executed(graphql: GraphQL) -> None:
    asked = graphql.send({"query": TWO, "operationName": "Ask", "variables": None, "extensions": {"client": "x"}})
    assert asked.json == {"data": {"me": {"name": "admin"}}} and names(graphql) == ["admin"]
    made = graphql.send({"query": TWO, "operationName": "Make"})
    assert made.json == {"data": {"createApiKey": {"apiKey": {"name": "made"}}}}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"query": TWO}, "operationName must name"),
        ({"query": TWO, "operationName": ""}, "operationName must name"),
        ({"query": TWO, "operationName": "Other"}, "operationName must name"),
        ({"query": "{ me { id } }", "operationName": "Other"}, "operationName must name"),
        ({"query": "fragment F on Me { id }"}, "F"),
        ({"query": ""}, "Syntax Error"),
        ({"query": "{ me { id }"}, "line 1, column 12"),
        ({"query": "{ nothing }"}, "'nothing'"),
        ({"query": "subscription { me { id } }"}, "subscription"),
        ({"query": "{ me { id } }", "variables": {"x": 1}}, "no variable of the operation"),
        ({"query": "query($x: ID!) { apiKey(id: $x) { id } }", "variables": {"x": "a", "y": 1}}, "'y'"),
        ({"query": "query($x: ID!) { apiKey(id: $x) { id } }"}, "$x"),
        ({"query": "query($x: ID!) { apiKey(id: $x) { id } }", "variables": {"x": None}}, "$x"),
        ({"query": "query($x: ID!) { apiKey(id: $x) { id } }", "variables": {"x": []}}, "$x"),
        ({"query": "query($x: Int) { apiKeys(limit: $x) { data { id } } }", "variables": {"x": "50"}}, "$x"),
        ({"query": "query($x: Int) { apiKeys(limit: $x) { data { id } } }", "variables": {"x": 2**40}}, "$x"),
        ({"query": "query($x: KeyStatus) { apiKeys(status: $x) { data { id } } }", "variables": {"x": "gone"}}, "gone"),
        ({"query": "{ apiKeys(status: gone) { data { id } } }"}, "gone"),
        ({"query": CREATE, "variables": {"input": {"nme": "x"}}}, "nme"),
        ({"query": CREATE, "variables": {"input": {"name": "x", "version": 1}}}, "version"),
        ({"query": CREATE, "variables": {"input": {"name": 5}}}, "input"),
        ({"query": CREATE, "variables": {"input": {"name": "x", "roles": [None]}}}, "roles"),
    ],
)  # fmt: skip
def test_what_cannot_be_executed_is_a_bad_request(graphql: GraphQL, body: Any, said: str) -> None:
    detail = problem(graphql.send(body), 400, "bad-request")["detail"]
    assert said in detail
    assert names(graphql) == ["admin"]


def test_a_key_that_stands_in_the_wrong_place_is_not_repeated(graphql: GraphQL) -> None:
    secret = graphql.admin.secret
    for body in (
        {"query": f'{{ apiKeys(limit: "{secret}") {{ data {{ id }} }} }}'},
        {"query": f"{{ me {{ {secret} }} }}"},
        {"query": "query($x: Int) { apiKeys(limit: $x) { data { id } } }", "variables": {"x": secret}},
        {"query": f'{{ apiKey(id: "{secret}") {{ id }} }}'},
    ):
        assert secret not in graphql.send(body).text, body


# -- users of the host


def as_user(graphql: GraphQL, *roles: str) -> tuple[Any, str]:
    """A client of a user who is logged in, and its token."""
    app = graphql.host.app
    app.secret_key = "secret-" + "of-the-tests"
    app.add_url_rule("/token", "token", generate_csrf)
    graphql.host.keys.user_loader(lambda: Principal.user("ann", roles=roles))
    client = app.test_client()
    return client, str(client.get("/token").text)


def test_a_user_needs_a_token(graphql: GraphQL) -> None:
    client, token = as_user(graphql, "admin")
    for body in ({"query": MUTATION}, {"query": "{ me { id } }"}):
        for wrong in ({}, {"X_CSRFToken": "x"}):
            answer = graphql.send(body, key=None, client=client, **wrong)
            assert "X-CSRFToken" in problem(answer, 400, "bad-request")["detail"]
    assert names(graphql) == ["admin"]
    me = graphql.send({"query": "{ me { kind id } }"}, key=None, client=client, X_CSRFToken=token)
    assert me.json == {"data": {"me": {"kind": "user", "id": "ann"}}}
    made = graphql.send({"query": MUTATION}, key=None, client=client, X_CSRFToken=token)
    assert made.status_code == 200 and names(graphql) == ["forged", "admin"]
    both = graphql.send({"query": MUTATION}, client=client, X_CSRFToken=token)
    assert "an API key and a user's session" in problem(both, 400, "bad-request")["detail"]


def test_a_protection_of_the_host_leaves_it_alone(graphql: GraphQL) -> None:
    from flask_wtf import CSRFProtect

    graphql.host.app.secret_key = "secret-" + "of-the-tests"
    CSRFProtect(graphql.host.app)
    assert graphql.data("{ me { name } }") == {"name": "admin"}


# -- failures


class Broken:
    """A permissions service with a mistake in it."""

    def decide(self, *_: object, **__: object) -> Allowed | Denied:
        raise RuntimeError("the password is " + "hunter2")


def test_what_was_not_expected_is_one_general_error_and_is_logged(
    make_host: Any, caplog: pytest.LogCaptureFixture
) -> None:
    graphql = GraphQL(make_host(permissions=Broken(), ARCHIE_KEYS_ROLES=ROLES, ARCHIE_KEYS_FACES=("graphql",)))
    answer = graphql.send({"query": "{ roles { data { name } } me { name } }"})
    assert answer.json == {
        "data": {"roles": None, "me": {"name": "admin"}},
        "errors": [
            {
                "message": "the server failed; its log says why",
                "locations": [{"line": 1, "column": 3}],
                "path": ["roles"],
                "extensions": {
                    "type": "about:blank",
                    "title": "Error",
                    "status": 500,
                    "detail": "the server failed; its log says why",
                },
            }
        ],
    }
    (logged,) = caplog.records
    assert logged.levelname == "ERROR" and "hunter2" in caplog.text and PATH in caplog.text


def test_what_cannot_be_reached_is_503_inside_and_the_log_says_why(
    graphql: GraphQL, caplog: pytest.LogCaptureFixture
) -> None:
    graphql.host.sql("DROP TABLE archie_idempotency_keys")
    query = 'mutation { createApiKey(input: {name: "x"}, idempotencyKey: "a") { secret } }'
    extensions = graphql.error(query)
    assert (extensions["status"], extensions["type"]) == (503, "/errors/unavailable")
    assert "archie_idempotency_keys" not in str(extensions) and "archie_idempotency" in caplog.text
    assert names(graphql) == ["admin"]


def test_the_environment_of_the_header(make_graphql: MakeGraphQL) -> None:
    graphql = make_graphql(
        ARCHIE_KEYS_ENVIRONMENTS={"master": {}, "staging": {}}, ARCHIE_KEYS_ENVIRONMENT_HEADER="environment"
    )
    with graphql.host.app.app_context():
        staging = graphql.host.keys.for_environment("staging").service.create(name="there", roles=["admin"]).secret
    body = {"query": "{ apiKeys { data { name environment } } }"}
    there = graphql.send(body, key=staging, environment="staging")
    assert there.json["data"]["apiKeys"]["data"] == [{"name": "there", "environment": "staging"}]
    assert graphql.send(body).json["data"]["apiKeys"]["data"] == [{"name": "admin", "environment": "master"}]
    problem(graphql.send(body, key=staging), 401, "unauthorized")
    problem(graphql.send(body, environment="nowhere"), 400, "bad-request")


def test_errors_of_the_host_stay_as_they_are(graphql: GraphQL) -> None:
    app: Flask = graphql.host.app
    app.register_error_handler(405, lambda error: ("<h1>not so</h1>", 405))
    assert app.test_client().post("/me").text == "<h1>not so</h1>"
    assert re.search("problem", graphql.get("/graphql").content_type)
