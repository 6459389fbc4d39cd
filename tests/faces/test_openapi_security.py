"""What an application's own OpenAPI document is told of its guarded views."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ClassVar

import pytest
from flask import Blueprint, Flask
from flask.views import MethodView

from flask_archie_keys import ArchieKeys, require_api_key
from flask_archie_keys.faces.openapi_security import ViewSecurity

from ..conftest import Host


class Orders(MethodView):
    decorators: ClassVar[list[Callable[[Any], Any]]] = [require_api_key(roles=["viewer", "editor"])]

    def get(self) -> str:
        return ""

    @require_api_key(resource="orders")
    def post(self) -> str:
        return ""


@require_api_key(roles=["viewer", "editor"], match="all", resource="orders", action="update")
def all_of_it() -> str:
    return ""


@require_api_key(resource="orders")
def by_method() -> str:
    return ""


def logged(view: Callable[..., Any]) -> Callable[..., Any]:
    return wraps(view)(lambda *args, **kwargs: view(*args, **kwargs))


@pytest.fixture
def app(host: Host) -> Flask:
    app = host.app
    app.add_url_rule("/open", "open", lambda: "")
    app.add_url_rule("/any", "any", require_api_key(lambda: ""))
    app.add_url_rule("/optional", "maybe", require_api_key(optional=True, roles=["viewer"])(lambda: ""))
    app.add_url_rule("/all", "all", logged(all_of_it), methods=["GET", "POST"])
    app.add_url_rule("/orders", "orders", Orders.as_view("orders"))
    app.add_url_rule("/one", "one", by_method, methods=["DELETE"])
    blueprint = Blueprint("inner", "inner")
    blueprint.before_request(host.keys.guard(roles=["editor"]))
    blueprint.add_url_rule("/inner", "open", lambda: "")
    blueprint.add_url_rule("/both", "both", require_api_key(resource="orders", action="read")(lambda: ""))
    app.register_blueprint(blueprint)
    return app


def of(host: Host, view: Any, method: str | None = None) -> ViewSecurity:
    with host.app.app_context():
        return host.keys.openapi_security(view, method)


@pytest.mark.parametrize(
    ("view", "method", "needs", "description"),
    [
        ("any", None, [], "Needs an API key."),
        ("maybe", None, ["the role viewer"], "Takes an API key with the role viewer."),
        ("all", "GET", ["all of the roles viewer, editor", "the grant orders:update"], None),
        (all_of_it, None, ["all of the roles viewer, editor", "the grant orders:update"], None),
        ("one", None, ["the grant orders:delete"], "Needs an API key with the grant orders:delete."),
        (by_method, None, ["the grant orders:delete"], None),
        (by_method, "get", ["the grant orders:read"], None),
        ("orders", "GET", ["one of the roles viewer, editor"], None),
        ("orders", "POST", ["one of the roles viewer, editor", "the grant orders:write"], None),
        (Orders, "post", ["one of the roles viewer, editor", "the grant orders:write"], None),
        (Orders, None, ["one of the roles viewer, editor"], None),
        (Orders.post, None, ["one of the roles viewer, editor", "the grant orders:write"], None),
        (Orders.get, None, ["one of the roles viewer, editor"], None),
        ("inner.open", None, ["the role editor"], None),
        ("inner.both", None, ["the role editor", "the grant orders:read"], None),
    ],
)
def test_what_a_view_asks_for(
    host: Host, app: Flask, view: Any, method: str | None, needs: list[str], description: str | None
) -> None:
    found = of(host, view, method)
    assert list(found.needs) == needs
    assert description is None or found.description == description
    assert found.guarded and set(found.responses) == {"400", "401", "403", "503"}
    assert found.security == ([{"apiKey": []}, {}] if view == "maybe" else [{"apiKey": []}])


def test_views_that_are_not_registered_say_what_stands_on_them(host: Host) -> None:
    assert of(host, all_of_it).grants == ("orders:update",)
    assert of(host, Orders, "POST").roles == ("viewer", "editor")
    assert of(host, Orders, "POST").grants == ("orders:write",)
    with pytest.raises(ValueError, match="asks for another grant with each method"):
        of(host, by_method)


def test_an_open_view_needs_nothing(host: Host, app: Flask) -> None:
    found = of(host, "open")
    assert (found.guarded, found.security, found.responses, found.description) == (False, [], {}, "")
    operation = {"responses": {"200": {}}}
    found.add_to(operation)
    assert operation == {"responses": {"200": {}}}


def test_an_endpoint_that_there_is_not(host: Host) -> None:
    with pytest.raises(LookupError, match="there is no endpoint 'ordres'"):
        of(host, "ordres")


def test_the_responses_are_those_that_the_guard_gives(host: Host, app: Flask) -> None:
    found = of(host, "all", "GET")
    assert found.schemes == {"apiKey": {"type": "http", "scheme": "bearer", "description": "An API key."}}
    for status, secret in (("401", None), ("400", "a b"), ("403", host.create(roles=()).secret)):
        answer = host.get("/all", secret)
        described = found.responses[status]
        assert str(answer.status_code) == status and answer.mimetype in described["content"]
        assert f"`{answer.json['type']}`" in described["description"]
        schema = described["content"]["application/problem+json"]["schema"]
        assert set(schema["required"]) == set(answer.json)
    assert described["headers"].keys() == {"WWW-Authenticate"}


def test_no_429_is_promised_where_there_are_no_limits(host: Host, app: Flask) -> None:
    assert "429" not in of(host, "any").responses


def test_what_is_there_stays(host: Host, app: Flask) -> None:
    operation: dict[str, Any] = {"description": "Mine.", "responses": {403: {"description": "mine"}}}
    of(host, "any").add_to(operation)
    assert operation["responses"].keys() == {403, "400", "401", "503"}
    assert operation["description"] == "Mine.\n\nNeeds an API key."
    again = {"security": [{"mine": []}]}
    of(host, "any").add_to(again)
    assert again["security"] == [{"mine": []}]


def test_it_works_without_the_api(tmp_path: Any) -> None:
    app = Flask("host", instance_path=str(tmp_path))
    app.config["ARCHIE_KEYS_FACES"] = ()
    keys = ArchieKeys(app)
    app.add_url_rule("/any", "any", require_api_key(lambda: ""))
    with app.app_context():
        assert keys.openapi_security("any").guarded
    keys.close(app)
