"""Where a statement reads tables: its SELECTs, one within another."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


class Occurrence:
    """A table where a SELECT reads it.

    :ivar element: what stands in the FROM clause, an alias or the table itself.
    :ivar conditions: those that its rows meet: of the WHERE clause, and of the joins that leave none out.
    """

    __slots__ = ("conditions", "element", "entity", "proven", "table")

    def __init__(self, element: Any, table: Any, conditions: tuple[Any, ...], entity: Any = None) -> None:
        self.element = element
        self.table = table
        self.conditions = conditions
        self.entity = entity
        self.proven = False


class Level:
    """One SELECT, UPDATE or DELETE, within others."""

    __slots__ = ("filtered", "occurrences", "outer", "own", "tables", "trusted")

    def __init__(self, outer: Level | None) -> None:
        self.outer = outer
        self.occurrences: list[Occurrence] = []
        self.tables: set[int] = set()
        self.own: list[Any] = []  # the SELECTs within our conditions
        self.filtered: set[int] = set()  # the sub-queries that are filtered from outside
        self.trusted: bool = outer is not None and outer.trusted

    def visible(self) -> Iterator[Occurrence]:
        level: Level | None = self
        while level is not None:
            yield from level.occurrences
            level = level.outer
