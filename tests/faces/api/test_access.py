"""Who gets in: keys, logged-in users with a token against forgery, and nobody else."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask, Response, abort, session
from flask_wtf import CSRFProtect

from flask_archie_keys import ArchieKeys, Principal
from flask_archie_keys.domain.permissions import Grant
from flask_archie_keys.faces.api.operations import OPERATIONS, Operation

from ...conftest import Host
from .conftest import Api, MakeApi, problem


def address(operation: Operation) -> str:
    return re.sub(r"<\w+>", "7f3Kq2Zt9bXa", operation.path)


@pytest.fixture(scope="module")
def operations_app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    app = Flask("host", instance_path=str(tmp_path_factory.mktemp("instance")))
    app.config.update(ARCHIE_KEYS_FACES=("api",), ARCHIE_KEYS_AUDIT={"background": False})
    keys = ArchieKeys(app)
    yield app
    keys.close(app)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_nobody_never_acts_as_the_system(operations_app: Flask, operation: Operation) -> None:
    """Without a principal the services do whatever they are asked to, as on the command line."""
    answer = operations_app.test_client().open(f"/archie/v1{address(operation)}", method=operation.method, json={})
    assert (answer.status_code, answer.json["type"]) == (401, "/errors/unauthorized")
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="default"'
    assert answer.headers["Cache-Control"] == "no-store"


def test_who_is_not_let_in_learns_of_no_method_no_parameter_and_no_body(api: Api) -> None:
    for answer in (
        api.ask("DELETE", "/me", key=None),
        api.get("/keys?limit=0", key=None),
        api.post("/keys", "no object", key=None),
        api.ask("PATCH", "/keys/x", {}, key=None),
    ):
        problem(answer, 401, "unauthorized")


@pytest.mark.parametrize(
    ("authorization", "status", "challenge"),
    [
        ("Basic YTpi", 401, ""),
        ("Bearer", 400, ', error="invalid_request"'),
        ("Bearer a b", 400, ', error="invalid_request"'),
        ("Bearer nothing", 401, ', error="invalid_token"'),
        ("", 401, ""),
    ],
)
def test_a_bad_credential(api: Api, authorization: str, status: int, challenge: str) -> None:
    answer = api.host.client.get("/archie/v1/keys", headers={"Authorization": authorization})
    problem(answer, status, "bad-request" if status == 400 else "unauthorized")
    assert answer.headers["WWW-Authenticate"] == f'Bearer realm="default"{challenge}'


def test_me_tells_a_key_what_it_may_do(api: Api) -> None:
    secret = api.with_grants(Grant("api_keys", read=True, filter="owner = $userId"), owner="ann", context={"a": [1]})
    data = api.get("/me", key=secret).json["data"]
    grant = {"resource": "api_keys", "read": True, "write": False, "update": False, "delete": False}
    assert data == {
        "kind": "key",
        "id": data["id"],
        "name": "clerk",
        "project": "default",
        "environment": "master",
        "roles": ["clerk"],
        "context": {"a": [1]},
        "owner": "ann",
        "expiresAt": None,
        "grants": [{**grant, "filter": "owner = $userId", "role": "clerk"}],
    }
    assert api.get("/me", key=api.make()["secret"]).json["data"]["grants"] == []
    problem(api.get("/me?x=1", key=secret), 400, "bad-request")


def test_explain_shows_every_check(api: Api) -> None:
    made = api.make(roles=["viewer"])
    answer = api.post("/explain", {"keyId": made["id"], "resource": "api_keys", "action": "update"})
    assert answer.status_code == 200 and answer.headers["Cache-Control"] == "no-store"
    data = answer.json["data"]
    assert (data["keyId"], data["allowed"], data["filter"], data["sql"], data["parameters"]) == (
        made["id"],
        False,
        None,
        None,
        {},
    )
    assert [(check["name"], check["passed"]) for check in data["checks"]][-1] == ("grant", False)
    assert list(data["checks"][0]) == ["name", "passed", "why"]
    assert api.post("/explain", {"keyId": made["id"], "roles": ["viewer"]}).json["data"]["allowed"] is True


WRONG_QUESTIONS: list[dict[str, Any]] = [
    {"action": "read"},
    {"keyId": "KEY", "action": "fly", "resource": "api_keys"},
    {"keyId": "KEY", "match": "none"},
    {"keyId": "KEY", "roles": "viewer"},
    {"keyId": "KEY", "remoteAddress": 7},
    {"keyId": "KEY", "key": "KEY"},
]


def test_explain_refuses_a_wrong_question(api: Api) -> None:
    made = api.make()["id"]
    for question in WRONG_QUESTIONS:
        asked = {name: made if value == "KEY" else value for name, value in question.items()}
        assert api.post("/explain", asked).status_code == 422, question
    problem(api.post("/explain", {"keyId": made, "action": "read"}), 400, "bad-request", "an action needs a resource")


# -- users of the host


def as_user(api: Api, *roles: str) -> Any:
    """A client of a user who is logged in."""
    api.host.app.secret_key = "secret-" + "of-the-tests"
    api.host.keys.user_loader(lambda: Principal.user(session["user"], roles=roles) if "user" in session else None)
    client = api.host.app.test_client()
    with client.session_transaction() as values:
        values["user"] = "ann"
    return client


def token_of(client: Any) -> str:
    return str(client.get("/token").text)


@pytest.fixture
def user(api: Api) -> Any:
    return as_user(api, "admin", "viewer")


def test_a_user_reads_without_a_token(api: Api, user: Any) -> None:
    me = api.get("/me", key=None, client=user).json["data"]
    assert (me["kind"], me["id"], me["roles"]) == ("user", "ann", ["admin", "viewer"])
    assert len(me["grants"]) == 3 and me["grants"][0]["role"] == "admin"
    assert api.get("/keys", key=None, client=user).status_code == 200
    assert api.ask("HEAD", "/keys", key=None, client=user).status_code == 200


@pytest.mark.parametrize(
    "operation", [o for o in OPERATIONS if o.method != "GET"], ids=lambda operation: operation.name
)
def test_a_users_change_needs_a_token(api: Api, operation: Operation) -> None:
    user = as_user(api, "admin")
    for token in ({}, {"X_CSRFToken": ""}, {"X_CSRFToken": "x"}, {"X_CSRFToken": "é"}):
        answer = api.ask(operation.method, address(operation), {}, key=None, client=user, **token)
        assert "X-CSRFToken" in problem(answer, 400, "bad-request")["detail"]


def test_a_users_change_with_a_token_is_the_users(api: Api, user: Any) -> None:
    token = token_of(user)
    made = api.post("/keys", {"name": "mine", "roles": ["viewer"]}, key=None, client=user, X_CSRFToken=token)
    assert (made.status_code, made.json["data"]["createdBy"]) == (201, "user:ann")
    path = f"/keys/{made.json['data']['id']}"
    assert api.ask("DELETE", path, key=None, client=user, X_CSRF_Token=token).status_code == 200
    assert [event.actor for event in api.host.changes(key=made.json["data"]["id"])] == ["user:ann"] * 2


def test_a_token_of_another_session_is_worth_nothing(api: Api, user: Any) -> None:
    other = as_user(api, "admin")
    token = token_of(other)
    token_of(user)
    problem(api.post("/keys", {"name": "x"}, key=None, client=user, X_CSRFToken=token), 400, "bad-request")


def test_a_user_has_its_grants_and_no_more(api: Api) -> None:
    user = as_user(api, "clerk")
    api.host.save("clerk", Grant("api_keys", read=True, filter="owner = $userId"))
    mine, other = api.make("mine", owner="ann"), api.make("other", owner="bob")
    assert [key["name"] for key in api.get("/keys", key=None, client=user).json["data"]] == ["mine"]
    assert api.get(f"/keys/{mine['id']}/traffic", key=None, client=user).status_code == 200
    problem(api.get(f"/keys/{other['id']}", key=None, client=user), 404, "not-found")
    for path in ("/roles", "/audit"):
        problem(api.get(path, key=None, client=user), 403, "forbidden")
    token = token_of(user)
    problem(api.post("/keys", {"name": "x"}, key=None, client=user, X_CSRFToken=token), 403, "forbidden")


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_key_and_a_session_at_once_are_refused(api: Api, user: Any, method: str) -> None:
    token = token_of(user)
    answer = api.ask(method, "/keys", {"name": "x"}, client=user, X_CSRFToken=token)
    assert "an API key and a user's session" in problem(answer, 400, "bad-request")["detail"]


def test_a_key_needs_no_token_and_cookies_of_nobody_do_not_matter(api: Api, user: Any) -> None:
    assert api.post("/keys", {"name": "x"}).status_code == 201
    stranger = api.host.app.test_client()
    stranger.set_cookie("theme", "dark")
    assert api.post("/keys", {"name": "x"}, client=stranger).status_code == 201
    problem(api.post("/keys", {"name": "x"}, client=stranger, key=None), 401, "unauthorized")


def test_a_loader_that_fails_lets_nobody_in(api: Api) -> None:
    api.host.keys.user_loader(lambda: abort(401))
    problem(api.get("/keys", key=None), 401, "unauthorized")


# -- a host with a protection of its own


@pytest.mark.parametrize("first", [True, False], ids=["before", "after"])
def test_a_protection_of_the_host_spares_our_routes_and_no_other(make_api: MakeApi, first: bool) -> None:
    host = Flask("csrf")
    host.secret_key = "secret-" + "of-the-tests"
    protect = CSRFProtect()
    if first:
        protect.init_app(host)
    api = make_api(SECRET_KEY=host.secret_key)
    if not first:
        protect.init_app(api.host.app)
    else:  # our hooks run behind those that a host had before
        api = _again(api, protect)
    app = api.host.app
    app.add_url_rule("/change", "change", lambda: "changed", methods=["POST"])
    made = api.post("/keys", {"name": "x"})
    assert made.status_code == 201, made.text
    assert api.ask("DELETE", f"/keys/{made.json['data']['id']}").status_code == 200
    assert app.test_client().post("/change").status_code == 400
    user = as_user(api, "admin")
    problem(api.post("/keys", {"name": "x"}, key=None, client=user), 400, "bad-request")
    token = token_of(user)
    assert api.post("/keys", {"name": "x"}, key=None, client=user, X_CSRFToken=token).status_code == 201
    assert user.post("/change").status_code == 400


def _again(api: Api, protect: CSRFProtect) -> Api:
    """The same with an application that had the protection first."""
    app = Flask("host", instance_path=api.host.app.instance_path)
    app.config.update({name: v for name, v in api.host.app.config.items() if name.startswith(("ARCHIE", "SQLA"))})
    app.secret_key = api.host.app.secret_key
    protect.init_app(app)
    api.host.db.init_app(app)
    api.host.keys.init_app(app)
    again = Host(app, api.host.db, api.host.keys, api.host.order)
    return Api(again)


# -- the place


def test_errors_of_others_stay_as_they_are(api: Api) -> None:
    app = api.host.app
    app.register_error_handler(404, lambda error: ("<h1>no such page</h1>", 404))
    app.register_error_handler(405, lambda error: ("<h1>not so</h1>", 405))
    app.register_error_handler(500, lambda error: ("<h1>sorry</h1>", 500))

    @app.get("/broken")
    def broken() -> str:
        raise RuntimeError

    client = app.test_client()
    assert client.get("/nothing").text == "<h1>no such page</h1>"
    assert client.get("/archie/v1x").text == client.get("/archie").text == "<h1>no such page</h1>"
    assert client.post("/broken").text == "<h1>not so</h1>"
    assert client.get("/broken").text == "<h1>sorry</h1>"
    for path in ("/nothing", "/", "/keys/", "/keys/x/y", "/Keys", "/keys/x/rotate/"):
        problem(api.get(path), 404, "not-found", "there is nothing at this address")


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/keys", ["GET", "POST", "HEAD", "OPTIONS"]),
        ("/keys/7f3Kq2Zt9bXa", ["GET", "PATCH", "DELETE", "HEAD", "OPTIONS"]),
        ("/keys/7f3Kq2Zt9bXa/rotate", ["POST", "OPTIONS"]),
        ("/roles/viewer", ["GET", "PUT", "DELETE", "HEAD", "OPTIONS"]),
        ("/me", ["GET", "HEAD", "OPTIONS"]),
        ("/_openapi.json", ["GET", "HEAD", "OPTIONS"]),
    ],
)
def test_a_wrong_method_names_the_right_ones(api: Api, path: str, allowed: list[str]) -> None:
    for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "TRACE"} - set(allowed):
        answer = api.ask(method, path)
        problem(answer, 405, "method-not-allowed")
        assert sorted(answer.headers["Allow"].split(", ")) == sorted(allowed)
    options = api.ask("OPTIONS", path, key=None)
    assert (options.status_code, options.data) == (204, b"")
    assert sorted(options.headers["Allow"].split(", ")) == sorted(allowed)
    if "GET" in allowed and "{" not in path:
        head = api.ask("HEAD", path)
        assert head.data == b"" and head.headers["Content-Type"]


def test_a_failure_of_ours_is_a_problem_and_says_nothing(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    api.host.sql("DROP TABLE archie_roles")
    answer = api.get("/roles")
    problem(answer, 503, "unavailable")
    assert answer.headers["Retry-After"] == "1" and "archie_roles" not in answer.text
    api.host.sql("DROP TABLE archie_api_keys")
    answer = api.get("/me")
    problem(answer, 503, "unavailable")
    assert answer.headers["Retry-After"] == "1" and "archie_api_keys" not in answer.text


def test_a_mistake_of_the_application_is_a_problem_that_says_nothing(api: Api) -> None:
    api.host.keys.user_loader(lambda: {}["the-session-" + "table"])
    answer = api.get("/keys", key=None)
    assert (answer.status_code, answer.content_type) == (500, "application/problem+json")
    assert answer.json["type"] == "about:blank" and "the-session-table" not in answer.text


def test_what_a_hook_of_the_host_answers_stays(api: Api) -> None:
    """A maintenance page, say; what it aborts with is told in our form."""
    answers: list[Any] = [lambda: abort(503, "closed"), lambda: abort(Response("mine", 418))]
    api.host.app.before_request(lambda: answers[0]())
    closed = api.get("/me")
    assert (closed.status_code, closed.json["type"], closed.json["detail"]) == (503, "/errors/unavailable", "closed")
    del answers[0]
    assert (api.get("/me").status_code, api.get("/me").text) == (418, "mine")


def test_a_setting_says_where_the_api_is(make_api: MakeApi) -> None:
    api = make_api(ARCHIE_KEYS_API_PREFIX="/internal/keys")
    headers = {"Authorization": f"Bearer {api.admin.secret}"}
    client = api.host.app.test_client()
    made = client.post("/internal/keys/keys", headers=headers, json={"name": "x"})
    assert made.headers["Location"] == f"/internal/keys/keys/{made.json['data']['id']}"
    assert client.get(made.headers["Location"], headers=headers).status_code == 200
    assert client.get("/internal/keys/_openapi.json").json["servers"] == [{"url": "/internal/keys"}]
    assert client.get("/archie/v1/me", headers=headers).mimetype == "text/html"


def test_below_another_application_the_location_has_its_path(api: Api) -> None:
    made = api.host.client.post(
        "/archie/v1/keys",
        headers={"Authorization": f"Bearer {api.admin.secret}"},
        json={"name": "x"},
        environ_overrides={"SCRIPT_NAME": "/shop"},
    )
    assert made.headers["Location"].startswith("/shop/archie/v1/keys/")


def test_a_header_picks_the_environment(make_api: MakeApi) -> None:
    api = make_api(ARCHIE_KEYS_ENVIRONMENTS={"master": {}, "staging": {}}, ARCHIE_KEYS_ENVIRONMENT_HEADER="environment")
    with api.host.app.app_context():
        secret = api.host.keys.for_environment("staging").service.create(name="staging", roles=["admin"]).secret
    made = api.post("/keys", {"name": "x"}, key=secret, environment="staging").json["data"]
    assert made["environment"] == "staging"
    assert [key["name"] for key in api.get("/keys").json["data"]] == ["admin"]
    assert api.get("/me", environment="master").status_code == 200
    problem(api.get("/me", environment="staging"), 401, "unauthorized")
    problem(api.get("/me", key=secret), 401, "unauthorized")
    problem(api.get("/me", environment="nowhere"), 400, "bad-request", "there is no such environment")
    problem(api.get("/nothing", environment="nowhere"), 404, "not-found")


def test_a_user_of_one_environment_does_not_manage_another(make_api: MakeApi) -> None:
    api = make_api(ARCHIE_KEYS_ENVIRONMENTS={"master": {}, "staging": {}}, ARCHIE_KEYS_ENVIRONMENT_HEADER="environment")
    api.host.keys.user_loader(lambda: Principal.user("ann", roles=["admin"], environment="master"))
    assert api.get("/keys", key=None).status_code == 200
    problem(api.get("/keys", key=None, environment="staging"), 403, "forbidden")


def test_without_the_face_there_is_nothing(make_api: MakeApi) -> None:
    api = make_api(ARCHIE_KEYS_FACES=("cli",))
    assert not [rule for rule in api.host.app.url_map.iter_rules() if rule.rule.startswith("/archie")]
    assert api.get("/me").mimetype == "text/html"


def test_without_the_face_it_is_not_imported() -> None:
    code = (
        "import sys; from flask import Flask; from flask_archie_keys import ArchieKeys\n"
        "app = Flask('x'); app.config['ARCHIE_KEYS_FACES'] = ('cli',); ArchieKeys(app)\n"
        "print([name for name in sys.modules if name.startswith('flask_archie_keys.faces.api')])"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")
