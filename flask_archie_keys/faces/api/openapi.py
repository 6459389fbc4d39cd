"""The OpenAPI document of the JSON API, made of its operations and their structs (OpenAPI 3.1)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec
from flask import Flask, Response, current_app, url_for

from ..._version import __version__
from ...errors import (
    BadRequest,
    ContentTooLarge,
    Forbidden,
    PreconditionRequired,
    ServiceError,
    Unauthorized,
    Unavailable,
    UnsupportedMediaType,
    ValidationFailed,
)
from .. import problems
from ..openapi_security import KEY_SCHEME, KEY_SCHEME_OBJECT
from ..schemas import Problem
from .operations import OPERATIONS, PATH_PARAMETERS, Operation

SESSION_SCHEME = "session"
_PARAMETER = re.compile(r"<(\w+)>")
_ALWAYS = (BadRequest, Unauthorized, Forbidden, Unavailable)
_WITH_BODY = (ContentTooLarge, UnsupportedMediaType, ValidationFailed)


def serve() -> Response:
    """The document."""
    prefix = url_for("archie_keys_api.openapi").removesuffix("/_openapi.json")
    return Response(msgspec.json.encode(document(current_app, prefix)), mimetype="application/json")


def document(app: Flask, prefix: str) -> dict[str, Any]:
    """The document for an application.

    :param prefix: the path that the API stands under.
    """
    schemas = _Schemas()
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        path = _PARAMETER.sub(lambda found: f"{{{_camel(found[1])}}}", operation.path)
        paths.setdefault(path, {})[operation.method.lower()] = _operation(operation, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "API keys",
            "version": __version__,
            "description": "Make, change, rotate and audit API keys.",
        },
        "servers": [{"url": prefix}],
        "security": [{KEY_SCHEME: []}, {SESSION_SCHEME: []}],
        "paths": paths,
        "components": {"schemas": schemas.components, "securitySchemes": security_schemes(app)},
    }


def security_schemes(app: Flask) -> dict[str, Any]:
    """How requests are authenticated: by a key, or as a logged-in user of the host."""
    return {
        KEY_SCHEME: KEY_SCHEME_OBJECT,
        SESSION_SCHEME: {
            "type": "apiKey",
            "in": "cookie",
            "name": app.config["SESSION_COOKIE_NAME"],
            "description": "A logged-in user; what changes something also needs the header X-CSRFToken.",
        },
    }


class _Schemas:
    """The schemas of types, with the components that they refer to."""

    def __init__(self) -> None:
        types: list[Any] = [Problem]
        for operation in OPERATIONS:
            types += [each for each in (operation.query, operation.body, operation.answer) if each is not None]
        found, self.components = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
        self._of = {str(type_): schema for type_, schema in zip(types, found, strict=True)}

    def of(self, type_: Any) -> dict[str, Any]:
        """The schema of a type."""
        return self._of[str(type_)]

    def members(self, type_: Any) -> Iterator[tuple[str, bool, dict[str, Any]]]:
        """The members of a struct: name, whether it must be given, schema."""
        schema = self.components[self.of(type_)["$ref"].rpartition("/")[2]]
        for name, member in schema["properties"].items():
            yield name, name in schema.get("required", ()), member


def _operation(operation: Operation, schemas: _Schemas) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "tags": [operation.path.split("/")[1]],
        "parameters": list(_parameters(operation, schemas)),
        "responses": {
            **{str(status): _answer(operation, status, schemas) for status in _statuses(operation)},
            **_errors(operation, schemas),
        },
    }
    if operation.grant is not None:
        described["description"] = f"Needs the grant `{':'.join(operation.grant)}`."
    if operation.body is not None:
        types = ["application/json", *(["application/merge-patch+json"] if operation.method == "PATCH" else [])]
        described["requestBody"] = {
            "required": not operation.body_optional,
            "content": {media_type: {"schema": schemas.of(operation.body)} for media_type in types},
        }
    return described


def _parameters(operation: Operation, schemas: _Schemas) -> Iterator[dict[str, Any]]:
    for name in _PARAMETER.findall(operation.path):
        yield {
            "name": _camel(name),
            "in": "path",
            "required": True,
            "description": PATH_PARAMETERS[name][0],
            "schema": {"type": "string", "pattern": PATH_PARAMETERS[name][1]},
        }
    if operation.query is not None:
        for name, required, schema in schemas.members(operation.query):
            yield {"name": name, "in": "query", "required": required, "schema": _without_null(schema)}
    if operation.if_match is not None:
        yield {
            "name": "If-Match",
            "in": "header",
            "required": operation.if_match == "required",
            "description": "The ETag of the version that this is for, or `*` for whichever there is.",
            "schema": {"type": "string", "pattern": '^([*]|"[0-9]{1,9}")$'},
        }
    if operation.idempotent:
        yield {
            "name": "Idempotency-Key",
            "in": "header",
            "required": False,
            "description": "Of any number of requests with it in 24 hours, one makes a key; the others are told which.",
            "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]([ -~]*[!-~])?$"},
        }


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A parameter of a query is there or not; it is never null."""
    rest = {name: value for name, value in schema.items() if name not in ("anyOf", "default")}
    if schema.get("default") is not None:
        rest["default"] = schema["default"]
    branches = [branch for branch in schema.get("anyOf", ()) if branch != {"type": "null"}]
    if len(branches) == 1:
        return {**branches[0], **rest}
    if "enum" in rest:
        rest["enum"] = [value for value in rest["enum"] if value is not None]
    return {**rest, **({"anyOf": branches} if branches else {})}


def _statuses(operation: Operation) -> list[int]:
    return [operation.status, 201] if operation.may_make else [operation.status]


def _answer(operation: Operation, status: int, schemas: _Schemas) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": "Made." if status != operation.status else operation.summary}
    if operation.answer is not None:
        answer["content"] = {"application/json": {"schema": schemas.of(operation.answer)}}
        answer["content"] |= {media_type: {"schema": {"type": "string"}} for media_type in operation.media_types}
    headers = {}
    if operation.method == "POST" and status == 201:
        headers["Location"] = {"schema": {"type": "string"}, "description": "Where it is from now on."}
    if operation.etag:
        headers["ETag"] = {"schema": {"type": "string"}, "description": "The version."}
    return {**answer, "headers": headers} if headers else answer


def errors_of(operation: Operation) -> list[type[ServiceError]]:
    """Every error that an operation may answer with."""
    found = [*_ALWAYS, *operation.errors]
    if operation.body is not None:
        found += _WITH_BODY
    if operation.if_match == "required":
        found.append(PreconditionRequired)
    return list(dict.fromkeys(found))


def _errors(operation: Operation, schemas: _Schemas) -> dict[str, Any]:
    by_status: dict[int, list[type[ServiceError]]] = {}
    for error in errors_of(operation):
        by_status.setdefault(error.status, []).append(error)
    return {str(status): response(errors, schemas.of(Problem)) for status, errors in sorted(by_status.items())}


def response(errors: list[type[ServiceError]], schema: dict[str, Any]) -> dict[str, Any]:
    """The response to some errors of one status."""
    types = ", ".join(dict.fromkeys(f"`{error.type}`" for error in errors))
    described = {
        "description": f"{errors[0].title}: {types}",
        "content": {problems.MEDIA_TYPE: {"schema": schema}},
    }
    header = {401: "WWW-Authenticate", 403: "WWW-Authenticate", 503: "Retry-After"}.get(errors[0].status)
    if header is not None:
        described["headers"] = {header: {"schema": {"type": "string"}}}
    return described


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(part.capitalize() for part in others)
