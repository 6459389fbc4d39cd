"""One mapping of errors to HTTP: problem details (RFC 9457) and bearer challenges (RFC 6750 section 3)."""

from __future__ import annotations

import functools
import json
import logging
from typing import Any

from flask import Response
from werkzeug.exceptions import HTTPException

from ..config import Config
from ..errors import (
    BadRequest,
    Forbidden,
    MethodNotAllowed,
    Replayed,
    ServiceError,
    Unauthorized,
    Unavailable,
    ValidationFailed,
)

logger = logging.getLogger("flask_archie_keys")
MEDIA_TYPE = "application/problem+json"


def body(error: ServiceError) -> dict[str, Any]:
    """The problem document of an error. It never says why a key is not good."""
    problem: dict[str, Any] = {
        "type": error.type,
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
    }
    if isinstance(error, ValidationFailed):
        named = str if error.as_given else in_json
        problem["errors"] = [entry._replace(field=named(entry.field))._asdict() for entry in error.errors]
    if isinstance(error, Replayed):
        problem["keyId"] = error.key_id
    return problem


#: The fields that have another name in JSON than in Python. Other names with ``_`` are those of roles.
_IN_JSON = {
    "allowed_networks": "allowedNetworks",
    "expires_at": "expiresAt",
    "overlap_seconds": "overlapSeconds",
}


def in_json(field: str) -> str:
    """The name of a field in JSON: ``expires_at`` is ``expiresAt``; what is inside of it keeps its name."""
    head, dot, rest = field.partition(".")
    return _IN_JSON.get(head, head) + dot + rest


def challenge(error: ServiceError, realm: str) -> str | None:
    """The ``WWW-Authenticate`` header of an error; ``None`` for those that are not about credentials."""
    plain = f'Bearer realm="{realm}"'
    if isinstance(error, BadRequest):
        return f'{plain}, error="invalid_request"'
    if isinstance(error, Unauthorized):
        return plain if error.reason == "no_credentials" else f'{plain}, error="invalid_token"'
    if isinstance(error, Forbidden):
        scope = "" if error.scope is None else f', scope="{error.scope}"'
        return f'{plain}, error="insufficient_scope"{scope}'
    return None


def log(error: ServiceError) -> None:
    """Log what the client is not told: why something cannot be reached."""
    if isinstance(error, Unavailable):
        logger.error("%s answered: %s: %s", error.status, error, error.cause)


def respond(error: ServiceError, config: Config) -> Response:
    """The response to an error."""
    if isinstance(error, (BadRequest, Unauthorized)):  # a handful of texts, and what a flood is answered with
        asked = challenge(error, config.project) or ""
        content, headers = _rendered(error.type, error.title, error.status, error.detail, asked)
        return Response(content, error.status, headers)
    log(error)
    response = Response(json.dumps(body(error)), error.status, content_type=MEDIA_TYPE)
    needed = challenge(error, config.project)
    if needed is not None:
        response.headers["WWW-Authenticate"] = needed
    if isinstance(error, MethodNotAllowed):
        response.allow.update(error.allowed)
    if isinstance(error, Unavailable):
        response.headers["Retry-After"] = str(error.retry_after)
    return response


def of_http(error: HTTPException) -> Response:
    """The response to an error of Werkzeug, or of a hook of the host, in a request to us."""
    code = error.code or 500
    problem = {"type": _TYPES.get(code, "about:blank"), "title": error.name, "status": code}
    response = Response(
        json.dumps({**problem, "detail": error.description or error.name}), code, content_type=MEDIA_TYPE
    )
    for name, value in error.get_headers():
        if name.lower() not in ("content-type", "content-length"):
            response.headers[name] = value
    return response


#: The problem types by status, for errors that are not of this package.
_TYPES = {
    400: "/errors/bad-request",
    401: "/errors/unauthorized",
    403: "/errors/forbidden",
    404: "/errors/not-found",
    405: "/errors/method-not-allowed",
    409: "/errors/conflict",
    412: "/errors/precondition-failed",
    413: "/errors/bad-request",
    415: "/errors/unsupported-media-type",
    422: "/errors/validation-failed",
    428: "/errors/precondition-required",
    429: "/errors/rate-limit-exceeded",
    503: "/errors/unavailable",
}


@functools.lru_cache(maxsize=64)
def _rendered(type_: str, title: str, status: int, detail: str, asked: str) -> tuple[bytes, list[tuple[str, str]]]:
    problem = {"type": type_, "title": title, "status": status, "detail": detail}
    return json.dumps(problem).encode(), [("Content-Type", MEDIA_TYPE), ("WWW-Authenticate", asked)]
