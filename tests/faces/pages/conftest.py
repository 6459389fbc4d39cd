from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from flask import session
from flask.testing import FlaskClient
from flask_wtf.csrf import generate_csrf
from werkzeug.test import TestResponse

from flask_archie_keys import Grant, Principal

from ...conftest import Host, MakeHost

OURS = ("api_keys", "roles", "audit_events")
ROLES: dict[str, Any] = {
    "admin": {
        "grants": [
            Grant("shops", read=True),
            *(Grant(each, read=True, write=True, update=True, delete=True) for each in OURS),
        ]
    },
    "reader": {"grants": [Grant("api_keys", read=True)]},
    "clerk": {"grants": [Grant("api_keys", read=True, write=True)]},
    "owner": {"grants": [Grant("api_keys", read=True, write=True, update=True, delete=True, filter="owner = $userId")]},
    "viewer": {},
    "regional": {"grants": [Grant("shops", read=True, filter="region = $context.region")]},
}


class Console:
    """A host whose users log in by their name, which is also their role; ``admin`` has all roles."""

    def __init__(self, host: Host) -> None:
        self.host = host
        host.app.secret_key = "for-the-" + "tests-only"
        host.app.add_url_rule("/token", "token", generate_csrf)
        host.keys.user_loader(self._user)

    @staticmethod
    def _user() -> Principal | None:
        name = session.get("user")
        return name and Principal.user(name, roles=list(ROLES) if name == "admin" else [name])

    def user(self, name: str = "admin") -> User:
        """Somebody who is logged in."""
        client = self.host.app.test_client()
        with client.session_transaction() as kept:
            kept["user"] = name
        return User(client)


class User:
    """The browser of a user. Paths begin after ``/settings``."""

    def __init__(self, client: FlaskClient) -> None:
        self.client = client

    def get(self, path: str = "/api-keys") -> TestResponse:
        return self.client.get(f"/settings{path}", buffered=True)

    def post(self, path: str = "/api-keys", **form: Any) -> TestResponse:
        """Send a form with a good token, as our pages do."""
        return self.post_without_token(path, csrf_token=self.token(), **form)

    def post_without_token(self, path: str = "/api-keys", **form: Any) -> TestResponse:
        return self.client.post(f"/settings{path}", data=form, buffered=True)

    def token(self) -> str:
        return self.client.get("/token").text


def secret_in(answer: TestResponse) -> str:
    """The secret that a page shows."""
    found = re.search(r'id="secret"[^>]* value="([^"]+)"', answer.text)
    assert found is not None, answer.text
    return found[1]


def mistakes(answer: TestResponse) -> list[tuple[str, str]]:
    """The mistakes that a page shows: the field and what is wrong."""
    return re.findall(r'<p class="archie-mistake" id="(\w+)-mistake\d+">([^<]*)</p>', answer.text)


MakeConsole = Callable[..., Console]


@pytest.fixture
def make_console(make_host: MakeHost) -> MakeConsole:
    def make(**config: Any) -> Console:
        return Console(make_host(**{"ARCHIE_KEYS_ROLES": ROLES, "ARCHIE_KEYS_FACES": ("pages",), **config}))

    return make


@pytest.fixture
def console(make_console: MakeConsole) -> Console:
    return make_console()


@pytest.fixture
def admin(console: Console) -> User:
    return console.user()
