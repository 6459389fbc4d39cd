from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask_wtf.csrf import generate_csrf

from flask_archie_keys.domain.permissions import Grant

from ...conftest import Host, MakeHost

EVERYTHING = [
    {"resource": resource, "read": True, "write": True, "update": True, "delete": True}
    for resource in ("api_keys", "roles", "audit_events")
]
ROLES: dict[str, Any] = {"admin": {"grants": EVERYTHING}, "viewer": {}, "editor": {}}


class Api:
    """A host and its management API, asked with the key of an administrator unless another one is named."""

    def __init__(self, host: Host) -> None:
        self.host = host
        host.app.add_url_rule("/token", "token", generate_csrf)
        self.admin = host.create("admin", ("admin", "viewer", "editor"))

    def ask(
        self, method: str, path: str, json: Any = None, *, key: str | None = "admin", client: Any = None, **headers: str
    ) -> Any:
        """One request; ``If_Match`` is the header ``If-Match``.

        :param key: a secret; ``None`` for no credentials at all.
        """
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if key is not None:
            sent["Authorization"] = f"Bearer {self.admin.secret if key == 'admin' else key}"
        given = {} if json is None else {"json": json}
        client = client or self.host.app.test_client()
        return client.open(f"/archie/v1{path}", method=method, headers=sent, buffered=True, **given)

    def get(self, path: str, **kwargs: Any) -> Any:
        return self.ask("GET", path, **kwargs)

    def post(self, path: str, json: Any = None, **kwargs: Any) -> Any:
        return self.ask("POST", path, json, **kwargs)

    def make(self, name: str = "made", **members: Any) -> Any:
        """The data of a new key."""
        answer = self.post("/keys", {"name": name, **members})
        assert answer.status_code == 201, answer.text
        return answer.json["data"]

    def with_grants(self, *grants: Grant, role: str = "clerk", **of_key: Any) -> str:
        """The secret of a key with one role that has these grants."""
        self.host.save(role, *grants)
        return str(self.host.create("clerk", (role,), **of_key).secret)


def problem(answer: Any, status: int, type: str, detail: str | None = None) -> Any:
    """Assert that an answer is this problem; its document."""
    assert (answer.status_code, answer.json["type"]) == (status, f"/errors/{type}"), answer.text
    assert answer.content_type == "application/problem+json"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.json["status"] == status and answer.json["title"] and answer.json["detail"]
    assert detail is None or answer.json["detail"] == detail
    return answer.json


def refused(answer: Any) -> list[tuple[str, str]]:
    """Assert that input was refused; the fields and rules."""
    return [(entry["field"], entry["rule"]) for entry in problem(answer, 422, "validation-failed")["errors"]]


MakeApi = Callable[..., Api]


@pytest.fixture
def make_api(make_host: MakeHost) -> MakeApi:
    def make(url: str | None = None, **config: Any) -> Api:
        return Api(make_host(url, **{"ARCHIE_KEYS_ROLES": ROLES, "ARCHIE_KEYS_FACES": ("api",), **config}))

    return make


@pytest.fixture
def api(make_api: MakeApi) -> Api:
    return make_api()
