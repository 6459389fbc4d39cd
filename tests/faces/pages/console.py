"""A browser without scripts on the console of a host, logged in as a user with some roles."""

from __future__ import annotations

import html
import re
from typing import Any

from flask import request
from flask_wtf.csrf import generate_csrf
from werkzeug.datastructures import MultiDict

from flask_archie_keys import Principal

from ...conftest import Host, MakeHost

OWN = ("api_keys", "roles", "audit_events")
ALL = {"read": True, "write": True, "update": True, "delete": True}
ROLES: dict[str, Any] = {
    "admin": {"grants": [{"resource": resource, **ALL} for resource in OWN]},
    "viewer": {"description": "Looks."},
}
HOSTILE = '"><img src=x onerror=alert(1)>{{7*7}}\u202e'


class Console:
    """Asks for pages as whoever has ``roles``."""

    def __init__(self, make_host: MakeHost, url: str | None = None, **config: Any) -> None:
        given = {"ARCHIE_KEYS_ROLES": ROLES, "ARCHIE_KEYS_FACES": ("pages",), "SECRET_KEY": "of-the-tests"}
        self.host: Host = make_host(url, **{**given, **config})
        self.host.app.add_url_rule("/token", "token", generate_csrf)
        self.host.app.add_url_rule("/login", "login", lambda: "log in")
        self.host.keys.user_loader(self._user)
        self.roles: tuple[str, ...] | None = ("admin",)
        self.context: dict[str, object] = {}
        self.environment = ""
        self.client = self.host.app.test_client()

    def _user(self) -> Principal | None:
        if self.roles is None or request.path == "/token":
            return None
        return Principal.user("u1", roles=self.roles, context=self.context, environment=self.environment)

    def get(self, path: str, **query: Any) -> Any:
        return self.client.get(f"/settings{path}", query_string=query or None)

    def post(self, path: str, form: Any = (), *, token: str | None = "good", **headers: str) -> Any:
        """A form, with a token of this session unless another is given."""
        sent = MultiDict(form)
        if token is not None:
            sent["csrf_token"] = self.token if token == "good" else token
        return self.client.post(f"/settings{path}", data=sent, headers=headers)

    @property
    def token(self) -> str:
        return str(self.client.get("/token").text)


def text_of(answer: Any) -> str:
    """What a reader sees of a page, with single spaces."""
    body = re.sub(r"<(script|style|template|datalist)\b.*?</\1>", " ", answer.text, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", body)).split())


def links(answer: Any) -> list[str]:
    """Where a page leads."""
    return [html.unescape(found) for found in re.findall(r'href="([^"]*)"', answer.text)]


def ok(answer: Any, status: int = 200) -> Any:
    """Assert the status, and that the page is strict and has no hostile markup."""
    assert answer.status_code == status, text_of(answer)
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    assert answer.headers["Cache-Control"] == "no-store"
    assert "<img" not in answer.text and "{{" not in answer.text.replace("{{7*7}}", "") and " style=" not in answer.text
    return answer
