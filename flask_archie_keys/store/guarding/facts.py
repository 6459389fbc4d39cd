"""What is known of a compiled statement: which protected tables it touches, and what keeps it inside."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy import BindParameter, Column, Table
from sqlalchemy.orm import Mapper
from sqlalchemy.sql import operators
from sqlalchemy.sql.cache_key import HasCacheKey
from sqlalchemy.sql.elements import BinaryExpression, ColumnClause

from ...domain.permissions import Action
from ...domain.principals import Principal
from ..protection import Protection, is_mapped, protection_of, references
from ..scope import RowRule

#: The names that upserts have for the row that could not be inserted.
_NEW_ROW = ("excluded", "new")


class Scoped(HasCacheKey):
    """The annotation of a condition that the guard has put into a statement.

    Statements that differ in it only by principal and values share their compiled form.

    :ivar rules: those that the condition was made of.
    :ivar by_identity: it holds for the row of one object in a session, which is read again.
    """

    __slots__ = ("action", "by_identity", "principal", "protection", "rules")
    inherit_cache = False

    def __init__(
        self,
        protection: Protection,
        action: Action,
        principal: Principal,
        rules: tuple[RowRule, ...],
        by_identity: bool = False,
    ) -> None:
        self.protection = protection
        self.action = action
        self.principal = principal
        self.rules = rules
        self.by_identity = by_identity

    def _gen_cache_key(self, anon_map: Any, bindparams: Any) -> tuple[Any, ...]:
        return (Scoped, self.protection, self.action, self.by_identity)


class Facts:
    """What holds for all statements with one compiled form.

    :ivar protections: what it touches; nothing else matters where there is none.
    :ivar needs: the places, among the options of the statement, of the criteria that it is filtered by.
    :ivar scoped: it is filtered by conditions that carry :class:`Scoped`.
    :ivar secondary: association tables that only loading a relationship may read.
    :ivar refusals: what cannot be guarded.
    :ivar write: the INSERT, UPDATE or DELETE that it is.
    """

    __slots__ = ("needs", "protections", "refusals", "scoped", "secondary", "write")

    def __init__(self) -> None:
        self.protections: set[Protection] = set()
        self.needs: dict[Mapper[Any], set[int]] = {}
        self.scoped = False
        self.secondary: set[Table] = set()
        self.refusals: list[str] = []
        self.write: Write | None = None

    @property
    def tables(self) -> str:
        """The names of the protected tables, for messages."""
        return ", ".join(sorted({str(protection.table) for protection in self.protections}))


NOTHING = Facts()


class Write:
    """An INSERT, UPDATE or DELETE of a table that is protected or refers to protected ones.

    :ivar kind: ``"insert"``, ``"update"`` or ``"delete"``.
    :ivar protection: of its table; ``None`` if only what it refers to is protected.
    :ivar is_link: the table is an association table without a rule.
    :ivar is_child: the table has a class, and no rule.
    :ivar filtered: our criteria are on it.
    :ivar scoped: a condition of :func:`keys.scope` is on it.
    :ivar conditions: the parameters that the columns in its WHERE clause are equal to, by the key of the column.
    :ivar assigned: the columns that it assigns, with the parameter of the value; ``None`` for an expression.
    """

    __slots__ = (
        "assigned",
        "conditions",
        "filtered",
        "is_child",
        "is_link",
        "kind",
        "protection",
        "references",
        "scoped",
        "table",
    )

    def __init__(self, kind: str, table: Table, statement: Any, column_keys: Any) -> None:
        self.kind = kind
        self.table = table
        self.protection = protection_of(table)
        self.references = list(references(table))
        unruled = self.protection is None and not table.info.get("archie_keys_unprotected")
        self.is_link = unruled and not is_mapped(table)
        self.is_child = unruled and not self.is_link
        self.filtered = False
        self.scoped = False
        self.conditions = _conditions(table, getattr(statement, "_where_criteria", ()))
        self.assigned: dict[Column[Any], str | None] = {}
        if kind != "delete":
            self._assign(statement, column_keys)

    def _assign(self, statement: Any, column_keys: Any) -> None:
        taken = set(self.conditions.values())
        for key in column_keys or ():
            column = self.table.c.get(key)
            if column is not None and key not in taken:
                self.assigned[column] = key
        values = dict(statement._values or {}) | dict(getattr(statement, "_ordered_values", None) or ())
        for key, value in values.items():
            column = self.table.c.get(getattr(key, "key", key))
            if column is not None:
                self.assigned[column] = column.key if isinstance(value, BindParameter) else None
        for column in _replaced(self.table, statement):
            self.assigned[column] = None
        several = statement._multi_values or getattr(statement, "select", None) is not None
        for column in self.table.c:
            if several and column.foreign_keys:
                self.assigned[column] = None
            elif self.kind == "update" and column.onupdate is not None:
                self.assigned.setdefault(column, column.key)
            elif self.kind == "insert" and column.foreign_keys and column.default is not None:
                self.assigned.setdefault(column, None if column.default.is_clause_element else column.key)

    def row_keys(self) -> tuple[str, ...] | None:
        """The parameters that hold the primary key of the row; ``None`` if it is not for single rows."""
        keys = []
        for column in self._primary_key():
            key = self.conditions.get(column.key)
            if key is None:
                return None
            keys.append(key)
        return tuple(keys)

    def _primary_key(self) -> list[Column[Any]]:
        """The columns of this table that hold the primary key of the protected class, in its order."""
        if self.protection is None:
            return list(self.table.primary_key.columns)
        primary = self.protection.mapper.primary_key
        return [own for key in primary for own in self.table.primary_key.columns if _is_same(own, key)]


def _is_same(own: Column[Any], key: Any) -> bool:
    """Whether a column is the other, or refers to it, over the tables of derived classes if need be."""
    return own is key or any(_is_same(other.column, key) for other in own.foreign_keys if own.primary_key)


def _replaced(table: Table, statement: Any) -> Iterator[Column[Any]]:
    """The columns that an upsert gives another value than the new row's, where there is a row already."""
    clause = getattr(statement, "_post_values_clause", None)
    values = getattr(clause, "update_values_to_set", None) or getattr(clause, "update", None) or ()
    for key, value in values.items() if isinstance(values, Mapping) else values:
        column = table.c.get(str(getattr(key, "key", key)))
        if column is not None and not _is_of_new_row(value, column):
            yield column


def _is_of_new_row(value: Any, column: Column[Any]) -> bool:
    return (
        isinstance(value, ColumnClause) and value.key == column.key and getattr(value.table, "name", None) in _NEW_ROW
    )


def _conditions(table: Table, where: Any) -> dict[str, str]:
    found: dict[str, str] = {}
    stack = list(where)
    while stack:
        clause = stack.pop()
        if isinstance(clause, BinaryExpression):
            column, value = clause.left, clause.right
            if clause.operator is operators.eq and isinstance(column, Column) and isinstance(value, BindParameter):
                found[column.key] = value.key
        elif getattr(clause, "operator", None) is operators.and_:
            stack.extend(clause.clauses)
    return found
