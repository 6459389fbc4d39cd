"""What a decision point is asked, and what is believed of its answers. It is a process of its own."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from werkzeug.datastructures import ImmutableDict

from flask_archie_keys.domain.filters import parse
from flask_archie_keys.domain.keytext import mint
from flask_archie_keys.domain.permissions import ACTIONS, Allowed, Denied
from flask_archie_keys.domain.principals import Principal
from flask_archie_keys.errors import PermissionsUnavailable
from flask_archie_keys.permissions.authzen import FILTERS_MAX, SUBJECTS, WHY_MAX, AuthZenPermissions

from ..support.decision_point import NOTHING, POLICY, DecisionPoint, decide
from .answers import (
    EVALUATION,
    SPECIFIED_DECISIONS,
    SPECIFIED_HEADERS,
    SPECIFIED_REQUEST,
    SPECIFIED_REQUEST_WITH_PROPERTIES,
    TOKEN,
    WRONG_ANSWERS,
    WRONG_DOCUMENTS,
)
from .asking import DETAIL, REQUEST, VIEWER, key, read
from .conftest import Ask

# -- the decision point of these tests speaks the protocol


@pytest.mark.parametrize("body", [SPECIFIED_REQUEST, SPECIFIED_REQUEST_WITH_PROPERTIES])
def test_the_point_takes_the_requests_of_the_specification(point: DecisionPoint, body: bytes) -> None:
    status, headers, answer = point.post(body, SPECIFIED_HEADERS)
    assert (status, json.loads(answer)) == (200, {"decision": True})
    assert headers["Content-Type"] == "application/json"
    assert headers["X-Request-ID"] == SPECIFIED_HEADERS["X-Request-ID"]


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("subject", None),
        ("subject", {"id": "alice@example.com"}),
        ("subject", {"type": "user", "id": 7}),
        ("subject", {"type": "user", "id": "7", "properties": []}),
        ("action", "can_read"),
        ("action", {}),
        ("resource", {"type": "todo"}),
        ("context", None),
        ("evaluations", []),
    ],
)
def test_the_point_refuses_what_is_not_the_protocol(point: DecisionPoint, member: str, value: object) -> None:
    question = {**json.loads(SPECIFIED_REQUEST), member: value}
    assert point.post(json.dumps(question).encode(), SPECIFIED_HEADERS)[0] == 400
    assert point.post(SPECIFIED_REQUEST, {**SPECIFIED_HEADERS, "Content-Type": "text/plain"})[0] == 400
    assert point.post(SPECIFIED_REQUEST, {"Content-Type": "application/json"})[0] == 401


# -- the question


def test_what_is_sent(permissions: AuthZenPermissions, point: DecisionPoint) -> None:
    permissions.decide(
        key("viewer", "seller", context=ImmutableDict({"region": ("eu", "us"), "level": 3})), "orders", "read", REQUEST
    )
    (question,) = point.take()["questions"]
    assert question["path"] == EVALUATION
    assert question["body"] == (
        '{"subject":{"type":"api_key","id":"7f3Kq2Zt9bXa","properties":{"roles":["viewer","seller"],'
        '"context":{"region":["eu","us"],"level":3},"owner":"42"}},'
        '"action":{"name":"read"},'
        '"resource":{"type":"orders","id":"*"},'
        '"context":{"project":"shop","environment":"master","request":{"method":"GET",'
        '"route":"/api/orders/<int:number>","path":"/api/orders/7","remoteAddress":"198.51.100.7","requestId":"f3a9"}}}'
    )
    headers = {name: value for name, value in question["headers"] if name not in ("X-Request-ID", "User-Agent")}
    assert headers == {
        "Host": point.url.removeprefix("http://"),
        "Content-Type": "application/json",
        "Accept": "application/json",
        "Accept-Encoding": "identity",
        "Authorization": f"Bearer {TOKEN}",
        "Content-Length": str(len(question["body"])),
    }


def test_a_user_and_no_request(permissions: AuthZenPermissions, point: DecisionPoint) -> None:
    permissions.decide(Principal("user", "42", "Ada", "shop", "staging"), "audit_events", "delete")
    (question,) = point.take()["questions"]
    assert json.loads(question["body"]) == {
        "subject": {"type": "user", "id": "42", "properties": {"roles": [], "context": {}, "owner": None}},
        "action": {"name": "delete"},
        "resource": {"type": "audit_events", "id": "*"},
        "context": {"project": "shop", "environment": "staging"},
    }


def test_facts_that_a_request_lacks_are_left_out(permissions: AuthZenPermissions, point: DecisionPoint) -> None:
    permissions.decide(VIEWER, "orders", "read", REQUEST._replace(route=None, request_id=None))
    (question,) = point.take()["questions"]
    assert json.loads(question["body"])["context"]["request"] == {
        "method": "GET",
        "path": "/api/orders/7",
        "remoteAddress": "198.51.100.7",
    }


def test_a_key_in_the_path_is_not_sent(permissions: AuthZenPermissions, point: DecisionPoint) -> None:
    secret = mint("archie").text
    permissions.decide(VIEWER, "orders", "read", REQUEST._replace(path=f"/by/{secret}", request_id=f"{secret}\r\nX: y"))
    (question,) = point.take()["questions"]
    assert secret not in question["body"]
    assert "X" not in dict(question["headers"])


def test_every_question_has_a_number_of_its_own(permissions: AuthZenPermissions, point: DecisionPoint) -> None:
    for action in ACTIONS:
        permissions.decide(VIEWER, "orders", action, REQUEST)
    numbers = [dict(question["headers"])["X-Request-ID"] for question in point.take()["questions"]]
    assert len(set(numbers)) == len(ACTIONS)


def test_a_url_with_a_path_and_no_token(point: DecisionPoint, connect: Ask) -> None:
    connect(f"{point.url}/base/path/").decide(VIEWER, "orders", "read")
    with pytest.raises(PermissionsUnavailable) as caught:
        connect(point.url, token=None).decide(VIEWER, "orders", "read")
    assert caught.value.cause == "the answer has status 401"
    with_token, without = point.take()["questions"]
    assert with_token["path"] == f"/base/path{EVALUATION}"
    assert "Authorization" not in dict(without["headers"])


def test_nobody_else_is_asked_about(permissions: AuthZenPermissions, point: DecisionPoint) -> None:
    denied = permissions.decide(Principal.system("shop", "master"), "orders", "read")
    assert denied == Denied(
        "missing_grant", scope="orders:read", why="the decision point is asked about keys and users only"
    )
    assert point.take() == {"connections": 0, "questions": []}
    assert set(SUBJECTS) == {"key", "user"}


def test_a_context_that_is_no_json_is_not_sent(permissions: AuthZenPermissions, point: DecisionPoint) -> None:
    with pytest.raises(PermissionsUnavailable):
        permissions.decide(key("manager", context={"level": float("nan")}), "orders", "read")
    assert point.take()["questions"] == []


# -- the answer


@pytest.mark.parametrize("role", [*POLICY, "stranger"])
@pytest.mark.parametrize("action", ACTIONS)
def test_the_policy_of_the_point(permissions: AuthZenPermissions, role: str, action: Any) -> None:
    decision = permissions.decide(key(role), "orders", action, REQUEST)
    actions, rows = POLICY.get(role, NOTHING)
    if action in actions:
        filters = rows if rows is None else (rows,) if isinstance(rows, str) else tuple(rows)
        assert decision == Allowed(filters, why=f"{role}s may")
        assert decision
    else:
        why = f"no policy lets 7f3Kq2Zt9bXa {action} orders"
        assert decision == Denied("missing_grant", scope=f"orders:{action}", why=why)
        assert not decision


@pytest.mark.parametrize(
    ("resource", "decision"),
    [
        ("example_of_a_decision", Allowed()),
        ("example_of_reasons", "Request failed policy C076E82F"),
        ("example_of_metadata", None),
        ("example_of_step_up", None),
        ("example_of_a_reason", "Subject is a viewer of the resource"),
    ],
)
def test_the_decisions_of_the_specification(
    permissions: AuthZenPermissions, resource: str, decision: Allowed | str | None
) -> None:
    if not isinstance(decision, Allowed):
        assert permissions.decide(VIEWER, resource, "read") == Denied(
            "missing_grant", scope=f"{resource}:read", why=decision
        )
    else:
        assert permissions.decide(VIEWER, resource, "read") == decision


def test_every_decision_of_the_specification_is_tried() -> None:
    (mark,) = (m for m in test_the_decisions_of_the_specification.pytestmark if m.name == "parametrize")  # type: ignore[attr-defined]
    assert [resource for resource, _ in mark.args[1]] == list(SPECIFIED_DECISIONS)


@pytest.mark.parametrize("resource", [*WRONG_DOCUMENTS, *WRONG_ANSWERS, "huge_chunks"])
def test_anything_else_is_no_answer(permissions: AuthZenPermissions, point: DecisionPoint, resource: str) -> None:
    with pytest.raises(PermissionsUnavailable) as caught:
        permissions.decide(VIEWER, resource, "read")
    assert (caught.value.status, caught.value.detail, caught.value.retry_after) == (503, DETAIL, 1)
    assert caught.value.cause
    assert len(point.take()["questions"]) == 1  # no redirect was followed, and nothing tried again


def test_a_wrong_answer_says_what_is_wrong(permissions: AuthZenPermissions) -> None:
    causes = {
        "status_302": "the answer has status 302",
        "type_html": "the answer is not application/json",
        "another_question": "the answer is to another question: its X-Request-ID is not the one that was sent",
        "huge": "the answer is longer than 65536 bytes",
        "huge_chunks": "the answer is longer than 65536 bytes",
        "deep": "the answer is nested too deeply",
        "decision_twice": "a member of the answer stands twice",
        "not_a_number": "NaN is no JSON",
        "a_list": "the answer is not an object",
        "decision_text": "decision is neither true nor false",
        "context_null": "context is not an object",
        "filter_null": "context.filter is neither a filter nor a list of some",
        "filters_too_many": "context.filter has more than 20 filters",
        "row_filter": "the row filter must be context.filter, not row_filter",
        "filter_outside": "the row filter must be context.filter, not filter",
    }
    found = {}
    for resource in causes:
        with pytest.raises(PermissionsUnavailable) as caught:
            permissions.decide(VIEWER, resource, "read")
        found[resource] = caught.value.cause
    assert found == causes


def test_names_of_headers_and_types_are_read_in_any_case(permissions: AuthZenPermissions) -> None:
    assert permissions.decide(VIEWER, "other_case", "read") == Allowed()


def test_the_token_is_the_right_one(point: DecisionPoint, connect: Ask) -> None:
    with pytest.raises(PermissionsUnavailable) as caught:
        connect(point.url, token="another." + TOKEN).decide(VIEWER, "example_of_a_decision", "read")
    assert caught.value.cause == "the answer has status 401"


@pytest.mark.parametrize(
    ("resource", "level"),
    [("decision_text", logging.DEBUG), ("status_500", logging.DEBUG), ("echoes_badly", logging.INFO)],
)
def test_the_token_is_in_no_error(
    permissions: AuthZenPermissions, resource: str, level: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(level)
    with pytest.raises(PermissionsUnavailable) as caught:
        permissions.decide(VIEWER, resource, "read")
    logging.getLogger("tests").error("%s: %s", caught.value, caught.value.cause, exc_info=caught.value)
    assert caught.value.cause
    assert str(caught.value.cause) in caplog.text
    assert TOKEN not in caplog.text


def test_the_token_is_in_no_reason(permissions: AuthZenPermissions) -> None:
    assert permissions.decide(VIEWER, "echoes", "read") == Denied(
        "missing_grant", scope="echoes:read", why="asked with Bearer …"
    )


# -- row filters


@pytest.mark.parametrize(
    ("told", "filters"),
    [
        ("region = $context.region", ("region = $context.region",)),
        (["id = 1"], ("id = 1",)),
        (["id = 1", "id = 2"], ("id = 1", "id = 2")),
        (["id = 2", "id = 1", "id = 2"], ("id = 2", "id = 1")),
        ([f"id = {number}" for number in range(FILTERS_MAX)], tuple(f"id = {number}" for number in range(FILTERS_MAX))),
    ],
)
def test_filters(told: object, filters: tuple[str, ...]) -> None:
    assert read({"decision": True, "context": {"filter": told}}) == Allowed(filters)
    assert all(parse(text) for text in filters)


@pytest.mark.parametrize("told", [{"decision": True}, {"decision": True, "context": {}}])
def test_no_word_of_rows_is_every_row(told: object) -> None:
    assert read(told) == Allowed(None)


def test_a_no_is_a_no_whatever_comes_with_it() -> None:
    tries: list[object] = ["id = 1", "", None, []]
    for rows in tries:
        assert read({"decision": False, "context": {"filter": rows}}) == Denied("missing_grant", scope="orders:read")


@pytest.mark.parametrize("name", ["Filter", "FILTER", "filters", "row_filter", "rowFilter", "row-filters"])
def test_a_filter_by_another_name_is_not_overlooked(name: str) -> None:
    for told in ({"context": {name: "id = 1"}}, {name: "id = 1"}, {"context": {"filter": "id = 1", name: "id = 1"}}):
        with pytest.raises(PermissionsUnavailable):
            read({"decision": True, **told})


def test_other_members_are_left_alone() -> None:
    told = {"decision": True, "request_id": "x", "context": {"filtered": True, "filter_id": "7", "obligations": []}}
    assert read(told) == Allowed()


# -- reasons


@pytest.mark.parametrize(
    ("context", "why"),
    [
        ({"reason_admin": "for us", "reason": "for all", "reason_user": "for you"}, "for us"),
        ({"reason": "for all", "reason_user": "for you"}, "for all"),
        ({"reason_user": {"en-403": "for you", "es-403": "para ti"}}, "for you; para ti"),
        ({"reason_admin": {}, "reason": "for all"}, "for all"),
        ({"reason_admin": {"en": 7}, "reason": "for all"}, "for all"),
        ({"reason_admin": ["a", "list"], "reason_user": None, "reason": 7}, None),
        ({"reason": ""}, None),
        ({"reason": " \x00\x1b[31mred\r\nand\u2028more\u202etxet\ud800 "}, "[31mred and more txet"),
        ({"reason": 300 * "x"}, WHY_MAX * "x"),
        ({"reason": {str(number): "x" for number in range(300)}}, ("x; " * 300)[:WHY_MAX]),
    ],
)
@pytest.mark.parametrize("decision", [True, False])
def test_why(context: dict[str, object], why: str | None, decision: bool) -> None:
    assert read({"decision": decision, "context": context}).why == why


def test_no_key_is_in_a_reason() -> None:
    secret = mint("archie").text
    assert secret[-38:] not in read({"decision": False, "context": {"reason": f"not with {secret}"}}).why


def test_the_policy_is_a_policy() -> None:
    """What the tests above compare with is not empty by mistake."""
    question = {"subject": {"id": "x"}, "action": {"name": "read"}, "resource": {"type": "orders"}}
    assert decide(question)["decision"] is False
    assert {len(actions) for actions, _ in POLICY.values()} == {1, 2, 4}
