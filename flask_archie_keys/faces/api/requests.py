"""Reading requests and writing answers of the JSON API."""

from __future__ import annotations

from typing import Any

import msgspec
from flask import Response, request
from msgspec import Struct

from ...errors import BadRequest, ContentTooLarge, PreconditionRequired, UnsupportedMediaType, VersionMismatch
from .. import json_input
from .operations import Answer, Operation

#: The longest body, in bytes: a role with 200 grants whose filters are as long as they may be fits.
BODY_MAX = 1_000_000
_JSON = "application/json"
_PATCH = "application/merge-patch+json"


def read_query(operation: Operation) -> dict[str, Any]:
    """The query as a keyword argument.

    :raises BadRequest: for a parameter that is unknown, twice there or wrong.
    """
    given = {name: request.args.getlist(name) for name in request.args}
    known = () if operation.query is None else [f.encode_name for f in msgspec.structs.fields(operation.query)]
    for name, values in given.items():
        if name not in known:
            raise BadRequest(f"the query has {name[:100]!r}, which is no parameter here")
        if len(values) > 1:
            raise BadRequest(f"the query has {name} more than once")
    if operation.query is None:
        return {}
    try:
        query = msgspec.convert({n: values[0] for n, values in given.items()}, operation.query, strict=False)
    except msgspec.ValidationError as error:
        raise BadRequest(f"the query is wrong: {error}") from None
    for field in msgspec.structs.fields(operation.query):
        if field.encode_name in given and getattr(query, field.name) is None:  # "null", which would ask for all
            raise BadRequest(f"the query is wrong: {field.encode_name} is null")
    return {"query": query}


def read_body(operation: Operation) -> dict[str, Any]:
    """The body as a keyword argument.

    :raises ContentTooLarge: if it is longer than :data:`BODY_MAX`.
    :raises UnsupportedMediaType: if it is not said to be JSON.
    :raises BadRequest: if it is not.
    :raises ValidationFailed: naming the member that is wrong.
    """
    if operation.body is None:
        return {}
    content = _content()
    if not content and operation.body_optional and "Content-Type" not in request.headers:
        return {"body": operation.body()}
    _require_json(_PATCH if operation.method == "PATCH" else _JSON)
    return {"body": json_input.convert(json_input.parse(content), operation.body, operation.read_only)}


def _content() -> bytes:
    if request.content_length is not None and request.content_length > BODY_MAX:
        raise ContentTooLarge(f"the body must be at most {BODY_MAX} bytes")
    content = request.get_data() if request.content_length is not None else request.stream.read(BODY_MAX + 1)
    if len(content) > BODY_MAX:
        raise ContentTooLarge(f"the body must be at most {BODY_MAX} bytes")
    return content


def _require_json(also: str) -> None:
    charset = request.mimetype_params.get("charset", "utf-8").lower()
    if request.mimetype not in (_JSON, also) or charset not in ("utf-8", "utf8"):
        raise UnsupportedMediaType(f"the body must be {_JSON}{f' or {also}' if also != _JSON else ''}, in UTF-8")
    if "Content-Encoding" in request.headers:
        raise UnsupportedMediaType("the body must not be compressed")


def idempotency_key() -> str | None:
    """The ``Idempotency-Key`` of the request."""
    return request.headers.get("Idempotency-Key")


def etag(version: int) -> dict[str, str]:
    """The header that says which version an answer is of."""
    return {"ETag": f'"{version}"'}


def wanted_version(*, required: bool) -> int | None:
    """The version that a change is for; ``None`` for whichever there is.

    :raises PreconditionRequired: if the request must say it and does not.
    :raises VersionMismatch: if it is for none that there can be.
    """
    if request.headers.get("If-None-Match", "").strip() == "*":
        return 0
    if "If-Match" not in request.headers:
        if required:
            raise PreconditionRequired('say which version this is for: If-Match: "…", with the ETag of the last answer')
        return None
    given = request.if_match
    if given.star_tag:
        return None
    versions = [int(tag) for tag in given.as_set() if tag.isascii() and tag.isdigit() and len(tag) < 10]
    if len(versions) != 1:
        raise VersionMismatch("If-Match is not an ETag of this")
    return versions[0]


def render(operation: Operation, answered: Any) -> Response:
    """The response of what a view answered."""
    if isinstance(answered, Response):
        response = answered
    else:
        answer = answered if isinstance(answered, Answer) else Answer(answered)
        status = answer.status or operation.status
        content = msgspec.json.encode(answer.body) if isinstance(answer.body, Struct) else b""
        response = Response(content, status, mimetype=_JSON)
        if answer.body is None:
            del response.headers["Content-Type"]
        response.headers.extend(answer.headers)
    return response
