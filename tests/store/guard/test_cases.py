"""Each line of the leak table, on both databases."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pytest
from sqlalchemy import Row, inspect
from sqlalchemy.orm import DeclarativeBase

from flask_archie_keys.errors import ArchieKeysError, Unguarded

from .cases import Case, cases, table
from .world import World

HIDDEN = ("hidden", "other")


def hidden_rows(world: World) -> dict[str, list[Any]]:
    """The rows that the key must neither see nor change."""
    dump = world.dump()
    rows = {name: [row for row in rows if "hidden" in repr(row)] for name, rows in dump.items()}
    rows["doc_tag"] = [row for row in dump["doc_tag"] if row[0] in (3, 4, 6, 8)]
    return rows


def strings(value: Any, seen: set[int] | None = None) -> Iterable[str]:
    """Every text that a caller can read in what it was given, without asking the database again."""
    seen = set() if seen is None else seen
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from strings(each, seen)
    elif isinstance(value, (list, tuple, set, frozenset, Row)):
        for each in value:
            yield from strings(each, seen)
    elif isinstance(value, DeclarativeBase) and id(value) not in seen:
        seen.add(id(value))
        yield from strings(dict(inspect(value).dict), seen)


def run(each: Case, world: World) -> Any:
    who = None if each.who is None else getattr(world, each.who)
    with world.acting(who):
        return each.run(world, world.session())


def on_each_database() -> Iterator[Any]:
    for database in ("sqlite", "postgresql"):
        for each in cases():
            if each.only in (None, database):
                yield pytest.param(database, each, id=f"{database}-{each}")


@pytest.mark.parametrize(("shared_world", "each"), list(on_each_database()), indirect=["shared_world"])
def test_case(each: Case, world: World) -> None:
    before = hidden_rows(world)
    if each.outcome == "refused":
        error = Unguarded if each.error is Exception else each.error
        with pytest.raises(error) as caught:
            run(each, world)
        assert isinstance(caught.value, ArchieKeysError)
        assert each.advice or each.expect
        assert (each.expect or each.advice) in str(caught.value)
        assert hidden_rows(world) == before
        return
    result = run(each, world)
    if each.expect is not None:
        assert result == each.expect
    if each.outcome == "filtered":
        assert not [text for text in strings(result) if "hidden" in text], "a hidden row has reached the caller"
    if each.outcome != "left over":
        assert hidden_rows(world) == before, "a hidden row was changed"
    if each.after is not None:
        assert each.after(world)


def test_the_table_says_of_each_refusal_what_to_do_instead() -> None:
    lines = list(table())
    assert len(lines) == len({(group, name) for group, name, _, _ in lines}) > 200
    for group, name, outcome, advice in lines:
        assert group
        assert outcome in ("filtered", "refused", "works", "left over")
        assert advice or outcome != "left over", name
