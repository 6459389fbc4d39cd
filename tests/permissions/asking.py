"""Who asks in these tests, and how the code reads a document without a server."""

from __future__ import annotations

import json
from typing import Any

from werkzeug.datastructures import ImmutableDict

from flask_archie_keys.audit.event import Request
from flask_archie_keys.domain.principals import Principal
from flask_archie_keys.permissions.authzen import AuthZenPermissions
from flask_archie_keys.permissions.wire import Answer

from .answers import TOKEN

DETAIL = "the permissions service cannot be used"
REQUEST = Request("GET", "/api/orders/<int:number>", "/api/orders/7", "198.51.100.7", "curl/8", "f3a9")


def key(*roles: str, **kwargs: Any) -> Principal:
    kwargs = {"context": ImmutableDict({"region": "eu"}), "owner": "42", **kwargs}
    return Principal("key", "7f3Kq2Zt9bXa", "CI", "shop", "master", "archie", roles, **kwargs)


VIEWER = key("viewer")


def read(told: object) -> Any:
    """The decision that the code reads in a document, as if a decision point had answered with it."""

    class Endpoint:
        def post(self, headers: Any, body: bytes) -> Answer:
            text = told if isinstance(told, str) else json.dumps(told)
            return Answer(200, [(b"Content-Type", b"application/json")], text.encode())

        def close(self) -> None:
            pass

    permissions = AuthZenPermissions("http://127.0.0.1:9", token=TOKEN)
    permissions._endpoint = Endpoint()  # type: ignore[assignment]
    return permissions.decide(VIEWER, "orders", "read")
