"""Where a statement reads tables: its SELECTs, one within another."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


class Occurrence:
    """A table where a SELECT reads it.

    :ivar element: what stands in the FROM clause, an alias or the table itself.
    :ivar conditions: those that its rows meet: of the WHERE clause, and of the joins that leave none out.
    """

    __slots__ = ("conditions", "element", "entity", "table")

    def __init__(self, element: Any, table: Any, conditions: tuple[Any, ...], entity: Any = None) -> None:
        self.element = element
        self.table = table
        self.conditions = conditions
        self.entity = entity


class Level:
    """One SELECT, UPDATE or DELETE, within others.

    :ivar tables: the tables that were looked at.
    :ivar own: the SELECTs within our conditions.
    :ivar filtered: the sub-queries that are filtered from outside.
    :ivar target: what is changed.
    :ivar is_condition: it is a part of our own conditions.
    :ivar is_filtered: it is filtered from outside.
    """

    __slots__ = ("filtered", "is_condition", "is_filtered", "occurrences", "outer", "own", "tables", "target")

    def __init__(self, outer: Level | None) -> None:
        self.outer = outer
        self.occurrences: list[Occurrence] = []
        self.tables: set[int] = set()
        self.own: list[Any] = []
        self.filtered: set[int] = set()
        self.target: Occurrence | None = None
        self.is_condition: bool = outer is not None and outer.is_condition
        self.is_filtered = False

    def visible(self) -> Iterator[Occurrence]:
        level: Level | None = self
        while level is not None:
            yield from level.occurrences
            if level.target is not None:
                yield level.target
            level = level.outer
