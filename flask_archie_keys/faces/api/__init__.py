"""The JSON API: a blueprint under ``ARCHIE_KEYS_API_PREFIX``."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

from flask import Blueprint, Flask, Response, request
from werkzeug.exceptions import HTTPException

from ...config import Config
from ...context import app_state, current_environment, note_denied
from ...errors import BadRequest, MethodNotAllowed, NotFound, RowNotFound, ServiceError
from .. import problems
from . import access, audit, keys, openapi, others, roles  # noqa: F401 - they make the operations
from .operations import OPERATIONS, Operation
from .requests import read_body, read_query, render

NAME = "archie_keys_api"
_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"]


def register(app: Flask, config: Config) -> None:
    """Put the API into an application."""
    blueprint = Blueprint(NAME, __name__)
    public = _public(openapi.serve)
    blueprint.add_url_rule("/_openapi.json", "openapi", public, methods=_METHODS, provide_automatic_options=False)
    for path in ("/", "/<path:path>"):
        blueprint.add_url_rule(path, "nothing", _nothing, methods=_METHODS, provide_automatic_options=False)
    mount(app, config, blueprint, OPERATIONS)


def mount(app: Flask, config: Config, blueprint: Blueprint, operations: Iterable[Operation]) -> None:
    """Put operations into an application, answered as all of ours are: who may call, and what errors look like."""
    by_path: dict[str, dict[str, Operation]] = defaultdict(dict)
    for operation in operations:
        by_path[operation.path][operation.method] = operation
    for path, of_path in by_path.items():
        endpoint = next(iter(of_path.values())).name
        blueprint.add_url_rule(path, endpoint, _view(of_path), methods=_METHODS, provide_automatic_options=False)
    blueprint.register_error_handler(ServiceError, _refused)
    blueprint.register_error_handler(HTTPException, _failed)
    blueprint.after_request(_not_kept)
    app.register_blueprint(blueprint, url_prefix=config.api_prefix)
    access.exempt(app, blueprint)


def _public(serve: Callable[[], Response]) -> Callable[[], Response]:
    """A view that anybody may read."""
    allowed = ["GET", "HEAD", "OPTIONS"]

    def view() -> Response:
        if request.method == "OPTIONS":
            return _options(allowed)
        if request.method not in allowed:
            raise _no_method(allowed)
        return serve()

    return view


def _options(allowed: list[str]) -> Response:
    response = Response(status=204)
    response.allow.update(allowed)
    return response


def _no_method(allowed: list[str]) -> MethodNotAllowed:
    return MethodNotAllowed(f"this has no {request.method}, only {', '.join(allowed)}", allowed=allowed)


def _view(operations: dict[str, Operation]) -> Callable[..., Response]:
    """The view of a path: every method of it, so that what there is not is answered by us, too."""
    allowed = [*operations, *(["HEAD"] if "GET" in operations else []), "OPTIONS"]

    def view(**parameters: str) -> Response:
        if request.method == "OPTIONS":
            return _options(allowed)
        operation = operations.get("GET" if request.method == "HEAD" else request.method)
        turned_away = access.admit()
        if turned_away is not None:
            return turned_away
        if operation is None:
            raise _no_method(allowed)
        answered = operation.view(**parameters, **read_query(operation), **read_body(operation))
        return render(operation, answered)

    return view


def _nothing(path: str = "") -> Response:
    raise NotFound("there is nothing at this address")


def _refused(error: ServiceError) -> Response:
    note_denied(error)
    config = _config()
    if isinstance(error, RowNotFound):
        error = NotFound(error.detail)
    return problems.respond(error, config)


def _not_kept(response: Response) -> Response:
    """Nobody but who asked may keep an answer, a refusal neither."""
    response.headers.setdefault("Cache-Control", "no-store")
    return response


def _config() -> Config:
    try:
        return current_environment().config
    except BadRequest:  # the request asks for an environment that there is not
        state = app_state()
        return state.configs[state.default]


def _failed(error: HTTPException) -> Any:
    """Errors of Werkzeug and of the host's own hooks, in our form; what they answer by themselves stays."""
    if error.response is not None or error.code is None or error.code < 400:
        return error
    return problems.of_http(error)
