"""The leak table: every way to protected rows that is known, what is tried, and what comes of it.

The documentation's table is made of it; the tests run each line on SQLite and PostgreSQL.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

import pytest

from flask_archie_keys.errors import Unguarded

from ..world import Run, World

Outcome = Literal["filtered", "refused", "works", "left over"]
MODULES = (
    "reading",
    "loading",
    "memory",
    "core",
    "changing",
    "linked",
    "explicit",
    "disguised",
    "legitimate",
    "limits",
)


@dataclass(frozen=True)
class Case:
    """One line.

    :ivar outcome: ``"filtered"``: only what is inside arrives or is changed; ``"refused"``: an error that says what to
        do instead; ``"works"``: as without the guard; ``"left over"``: the guard does not reach it.
    :ivar expect: what the function returns; what an error says.
    :ivar advice: for people.
    :ivar error: the error's class.
    :ivar after: whether the database is as it should be.
    :ivar who: the name of the key that acts; ``None`` for nobody.
    """

    group: str
    name: str
    outcome: Outcome
    run: Run
    expect: Any = None
    advice: str = ""
    error: type[Exception] = Exception
    after: Callable[[World], Any] | None = None
    who: str | None = "key"
    only: str | None = None

    def __str__(self) -> str:
        return f"{self.group}: {self.name}"


CASES: list[Case] = []


def case(group: str, name: str, outcome: Outcome, **kw: Any) -> Callable[[Run], Run]:
    """Make a line of a function."""

    def add(run: Run) -> Run:
        CASES.append(Case(group, name, outcome, run, **kw))
        return run

    return add


def cases() -> list[Case]:
    """All lines, in order."""
    for module in MODULES:
        import_module(f"{__name__}.{module}")
    return CASES


def table() -> Iterator[tuple[str, str, str, str]]:
    """Group, what is tried, what comes of it, what to do instead."""
    for each in cases():
        yield each.group, each.name, each.outcome, each.advice


def each_refused(tries: Iterable[Callable[[], Any]], expect: str) -> None:
    """See that several ways are refused alike."""
    for number, attempt in enumerate(tries):
        with pytest.raises(Unguarded) as caught:
            attempt()
        assert expect in str(caught.value), number
