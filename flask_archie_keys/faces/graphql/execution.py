"""Reading, checking and executing what a GraphQL request asks for."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flask import current_app
from graphql import (
    DocumentNode,
    GraphQLError,
    GraphQLSchema,
    OperationDefinitionNode,
    build_schema,
    execute_sync,
    parse,
    validate,
)

from ...context import note_denied
from ...errors import BadRequest, ServiceError
from .. import problems
from . import limits
from .resolvers import RESOLVERS

SDL = Path(__file__).with_name("schema.graphql")
_MESSAGES_MAX = 5
_MESSAGE_MAX = 300
_FAILED = ServiceError("the server failed; its log says why")


@functools.cache
def schema() -> GraphQLSchema:
    """The schema of the SDL, with its resolvers. What they give are plain dicts, which the rest is taken from."""
    made = build_schema(SDL.read_text(encoding="utf-8"))
    for type_name, resolvers in RESOLVERS.items():
        for name, resolver in resolvers.items():
            made.type_map[type_name].fields[name].resolve = resolver  # type: ignore[attr-defined]
    return made


def execute(
    query: str, operation_name: str | None, variables: dict[str, Any], *, introspection: bool
) -> dict[str, Any]:
    """The answer to one operation: its data, and its errors where there are any.

    :param introspection: whether the schema may be asked for.
    :raises BadRequest: if nothing was executed, because the document, its operation or its variables are wrong.
    """
    document = _read(query, introspection)
    _check_names(document, operation_name, variables)
    limits.check_variables(variables)
    result = execute_sync(schema(), document, variable_values=variables, operation_name=operation_name)
    if result.data is None:  # all that can be asked for may be null, so nothing was asked
        raise _refused(result.errors or [])
    answer: dict[str, Any] = {"data": result.data}
    if result.errors:
        answer["errors"] = [_formatted(error) for error in result.errors]
    return answer


def _read(query: str, introspection: bool) -> DocumentNode:
    if len(query) > limits.LENGTH_MAX:
        raise BadRequest(f"the document is longer than {limits.LENGTH_MAX} characters; put values into variables")
    try:
        document = parse(query, max_tokens=limits.TOKENS_MAX)
        limits.check(document, introspection=introspection)
        wrong = validate(schema(), document, max_errors=_MESSAGES_MAX)
    except GraphQLError as error:
        raise _refused([error]) from None
    except RecursionError:
        raise BadRequest("the document nests too deeply") from None
    if wrong:
        raise _refused(wrong)
    return document


def _check_names(document: DocumentNode, operation_name: str | None, variables: dict[str, Any]) -> None:
    """:raises BadRequest: for an operation that there is not, and for a variable that it does not have."""
    operations = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
    if operation_name is not None:
        operations = [node for node in operations if node.name is not None and node.name.value == operation_name]
    if len(operations) != 1:
        raise BadRequest("operationName must name one of the document's operations")
    known = {definition.variable.name.value for definition in operations[0].variable_definitions or ()}
    for name in variables:
        if name not in known:
            raise BadRequest(f"variables has {name[:100]!r}, which is no variable of the operation")


def _refused(errors: Sequence[GraphQLError]) -> BadRequest:
    """What is wrong with a request that is not executed, in one sentence for each mistake."""
    return BadRequest("; ".join(_said(error) for error in errors[:_MESSAGES_MAX]))


def _said(error: GraphQLError) -> str:
    message = error.message if len(error.message) <= _MESSAGE_MAX else f"{error.message[:_MESSAGE_MAX]}…"
    if not error.locations:
        return message
    return f"{message.removesuffix('.')} (line {error.locations[0].line}, column {error.locations[0].column})"


def _formatted(error: GraphQLError) -> dict[str, Any]:
    problem = _problem(error)
    return {**error.formatted, "message": problem["detail"], "extensions": problem}


def _problem(error: GraphQLError) -> dict[str, Any]:
    """The problem document of what a resolver raised; of an exception that was not expected it says nothing."""
    original = error.original_error
    if isinstance(original, ServiceError):
        note_denied(original)
        problems.log(original)
        return problems.body(original)
    if original is None or isinstance(original, GraphQLError):
        return problems.body(_refused([error]))
    current_app.log_exception((type(original), original, original.__traceback__))  # type: ignore[arg-type]
    return problems.body(_FAILED)
