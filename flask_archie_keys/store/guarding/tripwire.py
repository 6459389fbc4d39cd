"""The last look: every statement of every engine, just before the driver gets it."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.engine.interfaces import ExecuteStyle
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.visitors import iterate

from ...errors import ConfigurationError, NobodyActs, Unguarded
from ..protection import (
    KEY,
    Access,
    Protection,
    Unrestricted,
    concerned_names,
    guarded_names,
    protection_of,
    references,
    registry,
)
from . import advice
from .facts import NOTHING, Facts, Scoped, Write
from .flush import check_references, flush_of
from .proof import prover
from .rows import OURS
from .statements import Mark
from .table_names import is_ddl, named_tables, words

Current = Callable[[], "Access | Unrestricted | None"]


class Tripwire:
    """Refuses what reaches an engine unguarded.

    :param current: tells who acts.
    """

    def __init__(self, current: Current) -> None:
        self.current = current
        self._changes = -1
        self._renew()

    def before_cursor_execute(
        self, connection: Connection, cursor: Any, statement: str, parameters: Any, context: Any, executemany: bool
    ) -> None:
        """Listens to every engine."""
        if registry.changes != self._changes:
            self._renew()
        compiled = None if context is None else context.compiled
        if isinstance(compiled, SQLCompiler):
            known = self._facts
            facts = known.get(compiled)
            if facts is None:
                facts = known[compiled] = self._prove(compiled, context)
            if facts.protections or facts.write is not None:
                self._compiled(connection, facts, context)
            if statement is not getattr(context, "statement", None):  # a column's default, or another listener's work
                self._text(statement, context, facts)
        else:
            self._text(statement, context, NOTHING)

    def _renew(self) -> None:
        changes = registry.changes
        concerned = frozenset(word for name in concerned_names() for word in words(name))
        self._mentions = lru_cache(maxsize=1024)(lambda text: not concerned.isdisjoint(words(text)))
        self._facts: weakref.WeakKeyDictionary[Any, Facts] = weakref.WeakKeyDictionary()
        self._changes = changes

    def _prove(self, compiled: SQLCompiler, context: Any) -> Facts:
        if not self._mentions(compiled.string):
            return NOTHING
        proof = prover(type(compiled))(
            compiled.dialect,
            context.invoked_statement,
            column_keys=compiled.column_keys,
            for_executemany=compiled.for_executemany,
            **({"schema_translate_map": compiled.schema_translate_map} if compiled.schema_translate_map else {}),
        )
        facts: Facts = proof.facts
        if proof.string != compiled.string:
            facts.refusals.append(advice.STALE)
        return facts

    def _text(self, statement: str, context: Any, facts: Facts) -> None:
        """A statement that is known by its text only, or has another one than what was compiled."""
        if _is_batch(statement, context) or not self._mentions(statement):
            return
        if context is not None and context.execution_options.get(KEY) is OURS:
            return
        guarded = guarded_names()
        names = {name for name in named_tables(statement) if name in guarded}
        if facts.protections:  # they are known to be filtered
            names = {name for name in names if not all(_concerned(t) <= facts.protections for t in guarded[name])}
        if not names:
            return
        tables = [table for name in names for table in guarded[name]]
        protections = {each for table in tables for each in _concerned(table)}
        who = self.current()
        if isinstance(who, Unrestricted) or (who is None and is_ddl(statement)):
            return
        if who is None:
            _nobody(protections)
        elif not _makes_tables(statement):
            raise Unguarded(advice.TEXT.format(table=tables[0]))

    def _compiled(self, connection: Connection, facts: Facts, context: Any) -> None:
        options: Mapping[str, Any] = context.execution_options
        mark = options.get(KEY)
        if mark is OURS:
            return
        who = self.current()
        if isinstance(who, Unrestricted):
            return
        if who is None:
            _nobody(facts.protections)
            return
        if facts.refusals:
            raise Unguarded(facts.refusals[0])
        if isinstance(mark, Mark) and mark.denied:
            _denied(facts, mark)
        if facts.write is not None:
            _write(connection, facts.write, context, who, mark if isinstance(mark, Mark) else None)
        if facts.needs or facts.secondary:
            _marked(facts, context, mark, who)
        if facts.scoped:
            _scoped(facts, context, who)


def _is_batch(statement: str, context: Any) -> bool:
    """Whether a text is a part of the compiled INSERT, for some of its rows; such texts may be very long."""
    return (
        context is not None
        and context.execute_style is ExecuteStyle.INSERTMANYVALUES
        and statement[:7].upper() == "INSERT "
    )


def _concerned(table: Any) -> set[Protection]:
    protection = protection_of(table)
    return {protection} if protection is not None else {each for _, each, _ in references(table)}


def _makes_tables(statement: str) -> bool:
    """``db.create_all()`` may be called at any time."""
    return statement.lstrip()[:6].upper() in ("CREATE", "PRAGMA") and is_ddl(statement)


def _nobody(protections: set[Protection]) -> None:
    refused = sorted(str(each.table) for each in protections if each.unscoped != "allow")
    if refused:
        raise NobodyActs(advice.NOBODY.format(tables=", ".join(refused)))


def _denied(facts: Facts, mark: Mark) -> None:
    for mapper, protection in mark.denied.items():
        if protection in facts.protections and mapper in facts.needs:
            mark.access.rule(protection.resource, "read", protection.model)  # raises Forbidden
            raise ConfigurationError(f"the access to {protection.resource} changed within a statement")


def _marked(facts: Facts, context: Any, mark: object, who: Access) -> None:
    """The criteria that the proof relies on are those that the guard has just made."""
    if not isinstance(mark, Mark):
        if facts.secondary:
            raise Unguarded(advice.child(next(iter(facts.secondary))))
        raise Unguarded(advice.NO_MARK.format(tables=facts.tables))
    if mark.access.principal != who.principal:
        raise Unguarded(advice.OTHER_PRINCIPAL)
    options = context.invoked_statement._with_options
    for mapper, positions in facts.needs.items():
        criteria = mark.criteria.get(mapper)
        if criteria is None or any(options[position] is not criteria for position in positions):
            raise Unguarded(advice.STALE)
    if not facts.secondary <= mark.secondary:
        raise Unguarded(advice.child(next(iter(facts.secondary - mark.secondary))))


def _scoped(facts: Facts, context: Any, who: Access) -> None:
    """Conditions from :func:`keys.scope` are this principal's."""
    for scoped in scoped_in(context.invoked_statement):
        if scoped.principal != who.principal:
            raise Unguarded(advice.OTHER_PRINCIPAL)
        if facts.write is not None and facts.write.scoped and scoped.action == facts.write.kind:
            _assigns(facts.write, scoped.rules)


def scoped_in(statement: Any) -> list[Scoped]:
    """The annotations of our conditions in a statement."""
    found = (part._annotations.get(KEY) for part in iterate(statement))
    return [scoped for scoped in found if isinstance(scoped, Scoped)]


def _write(connection: Connection, write: Write, context: Any, who: Access, mark: Mark | None) -> None:
    flush = flush_of(connection)
    if write.is_child:
        raise Unguarded(advice.child(write.table))
    if write.is_link:
        if flush is None:
            raise Unguarded(advice.LINK.format(table=write.table))
        flush.link(connection, write, context.compiled_parameters)
    elif write.protection is None:
        check_references(connection, write, context.compiled_parameters, who, flush)
    elif flush is not None and flush.is_unit_of_work(write, context):
        flush.change(connection, write, context.compiled_parameters)
    elif write.filtered and mark is not None:
        _assigns(write, mark.rules)
    elif not write.scoped:
        kinds: dict[str, str] = {"insert": advice.INSERT, "update": advice.UPDATE, "delete": advice.DELETE}
        raise Unguarded(kinds[write.kind].format(table=write.table))


def _assigns(write: Write, rules: tuple[Any, ...]) -> None:
    """A change of what the filters read may move rows out of them, or take in others."""
    if write.protection is None or write.kind != "update":
        return
    if write.table is not write.protection.table:
        raise Unguarded(advice.DERIVED.format(table=write.table, base=write.protection.table))
    filtered = {column for rule in rules for column in rule.columns}
    filtered |= {column for key, _, _ in write.references for column in key.columns}
    filtered |= set(write.table.primary_key.columns)
    bad = sorted(column.key for column in write.assigned if column in filtered)
    if bad:
        raise Unguarded(advice.ASSIGNS.format(columns=", ".join(bad), table=write.table))
