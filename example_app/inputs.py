"""Reading what clients send: query strings and JSON bodies, checked field by field."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any, NoReturn

from flask import Request
from werkzeug.datastructures import MultiDict
from werkzeug.exceptions import BadRequest, UnsupportedMediaType

from example_app.errors import BadQuery, InvalidInput, Problem
from example_app.models import STATUSES
from example_app.orders import OrderFilter

MAX_AMOUNT = Decimal("9999999.99")
MAX_NOTE = 500
MAX_PER_PAGE = 100

_AMOUNT = re.compile(r"[0-9]{1,7}(\.[0-9]{1,2})?")
_WHOLE = re.compile(r"[1-9][0-9]{0,8}")
_UNWANTED = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_BOOLEANS = {"true": True, "false": False}


class _Refused(ValueError):
    """A value was refused; the message says what it must be."""


def whole_number(text: str) -> int | None:
    """Read a positive whole number of up to nine ASCII digits; ``None`` for any other text."""
    return int(text) if _WHOLE.fullmatch(text) else None


class Query:
    """The query string of a URL: read the fields, then call :meth:`finish`.

    :param values: the parsed query string.
    """

    def __init__(self, values: MultiDict[str, str]) -> None:
        self._values = values
        self._known: set[str] = set()
        self._problems: list[Problem] = []

    def number(self, field: str, default: int | None = None, highest: int = 10**9) -> int | None:
        """A positive whole number up to ``highest``."""
        text = self._one(field)
        if text is None:
            return default
        value = whole_number(text)
        if value is None or value > highest:
            self._refuse(field, f"must be a whole number from 1 to {highest}")
            return default
        return value

    def boolean(self, field: str) -> bool:
        """``true`` or ``false``; false when left out."""
        text = self._one(field)
        if text is not None and text not in _BOOLEANS:
            self._refuse(field, "must be true or false")
        return text == "true"

    def choices(self, field: str, allowed: Iterable[str]) -> list[str]:
        """Any number of the allowed values, each as a field of its own; empty ones are ignored."""
        self._known.add(field)
        given = [value for value in self._values.getlist(field) if value]
        if any(value not in allowed for value in given):
            self._refuse(field, f"must be one of {', '.join(allowed)}")
        return given

    def finish(self) -> None:
        """Refuse the request if any field was wrong or is not known.

        :raises BadQuery: with one problem for each refused field.
        """
        for field in sorted(set(self._values) - self._known):
            self._refuse(field, "is not known here")
        if self._problems:
            raise BadQuery(self._problems)

    def _one(self, field: str) -> str | None:
        self._known.add(field)
        given = self._values.getlist(field)
        if len(given) > 1:
            self._refuse(field, "must be given once")
        return given[0] if given else None

    def _refuse(self, field: str, message: str) -> None:
        self._problems.append(Problem(field, message))


def order_filter(query: Query) -> OrderFilter:
    """Read the fields that choose orders: ``status`` (repeatable), ``project`` and ``archived``."""
    return OrderFilter(
        statuses=query.choices("status", STATUSES),
        project_id=query.number("project"),
        archived=query.boolean("archived"),
    )


def page_number(query: Query) -> tuple[int, int]:
    """Read ``page`` and ``per_page``."""
    page = query.number("page", 1, highest=100_000)
    per_page = query.number("per_page", 50, highest=MAX_PER_PAGE)
    return page or 1, per_page or 50


def json_fields(request: Request, *, required: Iterable[str] = (), optional: Iterable[str] = ()) -> dict[str, Any]:
    """Read a JSON object and check its fields.

    :raises UnsupportedMediaType: the body is not declared as JSON.
    :raises BadRequest: the body is not one JSON object.
    :raises InvalidInput: with one problem for each refused field.
    """
    content = _json_object(request)
    known = [*required, *optional]
    problems = [Problem(name, "is required") for name in required if name not in content]
    checked: dict[str, Any] = {}
    for name, value in content.items():
        try:
            checked[name] = _check(name, value, known)
        except _Refused as refusal:
            problems.append(Problem(_printable(name), str(refusal)))
    if problems:
        raise InvalidInput(problems)
    return checked


def _check(name: str, value: Any, known: list[str]) -> Any:
    if name not in known:
        raise _Refused("is not known here")
    return _CHECKS[name](value)


def _json_object(request: Request) -> dict[str, Any]:
    if not request.is_json:
        raise UnsupportedMediaType("Send the body as application/json.")
    try:
        content = json.loads(
            request.get_data(cache=False).decode("utf-8"),
            parse_float=Decimal,
            parse_constant=_no_constant,
            object_pairs_hook=_without_repeats,
        )
    except (ValueError, ArithmeticError, RecursionError) as error:
        raise BadRequest("The body is not valid JSON.") from error
    if not isinstance(content, dict):
        raise BadRequest("The body must be a JSON object.")
    return content


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        raise ValueError("a name is repeated")
    return content


def _amount(value: Any) -> Decimal:
    rule = f"must be an amount from 0.01 to {MAX_AMOUNT} with at most two decimals"
    text = str(value) if isinstance(value, (Decimal, str)) or type(value) is int else ""
    if not _AMOUNT.fullmatch(text) or Decimal(text) <= 0:
        raise _Refused(rule)
    return Decimal(text)


def _project(value: Any) -> int:
    if type(value) is not int or not 1 <= value < 10**9:
        raise _Refused("must be the id of a project")
    return value


def _status(value: Any) -> str:
    if value not in STATUSES:
        raise _Refused(f"must be one of {', '.join(STATUSES)}")
    return str(value)


def _note(value: Any) -> str:
    if not isinstance(value, str) or len(value) > MAX_NOTE or _UNWANTED.search(value):
        raise _Refused(f"must be text of at most {MAX_NOTE} characters without control characters")
    return value


def _archived(value: Any) -> bool:
    if not isinstance(value, bool):
        raise _Refused("must be true or false")
    return value


def _printable(name: str) -> str:
    return name.encode("ascii", "backslashreplace").decode("ascii")[:64]


_CHECKS: Mapping[str, Callable[[Any], Any]] = {
    "amount": _amount,
    "project": _project,
    "status": _status,
    "note": _note,
    "archived": _archived,
}
