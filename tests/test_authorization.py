"""The decorator and the guard, on every kind of view."""

from __future__ import annotations

import functools
import json
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from flask import Blueprint, Flask, Response, abort, stream_with_context
from flask.typing import ResponseReturnValue
from flask.views import MethodView, View
from werkzeug.test import EnvironBuilder

from flask_archie_keys import (
    ArchieKeys,
    ConfigurationError,
    KeyNotFound,
    current_api_key,
    current_principal,
    require_api_key,
)
from flask_archie_keys.guarded_views import misplaced, requirements, roles_of_views

from .conftest import Host, MakeHost


@pytest.fixture
def host(make_host: MakeHost) -> Host:
    return make_host(views=False)


# -- every kind of view


def sync_view() -> str:
    return current_api_key.id


async def async_view() -> str:
    return current_api_key.id


def generator_view() -> Iterator[str]:
    yield current_api_key.id if current_api_key else "after the context"


def streaming_view() -> Response:
    return Response(stream_with_context(iter([current_api_key.id])))


def partial_view(prefix: str) -> str:
    return prefix + current_api_key.id


class Callable_:
    def __call__(self) -> str:
        return current_api_key.id


class Method(MethodView):
    decorators: ClassVar = [require_api_key(roles=["viewer"])]

    def get(self) -> str:
        return current_api_key.id


class PerMethod(MethodView):
    @require_api_key(roles=["viewer"])
    def get(self) -> str:
        return current_api_key.id


class Plain(View):
    decorators: ClassVar = [require_api_key(roles=["viewer"])]

    def dispatch_request(self) -> ResponseReturnValue:
        return current_api_key.id


guarded = require_api_key(roles=["viewer"])
VIEWS: dict[str, Callable[..., Any]] = {
    "sync": guarded(sync_view),
    "async": guarded(async_view),
    "generator": guarded(generator_view),
    "stream": guarded(streaming_view),
    "partial": guarded(functools.partial(partial_view, "")),
    "partial_async": guarded(functools.partial(async_view)),
    "callable": guarded(Callable_()),
    "method_view": Method.as_view("method_view"),
    "per_method": PerMethod.as_view("per_method"),
    "plain_view": Plain.as_view("plain_view"),
}


@pytest.mark.parametrize("kind", VIEWS)
def test_every_kind_of_view(host: Host, kind: str) -> None:
    host.app.add_url_rule("/view", endpoint=kind, view_func=VIEWS[kind])
    good, bad = host.create(roles=["viewer"]), host.create(roles=["editor"])
    answer = host.get("/view", good.secret)
    assert answer.status_code == 200
    assert answer.text == ("after the context" if kind == "generator" else good.key.id)
    assert host.get("/view", bad.secret).status_code == 403
    assert host.get("/view").status_code == 401
    assert roles_of_views(host.app) == {"viewer"} and misplaced(host.app) == []
    assert [(e.outcome, e.status) for e in host.events()] == [("allowed", 200), ("denied", 403), ("refused", 401)]


def test_a_generator_is_not_even_begun_without_a_key(host: Host) -> None:
    began = []

    @host.app.get("/g")
    @require_api_key
    def generator() -> Iterator[str]:
        began.append(1)
        yield "x"

    assert host.get("/g").status_code == 401
    assert began == []


def test_arguments_names_and_documentation_of_a_view_stay(host: Host) -> None:
    @host.app.get("/orders/<int:number>")
    @require_api_key
    def order(number: int) -> dict[str, int]:
        """One order."""
        return {"number": number}

    assert (order.__name__, order.__doc__) == ("order", "One order.")
    assert host.get("/orders/7", host.create().secret).json == {"number": 7}


def test_partials_have_endpoints_of_their_own(host: Host) -> None:
    first = require_api_key(functools.partial(partial_view, "x"))
    assert first.__name__ == "partial_view"


# -- wrong uses are refused when decorating


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"roles": "viewer"}, TypeError, "must be a list of role names, not 'viewer'"),
        ({"roles": b"viewer"}, TypeError, "must be a list"),
        ({"roles": [7]}, TypeError, "must be a list"),
        ({"roles": []}, ValueError, "must not be empty; leave it out to let any good key in"),
        ({"roles": ["Viewer"]}, ValueError, "'Viewer' is not a role name"),
        ({"roles": ["viewer"], "match": "some"}, ValueError, "match must be 'any' or 'all'"),
        ({"role": ["viewer"]}, TypeError, "unexpected keyword argument"),
    ],
)
@pytest.mark.parametrize("of", [require_api_key, ArchieKeys().guard])
def test_wrong_arguments(of: Any, arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        of(**arguments)


def test_a_class_is_told_where_the_decorator_goes() -> None:
    with pytest.raises(TypeError, match=r"put the decorator in its `decorators = \[require_api_key\]`"):
        require_api_key(Method)
    with pytest.raises(TypeError, match="takes a view, or keyword arguments"):
        require_api_key("viewer")  # type: ignore[call-overload]


# -- the order of decorators


def above_route(app: Flask) -> None:
    @require_api_key
    @app.get("/x")
    def x() -> str:
        return "open!"


def above_route_with_another_between(app: Flask) -> None:
    def other(view: Callable[..., Any]) -> Callable[..., Any]:
        return functools.wraps(view)(lambda: view())

    @require_api_key
    @other
    @app.get("/x")
    def x() -> str:
        return "open!"


def above_route_of_a_blueprint(app: Flask) -> None:
    blueprint = Blueprint("b", __name__)

    @require_api_key(roles=["viewer"])
    @blueprint.get("/x")
    def x() -> str:
        return "open!"

    app.register_blueprint(blueprint)


def test_a_function_that_is_guarded_elsewhere_in_the_application_must_not_be_open(host: Host) -> None:
    above_one_route_of_two(host.app)
    assert misplaced(host.app) == ["x"]
    assert host.get("/x").status_code == 500


@pytest.mark.parametrize("mistake", [above_route, above_route_with_another_between, above_route_of_a_blueprint])
def test_a_decorator_above_the_route_is_refused_and_not_silently_open(host: Host, mistake: Any) -> None:
    mistake(host.app)
    host.app.testing = True
    with pytest.raises(ConfigurationError, match=r"stands above @app.route on (b\.)?x, so these views are not prot"):
        host.get("/x")


@pytest.mark.parametrize("mistake", [above_route, above_route_of_a_blueprint])
def test_such_an_application_answers_500_to_everything(host: Host, mistake: Any) -> None:
    mistake(host.app)
    for path in ("/x", "/x", "/nowhere"):
        answer = host.get(path, host.create().secret)
        assert (answer.status_code, "open!" in answer.text) == (500, False)


def above_one_route_of_two(app: Flask) -> None:
    @app.get("/guarded", endpoint="guarded")
    @require_api_key
    @app.get("/x")
    def x() -> str:
        return "open!"


def test_a_function_may_be_open_in_one_application_and_guarded_in_another(make_host: MakeHost) -> None:
    one, two = make_host(views=False), make_host(views=False)

    def view() -> str:
        return "x"

    one.app.add_url_rule("/x", "x", view)
    two.app.add_url_rule("/x", "x", require_api_key(view))
    assert (one.get("/x").status_code, two.get("/x").status_code) == (200, 401)


def test_decorators_between_are_fine_below_the_route(host: Host) -> None:
    def other(view: Callable[..., Any]) -> Callable[..., Any]:
        return functools.wraps(view)(lambda: view())

    @host.app.get("/x")
    @other
    @require_api_key(roles=["viewer"])
    @other
    def x() -> str:
        return "x"

    assert host.get("/x").status_code == 401
    assert roles_of_views(host.app) == {"viewer"}


# -- blueprints


@pytest.fixture
def api(host: Host) -> Blueprint:
    blueprint = Blueprint("api", __name__, url_prefix="/api")
    blueprint.before_request(host.keys.guard(roles=["viewer"]))

    @blueprint.route("/orders", methods=["GET", "POST"])
    def orders() -> str:
        return current_api_key.id

    @blueprint.get("/strict")
    @require_api_key(roles=["editor"])
    def strict() -> str:
        return current_api_key.id

    @blueprint.get("/missing")
    def missing() -> str:
        abort(404)

    @blueprint.route("/options", methods=["OPTIONS"])
    def own_options() -> str:
        return "mine"

    host.app.register_blueprint(blueprint)
    return blueprint


def test_a_guard_protects_a_whole_blueprint(host: Host, api: Blueprint) -> None:
    viewer, editor = host.create(roles=["viewer"]), host.create(roles=["editor"])
    assert host.get("/api/orders", viewer.secret).text == viewer.key.id
    assert host.get("/api/orders", editor.secret).status_code == 403
    assert host.get("/api/orders").status_code == 401
    assert requirements(host.app)["api.orders"][0].roles == ("viewer",)


def test_guard_and_decorator_both_hold_and_make_one_event(host: Host, api: Blueprint) -> None:
    viewer, both = host.create(roles=["viewer"]), host.create(roles=["viewer", "editor"])
    assert host.get("/api/strict", viewer.secret).status_code == 403
    assert host.get("/api/strict", both.secret).status_code == 200
    assert [(e.outcome, e.reason, e.status) for e in host.events()] == [
        ("denied", "missing_role", 403),
        ("allowed", None, 200),
    ]


def test_a_404_inside_a_guarded_blueprint_is_an_event(host: Host, api: Blueprint) -> None:
    assert host.get("/api/missing", host.create().secret).status_code == 404
    assert [(e.outcome, e.status, e.route) for e in host.events()] == [("allowed", 404, "/api/missing")]


def test_automatic_options_pass_a_guard_and_an_options_view_does_not(host: Host, api: Blueprint) -> None:
    assert host.client.options("/api/orders").status_code == 200
    assert host.client.options("/api/options").status_code == 401


# -- how requests end


def test_how_each_request_ended(host: Host) -> None:
    app = host.app

    @app.route("/ok", methods=["GET", "POST"])
    @require_api_key
    def ok() -> tuple[str, int]:
        return "x", 201

    @app.get("/raises")
    @require_api_key
    def raises() -> str:
        raise RuntimeError("view failed")

    @app.get("/stream")
    @require_api_key
    def stream() -> Response:
        return Response(stream_with_context(iter(["a", "b"])))

    @app.get("/empty")
    @require_api_key
    def empty() -> tuple[str, int]:
        return "", 204

    secret = host.create().secret
    host.get("/ok?secret=1", secret)
    host.client.head("/ok", headers={"Authorization": f"Bearer {secret}"})
    host.get("/raises", secret)
    host.get("/stream", secret)
    host.get("/empty", secret)
    events = host.events()
    assert [(e.method, e.path, e.status, e.streamed) for e in events] == [
        ("GET", "/ok", 201, False),
        ("HEAD", "/ok", 201, False),
        ("GET", "/raises", 500, False),
        ("GET", "/stream", 200, True),
        ("GET", "/empty", 204, False),
    ]
    assert all(e.duration_ms is not None and e.count == 1 for e in events)


def test_the_end_of_a_request_under_middleware_that_answers_later_is_not_known(tmp_path: Path) -> None:
    """Better than a wrong status: it was let through, and that is written."""
    app = Flask("late", instance_path=str(tmp_path))
    app.config["ARCHIE_KEYS_AUDIT"] = {"background": False}
    inner = app.wsgi_app

    def late(environ: Any, start_response: Any) -> Iterator[bytes]:
        yield from inner(environ, start_response)

    app.wsgi_app = late  # type: ignore[assignment, method-assign]
    keys = ArchieKeys(app)
    app.add_url_rule("/x", "x", require_api_key(lambda: "x"))
    with app.app_context():
        secret = keys.service.create(name="x").secret
        assert app.test_client().get("/x", headers={"Authorization": f"Bearer {secret}"}).status_code == 200
        assert [(e.outcome, e.status) for e in keys.audit.find(kind="request")] == [("allowed", None)]
    keys.close(app)


def test_a_propagated_exception_ends_its_event_as_500(host: Host) -> None:
    @host.app.get("/raises")
    @require_api_key
    def raises() -> str:
        raise RuntimeError("view failed")

    host.app.testing = True
    with pytest.raises(RuntimeError, match="view failed"):
        host.get("/raises", host.create().secret)
    assert [e.status for e in host.events()] == [500]


def test_the_status_is_the_one_that_the_client_got(host: Host) -> None:
    @host.app.after_request
    def teapot(response: Response) -> Response:
        response.status_code = 418
        return response

    host.app.add_url_rule("/x", "x", require_api_key(lambda: "x"))
    assert host.get("/x", host.create().secret).status_code == 418
    assert [e.status for e in host.events()] == [418]


def test_the_event_is_there_before_the_view_runs(host: Host) -> None:
    seen: list[Any] = []

    @host.app.get("/x")
    @require_api_key
    def x() -> str:
        with host.keys.unrestricted("to see it"):
            seen.extend(host.keys.audit.find(key=current_api_key.id, outcome="allowed"))
        return "x"

    host.get("/x", host.create().secret)
    assert [(e.kind, e.status) for e in seen] == [("unrestricted", None), ("request", None), ("key.created", None)]
    assert [e.status for e in host.events()] == [200]


def test_the_hosts_own_error_pages_stay_its_own_and_ours_stay_ours(host: Host) -> None:
    host.app.register_error_handler(Exception, lambda error: ("host's page", 500))
    host.app.register_error_handler(401, lambda error: ("host's 401", 401))
    host.app.add_url_rule("/x", "x", require_api_key(lambda: "x"))
    assert json.loads(host.get("/x").data)["type"] == "/errors/unauthorized"


def test_our_errors_in_a_hosts_view_are_problems_unless_the_host_has_its_own(host: Host) -> None:
    host.app.add_url_rule("/make", "make", lambda: host.keys.service.create(name="").key.id)
    host.app.add_url_rule("/show/<key_id>", "show", lambda key_id: host.keys.service.get(key_id).name)
    host.app.register_error_handler(KeyNotFound, lambda error: ("host's page", 404))
    answer = host.get("/make")
    assert (answer.status_code, answer.content_type) == (422, "application/problem+json")
    assert host.get("/show/x").text == "host's page"


def test_a_client_used_inside_a_view_keeps_both_requests_apart(host: Host) -> None:
    @host.app.get("/inner")
    @require_api_key(optional=True)
    def inner() -> str:
        return current_api_key.id if current_api_key else "nobody"

    @host.app.get("/outer")
    @require_api_key
    def outer() -> dict[str, Any]:
        seen = [host.get("/inner").text, host.get("/inner", two.secret).text]
        return {"seen": seen, "me": current_api_key.id}

    one, two = host.create(), host.create()
    assert host.get("/outer", one.secret).json == {"seen": ["nobody", two.key.id], "me": one.key.id}
    assert sorted((e.path, e.status) for e in host.events()) == [("/inner", 200), ("/outer", 200)]


# -- the current key


def test_the_current_key_is_read_only_and_holds_no_secret(host: Host) -> None:
    caught: dict[str, Any] = {}

    @host.app.get("/x")
    @require_api_key
    def x() -> dict[str, Any]:
        with pytest.raises(AttributeError):
            current_api_key.roles = ("admin",)  # type: ignore[misc]
        with pytest.raises(TypeError):
            current_api_key.context["region"] = "us"  # type: ignore[index]
        caught["repr"] = repr(current_api_key)
        caught["principal"] = current_principal()
        return {"roles": current_api_key.roles, "context": current_api_key.context, "name": current_api_key.name}

    created = host.create(name="CI", roles=["viewer"], context={"region": "eu"})
    answer = host.get("/x", created.secret)
    assert answer.json == {"roles": ["viewer"], "context": {"region": "eu"}, "name": "CI"}
    assert created.secret[-38:] not in caught["repr"]
    assert caught["principal"].id == created.key.id


def test_without_a_key_it_is_unset(host: Host) -> None:
    assert not current_api_key
    assert current_principal() is None
    with host.app.test_request_context(), pytest.raises(RuntimeError, match="current_api_key is not set"):
        _ = current_api_key.id


def test_requests_that_share_an_application_context_share_no_key(host: Host) -> None:
    """Flask gives test clients inside an application context one `g` for all their requests."""

    @host.app.get("/x")
    @require_api_key(optional=True)
    def x() -> str:
        return current_api_key.id if current_api_key else "nobody"

    created = host.create()
    with host.app.app_context():
        assert host.get("/x", created.secret).text == created.key.id
        assert host.get("/x").text == "nobody"
        assert host.get("/x", created.secret).text == created.key.id
    assert [e.status for e in host.events()] == [200, 200]


def test_a_stream_with_context_has_its_key_to_the_end(host: Host) -> None:
    @host.app.get("/stream")
    @require_api_key
    def stream() -> Response:
        def body() -> Iterator[str]:
            yield current_api_key.id
            yield current_api_key.name

        return Response(stream_with_context(body()))

    created = host.create(name="to the end")
    assert host.get("/stream", created.secret).text == f"{created.key.id}to the end"
    assert [(e.status, e.streamed) for e in host.events()] == [(200, True)]


def test_a_wsgi_environment_that_is_used_again_authenticates_again(host: Host) -> None:
    host.app.add_url_rule("/x", "x", require_api_key(lambda: current_api_key.id))
    created = host.create()
    environ = EnvironBuilder("/x", headers={"Authorization": f"Bearer {created.secret}"}).get_environ()
    for expected in ("200 OK", "401 UNAUTHORIZED"):
        seen: list[str] = []
        list(host.app(environ, lambda status, headers, *_, seen=seen: seen.append(status)))  # type: ignore[misc]
        assert seen == [expected]
        with host.app.app_context():
            host.keys.service.disable(created.key.id)


def test_an_asynchronous_generator_needs_its_key_too(host: Host) -> None:
    async def numbers() -> AsyncIterator[str]:
        yield "x"

    host.app.add_url_rule("/x", "x", require_api_key(numbers))
    assert host.get("/x").status_code == 401
