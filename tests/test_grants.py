"""``@require_api_key(resource=…, action=…)``: what it asks of a key, what it answers, and how soon a change holds."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Blueprint
from flask.views import MethodView

from flask_archie_keys import Grant, require_api_key
from flask_archie_keys.context import app_state
from flask_archie_keys.store.models import keys

from .conftest import Host, MakeHost
from .support.processes import APPLICATION, Application
from .support.sales import SALES

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
ACTIONS = {"GET": "read", "HEAD": "read", "POST": "write", "PUT": "update", "PATCH": "update", "DELETE": "delete"}


def add(host: Host, path: str, methods: list[str] | None = None, **asked: Any) -> None:
    host.app.add_url_rule(path, path[1:], require_api_key(**asked)(lambda: "done"), methods=methods or METHODS)


def ask(host: Host, path: str, secret: str, method: str = "GET") -> Any:
    return host.client.open(path, method=method, headers={"Authorization": f"Bearer {secret}"})


@pytest.fixture
def orders(host: Host) -> Host:
    """A host with a view that takes its action from the method."""
    add(host, "/orders", resource="orders")
    return host


@pytest.mark.parametrize("granted", ["read", "write", "update", "delete"])
def test_the_method_says_which_action_is_needed(orders: Host, granted: str) -> None:
    orders.save("clerk", Grant("orders", **{granted: True}))
    secret = orders.create(roles=("clerk",)).secret
    for method in METHODS:
        answer = ask(orders, "/orders", secret, method)
        assert answer.status_code == (200 if ACTIONS[method] == granted else 403), method
        if answer.status_code == 403:
            assert answer.headers["WWW-Authenticate"] == (
                f'Bearer realm="default", error="insufficient_scope", scope="orders:{ACTIONS[method]}"'
            )


def test_an_action_that_is_said_holds_for_every_method(host: Host) -> None:
    add(host, "/search", ["GET", "POST"], resource="orders", action="read")
    host.save("reader", Grant("orders", read=True))
    host.save("writer", Grant("orders", write=True))
    reader, writer = (host.create(roles=(name,)).secret for name in ("reader", "writer"))
    assert [ask(host, "/search", reader, method).status_code for method in ("GET", "POST")] == [200, 200]
    assert [ask(host, "/search", writer, method).status_code for method in ("GET", "POST")] == [403, 403]


def test_a_method_without_an_action_of_its_own_is_denied(host: Host) -> None:
    add(host, "/orders", ["OPTIONS", "TRACE", "PROPFIND"], resource="orders")
    host.save("all", Grant("orders", read=True, write=True, update=True, delete=True))
    secret = host.create(roles=("all",)).secret
    for method in ("OPTIONS", "TRACE", "PROPFIND"):
        assert ask(host, "/orders", secret, method).status_code == 403
    *_, event = host.events()
    assert event.reason == "missing_grant"


def test_the_answer_to_a_missing_grant_to_the_letter(orders: Host) -> None:
    answer = ask(orders, "/orders", orders.create().secret, "PATCH")
    assert answer.status_code == 403 and answer.content_type == "application/problem+json"
    assert answer.get_json() == {
        "type": "/errors/forbidden",
        "title": "Forbidden",
        "status": 403,
        "detail": "the API key has no grant for this",
    }
    assert answer.headers["WWW-Authenticate"] == (
        'Bearer realm="default", error="insufficient_scope", scope="orders:update"'
    )


@pytest.mark.parametrize("roles", [(), ("viewer",), ("other",), ("empty",), ("ghost",), ("filtered",)])
def test_no_grant_no_access(orders: Host, roles: tuple[str, ...]) -> None:
    """No roles; one without grants; one for another resource; one that is gone; one whose filter fits no table."""
    orders.save("other", Grant("api_keys", read=True))
    orders.save("empty")
    for name in ("ghost", "filtered"):
        orders.save(name, Grant("orders", read=True))
    secret = orders.create(roles=roles).secret
    orders.sql("UPDATE archie_grants SET filter = 'region = 1' WHERE role = 'filtered'")
    orders.sql("DELETE FROM archie_grants WHERE role = 'ghost'")
    orders.sql("DELETE FROM archie_roles WHERE name = 'ghost'")
    orders.sql("UPDATE archie_policy_epochs SET epoch = epoch + 1")
    assert ask(orders, "/orders", secret).status_code == 403
    (event,) = orders.events()
    assert (event.outcome, event.reason, event.status) == ("denied", "missing_grant", 403)


def test_roles_and_grant_are_both_needed_where_both_are_given(host: Host) -> None:
    add(host, "/both", roles=["viewer", "editor"], resource="orders", action="read")
    host.save("clerk", Grant("orders", read=True))
    keys = {roles: host.create(roles=roles).secret for roles in [("viewer",), ("clerk",), ("clerk", "editor"), ()]}
    assert {roles: ask(host, "/both", secret).status_code for roles, secret in keys.items()} == {
        ("viewer",): 403,
        ("clerk",): 403,
        ("clerk", "editor"): 200,
        (): 403,
    }
    lacks_role = ask(host, "/both", keys["clerk",])
    assert lacks_role.get_json()["detail"] == "the API key lacks a role that this needs"
    assert lacks_role.headers["WWW-Authenticate"].endswith('error="insufficient_scope", scope="viewer editor"')
    lacks_grant = ask(host, "/both", keys["viewer",])
    assert lacks_grant.headers["WWW-Authenticate"].endswith('error="insufficient_scope", scope="orders:read"')


def test_a_blueprints_guard_and_a_views_decorator_both_ask(host: Host) -> None:
    blueprint = Blueprint("shop", __name__)
    blueprint.before_request(host.keys.guard(resource="orders", action="read"))
    blueprint.add_url_rule("/items", "items", require_api_key(resource="items")(lambda: "items"))
    host.app.register_blueprint(blueprint)
    host.save("orders", Grant("orders", read=True))
    host.save("items", Grant("items", read=True))
    statuses = []
    for roles in (("orders",), ("items",), ("orders", "items")):
        statuses.append(ask(host, "/items", host.create(roles=roles).secret).status_code)
    assert statuses == [403, 403, 200]
    first, second, third = host.events()
    assert [(e.outcome, e.reason) for e in (first, second, third)] == [
        ("denied", "missing_grant"),
        ("denied", "missing_grant"),
        ("allowed", None),
    ]


def test_a_class_of_views_takes_the_action_from_its_methods(host: Host) -> None:
    class Orders(MethodView):
        decorators = [require_api_key(resource="orders")]  # noqa: RUF012

        def get(self) -> str:
            return "read"

        def post(self) -> str:
            return "written"

    host.app.add_url_rule("/orders", view_func=Orders.as_view("orders"))
    host.save("clerk", Grant("orders", read=True))
    secret = host.create(roles=("clerk",)).secret
    assert [ask(host, "/orders", secret, method).status_code for method in ("GET", "POST")] == [200, 403]


def test_optional_lets_only_requests_without_a_key_pass_unasked(host: Host) -> None:
    add(host, "/open", resource="orders", optional=True)
    assert host.client.get("/open").status_code == 200
    assert ask(host, "/open", host.create().secret).status_code == 403


def test_what_was_decided_is_in_the_audit_log(host: Host) -> None:
    text = "region = $context.region"
    add(host, "/sales", resource=SALES)
    host.save("clerk", Grant(SALES, read=True, filter=text))
    secret = host.create(roles=("clerk",), context={"region": "eu"}).secret
    assert [ask(host, "/sales", secret, method).status_code for method in ("GET", "PUT")] == [200, 403]
    let_in, denied = host.events()
    assert let_in.details == {
        "permissions": [{"resource": SALES, "action": "read", "decision": "allowed", "filter": text}]
    }
    assert denied.details == {"permissions": [{"resource": SALES, "action": "update", "decision": "denied"}]}


def test_a_filter_without_its_variable_denies_and_the_log_says_why(host: Host) -> None:
    add(host, "/sales", resource=SALES)
    host.save("clerk", Grant(SALES, read=True))
    secret = host.create(roles=("clerk",)).secret
    assert ask(host, "/sales", secret).status_code == 200
    host.save("clerk", Grant(SALES, read=True, filter="region = $context.region"))
    answer = ask(host, "/sales", secret)
    assert answer.status_code == 403 and b"region" not in answer.data
    *_, event = host.events()
    assert event.details["permissions"][0]["why"] == "region = $context.region: $context.region has no value"


@pytest.mark.parametrize("value", [None, "", [], ["eu"], 7, True, {"a": 1}])
def test_values_that_do_not_fit_deny_and_never_fail(host: Host, value: object) -> None:
    """Written by hand: the services would refuse the key."""
    add(host, "/sales", resource=SALES)
    host.save("clerk", Grant(SALES, read=True, filter="region = $context.region OR level = 1"))
    created = host.create(roles=("clerk",), context={"region": "eu"})
    assert ask(host, "/sales", created.secret).status_code == 200
    with host.app.app_context(), host.db.engine.begin() as connection:
        connection.execute(keys.update().values(context=json.dumps({"region": value})))
    assert ask(host, "/sales", created.secret).status_code == (200 if value == "" else 403)


@pytest.mark.parametrize(
    ("asked", "error", "said"),
    [
        ({"resource": "Orders"}, ValueError, "'Orders' is not a resource name"),
        ({"resource": ""}, ValueError, "'' is not a resource name"),
        ({"resource": ["orders"]}, ValueError, "is not a resource name"),
        ({"resource": "orders", "action": "fly"}, ValueError, "action must be one of read, write, update, delete"),
        ({"resource": "orders", "action": ["read"]}, ValueError, "action must be one of"),
        ({"action": "read"}, ValueError, "an action needs a resource"),
        ({"resource": "orders", "roles": []}, ValueError, "roles must not be empty"),
    ],
)
def test_what_makes_no_sense_is_refused_when_decorating(asked: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        require_api_key(**asked)


# -- changes hold at the very next request


CHANGES: dict[str, Callable[[Host], object]] = {
    "saved": lambda host: host.save("clerk", Grant("orders", write=True)),
    "emptied": lambda host: host.save("clerk"),
    "deleted": lambda host: host.keys.roles.delete("clerk", take_from_keys=True),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_a_role_holds_at_the_next_request(orders: Host, change: str) -> None:
    orders.save("clerk", Grant("orders", read=True))
    secret = orders.create(roles=("clerk",)).secret
    assert [ask(orders, "/orders", secret).status_code for _ in range(3)] == [200] * 3
    with orders.app.app_context():
        CHANGES[change](orders)
    assert ask(orders, "/orders", secret).status_code == 403
    orders.save("clerk", Grant("orders", read=True))
    assert ask(orders, "/orders", secret).status_code == (403 if change == "deleted" else 200)


def test_in_every_application_on_the_database(make_host: MakeHost, url: str) -> None:
    one, two = make_host(url), make_host(url)
    for host in (one, two):
        add(host, "/orders", resource="orders")
    one.save("clerk", Grant("orders", read=True))
    secret = one.create(roles=("clerk",)).secret
    for saving, asking in ((one, two), (two, one), (one, two)):
        assert ask(asking, "/orders", secret).status_code == 200
        saving.save("clerk")
        assert ask(asking, "/orders", secret).status_code == 403
        assert ask(saving, "/orders", secret).status_code == 403
        saving.save("clerk", Grant("orders", read=True))


def test_in_a_process_that_serves_when_another_one_changes_the_role(tmp_path: Path) -> None:
    application = Application(tmp_path)
    view = """
    @app.get("/orders")
    @require_api_key(resource="orders")
    def orders():
        return "orders"
"""
    (tmp_path / "served.py").write_text(APPLICATION.replace('\n    @app.get("/pid")', f'{view}\n    @app.get("/pid")'))

    def save(**actions: bool) -> None:
        roles = {"roles": {"clerk": {"grants": [{"resource": "orders", **actions}]}}}
        (tmp_path / "roles.json").write_text(json.dumps(roles))
        done = application.flask("keys", "roles", "save", str(tmp_path / "roles.json"))
        assert done.returncode == 0, done.stderr

    try:
        save(read=True)
        secret = application.flask("keys", "create", "k", "--role", "clerk", "--quiet").stdout.strip()
        server = application.serve("--workers", "1")
        assert [server.get("/orders", secret)[0] for _ in range(2)] == [200, 200]
        save(write=True)
        assert server.get("/orders", secret)[0] == 403
    finally:
        application.close()


def test_a_bound_on_staleness_holds_for_roles(make_host: MakeHost) -> None:
    staleness = timedelta(seconds=1)
    one, two = (make_host(ARCHIE_KEYS_MAX_STALENESS=staleness) for _ in range(2))
    for host in (one, two):
        add(host, "/orders", resource="orders")
    one.save("clerk", Grant("orders", read=True))
    secret = one.create(roles=("clerk",)).secret
    assert [ask(host, "/orders", secret).status_code for host in (one, two)] == [200, 200]
    began = time.monotonic()
    one.save("clerk")
    assert ask(one, "/orders", secret).status_code == 403  # where it was changed it holds at once
    status = ask(two, "/orders", secret).status_code
    if time.monotonic() - began < 1:
        assert status == 200
    time.sleep(max(began + 1.05 - time.monotonic(), 0))
    assert ask(two, "/orders", secret).status_code == 403


def test_roles_are_read_once_and_again_when_they_change(orders: Host) -> None:
    orders.save("clerk", Grant("orders", read=True))
    secret = orders.create(roles=("clerk",)).secret
    permissions = app_state(orders.app).environment("master").permissions
    known = []
    for _ in range(3):
        ask(orders, "/orders", secret)
        known.append(permissions._known)  # type: ignore[attr-defined]
    assert known[0] is known[1] is known[2]
    orders.save("clerk", Grant("orders", read=True, delete=True))
    ask(orders, "/orders", secret)
    assert permissions._known is not known[0]  # type: ignore[attr-defined]


# -- keys that manage keys


def test_a_refusal_of_the_ceiling_is_a_403_and_in_the_audit_log(make_host: MakeHost) -> None:
    host = make_host(ARCHIE_KEYS_ROLES={"viewer": {}, "maker": {"grants": [{"resource": "api_keys", "write": True}]}})

    @host.app.post("/make")
    @require_api_key
    def make() -> dict[str, str]:
        return {"id": host.keys.service.create(name="made", roles=["viewer"]).key.id}

    created = host.create(roles=("maker",))
    answer = ask(host, "/make", created.secret, "POST")
    assert answer.status_code == 403
    assert answer.get_json()["detail"] == (
        "whoever acts here can hand out no more than it has: it does not have the role 'viewer' itself"
    )
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="default", error="insufficient_scope"'
    (event,) = host.events()
    assert (event.outcome, event.reason, event.status, event.key_id) == ("denied", "ceiling", 403, created.key.id)


def test_a_key_without_the_grant_makes_no_keys(host: Host) -> None:
    @host.app.post("/make")
    @require_api_key
    def make() -> dict[str, str]:
        return {"id": host.keys.service.create(name="made").key.id}

    answer = ask(host, "/make", host.create().secret, "POST")
    assert answer.status_code == 403
    assert answer.headers["WWW-Authenticate"].endswith('scope="api_keys:write"')
    (event,) = host.events()
    assert (event.outcome, event.reason, event.status) == ("denied", "missing_grant", 403)
