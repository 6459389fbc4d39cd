"""One mapping of errors to HTTP: problem details (RFC 9457) and bearer challenges (RFC 6750 section 3)."""

from __future__ import annotations

import functools
import json
import logging
from typing import Any

from flask import Response

from ..config import Config
from ..errors import BadRequest, Forbidden, ServiceError, Unauthorized, Unavailable, ValidationFailed

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
        problem["errors"] = [entry._asdict() for entry in error.errors]
    return problem


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


def respond(error: ServiceError, config: Config) -> Response:
    """The response to an error."""
    if isinstance(error, (BadRequest, Unauthorized)):  # a handful of texts, and what a flood is answered with
        asked = challenge(error, config.project) or ""
        content, headers = _rendered(error.type, error.title, error.status, error.detail, asked)
        return Response(content, error.status, headers)
    if isinstance(error, Unavailable):  # the client is not told why, so the log is
        logger.error("%s answered: %s: %s", error.status, error, error.cause)
    response = Response(json.dumps(body(error)), error.status, content_type=MEDIA_TYPE)
    needed = challenge(error, config.project)
    if needed is not None:
        response.headers["WWW-Authenticate"] = needed
    if isinstance(error, Unavailable):
        response.headers["Retry-After"] = str(error.retry_after)
    return response


@functools.lru_cache(maxsize=64)
def _rendered(type_: str, title: str, status: int, detail: str, asked: str) -> tuple[bytes, list[tuple[str, str]]]:
    problem = {"type": type_, "title": title, "status": status, "detail": detail}
    return json.dumps(problem).encode(), [("Content-Type", MEDIA_TYPE), ("WWW-Authenticate", asked)]
