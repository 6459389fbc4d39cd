"""The GraphQL face: one path under ``ARCHIE_KEYS_API_PREFIX``, which takes JSON by POST.

Importing it does not import graphql-core: that takes longer than the rest of the application, and the command line has
no use for it.
"""

from __future__ import annotations

from typing import Any

import msgspec
from flask import Blueprint, Flask, Response, request

from ...config import Config
from ...context import current_environment
from ...errors import BadRequest
from ..api import mount
from ..api.operations import Operation
from ..inputs import Input

NAME = "archie_keys_graphql"


class Asked(Input):
    """A GraphQL request over HTTP. ``extensions`` may be there, and says nothing to us."""

    query: str
    operation_name: str | None = None
    variables: dict[str, Any] | None = None
    extensions: dict[str, Any] | None = None


def register(app: Flask, config: Config) -> None:
    """Put it into an application."""
    operation = Operation(name="graphql", method="POST", path="/graphql", view=_answer, summary="GraphQL.", body=Asked)
    mount(app, config, Blueprint(NAME, __name__), [operation])


def _answer(body: Asked) -> Response:
    from .execution import execute

    for header, argument in (("Idempotency-Key", "idempotencyKey"), ("If-Match", "version")):
        if header in request.headers:  # it would not say which change it is for
            raise BadRequest(f"{header} is not for GraphQL: give the change the argument {argument}")
    answer = execute(
        body.query,
        body.operation_name,
        body.variables or {},
        introspection=current_environment().config.graphql_introspection,
    )
    return Response(msgspec.json.encode(answer), mimetype="application/json")
