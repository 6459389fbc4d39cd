"""What the options of ``flask keys`` mean: durations, times, context members."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from ...domain.clock import utcnow

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_DURATION = re.compile(r"(?:[0-9]{1,9}[smhdw])+")
_PART = re.compile(r"([0-9]+)([smhdw])")


def parse_duration(text: str) -> timedelta | None:
    """``90d``, ``12h``, ``1d12h``, ``0s``; ``None`` if it is not a duration."""
    if _DURATION.fullmatch(text) is None:
        return None
    try:
        return sum((timedelta(**{_UNITS[unit]: int(n)}) for n, unit in _PART.findall(text)), timedelta(0))
    except OverflowError:
        return None


def parse_moment(text: str) -> datetime | None:
    """A date (its first instant in UTC) or a time with its zone, in ISO 8601; ``None`` if it is neither.

    A time without a zone is not taken: it would mean another instant on another machine.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.utcoffset() is not None:
        return moment
    return moment.replace(tzinfo=UTC) if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text) else None


class Duration(click.ParamType):  # type: ignore[type-arg, unused-ignore]  # generic since click 8.5
    """An option such as ``90d``."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        found = value if isinstance(value, timedelta) else parse_duration(str(value))
        if found is None:
            self.fail(f"{value!r} is not a duration such as 90d, 12h or 1h30m", param, ctx)
        return found


class Moment(click.ParamType):  # type: ignore[type-arg, unused-ignore]  # generic since click 8.5
    """A time: a date, an ISO 8601 time with its zone, or a duration from now (``ago``: back from now)."""

    name = "time"

    def __init__(self, *, ago: bool = False) -> None:
        self._ago = ago

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        span = parse_duration(str(value))
        try:
            if span is not None:
                return utcnow() - span if self._ago else utcnow() + span
        except OverflowError:
            self.fail(f"{value!r} is too long", param, ctx)
        moment = parse_moment(str(value))
        if moment is None:
            self.fail(
                f"{value!r} is not a duration such as 90d, a date such as 2030-01-31 "
                "or a time with its zone such as 2030-01-31T12:00:00Z",
                param,
                ctx,
            )
        return moment


class ContextMember(click.ParamType):  # type: ignore[type-arg, unused-ignore]  # generic since click 8.5
    """``name=text``, or ``name:=json`` for numbers, booleans and lists."""

    name = "name=value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Any]:
        if isinstance(value, tuple):
            return value[0], value[1]
        name, sign, text = str(value).partition("=")
        if not sign or not name.rstrip(":"):
            self.fail(f"{value!r} is not name=text or name:=json", param, ctx)
        if not name.endswith(":"):
            return name, text
        try:
            return name[:-1], json.loads(text)
        except (ValueError, RecursionError):
            self.fail(f"{text!r} is not JSON; for a text write {name[:-1]}={text}", param, ctx)


def context_of(members: tuple[tuple[str, Any], ...]) -> dict[str, Any]:
    """The context of the given members.

    :raises click.UsageError: if a name is given twice.
    """
    context = dict(members)
    if len(context) != len(members):
        raise click.UsageError("--context: a name is given twice")
    return context
