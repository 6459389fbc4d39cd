"""Proof that a statement which is about to be executed stays inside the rows of who acts.

SQLAlchemy adds the criteria of :func:`~sqlalchemy.orm.with_loader_criteria` while it compiles, and there are forms of
statements where it does not. So what counts is what it made: the statement is compiled once more, by a compiler that
looks at each SELECT as it is written, and finds for each protected table in it the condition that filters it. What it
finds holds for all statements that share the compiled form (:class:`Facts`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from sqlalchemy import BindParameter, Column, Table
from sqlalchemy.sql.elements import ColumnClause, TextClause
from sqlalchemy.sql.expression import Alias, Join, TableClause
from sqlalchemy.sql.selectable import AliasedReturnsRows, FromGrouping, TableSample

from ..protection import (
    KEY,
    Protection,
    guarded_names,
    is_child,
    is_inherited_key,
    is_mapped,
    is_unprotected,
    protection_of,
    references,
)
from . import advice
from .clauses import (
    base_of,
    conjuncts,
    equalities,
    gives,
    is_about,
    is_column_of,
    is_false,
    is_made_of_selects,
    is_plain_select,
    own_selects,
    plain,
)
from .facts import Facts, Scoped, Write
from .levels import Level, Occurrence
from .statements import RowCriteria
from .table_names import mentions, named_tables, words

_LEVEL = "archie_keys_level"


class Proving:
    """Mixed into the compiler of a dialect."""

    stack: list[Any]
    dml_compile_state: Any

    def __init__(self, dialect: Any, statement: Any, **kw: Any) -> None:
        self.facts = Facts()
        self._options: tuple[Any, ...] = getattr(statement, "_with_options", ())
        self._guarded = guarded_names()
        self._names: Counter[str] = Counter()  # how often a table of this name was written
        self._aliases: list[Any] = []
        super().__init__(dialect, statement, **kw)  # type: ignore[call-arg]
        for name in self._unseen(self.string) & self._guarded.keys():  # type: ignore[attr-defined]
            self._hidden_in_text(name)

    # what the compiler calls

    def _setup_select_stack(self, select: Any, compile_state: Any, entry: Any, *args: Any) -> Any:
        froms = super()._setup_select_stack(select, compile_state, entry, *args)  # type: ignore[misc]
        outer: Level | None = entry.get(_LEVEL)
        level = self.stack[-1][_LEVEL] = Level(outer)
        made_from = (select, getattr(compile_state, "select_statement", None))
        if outer is not None and any(own is each for own in outer.own for each in made_from):
            level.is_condition = True
        alias: Any = self._aliases[-1] if self._aliases else None
        if outer is not None and hash(alias) in outer.filtered and any(alias.element is each for each in made_from):
            level.is_filtered = True
        self._read(level, froms, select._where_criteria)
        return froms

    def update_tables_clause(self, update: Any, table: Any, extra_froms: Any, **kw: Any) -> Any:
        self._change("update", update, table, extra_froms)
        return super().update_tables_clause(update, table, extra_froms, **kw)  # type: ignore[misc]

    def delete_table_clause(self, delete: Any, table: Any, extra_froms: Any, **kw: Any) -> Any:
        self._change("delete", delete, table, extra_froms)
        return super().delete_table_clause(delete, table, extra_froms, **kw)  # type: ignore[misc]

    def visit_insert(self, insert: Any, *args: Any, **kw: Any) -> Any:
        nested = bool(self.stack)
        text = super().visit_insert(insert, *args, **kw)  # type: ignore[misc]
        statement = insert if nested else self.dml_compile_state.statement
        self._write("insert", statement, statement.table, nested)
        return text

    def visit_table(self, table: Any, asfrom: bool = False, **kw: Any) -> Any:
        if asfrom:
            self._names[table.name.casefold()] += 1
            level: Level | None = self.stack[-1].get(_LEVEL) if self.stack else None
            if level is None or hash(table) not in level.tables:
                self._unread(table)
        return super().visit_table(table, asfrom=asfrom, **kw)  # type: ignore[misc]

    def visit_alias(self, alias: Any, **kw: Any) -> Any:
        self._aliases.append(alias)
        text = super().visit_alias(alias, **kw)  # type: ignore[misc]
        self._aliases.pop()
        return text

    def visit_cte(self, cte: Any, **kw: Any) -> Any:
        self._named(cte)
        return super().visit_cte(cte, **kw)  # type: ignore[misc]

    def visit_textclause(self, text: Any, *args: Any, **kw: Any) -> Any:
        self._text(text.text)
        return super().visit_textclause(text, *args, **kw)  # type: ignore[misc]

    def visit_column(self, column: Any, *args: Any, **kw: Any) -> Any:
        if column.is_literal:
            self._text(column.name)
        return super().visit_column(column, *args, **kw)  # type: ignore[misc]

    # what it finds

    def _unseen(self, text: str) -> set[str]:
        """The tables that the whole text names, and more often than they were written: in hints and operators."""
        found = mentions(text)
        return set(found - self._names) if found is not None else set(named_tables(text) - self._names.keys())

    def _named(self, element: Any) -> None:
        if isinstance(element.name, str):
            self._names[element.name.casefold()] += 1

    def _text(self, text: str) -> None:
        for name in named_tables(text) & self._guarded.keys():
            self._hidden_in_text(name)

    def _hidden_in_text(self, name: str) -> None:
        for table in self._guarded[name]:
            self._touch(table)
            self.facts.refusals.append(advice.TEXT.format(table=table))

    def _touch(self, table: Table) -> None:
        protection = protection_of(table)
        if protection is not None:
            self.facts.protections.add(protection)
        else:
            self.facts.protections.update(each for _, each, _ in references(table))

    def _unread(self, table: Any) -> None:
        """A table is written where no SELECT that was looked at reads it."""
        found = self._guard(table)
        if found is not None:
            self._touch(found)
            self.facts.refusals.append(advice.CORE.format(table=found))

    def _guard(self, table: Any) -> Table | None:
        """The table if it is guarded, or the guarded one that it is named like."""
        mapped = plain(table)
        if is_unprotected(mapped):
            return None
        if isinstance(mapped, Table) and (protection_of(mapped) is not None or is_child(mapped)):
            return mapped
        schema = getattr(mapped, "schema", None)
        for other in self._guarded.get(str(mapped.name).casefold(), ()):
            if schema is None or other.schema is None or schema == other.schema:
                return other
        return None

    def _read(self, level: Level, froms: Iterable[Any], where: Iterable[Any]) -> None:
        conditions = tuple(conjuncts(where))
        for element in froms:
            self._collect(level, element, conditions)
        level.own += [part for condition in conditions for part in own_selects(condition)]
        if level.is_condition:
            self._see_correlation(level)
        if level.is_condition or level.is_filtered:
            return
        for occurrence in level.occurrences:
            if not (self._is_filtered(occurrence) or self._is_tied(level, occurrence)):
                self._refuse(occurrence)

    def _see_correlation(self, level: Level) -> None:
        """A part of our own conditions reads aliases that are made for it, and is about the row outside.

        SQLAlchemy may put more into its FROM clause while it adapts it to an alias; then it is about any row.
        """
        outside = set() if level.outer is None else {hash(each.element) for each in level.outer.visible()}
        for occurrence in level.occurrences:
            if not isinstance(occurrence.element, Alias) or hash(occurrence.element) in outside:
                self._refuse(occurrence)

    def _collect(self, level: Level, element: Any, conditions: tuple[Any, ...]) -> None:
        if isinstance(element, FromGrouping):
            self._collect(level, element.element, conditions)
        elif isinstance(element, Join):
            on = tuple(conjuncts([element.onclause]))
            level.own += [part for condition in on for part in own_selects(condition)]
            self._collect(level, element.left, conditions if element.isouter or element.full else conditions + on)
            self._collect(level, element.right, conditions if element.full else conditions + on)
        elif isinstance(element, TextClause):
            for name in words(element.text) & self._guarded.keys():
                self._hidden_in_text(name)
        else:
            self._occur(level, element, conditions)

    def _occur(self, level: Level, element: Any, conditions: tuple[Any, ...]) -> None:
        table = element
        while isinstance(table, (Alias, TableSample)):
            table = table.element
        entity = element._annotations.get("parententity")
        if isinstance(table, TableClause):
            level.tables.add(hash(table))
            guarded = self._guard(table)
            if guarded is not None:
                self._touch(guarded)
                if guarded is not plain(table):
                    self.facts.refusals.append(advice.ANOTHER_TABLE.format(table=guarded))
                level.occurrences.append(Occurrence(element, guarded, conditions))
        elif isinstance(element, AliasedReturnsRows) and is_made_of_selects(element):
            self._filter_from_outside(level, element, conditions)  # else its SELECT is looked at by itself
        elif entity is not None and (protection := protection_of(entity.mapper)) is not None:
            self.facts.protections.add(protection)
            level.occurrences.append(Occurrence(element, None, conditions, protection))

    def _filter_from_outside(self, level: Level, element: Any, conditions: tuple[Any, ...]) -> None:
        """The mapped tables may stand in a plain sub-query, with the criteria outside of it."""
        for condition in conditions:
            option = condition._annotations.get("for_loader_criteria")
            if isinstance(option, RowCriteria) and is_about(condition, element):
                protection = protection_of(option.mapper)
                if protection is not None and is_plain_select(element.element, protection) and self._need(option):
                    self.facts.protections.add(protection)
                    level.filtered.add(hash(element))

    def _is_filtered(self, occurrence: Occurrence) -> bool:
        """Whether there is a condition of ours on these very rows."""
        if any(is_false(condition) for condition in occurrence.conditions):
            return True
        protection = occurrence.entity or protection_of(occurrence.table)
        if protection is None:
            return False
        whole = occurrence.table is None or occurrence.table is protection.table
        return any(self._is_ours(condition, occurrence, protection, whole) for condition in occurrence.conditions)

    def _is_ours(self, condition: Any, occurrence: Occurrence, protection: Protection, whole: bool) -> bool:
        annotations = condition._annotations
        option, scoped = annotations.get("for_loader_criteria"), annotations.get(KEY)
        if isinstance(scoped, Scoped) and scoped.protection == protection and scoped.action == "read":
            if scoped.by_identity and isinstance(occurrence.element, Table):
                self.facts.scoped = True
                return True
            if whole and is_about(condition, occurrence.element):
                self.facts.scoped = True
                return True
        if isinstance(option, RowCriteria) and option.mapper is protection.mapper and whole:
            return is_about(condition, occurrence.element) and self._need(option)
        return False

    def _need(self, option: RowCriteria) -> bool:
        for position, each in enumerate(self._options):
            if each is option:
                self.facts.needs.setdefault(option.mapper, set()).add(position)
                return True
        return False

    def _is_tied(self, level: Level, occurrence: Occurrence) -> bool:
        """Whether the rows are none but those that belong to filtered ones.

        So are the tables of derived classes, joined to that of their base, and association tables, joined to all
        protected tables that they refer to.
        """
        table = occurrence.table
        if table is None:
            return False
        protection = protection_of(table)
        if protection is not None:
            keys = [key for key in table.foreign_key_constraints if is_inherited_key(key)]
            return any(self._is_joined(level, occurrence, key) for key in keys)
        if is_mapped(table):
            return False
        return all(
            self._is_joined(level, occurrence, key) or self._is_loaded(occurrence, key)
            for key, _, _ in references(table)
        )

    def _is_joined(self, level: Level, occurrence: Occurrence, key: Any) -> bool:
        return all(
            any(
                self._leads_to(level, other, element.column)
                for own, other in equalities(occurrence.conditions)
                if is_column_of(own, occurrence.element, element.parent)
            )
            for element in key.elements
        )

    def _leads_to(self, level: Level, column: Any, target: Column[Any]) -> bool:
        if not isinstance(column, ColumnClause) or column.table is None:
            return False
        for occurrence in level.visible():
            if hash(occurrence.element) == hash(column.table):
                # whether that one is filtered is looked at by itself
                return occurrence.table is target.table and is_column_of(column, occurrence.element, target)
        # what a sub-query gives of filtered rows; it is looked at by itself
        return not isinstance(base_of(column.table), TableClause) and gives(column, target)

    def _is_loaded(self, occurrence: Occurrence, key: Any) -> bool:
        """Whether the other side is a row at hand, whose relationship is loaded."""
        for element in key.elements:
            if not any(
                isinstance(other, BindParameter) and is_column_of(own, occurrence.element, element.parent)
                for own, other in equalities(occurrence.conditions)
            ):
                return False
        self.facts.secondary.add(occurrence.table)
        return True

    def _refuse(self, occurrence: Occurrence) -> None:
        table = occurrence.table
        if table is None:
            self.facts.refusals.append(advice.ENTITY.format(model=occurrence.entity.model.__name__))
        elif protection_of(table) is None:
            self.facts.refusals.append(advice.child(table))
        else:
            self.facts.refusals.append(advice.CORE.format(table=table))

    def _change(self, kind: str, statement: Any, table: Any, extra_froms: Iterable[Any]) -> None:
        entry = self.stack[-1]
        nested = len(self.stack) > 1
        level = entry[_LEVEL] = Level(self.stack[-2].get(_LEVEL) if nested else None)
        level.tables.add(hash(table))
        conditions = tuple(conjuncts(statement._where_criteria))
        write = self._write(kind, statement, table, nested)
        if write is not None and write.protection is not None and not nested:
            self._prove_change(write, table, conditions)
        if write is not None and self._guard(table) is not None:
            level.target = Occurrence(table, write.table, conditions)  # other tables may be tied to it
        self._read(level, [each for each in extra_froms if hash(each) != hash(table)], statement._where_criteria)

    def _prove_change(self, write: Write, table: Any, conditions: tuple[Any, ...]) -> None:
        assert write.protection is not None  # noqa: S101 - for the type checker
        for condition in conditions:
            option, scoped = condition._annotations.get("for_loader_criteria"), condition._annotations.get(KEY)
            if isinstance(scoped, Scoped) and scoped.action == write.kind and scoped.protection == write.protection:
                write.scoped = write.scoped or is_about(condition, table)
                self.facts.scoped = self.facts.scoped or write.scoped
            elif isinstance(option, RowCriteria) and option.mapper is write.protection.mapper:
                write.filtered = write.filtered or (is_about(condition, table) and self._need(option))
            elif is_false(condition):
                write.filtered = True

    def _write(self, kind: str, statement: Any, table: Any, nested: bool) -> Write | None:
        if kind == "insert":  # others are written as in a FROM clause
            self._names[table.name.casefold()] += 1
        guarded = self._guard(table)
        mapped = plain(table)
        if guarded is not None:
            self._touch(guarded)
            if guarded is not mapped:
                self.facts.refusals.append(advice.ANOTHER_TABLE.format(table=guarded))
                return None
        if guarded is not None and nested:
            self.facts.refusals.append(advice.NESTED_WRITE.format(table=guarded))
            return None
        if not isinstance(mapped, Table) or (guarded is None and not any(True for _ in references(mapped))):
            return None
        if nested:
            if kind != "delete":  # its parameters are among those of the whole
                self._touch(mapped)
                self.facts.refusals.append(advice.NESTED_REFERENCE.format(table=mapped))
            return None
        self.facts.write = Write(kind, mapped, statement, self.column_keys)  # type: ignore[attr-defined]
        return self.facts.write


_provers: dict[Any, Any] = {}


def prover(compiler: Any) -> Any:
    """The compiler of a dialect, with a look at what it compiles."""
    found = _provers.get(compiler)
    if found is None:
        found = _provers[compiler] = type("Prover", (Proving, compiler), {})
    return found
