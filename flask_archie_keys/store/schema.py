"""The columns of a mapped class as filters see them: which there are, of what kind, and by which relationships."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import Column, Table, UniqueConstraint, inspect
from sqlalchemy.orm import Mapper, RelationshipProperty
from sqlalchemy.orm.interfaces import MANYTOONE
from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import BinaryExpression, BooleanClauseList, ColumnElement

from ..domain.filters import UnknownColumn
from ..domain.kinds import Kind
from ..domain.rules import nearest
from .column_kinds import ColumnKind, Unfilterable, column_kind

Path = tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Hop:
    """One many-to-one relationship on the way to a column.

    :ivar key: the attribute that holds the related row.
    :ivar model: the class of the related row.
    :ivar pairs: columns of the row, each with the column of the related row that it refers to.
    :ivar keys: the attributes of these columns.
    """

    key: str
    model: type
    table: Table
    pairs: tuple[tuple[Column[Any], Column[Any]], ...]
    keys: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """Where a path leads.

    :ivar key: the attribute of the last row that holds the value.
    """

    key: str
    column: Column[Any]
    compared: ColumnKind
    hops: tuple[Hop, ...]


class ModelSchema:
    """The columns of a model, by the names of its attributes or else by their own; through many-to-one relationships
    by a dotted path.

    :param model: a mapped class, or its mapper.
    """

    def __init__(self, model: type | Mapper[Any]) -> None:
        self.mapper: Mapper[Any] = inspect(model)
        self._targets: dict[Path, Target] = {}

    def kind(self, path: Path) -> Kind:
        """See :meth:`flask_archie_keys.domain.filters.Schema.kind`."""
        return self.target(path).compared.kind

    def target(self, path: Path) -> Target:
        """Where a path leads.

        :raises UnknownColumn: if it leads nowhere, or to what cannot be filtered.
        """
        found = self._targets.get(path)
        if found is None:
            found = self._targets[path] = self._find(path)
        return found

    def _find(self, path: Path) -> Target:
        mapper, hops = self.mapper, []
        for at, name in enumerate(path[:-1]):
            hop = _hop(mapper, name, ".".join(path[: at + 1]))
            hops.append(hop)
            mapper = inspect(hop.model)
        shown = ".".join(path)
        key, column = _column(mapper, path[-1], path[:-1])
        try:
            return Target(key, column, column_kind(column.type), tuple(hops))
        except Unfilterable as unfilterable:
            raise UnknownColumn(f"{shown} cannot be filtered: it {unfilterable.why}") from None


def _columns(mapper: Mapper[Any]) -> dict[str, tuple[str, Column[Any]]]:
    """The plain columns of a mapper's own table by every name that they have; names of attributes win."""
    found = {}
    for prop in mapper.column_attrs:
        column = prop.columns[0]
        if isinstance(column, Column) and column.table is mapper.local_table:
            found[column.name] = found[prop.key] = (prop.key, column)
    for key, prop in mapper.column_attrs.items():
        if isinstance(prop.columns[0], Column) and prop.columns[0].table is mapper.local_table:
            found[key] = (key, prop.columns[0])
    return found


def _column(mapper: Mapper[Any], name: str, before: Path) -> tuple[str, Column[Any]]:
    columns = _columns(mapper)
    shown = ".".join((*before, name))
    if name in columns and (name in mapper.column_attrs or name not in mapper.all_orm_descriptors):
        return columns[name]
    if name in mapper.relationships:
        raise UnknownColumn(f"{shown} is a relationship; write {shown}.<column>")
    if name in mapper.all_orm_descriptors:
        raise UnknownColumn(f"{shown} cannot be filtered: it is no plain column of {mapper.local_table}")
    raise UnknownColumn(f"there is no column {shown}{nearest(name, columns)}")


def _hop(mapper: Mapper[Any], name: str, shown: str) -> Hop:
    prop = mapper.relationships.get(name)
    if prop is None:
        raise UnknownColumn(f"there is no relationship {shown}{nearest(name, mapper.relationships.keys())}")
    why = _unfit_hop(prop)
    if why is not None:
        raise UnknownColumn(f"{shown} cannot be filtered: it {why}")
    pairs = cast("tuple[tuple[Column[Any], Column[Any]], ...]", tuple(prop.local_remote_pairs))
    keys = [(mapper.get_property_by_column(own), prop.mapper.get_property_by_column(other)) for own, other in pairs]
    names = tuple((own.key, other.key) for own, other in keys)
    return Hop(name, prop.mapper.class_, cast(Table, prop.mapper.local_table), pairs, names)


def _unfit_hop(prop: RelationshipProperty[Any]) -> str | None:
    """Why filters cannot go by a relationship: a row must have at most one related row, found by its key alone."""
    if prop.direction is not MANYTOONE or prop.uselist:
        return "is no many-to-one relationship"
    if prop.entity.is_aliased_class:
        return "leads to an alias"
    if prop.mapper.inherits is not None or not isinstance(prop.mapper.local_table, Table):
        return f"leads to {prop.mapper.class_.__name__}, which has no one table of its own"
    remote = {other for _, other in prop.local_remote_pairs}
    if not _is_plain(prop) or any(other.table is not prop.mapper.local_table for other in remote):
        return "is joined by more than a foreign key"
    if not any(unique and unique <= remote for unique in _unique(prop.mapper.local_table)):
        return "refers to columns that are not unique"
    return None


def _is_plain(prop: RelationshipProperty[Any]) -> bool:
    """Whether the join is nothing but equality of the pairs."""
    join = prop.primaryjoin
    parts: list[ColumnElement[Any]] = [join]
    if isinstance(join, BooleanClauseList) and join.operator is operators.and_:
        parts = list(join.clauses)
    pairs = list(prop.local_remote_pairs)
    return len(parts) == len(pairs) and all(any(_is_equality(part, *pair) for part in parts) for pair in pairs)


def _is_equality(part: ColumnElement[Any], own: ColumnElement[Any], other: ColumnElement[Any]) -> bool:
    if not isinstance(part, BinaryExpression) or part.operator is not operators.eq:
        return False
    sides = (part.left, part.right)
    return any(
        isinstance(one, Column) and isinstance(two, Column) and one.shares_lineage(own) and two.shares_lineage(other)
        for one, two in (sides, sides[::-1])
    )


def _unique(table: Table) -> Iterator[set[Any]]:
    yield set(table.primary_key.columns)
    for constraint in table.constraints:
        if isinstance(constraint, UniqueConstraint) and not constraint.deferrable:
            yield set(constraint.columns)
    for index in table.indexes:
        if index.unique and not index.dialect_kwargs:  # one with a condition says nothing of the other rows
            yield set(index.expressions)
