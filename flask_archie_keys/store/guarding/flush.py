"""What the unit of work writes: each row is looked at before it is changed, and after."""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from sqlalchemy import Column, Connection, inspect
from sqlalchemy.orm import Session, UOWTransaction

from ...domain.permissions import Action, scope_of
from ...errors import Forbidden, RowNotFound, Unguarded
from ..protection import Access, Protection, Unrestricted, protection_of
from ..scope import RowRule
from . import advice
from .facts import Write
from .rows import Key, columns_of, inside, matching
from .sessions import Sessions

NO_SUCH_ROW = "there is no such row"
Values = Iterable[Mapping[str, Any]]


class Flush:
    """One flush of a session under an access.

    :ivar pending: the new objects when it began.
    :ivar checked: the rows that were found to be inside, by class and action.
    :ivar updated: the rows that were changed.
    :ivar inserted: how many rows were made.
    """

    def __init__(self, session: Session, context: UOWTransaction, access: Access) -> None:
        self._session = weakref.ref(session)
        self._context = weakref.ref(context)  # it lives as long as the flush
        self.access = access
        self.pending = {inspect(each) for each in session.new}
        self.checked: dict[tuple[Protection, Action], set[Key]] = {}
        self.updated: dict[Protection, set[Key]] = {}
        self.inserted: Counter[Protection] = Counter()
        self._batches: Values = ()
        self._rules: dict[tuple[Protection, Action], RowRule] = {}

    @property
    def session(self) -> Session:
        session = self._session()
        assert session is not None  # noqa: S101 - it is flushing
        return session

    @property
    def is_open(self) -> bool:
        """Whether the unit of work is writing."""
        transaction = getattr(self._context(), "transaction", None)
        return transaction is not None and bool(transaction.is_active)

    @property
    def states(self) -> dict[Any, tuple[bool, bool]]:
        """What the unit of work writes: by state, whether it is deleted, and whether it is only looked at."""
        return dict(getattr(self._context(), "states", ()))

    def rule(self, protection: Protection, action: Action) -> RowRule:
        """The rule of an action; the same for the whole flush.

        :raises Forbidden: if there is no grant.
        """
        key = (protection, action)
        if key not in self._rules:
            self._rules[key] = self.access.rule(protection.resource, action, protection.model)
        return self._rules[key]

    # before

    def look(self, objects: Iterable[object] | None) -> None:
        """Check what is about to be written, as far as it is known by now: the unit of work may find more."""
        wanted = None if objects is None else {id(each) for each in objects}
        deleted = set(map(id, self.session.deleted))
        rows: dict[tuple[Protection, Action], set[Key]] = {}
        for each in [*self.session.new, *self.session.dirty, *self.session.deleted]:
            if wanted is not None and id(each) not in wanted:
                continue
            state: Any = inspect(each)
            protection = protection_of(state.mapper)
            if protection is None:
                continue
            if state.key is None:
                self.rule(protection, "write")
            elif id(each) in deleted:
                rows.setdefault((protection, "delete"), set()).add(state.key[1])
            elif self.session.is_modified(each, include_collections=False):
                rows.setdefault((protection, "update"), set()).add(state.key[1])
        for (protection, action), keys in rows.items():
            self.check(self.session.connection({"mapper": protection.mapper}), protection, action, keys)

    def check(self, connection: Connection, protection: Protection, action: Action, keys: set[Key]) -> None:
        """See that rows may be read and changed.

        :raises RowNotFound: if one may not be read, or is not there.
        :raises Forbidden: if one may be read only.
        """
        known = self.checked.setdefault((protection, action), set())
        keys = keys - known
        if not keys:
            return
        read, change = self.access.may(protection.resource, "read", protection.model), self.rule(protection, action)
        if read is None:
            self.access.rule(protection.resource, "read", protection.model)  # raises Forbidden
            raise RowNotFound(NO_SUCH_ROW)
        missing = keys - inside(connection, protection, (read, change), keys, lock=True)
        if missing:
            if missing - inside(connection, protection, (read,), missing):
                raise RowNotFound(NO_SUCH_ROW)
            detail = f"this {self._actor} may not {action} this row of {protection.resource}"
            raise self._forbidden(protection, action, detail)
        known |= keys

    @property
    def _actor(self) -> str:
        return self.access.principal.kind

    def _forbidden(self, protection: Protection, action: Action, detail: str) -> Forbidden:
        principal = self.access.principal
        return Forbidden(
            detail,
            reason="missing_grant",
            scope=scope_of(protection.resource, action),
            key_id=principal.id if principal.kind == "key" else None,
        )

    # meanwhile: what the tripwire sees

    def is_unit_of_work(self, write: Write, context: Any) -> bool:
        """Whether the unit of work has made a statement; the compiled forms of these have a cache of their own."""
        assert write.protection is not None  # noqa: S101 - for the type checker
        cache = context.execution_options.get("compiled_cache")
        return cache is not None and cache is write.protection.mapper._compiled_cache

    def change(self, connection: Connection, write: Write, parameters: Values) -> None:
        """The unit of work writes rows of a protected class."""
        protection = write.protection
        assert protection is not None  # noqa: S101 - for the type checker
        if write.kind == "insert":  # new rows are looked at in the end
            self._count(write, parameters)
        else:
            names = write.row_keys()
            if names is None:
                raise Unguarded(advice.UPDATE.format(table=write.table))
            action: Action = "update" if write.kind == "update" else "delete"
            keys = {tuple(values[name] for name in names) for values in parameters}
            # a row that is replaced within a flush may be deleted, and is looked at as a new one in the end
            self.check(connection, protection, action, keys - self.checked.get((protection, "delete"), set()))
            if action == "update":
                self.updated.setdefault(protection, set()).update(keys)
        check_references(connection, write, parameters, self.access, self)

    def _count(self, write: Write, parameters: Values) -> None:
        """Count the rows that are made, once where a statement is executed in several batches."""
        if write.protection is not None and write.table is write.protection.table and parameters is not self._batches:
            self.inserted[write.protection] += len(list(parameters))
        self._batches = parameters

    def link(self, connection: Connection, write: Write, parameters: Values) -> None:
        """Rows that link others are written: what they link must be readable, and a protected one of it changeable.

        :raises RowNotFound: if a row that is linked may not be read.
        :raises Forbidden: if none of them may be changed.
        """
        rows = [row for values in parameters for row in _links(write, values)]
        changeable: list[tuple[Protection, Key]] = []
        for key, protection, _ in write.references:
            columns = [element.column for element in key.elements]
            values = {row[key] for row in rows if key in row}
            self._readable(connection, protection, columns, values)
            changeable += [(protection, value) for value in self._changeable(connection, protection, columns, values)]
        for row in rows:
            links = [(protection, row[key]) for key, protection, _ in write.references if key in row]
            if links and not any(link in changeable for link in links):
                resource = links[0][0].resource
                detail = f"this {self._actor} may not change what is linked to this row of {resource}"
                raise self._forbidden(links[0][0], "update", detail)

    def _readable(self, connection: Connection, protection: Protection, columns: list[Any], values: set[Key]) -> None:
        values = values - self.at_hand(protection, columns, values)
        if not values:
            return
        read = self.access.may(protection.resource, "read", protection.model)
        if read is None or values - matching(connection, protection, (read,), columns, values):
            raise RowNotFound(NO_SUCH_ROW)

    def _changeable(
        self, connection: Connection, protection: Protection, columns: list[Any], values: set[Key]
    ) -> set[Key]:
        found: set[Key] = set()
        if columns_of(protection, columns):
            checked = [self.checked.get((protection, action), set()) for action in ("update", "delete")]
            found = values.intersection(self._new(protection).union(*checked))
        rules = (
            self.access.may(protection.resource, "read", protection.model),
            self.access.may(protection.resource, "update", protection.model),
        )
        given = tuple(rule for rule in rules if rule is not None)
        if len(given) == 2:
            found |= matching(connection, protection, given, columns, values - found)
        return found

    def at_hand(self, protection: Protection, columns: list[Any], values: set[Key]) -> set[Key]:
        """Those rows that are in the session, where only checked ones are, or that this flush makes."""
        if not values or not columns_of(protection, columns):
            return set()
        new = self._new(protection)
        key_of = protection.mapper.identity_key_from_primary_key
        return {value for value in values if value in new or key_of(value) in self.session.identity_map}

    def _new(self, protection: Protection) -> set[Key]:
        return {key for _, key in self._new_states(protection) if None not in key}

    def _new_states(self, protection: Protection) -> list[tuple[Any, Key]]:
        return [
            (state, tuple(protection.mapper.primary_key_from_instance(instance)))
            for state, (is_deleted, only_listed) in self.states.items()
            if not is_deleted and not only_listed and (instance := state.obj()) is not None
            if protection_of(state.mapper) == protection and self.makes(state)
        ]

    def makes(self, state: Any) -> bool:
        """Whether the row of an object is made by this flush. (It may have its identity before the flush is done.)"""
        return state in self.pending or not self.session.identity_map.contains_state(state)

    # after

    def finish(self) -> None:
        """See that what was written is inside.

        :raises Forbidden: if a row ended outside; the flush is rolled back then.
        :raises Unguarded: if there are more new rows than new objects, as from a bulk operation of a mapper's event.
        """
        protections = {protection_of(state.mapper) for state in self.states} | set(self.updated) | set(self.inserted)
        for protection in protections:
            if protection is None:
                continue
            if self.inserted[protection] > len(self._new_states(protection)):
                raise Unguarded(advice.INSERT.format(table=protection.table))
            connection = self.session.connection({"mapper": protection.mapper})
            new = self._new(protection)
            if new:
                self._stay(connection, protection, "write", (self.rule(protection, "write"),), new)
            changed = {self._now(protection, key) for key in self.updated.get(protection, ())} - new
            if changed:
                rules = (self.rule(protection, "update"), self.rule(protection, "read"))
                self._stay(connection, protection, "update", rules, changed)

    def _stay(
        self, connection: Connection, protection: Protection, action: Action, rules: tuple[RowRule, ...], keys: set[Key]
    ) -> None:
        if all(rule.everything for rule in rules):
            return
        if keys - inside(connection, protection, rules, keys):
            detail = f"this {self._actor} may not {action} rows of {protection.resource} with these values"
            raise self._forbidden(protection, action, detail)

    def _now(self, protection: Protection, key: Key) -> Key:
        """The primary key of a row that was changed, which may be what was changed."""
        instance = self.session.identity_map.get(protection.mapper.identity_key_from_primary_key(key))
        return key if instance is None else tuple(protection.mapper.primary_key_from_instance(instance))


def check_references(
    connection: Connection, write: Write, parameters: Values, access: Access, flush: Flush | None
) -> None:
    """See that the protected rows that are referred to may be read.

    :raises RowNotFound: if one may not be, or is not there: the two cannot be told apart.
    """
    for key, protection, target in write.references:
        own: list[Column[Any]] = [element.parent for element in key.elements]
        if not any(column in write.assigned for column in own):
            continue
        names = [name for column in own if (name := write.assigned.get(column, column.key)) is not None]
        if len(names) < len(own):
            column = next(column for column in own if write.assigned.get(column, column.key) is None)
            raise Unguarded(advice.EXPRESSION.format(column=column, target=target))
        columns = [element.column for element in key.elements]
        values = {tuple(values.get(name) for name in names) for values in parameters}
        wanted = {value for value in values if None not in value}  # one with a NULL refers to nothing
        if flush is not None:
            wanted -= flush.at_hand(protection, columns, wanted)
        if not wanted:
            continue
        read = access.may(protection.resource, "read", protection.model)
        if read is None or wanted - matching(connection, protection, (read,), columns, wanted):
            raise RowNotFound(NO_SUCH_ROW)


def _links(write: Write, values: Mapping[str, Any]) -> list[dict[Any, Key]]:
    """What a row of an association table refers to, by foreign key, before and after."""
    if None in write.assigned.values():
        raise Unguarded(advice.LINK.format(table=write.table))
    before = {key: values[name] for key, name in write.conditions.items() if name in values}
    after = {column.key: values[name] for column, name in write.assigned.items() if name and name in values}
    found = []
    for places in (before, {**before, **after}):
        keys = [key for key, _, _ in write.references if all(e.parent.key in places for e in key.elements)]
        found.append({key: tuple(places[e.parent.key] for e in key.elements) for key in keys})
    return [row for row in found if row]


class Flushes:
    """Listens to the flushes of all sessions."""

    def __init__(self, current: Callable[[], Access | Unrestricted | None], sessions: Sessions) -> None:
        self._current = current
        self._sessions = sessions

    def before_flush(self, session: Session, context: UOWTransaction, objects: Any) -> None:
        _flushes.pop(session, None)
        who = self._current()
        if who is None or isinstance(who, Unrestricted):
            return  # what is allowed then, the tripwire says
        flush = Flush(session, context, who)
        if any(protection_of(inspect(each).mapper) for each in [*session.new, *session.dirty, *session.deleted]):
            self._sessions.bind(session, who)
            flush.look(objects)
        _flushes[session] = flush

    def after_flush(self, session: Session, context: UOWTransaction) -> None:
        flush = _flushes.get(session)
        if flush is not None:
            flush.finish()
            del _flushes[session]

    def after_soft_rollback(self, session: Session, previous: Any) -> None:
        _flushes.pop(session, None)

    def after_begin(self, session: Session, transaction: Any, connection: Connection) -> None:
        _owners.setdefault(connection, weakref.WeakSet()).add(session)


def is_new(session: Session, state: Any) -> bool:
    """Whether a flush that is writing has just made the row of an object; it is looked at in the end."""
    flush = _flushes.get(session)
    return flush is not None and flush.is_open and flush.makes(state)


#: The sessions of a connection, and what they are writing.
_owners: weakref.WeakKeyDictionary[Connection, weakref.WeakSet[Session]] = weakref.WeakKeyDictionary()
_flushes: weakref.WeakKeyDictionary[Session, Flush] = weakref.WeakKeyDictionary()


def flush_of(connection: Connection) -> Flush | None:
    """The flush that is writing on a connection."""
    for session in list(_owners.get(connection, ())):
        flush = _flushes.get(session)
        if flush is not None and flush.is_open:
            return flush
    return None
