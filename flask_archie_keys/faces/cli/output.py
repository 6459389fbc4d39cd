"""How ``flask keys`` answers: tables for people, JSON for programs, errors with an exit code.

The answer goes to standard output and all else to standard error.
"""

from __future__ import annotations

import functools
import json
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn, ParamSpec, TypeVar

import click

from ...context import Environment, app_state
from ...domain.clock import isoformat
from ...domain.records import Key
from ...errors import ArchieKeysError, KeyInUse, ServiceError, Unavailable, ValidationFailed
from .. import problems, schemas
from ..times import ago

P = ParamSpec("P")
R = TypeVar("R")
FAILED = 1
IN_USE = 3
_COLOURS = {
    "active": "green",
    "retiring": "yellow",
    "disabled": "yellow",
    "expired": "red",
    "deleted": "red",
    "allowed": "green",
    "denied": "yellow",
    "refused": "red",
    "ok": "green",
    "warning": "yellow",
    "problem": "red",
}


def environment_option(command: Callable[..., R]) -> Callable[..., R]:
    """Give a command ``--environment``, and pass it the :class:`Environment` as its first argument."""

    @click.option(
        "--environment", "environment_name", metavar="NAME", help="Which environment; the served one if left out."
    )
    @functools.wraps(command)
    def with_environment(*args: Any, environment_name: str | None, **kwargs: Any) -> R:
        as_json = bool(kwargs.get("as_json"))
        with _failures(as_json=as_json):
            return command(_environment(environment_name), *args, **kwargs)

    return with_environment


def _environment(name: str | None) -> Environment:
    state = app_state()
    if name is not None and name not in state.configs:
        raise click.UsageError(f"there is no environment {name!r}, only {', '.join(state.configs)}")
    return state.environment(name or state.default)


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, in the shapes of the management API.")


@contextmanager
def _failures(*, as_json: bool) -> Iterator[None]:
    try:
        yield
    except ArchieKeysError as error:
        _fail(error, as_json)


def _fail(error: ArchieKeysError, as_json: bool) -> NoReturn:
    if as_json and isinstance(error, ServiceError):
        click.echo(json.dumps(problems.body(error)), err=True)
    elif isinstance(error, ValidationFailed):
        for entry in error.errors:
            click.echo(f"Error: {entry.field}: {entry.message}", err=True)
    else:
        cause = error.cause if isinstance(error, Unavailable) else None
        click.echo(f"Error: {error}" + (f": {cause}" if cause else ""), err=True)
    raise click.exceptions.Exit(IN_USE if isinstance(error, KeyInUse) else FAILED)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold Ctrl-C until the block is done, so that a key is made and shown, or not made at all."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pressed: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: pressed.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if pressed:
        raise click.exceptions.Exit(130)


def require_output() -> None:
    """:raises click.ClickException: if there is no standard output to write a secret to."""
    if sys.stdout is None or sys.stdout.closed:
        raise click.ClickException("standard output is closed, so there is nowhere to write the secret to")


def to_json(document: Any, indent: int | None = None) -> str:
    """Shapes or plain data as JSON. For a terminal it is ASCII: what callers have written cannot steer it."""
    return json.dumps(schemas.plain(document), indent=indent, ensure_ascii=sys.stdout.isatty())


def print_json(document: Any) -> None:
    """Print one JSON document."""
    click.echo(to_json(document, indent=2))


def print_table(headers: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print an aligned table. What callers have written into names and headers cannot steer the terminal."""
    from tabulate import tabulate

    click.echo(
        tabulate(
            [[_cell(cell) for cell in row] for row in rows], list(headers), tablefmt="plain", disable_numparse=True
        )
    )


def print_facts(facts: Sequence[tuple[str, Any]]) -> None:
    """Print names and values, one a line."""
    from tabulate import tabulate

    click.echo(tabulate([[name, _cell(value)] for name, value in facts], tablefmt="plain", disable_numparse=True))


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    text = printable(str(value))
    return click.style(text, fg=_COLOURS[text]) if text in _COLOURS else text


def printable(text: str) -> str:
    """``text`` with control characters and direction marks escaped, so that it shows as what it is."""
    return "".join(c if c.isprintable() or c == "\u200d" else c.encode("unicode_escape").decode() for c in text)


def key_facts(key: Key) -> list[tuple[str, Any]]:
    """A key for people."""
    return [
        ("id", key.id),
        ("name", key.name),
        ("key", key.hint),
        ("status", key.status),
        ("project", key.project),
        ("environment", key.environment),
        ("roles", ", ".join(key.roles) or None),
        ("context", json.dumps(dict(key.context), ensure_ascii=False) if key.context else None),
        ("owner", key.owner),
        ("networks", "any" if key.allowed_networks is None else ", ".join(key.allowed_networks)),
        ("created", f"{isoformat(key.created_at)} by {key.created_by}"),
        ("expires", "never" if key.expires_at is None else f"{isoformat(key.expires_at)} ({ago(key.expires_at)})"),
        (
            "last used",
            "never" if key.last_used_at is None else f"{isoformat(key.last_used_at)} ({ago(key.last_used_at)})",
        ),
        ("replaces", key.replaces),
        ("replaced by", key.replaced_by),
        ("version", key.version),
    ]
