"""Who gets in, what they are offered, and what keeps other sites out."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest
from flask import Flask
from flask_wtf import CSRFProtect
from jinja2 import DictLoader

from flask_archie_keys import ArchieKeys, ConfigurationError, Principal

from ...conftest import MakeHost
from .conftest import Console, MakeConsole, User, secret_in

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)


# -- who gets in


def test_without_a_loader_there_are_no_pages(make_host: MakeHost) -> None:
    host = make_host()
    for path in ("/settings/api-keys", "/settings/roles", "/settings/audit"):
        assert host.client.get(path).status_code == 404
        assert host.client.post(path).status_code in (404, 405)


def test_nobody_is_sent_to_the_login_or_refused(make_console: MakeConsole) -> None:
    client = make_console().host.app.test_client()
    assert client.get("/settings/api-keys").status_code == 401
    assert client.post("/settings/api-keys").status_code == 401


def test_nobody_is_sent_to_the_login_and_back(make_console: MakeConsole) -> None:
    console = make_console(ARCHIE_KEYS_LOGIN_ENDPOINT="login")
    console.host.app.add_url_rule("/login", "login", lambda: "who?")
    client = console.host.app.test_client()
    answer = client.get("/settings/api-keys?q=a%26b")
    assert (answer.status_code, answer.location) == (302, "/login?next=/settings/api-keys?q%3Da%2526b")
    assert client.post("/settings/api-keys").location == "/login"


def test_a_key_is_no_user(console: Console) -> None:
    """A page is for people: a bearer credential opens none."""
    secret = console.host.create("admin", ("admin",)).secret
    assert console.host.get("/settings/api-keys", secret).status_code == 401


MAY: dict[str, tuple[int, int, int, int, int]] = {
    # list, new form, create, edit, delete
    "admin": (200, 200, 201, 302, 302),
    "reader": (200, 200, 403, 403, 403),
    "clerk": (200, 200, 201, 403, 403),
    "viewer": (403, 403, 403, 403, 403),
}


@pytest.mark.parametrize("name", MAY)
def test_what_one_may_not_do_is_refused_on_a_page(console: Console, name: str) -> None:
    key = console.host.create("There").key
    user = console.user(name)
    answers = (
        user.get(),
        user.get("/api-keys/new"),
        user.post(name="Made"),
        user.post(f"/api-keys/{key.id}/edit", name="Changed", expires="never", version=str(key.version)),
        user.post(f"/api-keys/{key.id}/delete", name="There" if name != "admin" else "Changed"),
    )
    assert tuple(each.status_code for each in answers) == MAY[name]
    assert {each.mimetype for each in answers} == {"text/html"}


OFFERED = {
    "admin": ("new", "edit", "rotate", "disable", "delete"),
    "reader": (),
    "clerk": ("new", "rotate"),
}


@pytest.mark.parametrize("name", OFFERED)
def test_what_one_may_not_do_is_not_offered(console: Console, name: str) -> None:
    key = console.host.create("There").key
    user = console.user(name)
    shown = user.get().text + user.get(f"/api-keys/{key.id}").text
    found = [part for part in ("new", "edit", "rotate", "disable", "delete") if f"/{part}" in shown]
    assert tuple(found) == OFFERED[name]
    assert ("Recent events" in shown) is (name == "admin")
    assert ("/settings/roles" in shown, "/settings/audit" in shown) == (name == "admin",) * 2


def test_a_key_that_one_may_not_see_is_not_there(console: Console) -> None:
    mine = console.host.create("Mine", owner="owner").key
    hers = console.host.create("Hers", owner="ann").key
    user = console.user("owner")
    page = user.get().text
    assert (">Mine<" in page, ">Hers<" in page) == (True, False)
    assert user.get(f"/api-keys/{mine.id}").status_code == 200
    hidden, missing = user.get(f"/api-keys/{hers.id}"), user.get("/api-keys/7f3Kq2Zt9bXa")
    assert (hidden.status_code, missing.status_code) == (404, 404)
    assert hidden.text == missing.text.replace("7f3Kq2Zt9bXa", hers.id)
    assert user.post(f"/api-keys/{hers.id}/delete", name="Hers").status_code == 404


def test_nobody_hands_out_more_than_they_have(console: Console) -> None:
    refused = console.user("clerk").post(name="Strong", roles="admin")
    assert (refused.status_code, refused.mimetype) == (403, "text/html")
    assert "hand out no more than it has" in refused.text and 'value="Strong"' in refused.text, "what was typed stays"
    with console.host.app.app_context():
        assert list(console.host.keys.service.find()) == []


def test_roles_that_one_may_not_see_are_not_offered(console: Console) -> None:
    page = console.user("clerk").get("/api-keys/new").text
    assert 'id="role-clerk"' in page and 'id="role-admin"' not in page


# -- other sites


def test_a_change_needs_a_token(console: Console, admin: User) -> None:
    key = console.host.create("There").key
    for path in (
        "",
        f"/{key.id}/edit",
        f"/{key.id}/disable",
        f"/{key.id}/enable",
        f"/{key.id}/delete",
        f"/{key.id}/rotate",
    ):
        for form in ({}, {"csrf_token": ""}, {"csrf_token": "x"}, {"csrf_token": console.user("reader").token()}):
            answer = admin.post_without_token(f"/api-keys{path}", name="There", **form)
            assert (answer.status_code, answer.mimetype) == (400, "text/html"), (path, form)
            assert "this form is too old, or not from here" in answer.text
    with console.host.app.app_context():
        assert list(console.host.keys.service.find()) == [key]


def test_a_script_of_the_page_may_send_the_token_in_a_header(admin: User) -> None:
    headers = {"X-CSRFToken": admin.token()}
    answer = admin.client.post("/settings/api-keys", data={"name": "Made"}, headers=headers)
    assert answer.status_code == 201


@pytest.mark.parametrize("whose", ["ours", "the host's, too"])
def test_together_with_the_hosts_own_protection(make_console: MakeConsole, whose: str) -> None:
    console = make_console()
    if whose != "ours":
        CSRFProtect(console.host.app)
    user = console.user()
    assert user.post(name="Made").status_code == 201
    assert user.post_without_token(name="Forged").status_code == 400
    with console.host.app.app_context():
        assert [key.name for key in console.host.keys.service.find()] == ["Made"]


@pytest.mark.parametrize(
    "path", ["/api-keys", "/api-keys/new", "/api-keys/x", "/api-keys?status=lost", "/roles", "/audit"]
)
def test_headers(admin: User, path: str) -> None:
    headers = admin.get(path).headers
    assert headers["Content-Security-Policy"] == POLICY
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "same-origin"


def test_the_answer_with_the_secret_is_not_kept(admin: User) -> None:
    answer = admin.post(name="Made")
    assert secret_in(answer)
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Content-Security-Policy"] == POLICY
    assert answer.location is None


def test_the_hosts_own_pages_keep_their_headers(console: Console) -> None:
    headers = console.host.client.get("/token").headers
    assert not {"Content-Security-Policy", "X-Frame-Options"} & set(headers.keys())


def test_files_may_be_kept(console: Console) -> None:
    """They are the same for everybody, so that they need no login."""
    for name in ("archie-keys.css", "archie-keys.js", "icon.svg"):
        with console.host.app.test_client().get(f"/settings/archie-keys/{name}") as answer:
            assert answer.status_code == 200
            assert answer.headers["Cache-Control"] != "no-store"


# -- environments

TWO: dict[str, Any] = {"master": {}, "staging": {"PREFIX": "archie_test"}}


def test_environments_are_apart(make_console: MakeConsole) -> None:
    console = make_console(ARCHIE_KEYS_ENVIRONMENTS=TWO)
    user = console.user()
    made = user.post(name="Elsewhere", environment="staging")
    assert secret_in(made).startswith("archie_test_")
    assert "Elsewhere" not in user.get().text
    page = user.get("/api-keys?environment=staging").text
    assert ">Elsewhere<" in page
    assert 'href="/settings/api-keys?environment=staging" aria-current="true"' in page
    assert 'name="environment" value="staging"' in page
    key_id = secret_in(made).split("_")[2]
    assert user.get(f"/api-keys/{key_id}").status_code == 404
    assert user.get(f"/api-keys/{key_id}?environment=staging").status_code == 200
    moved = user.post(f"/api-keys/{key_id}/disable", environment="staging")
    assert moved.location == f"/settings/api-keys/{key_id}?environment=staging"


def test_an_environment_that_is_not_there(make_console: MakeConsole) -> None:
    user = make_console(ARCHIE_KEYS_ENVIRONMENTS=TWO).user()
    assert user.get("/api-keys?environment=nowhere").status_code == 404
    assert user.post(name="x", environment="nowhere").status_code == 404


def test_a_user_of_one_environment_is_not_offered_others(make_console: MakeConsole) -> None:
    console = make_console(ARCHIE_KEYS_ENVIRONMENTS=TWO)
    console.host.keys.user_loader(lambda: Principal.user("ann", roles=["admin"], environment="master"))
    page = console.user().get().text
    assert "environment=master" in page and "environment=staging" not in page


def test_the_loader_is_asked_once_and_while_nobody_acts(make_console: MakeConsole) -> None:
    """One that reads roles must not need a grant of the user whom it is about to name."""
    console = make_console(ARCHIE_KEYS_ENVIRONMENTS=TWO)
    asked: list[int] = []

    def load() -> Principal:
        asked.append(len(console.host.keys.roles.find()))
        return Principal.user("ann", roles=["reader"])

    console.host.keys.user_loader(load)
    assert console.user("reader").get().status_code == 200
    assert len(asked) == 1


# -- the host's own look


def test_in_the_hosts_base_template(make_console: MakeConsole) -> None:
    """Names of the host's template may be like ours; they do not meet."""
    console = make_console(ARCHIE_KEYS_BASE_TEMPLATE="shop.html")
    base = (
        "{% macro csrf_field() %}{% endmacro %}{% set t = 1 %}{% set may = 1 %}{% set link = 1 %}"
        "<title>{% block title %}{% endblock %}</title><h1>The shop</h1>{% block content %}{% endblock %}"
    )
    console.host.app.jinja_loader = DictLoader({"shop.html": base})
    page = console.user().get("/api-keys/new").text
    assert "<h1>The shop</h1>" in page
    assert "<title>Create API Key · Settings</title>" in page
    assert page.count('name="csrf_token"') == 1


def test_a_template_of_the_host_comes_first(console: Console, admin: User) -> None:
    console.host.app.jinja_loader = DictLoader({"archie_keys/sidebar.html": "<nav>our own menu</nav>"})
    page = admin.get().text
    assert "<nav>our own menu</nav>" in page


def test_another_address(make_console: MakeConsole) -> None:
    console = make_console(ARCHIE_KEYS_URL_PREFIX="/admin/access")
    client = console.user().client
    page = client.get("/admin/access/api-keys")
    assert page.status_code == 200
    assert 'href="/admin/access/api-keys/new"' in page.text
    assert client.get("/settings/api-keys").status_code == 404


# -- the setting


def test_pages_that_are_off_register_nothing(make_host: MakeHost) -> None:
    app = make_host(ARCHIE_KEYS_FACES=("api",)).app
    assert "archie_keys" not in app.blueprints
    assert not [rule for rule in app.url_map.iter_rules() if rule.rule.startswith("/settings")]


@pytest.fixture
def without_flask_wtf(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if it were not installed."""
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "flask_wtf" else found(name, *rest)
    )


@pytest.mark.usefixtures("without_flask_wtf")
def test_without_flask_wtf_there_are_no_pages(make_host: MakeHost) -> None:
    assert "archie_keys" not in make_host().app.blueprints


@pytest.mark.usefixtures("without_flask_wtf")
def test_pages_that_are_named_need_flask_wtf() -> None:
    app = Flask("host")
    app.config["ARCHIE_KEYS_FACES"] = ("pages",)
    with pytest.raises(ConfigurationError, match=r"pip install 'flask-archie-keys\[pages\]'"):
        ArchieKeys(app)
