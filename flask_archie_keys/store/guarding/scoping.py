"""Row filters as plain conditions of a statement, with a note of whose they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from sqlalchemy import ColumnElement, Delete, Select, Table, Update, literal_column, select
from sqlalchemy.sql.expression import Alias, Join
from sqlalchemy.sql.selectable import FromGrouping, TableSample

from ...domain.permissions import Action
from ...domain.principals import Principal
from ...errors import Unguarded
from ..protection import KEY, Access, Protection, protection_of
from ..scope import RowRule
from .facts import Scoped
from .statements import condition_of

RuleOf = Callable[[Access, Protection, Action], RowRule]
OUTER = (
    "keys.scope() cannot filter {table}, which is joined by an outer join: join "
    'keys.scope(select(…), "read").subquery() of it instead'
)
DERIVED = "keys.scope() cannot filter {table}, whose row filter is on {base}: join {base} to it, or select its class"
FORM = "keys.scope() takes a select(), update() or delete(), not {what}: scope its parts"
ACTION = "keys.scope(statement, {given!r}): the action of this statement is {right!r}"


def scoped(statement: Any, action: Action, access: Access, rule_of: RuleOf) -> Any:
    """See :func:`..guard.scope`."""
    if isinstance(statement, (Update, Delete)):
        right: Action = "update" if isinstance(statement, Update) else "delete"
        if action != right:
            raise Unguarded(ACTION.format(given=action, right=right))
        return _scope_change(statement, action, access, rule_of)
    if not isinstance(statement, Select):
        raise Unguarded(FORM.format(what=type(statement).__name__))
    actions: tuple[Action, ...] = ("read",) if action == "read" else (action, "read")
    found = [each for element in statement.get_final_froms() for each in _tables(element, False)]
    elements = [element for element, _, _ in found]
    for element, table, outer in found:
        protection = protection_of(table)
        if protection is None:
            continue
        if outer:
            raise Unguarded(OUTER.format(table=table))
        if table is not protection.table:
            if not any(_plain(other) is protection.table for other in elements):
                raise Unguarded(DERIVED.format(table=table, base=protection.table))
            continue  # the proof sees whether it is joined by its key
        rules = tuple(rule_of(access, protection, each) for each in actions)
        condition = condition_of(rules, element)
        statement = statement.where(_annotated(condition, Scoped(protection, "read", access.principal, rules)))
    return statement


def _scope_change(statement: Any, action: Action, access: Access, rule_of: RuleOf) -> Any:
    table = _plain(statement.table)
    protection = protection_of(table)
    if protection is None:
        return statement
    if table is not protection.table:
        raise Unguarded(DERIVED.format(table=table, base=protection.table))
    rules = (rule_of(access, protection, action), rule_of(access, protection, "read"))
    condition = condition_of(rules, statement.table)
    return statement.where(_annotated(condition, Scoped(protection, action, access.principal, rules)))


def for_identity(
    statement: Any, protection: Protection, principal: Principal, rules: tuple[RowRule, ...], key: tuple[Any, ...]
) -> Any:
    """The statement that reads one row again, with the condition that this row is inside."""
    table = protection.table.alias()
    columns = [table.c[str(column.key)] for column in protection.mapper.primary_key]
    same = [column == value for column, value in zip(columns, key, strict=True)]
    inside: Select[Any] = select(literal_column("1")).select_from(table).where(*same, condition_of(rules, table))
    condition = _annotated(inside.correlate(None).exists(), Scoped(protection, "read", principal, rules, True))
    if getattr(statement, "is_from_statement", False):
        statement = statement._clone()
        statement.element = statement.element.where(condition)
        return statement
    return statement.where(condition)


def _annotated(condition: ColumnElement[bool], scoped: Scoped) -> ColumnElement[bool]:
    return condition._annotate({KEY: scoped})


def _tables(element: Any, outer: bool) -> Iterator[tuple[Any, Table, bool]]:
    """The tables of a FROM element, each with what stands for it and whether rows may be made up for it."""
    if isinstance(element, FromGrouping):
        yield from _tables(element.element, outer)
    elif isinstance(element, Join):
        yield from _tables(element.left, outer or element.full)
        yield from _tables(element.right, outer or element.full or element.isouter)
    else:
        plain = _plain(element)
        if isinstance(plain, Table):
            yield element, plain, outer


def _plain(element: Any) -> Any:
    while isinstance(element, (Alias, TableSample)):
        element = element.element
    return element._deannotate() if element._annotations else element
