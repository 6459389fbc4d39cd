"""Tells PostgreSQL, at the beginning of each transaction of a session, what who acts may do.

The policies of :mod:`.row_security_ddl` let through what the setting ``archie.grants`` of the transaction says; it is
gone with the transaction, so a pooled connection carries nothing on. Statements that are run with SQLAlchemy find it as
it must be for who acts at that moment; a raw cursor finds what was told last.
"""

from __future__ import annotations

import json
import threading
import weakref
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, NamedTuple, Protocol

from sqlalchemy import Connection, Dialect, Engine, event, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from ..domain.filters import FilterError
from ..domain.permissions import ACTIONS, Action, Allowed, Denied, scope_of
from ..errors import ConfigurationError
from .protection import Protection, Unrestricted, protections, registry
from .row_security_check import look, told_together
from .row_security_sql import SETTING, table_name, template

_SET = text(f"SELECT set_config('{SETTING}', :grants, true)")
_NOBODY_KNOWS: Any = object()
_INFO = "archie_keys_told"
Grants = Mapping[str, object]


class Who(NamedTuple):
    """Who acts, where row security is on.

    :ivar acts: told apart by identity.
    :ivar grants: what the transaction is told of it.
    :ivar protects: whether a class is one of the application's.
    """

    acts: object
    grants: Callable[[], Grants]
    protects: Callable[[Protection], bool] = lambda protection: True


class Decide(Protocol):
    """The part of the permissions service that is asked here."""

    def __call__(self, resource: str, action: Action) -> Allowed | Denied: ...


class _Passed(NamedTuple):
    """For what an engine has passed the self-test.

    :ivar changes: of the registry at that time; -1 where it has not.
    :ivar tables: the names of the tables.
    """

    changes: int = -1
    tables: frozenset[str] = frozenset()


_NOT_PASSED = _Passed()


class _Told:
    """What a connection was told last.

    :ivar acts: who acted then; an object of its own where nobody can tell what the setting is.
    :ivar value: the setting; ``None`` where nobody can tell.
    """

    __slots__ = ("__weakref__", "acts", "connection", "is_busy", "value")

    def __init__(self, connection: Connection) -> None:
        self.connection = weakref.ref(connection)
        self.acts: object = _NOBODY_KNOWS
        self.value: str | None = ""
        self.is_busy = False

    def forget(self) -> None:
        """Something else may have changed the setting."""
        self.acts, self.value = _NOBODY_KNOWS, None


class RowSecurity:
    """The listeners.

    :ivar current: tells who acts; ``None`` where row security is off, or no application is known.
    """

    def __init__(self) -> None:
        self.current: Callable[[], Who | None] = lambda: None
        self._lock = threading.Lock()
        self._listens = False
        self._told: weakref.WeakKeyDictionary[Connection, _Told] = weakref.WeakKeyDictionary()
        self._lifted: weakref.WeakSet[_Told] = weakref.WeakSet()
        # each engine has a dialect of its own, which it shares with those that are made of it
        self._passed: weakref.WeakKeyDictionary[Dialect, _Passed] = weakref.WeakKeyDictionary()

    def listen(self) -> None:
        """Begin to tell, in all sessions of the process where row security is on."""
        with self._lock:
            if not self._listens:
                event.listen(Session, "after_transaction_create", self._after_transaction_create)
                event.listen(Session, "after_begin", self._after_begin)
                event.listen(Engine, "before_cursor_execute", self._before_cursor_execute)
                self._listens = True

    # -- listeners

    def _after_transaction_create(self, session: Session, transaction: Any) -> None:
        """Find out who acts before there is a connection: the host's user loader may need the session for that."""
        if transaction.parent is None and self.current() is not None:
            self.refresh(session)

    def _after_begin(self, session: Session, transaction: Any, connection: Connection) -> None:
        who = self.current()
        dialect = connection.dialect
        told = self._told.get(connection)
        if who is None and told is None and dialect not in self._passed:
            return
        to_check = []
        if who is not None and self._passed.get(dialect, _NOT_PASSED).changes != registry.changes:
            to_check = [each for each in _of_engine(session, connection) if who.protects(each)]
            if not to_check:
                return
        if told is None:
            told = self._told[connection] = _Told(connection)
        session.info.setdefault(_INFO, {})[dialect] = told
        if to_check:
            self._check_session(connection, told, to_check)
        if not transaction.nested:
            told.acts = _NOBODY_KNOWS
            told.value = "" if told.value == "" else None  # it ended with the transaction before, if there was one
        self._follow(connection, told, who)

    def _before_cursor_execute(
        self, connection: Connection, cursor: Any, statement: str, parameters: Any, context: Any, executemany: bool
    ) -> None:
        told = self._told.get(connection)
        if told is None or told.is_busy:
            return
        lowered = statement.lower()
        undoes = "rollback" in lowered  # to a savepoint: the setting goes back with it
        if not undoes or not lowered.lstrip().startswith("rollback") or ";" in lowered:
            self._follow(connection, told, self.current())
        if undoes:
            told.forget()

    # -- telling

    def refresh(self, session: Session) -> None:
        """Tell the open transactions of a session who acts now. Statements of SQLAlchemy do so by themselves."""
        for told in list(session.info.get(_INFO, {}).values()):
            connection = told.connection()
            if connection is not None and not connection.closed and connection.in_transaction():
                self._follow(connection, told, self.current())

    def leave(self, block: Unrestricted) -> None:
        """An ``unrestricted`` block ends: no transaction that goes on is still told that everything is granted."""
        with self._lock:
            lifted = [told for told in self._lifted if told.acts is block]
        for told in lifted:
            connection = told.connection()
            if connection is None or connection.closed or not connection.in_transaction():
                continue
            try:
                self._tell(connection, told, _NOBODY_KNOWS, "")
            except SQLAlchemyError:  # the transaction has failed
                told.forget()

    def _follow(self, connection: Connection, told: _Told, who: Who | None) -> None:
        acts = None if who is None else who.acts
        if told.acts is acts:
            return
        grants = nobodys() if who is None else who.grants()
        value = json.dumps(grants, sort_keys=True, separators=(",", ":")) if grants else ""
        self._tell(connection, told, acts, value)
        if isinstance(acts, Unrestricted):
            with self._lock:
                self._lifted.add(told)

    def _tell(self, connection: Connection, told: _Told, acts: object, value: str) -> None:
        if value != told.value:
            told.forget()
            told.is_busy = True
            try:
                connection.execute(_SET, {"grants": value})
            finally:
                told.is_busy = False
        told.acts, told.value = acts, value

    # -- the self-test

    def check(self, connection: Connection, of_engine: Collection[Protection]) -> None:
        """See that row security binds the application; nothing must have been told in this transaction.

        :raises ConfigurationError: naming each problem, with its mend.
        """
        dialect = connection.dialect
        if dialect.name != "postgresql":
            raise ConfigurationError(f"ARCHIE_KEYS_ROW_SECURITY needs PostgreSQL; this is {dialect.name}")
        changes = registry.changes
        before = self._passed.setdefault(dialect, _NOT_PASSED)
        tables = frozenset(table_name(table) for each in of_engine for table in each.tables)
        if not tables <= before.tables:
            seen = look(connection, of_engine)
            if seen.problems:
                raise ConfigurationError(f"PostgreSQL's row security does not hold: {told_together(seen.problems)}")
            if seen.missing:  # a table that is made later may lack its policies
                return
        self._passed[dialect] = _Passed(changes, before.tables | tables)

    def is_checked(self, engine: Engine) -> bool:
        """Whether the self-test was passed for all that is protected now."""
        return self._passed.get(engine.dialect, _NOT_PASSED).changes == registry.changes

    def _check_session(self, connection: Connection, told: _Told, of_engine: Collection[Protection]) -> None:
        try:
            self._tell(connection, told, _NOBODY_KNOWS, "")
            told.is_busy = True
            self.check(connection, of_engine)
        except BaseException:
            connection.invalidate()  # whoever goes on with this transaction all the same cannot
            raise
        finally:
            told.is_busy = False


def _of_engine(session: Session, connection: Connection) -> list[Protection]:
    """The protected classes whose tables a session looks for in this connection's database."""
    found = [(each, engine_of(session, each)) for each in protections()]
    return [each for each, engine in found if engine is None or engine.dialect is connection.dialect]


def engine_of(session: Any, protection: Protection) -> Engine | None:
    """The engine that a session uses for a protected class; ``None`` if that cannot be told."""
    try:
        found: Engine = session.get_bind(mapper=protection.mapper).engine
    except (SQLAlchemyError, LookupError, RuntimeError):
        return None
    return found


# -- what is told


def everything() -> Grants:
    """In an ``unrestricted`` block."""
    return {"*": True}


def nobodys() -> Grants:
    """Where nobody acts: what was protected with ``unscoped="allow"``."""
    open_ = [each.resource for each in protections() if each.unscoped == "allow"]
    return {scope_of(resource, action): True for resource in open_ for action in ACTIONS}


def granted(decide: Decide, variables: Mapping[str, object]) -> Grants:
    """What the decisions about all protected resources allow, with the values of their filters.

    A filter that does not fit, or lacks a value, is not there and opens nothing.

    :param variables: values by name; see :func:`~flask_archie_keys.domain.filters.bind`.
    """
    found: dict[str, object] = {}
    for protection in protections():
        for action in ACTIONS:
            scope = scope_of(protection.resource, action)
            decision = decide(protection.resource, action)
            if isinstance(decision, Denied):
                continue
            if decision.filters is None:
                found[scope] = True
            elif found.get(scope) is not True:
                given = dict(_given(protection, decision.filters, variables))
                if given:
                    found[scope] = {**found.get(scope, {}), **given}  # type: ignore[dict-item]
    return found


def _given(
    protection: Protection, filters: tuple[str, ...], variables: Mapping[str, object]
) -> Iterator[tuple[str, object]]:
    for filter in filters:
        try:
            known = template(protection.model, protection.resource, filter)
        except FilterError:
            continue
        given = known.given(variables)
        if given is not None:
            yield known.id, given


row_security = RowSecurity()
