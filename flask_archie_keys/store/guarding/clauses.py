"""Small questions about the parts of statements."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from sqlalchemy import Column, Table
from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import (
    AsBoolean,
    BinaryExpression,
    BooleanClauseList,
    ColumnClause,
    ColumnElement,
    False_,
    Grouping,
    Label,
    TextClause,
    Tuple,
)
from sqlalchemy.sql.expression import Alias, FromClause, Join, TableClause
from sqlalchemy.sql.selectable import (
    AliasedReturnsRows,
    CompoundSelect,
    FromGrouping,
    Select,
    SelectBase,
    SelectStatementGrouping,
    TableSample,
    TextualSelect,
)
from sqlalchemy.sql.visitors import iterate

from ..protection import KEY, Protection
from .facts import Scoped
from .statements import RowCriteria


def plain(table: Any) -> Any:
    return table._deannotate() if table._annotations else table


def base_of(element: Any) -> Any:
    while isinstance(element, (Alias, TableSample)):
        element = element.element
    return element


def conjuncts(clauses: Iterable[Any]) -> Iterator[Any]:
    """The conditions that must all be met."""
    stack = [clause for clause in clauses if clause is not None]
    while stack:
        clause = stack.pop()
        yield clause
        if isinstance(clause, BooleanClauseList) and clause.operator is operators.and_:
            stack.extend(clause.clauses)
        elif isinstance(clause, Grouping):
            stack.append(clause.element)


def is_false(condition: Any) -> bool:
    """No row at all."""
    return isinstance(condition.element if isinstance(condition, AsBoolean) else condition, False_)


def is_made_of_selects(element: Any) -> bool:
    return not any(isinstance(part, (TextClause, TextualSelect)) for part in iterate(element)) and isinstance(
        element.element, SelectBase
    )


def is_plain_select(select: Any, protection: Protection) -> bool:
    """Whether a SELECT is nothing but columns of the tables of a class, each row by itself."""
    if not isinstance(select, Select) or select._where_criteria or select._has_row_limiting_clause:
        return False
    if select._group_by_clauses or select._having_criteria or select._distinct or select._independent_ctes:
        return False
    if any(_misnames(column, protection) for column in select._raw_columns):
        return False
    columns = [column.element if isinstance(column, Label) else column for column in select._raw_columns]
    if not all(isinstance(column, (Column, Join, Table)) for column in columns):
        return False
    parts = [part for element in select.get_final_froms() for part in iterate(element)]
    tables = {plain(part) for part in parts if isinstance(part, TableClause)}
    return tables <= protection.tables and not any(isinstance(part, SelectBase) for part in parts)


def _misnames(column: Any, protection: Protection) -> bool:
    """Whether one column has the name of another, by which a class may be aliased to the SELECT."""
    if not isinstance(column, Label) or column.name == getattr(column.element, "name", None):
        return False
    return any(column.name in (each.name, each.key) for table in protection.tables for each in table.c)


def own_selects(condition: Any) -> list[Any]:
    """The SELECTs that are within a condition of ours, and not in what it is about."""
    annotations = condition._annotations
    if not isinstance(annotations.get(KEY), Scoped) and not isinstance(
        annotations.get("for_loader_criteria"), RowCriteria
    ):
        return []
    found, stack = [], [condition]
    while stack:
        part = stack.pop()
        if isinstance(part, SelectBase):
            found.append(part)
        stack += [child for child in part.get_children() if not isinstance(child, FromClause)]
    return found


def is_about(condition: Any, element: FromClause) -> bool:
    """Whether a condition is on the rows of a FROM element; one without columns is on all of them."""
    tables = [part.table for part in iterate(condition) if isinstance(part, ColumnClause) and part.table is not None]
    return not tables or any(hash(table) == hash(element) for table in tables)


def equalities(conditions: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
    """What must be equal: pairs, each both ways. On the right of an IN there may be several values."""
    for condition in conditions:
        if isinstance(condition, BinaryExpression) and condition.operator in (operators.eq, operators.in_op):
            for left in condition.left.clauses if isinstance(condition.left, Tuple) else (condition.left,):
                yield left, condition.right
                yield condition.right, left


def gives(column: Any, target: Column[Any]) -> bool:
    """Whether all values of a column are those of a table's column, read by SELECTs.

    SQLAlchemy's lineage of columns says less: a UNION has the one of each of its parts, and a text or VALUES that of
    the columns which only name its own.
    """
    if isinstance(column, Label):
        return gives(column.element, target)
    if not isinstance(column, ColumnClause) or column.table is None:
        return False
    element: Any = column.table
    base = base_of(element)
    if isinstance(base, TableClause):
        return plain(base) is target.table and column.key == target.key
    place = next((at for at, each in enumerate(element.c) if hash(each) == hash(column)), None)
    return place is not None and _gives_at(getattr(base, "element", None), place, target)


def _gives_at(select: Any, place: int, target: Column[Any]) -> bool:
    if isinstance(select, (SelectStatementGrouping, FromGrouping, AliasedReturnsRows)):
        return _gives_at(select.element, place, target)
    if isinstance(select, CompoundSelect):
        return all(_gives_at(each, place, target) for each in select.selects)
    if not isinstance(select, Select):
        return False
    columns = [each for each in select._all_selected_columns if isinstance(each, ColumnElement)]
    return place < len(columns) and gives(columns[place], target)


def is_column_of(column: Any, element: FromClause, original: Column[Any]) -> bool:
    return (
        isinstance(column, ColumnClause)
        and column.table is not None
        and hash(column.table) == hash(element)
        and column.key == original.key
    )
