"""The operations of the JSON API: one record each, which the routes and the OpenAPI document are made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from flask import Response
from msgspec import Struct

from ...domain.permissions import Action
from ...errors import ServiceError

#: The parameters of paths: what is said of them, and their pattern.
PATH_PARAMETERS = {
    "key_id": ("The id of the key.", "^[0-9A-Za-z]{12}$"),
    "name": ("The name of the role.", "^[a-z][a-z0-9_]{0,62}$"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method of one path.

    :ivar path: below the prefix of the API, as Flask writes it: ``/keys/<key_id>``.
    :ivar view: called with the parameters of the path, and with ``query`` and ``body`` where there are such; it gives
        the answer, or a response of its own.
    :ivar grant: the resource and the action that who calls must be granted; ``None`` where none is needed.
    :ivar query: the struct of the query; ``None`` where it must be empty.
    :ivar body: the struct of the body; ``None`` where there is none.
    :ivar body_optional: the body may be left out; all its members have defaults.
    :ivar read_only: members that are known and cannot be given in the body.
    :ivar status: of the answer when all is well.
    :ivar may_make: it answers with 201 where it makes the thing.
    :ivar answer: the type of the answer; ``None`` where there is nothing in it.
    :ivar media_types: in which the answer can be had besides JSON.
    :ivar etag: the answer says which version it is of.
    :ivar if_match: the request must say which version it is for; ``"optional"`` where it may.
    :ivar idempotent: the request may carry an ``Idempotency-Key``.
    :ivar errors: those that are not of every operation.
    """

    name: str
    method: str
    path: str
    view: Callable[..., Any]
    summary: str
    grant: tuple[str, Action] | None = None
    query: type[Struct] | None = None
    body: type[Struct] | None = None
    body_optional: bool = False
    read_only: frozenset[str] = frozenset()
    status: int = 200
    may_make: bool = False
    answer: Any = None
    media_types: tuple[str, ...] = ()
    etag: bool = False
    if_match: str | None = None
    idempotent: bool = False
    errors: tuple[type[ServiceError], ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)


OPERATIONS: list[Operation] = []


def operation(method: str, path: str, **facts: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Make an operation of a view; its name and the first line of its docstring are the operation's."""

    def add(view: Callable[..., Any]) -> Callable[..., Any]:
        first, *others = view.__name__.split("_")
        name = first + "".join(part.capitalize() for part in others)
        summary = (view.__doc__ or "").partition("\n")[0]
        OPERATIONS.append(Operation(name=name, method=method, path=path, view=view, summary=summary, **facts))
        return view

    return add


@dataclass(frozen=True, slots=True)
class Answer:
    """What a view answers where it is more than a shape.

    :ivar body: a shape, or a response that goes out as it is.
    """

    body: Any
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


Answered = Struct | Answer | Response | None
