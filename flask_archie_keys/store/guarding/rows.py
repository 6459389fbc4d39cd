"""Looks at rows in the database, for the guard's own questions."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Select, and_, or_, select, tuple_

from ..protection import KEY, Protection
from ..scope import RowRule
from .statements import condition_of

#: Goes with statements of the guard's own.
OURS = object()
_BATCH = 500
Key = tuple[Any, ...]


def inside(
    connection: Connection, protection: Protection, rules: Iterable[RowRule], keys: Iterable[Key], lock: bool = False
) -> set[Key]:
    """Those of the primary keys whose rows all rules let through.

    :param lock: keep them from being changed by others until the transaction ends, where the database can.
    """
    primary = list(protection.mapper.primary_key)
    return matching(connection, protection, rules, primary, keys, lock)


def matching(
    connection: Connection,
    protection: Protection,
    rules: Iterable[RowRule],
    columns: Sequence[Any],
    values: Iterable[Key],
    lock: bool = False,
) -> set[Key]:
    """Those of the values of some columns that rows have which all rules let through.

    :param columns: of the protected class's table, or of one that joins it for a derived class.
    """
    table = protection.table
    statement: Select[Any] = select(*columns).where(condition_of(tuple(rules), table))
    for joined in {column.table for column in columns} - {table}:
        statement = statement.where(*_joins(joined, protection))
    if lock:
        statement = statement.with_for_update(of=table).order_by(*columns)
    found: set[Key] = set()
    wanted = set(values)
    for batch in _batches(sorted(wanted, key=repr)):
        found.update(tuple(row) for row in _execute(connection, statement.where(_among(columns, batch))))
    for value in wanted - found:  # the database may see an equality, as of 5 and "5", where Python sees none
        if found and _execute(connection, statement.where(_among(columns, [value]))).first() is not None:
            found.add(value)
    return found & wanted


def _execute(connection: Connection, statement: Select[Any]) -> Any:
    return connection.execute(statement, execution_options={KEY: OURS})


def _among(columns: Sequence[Any], values: Collection[Key]) -> ColumnElement[bool]:
    if len(columns) == 1:
        return columns[0].in_([value for (value,) in values])  # type: ignore[no-any-return]
    if any(None in value for value in values):
        return or_(*[and_(*[c == v for c, v in zip(columns, value, strict=True)]) for value in values])
    return tuple_(*columns).in_(values)


def _joins(table: Any, protection: Protection) -> Iterator[ColumnElement[bool]]:
    """What ties the table of a derived class to the base's."""
    mapper = next(each for each in protection.mapper.self_and_descendants if each.local_table is table)
    while mapper is not protection.mapper:
        if mapper.inherit_condition is not None:
            yield mapper.inherit_condition
        assert mapper.inherits is not None  # noqa: S101 - the protected class is its base
        mapper = mapper.inherits


def _batches(values: Iterable[Key]) -> Iterator[list[Key]]:
    iterator = iter(values)
    while batch := list(islice(iterator, _BATCH)):
        yield batch


def columns_of(protection: Protection, columns: Iterable[Column[Any]]) -> bool:
    """Whether columns are the primary key of a protected class."""
    return list(columns) == list(protection.mapper.primary_key)
