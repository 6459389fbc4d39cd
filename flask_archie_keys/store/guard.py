"""What keeps the sessions and engines of an application inside the rows of who acts.

Imported with the first :func:`protect`, which also installs the listeners, once for the process: on all sessions and on
all engines. Every SELECT, UPDATE and DELETE of a session gets the criteria of who acts; the unit of work is checked row
by row (:mod:`.guarding.flush`); and whatever reaches an engine is looked at once more (:mod:`.guarding.tripwire`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Literal, TypeVar, cast

from sqlalchemy import Engine, event
from sqlalchemy.orm import Mapper, ORMExecuteState, Session
from sqlalchemy.sql.elements import TextClause
from sqlalchemy.sql.lambdas import StatementLambdaElement

from ..domain.permissions import Action
from ..errors import ConfigurationError, RowNotFound, Unguarded
from . import protection
from .guarding import advice, scoping
from .guarding.flush import NO_SUCH_ROW, Flushes, is_new
from .guarding.mappings import unguardable
from .guarding.sessions import Sessions
from .guarding.statements import Mark, Named, RowCriteria, criteria_of
from .guarding.tripwire import Tripwire
from .protection import KEY, Access, Protection, Unrestricted, protection_of, registry, resources, unprotected
from .scope import RowRule

__all__ = ["Access", "Unrestricted", "enter", "install", "leave", "problems", "protect", "resources", "scope"]
__all__ += ["unprotected"]

Who = Access | Unrestricted | None
S = TypeVar("S")


class Guard:
    """The listeners.

    :ivar tell: tells who acts; nobody until :func:`install` was called.
    """

    def __init__(self) -> None:
        self.tell: Callable[[], Who] = lambda: None
        self.sessions = Sessions(self.current)
        self._flushes = Flushes(self.current, self.sessions)
        self._tripwire = Tripwire(self.current)
        self._lock = threading.Lock()
        self._listens = False
        self._checked = 0

    def current(self) -> Who:
        """Who acts."""
        return self.tell()

    def listen(self) -> None:
        """Begin to guard, all sessions and engines of the process."""
        with self._lock:
            if self._listens:
                return
            event.listen(Session, "do_orm_execute", self._do_orm_execute)
            event.listen(Session, "before_attach", self.sessions.before_attach)
            for name in ("before_flush", "after_flush", "after_soft_rollback", "after_begin"):
                event.listen(Session, name, getattr(self._flushes, name))
            event.listen(Engine, "before_cursor_execute", self._tripwire.before_cursor_execute)
            self._listens = True

    def _do_orm_execute(self, state: ORMExecuteState) -> Any:
        who = self.current()
        if isinstance(who, Unrestricted):
            self.sessions.inside(state.session, who)
            return None
        if isinstance(state.statement, StatementLambdaElement):
            state.statement = state.statement._resolved  # a plain statement, which can be given options
        names = Named(state.statement)
        protected = names.protected
        reached = names.reached - protected.keys()
        secondary = _secondary(state)
        if not protected and not reached and not secondary:
            if who is not None:
                self.sessions.changes_hands(state.session, who, names.mappers)
            return None  # the tripwire sees what else there is
        if who is None:
            self.sessions.nobody(state.session)  # whether that is allowed, the tripwire says
            return None
        if state.is_from_statement:
            _see_origin(state.statement, protected)
        self._check_mappings()
        self.sessions.bind(state.session, who)
        refreshed = _refreshed(state)
        if refreshed is not None and (own := protection_of(refreshed.manager.mapper)) is not None:
            return _reload(state, who, own, refreshed, reached)
        mark = _mark(state, who, protected, reached)
        mark.secondary = secondary
        state.statement = _with_criteria(state.statement, mark)
        state.update_execution_options(**{KEY: mark})
        return None

    def _check_mappings(self) -> None:
        changes = registry.changes
        if changes != self._checked:
            found = problems()
            if found:
                raise ConfigurationError("; ".join(found))
            self._checked = changes


def _mark(
    state: ORMExecuteState, who: Access, protected: dict[Mapper[Any], Protection], reached: set[Mapper[Any]]
) -> Mark:
    """The criteria of a statement. Those of what it names must be granted; others are closed where they are not."""
    mark = Mark(who)
    target = _target(state, protected)
    for mapper, each in protected.items():
        rules: tuple[RowRule, ...] = (rule_of(who, each, "read"),)
        if mapper is target:
            rules = mark.rules = (rule_of(who, each, "update" if state.is_update else "delete"), *rules)
        mark.criteria[mapper] = criteria_of(each, rules)
    for mapper in reached:
        each = cast(Protection, protection_of(mapper))
        rule = who.may(each.resource, "read", each.model)
        if rule is None:
            mark.denied[mapper] = each
        mark.criteria[mapper] = criteria_of(each, () if rule is None else (_fitting(rule, each),))
    return mark


def _secondary(state: ORMExecuteState) -> frozenset[Any]:
    """The association tables that a relationship goes by which is being loaded."""
    if not state.is_relationship_load:
        return frozenset()
    path: Any = state.loader_strategy_path
    return frozenset(part.secondary for part in path.path if getattr(part, "secondary", None) is not None)


def _target(state: ORMExecuteState, protected: dict[Mapper[Any], Protection]) -> Mapper[Any] | None:
    """The protected class that an UPDATE or DELETE changes.

    :raises Unguarded: if its rows are not those of the class's own table, or are named one by one.
    """
    if not (state.is_update or state.is_delete) or state.bind_mapper is None:
        return None
    target = state.bind_mapper.base_mapper
    if target in protected:
        if state.bind_mapper.local_table is not target.local_table:
            raise Unguarded(advice.DERIVED.format(table=state.bind_mapper.local_table, base=target.local_table))
        if isinstance(state.parameters, list):
            raise Unguarded(advice.BY_KEY)
        if state.execution_options.get("synchronize_session") == "evaluate":
            state.update_execution_options(synchronize_session="auto")  # filters are for the database to evaluate
    return target


def _see_origin(statement: Any, protected: dict[Mapper[Any], Protection]) -> None:
    """See that objects are not made of whatever rows a text gives."""
    element = statement.element
    if isinstance(element, TextClause) or getattr(element, "_is_textual", False):
        for each in protected.values():
            raise Unguarded(advice.FROM_STATEMENT.format(model=each.model.__name__))


def rule_of(who: Access, each: Protection, action: Action) -> RowRule:
    """The rule of an action.

    :raises Forbidden: if there is no grant.
    """
    return _fitting(who.rule(each.resource, action, each.model), each)


def _fitting(rule: RowRule, each: Protection) -> RowRule:
    if rule.model is not each.model:
        raise ConfigurationError(f"the rule of the resource {each.resource} is for {rule.model}, not for {each.model}")
    return rule


def _with_criteria(statement: Any, mark: Mark) -> Any:
    """The statement with new criteria, and without those that came along from where its objects were loaded."""
    kept = tuple([option for option in statement._with_options if not isinstance(option, RowCriteria)])
    statement = statement.options(*mark.criteria.values())
    statement._with_options = kept + tuple(mark.criteria.values())
    return statement


def _refreshed(state: ORMExecuteState) -> Any:
    """The state of the object whose row is read again; ``None`` if a statement is for something else."""
    return getattr(state.load_options, "_refresh_state", None) if state.is_column_load else None


def _reload(state: ORMExecuteState, who: Access, own: Protection, refreshed: Any, reached: set[Mapper[Any]]) -> Any:
    """Read one row again. SQLAlchemy leaves criteria out of such statements (#5762), so the row's own key gets one.

    :raises RowNotFound: if it is outside by now, or gone; the object leaves the session then.
    """
    mark = _mark(state, who, {own.mapper: own}, reached)
    statement = _with_criteria(state.statement, mark)
    rules = () if is_new(state.session, refreshed) else (rule_of(who, own, "read"),)
    key = refreshed.key[1]
    statement = scoping.for_identity(statement, own, who.principal, rules, key)
    result: Any = state.invoke_statement(statement, execution_options={KEY: mark}).freeze()
    if not result.data:
        instance = refreshed.obj()
        if instance is not None and instance in state.session:
            state.session.expunge(instance)
        raise RowNotFound(NO_SUCH_ROW)
    return result()


_guard = Guard()


def install(current: Callable[[], Who]) -> None:
    """Tell the guard who acts.

    :param current: called for each use of a protected table; ``None`` says that nobody acts.
    """
    _guard.tell = current


def protect(model: type[Any], resource: str, unscoped: Literal["refuse", "allow"] = "refuse") -> None:
    """Guard a mapped class and all that inherit from it, from now on, in every session and engine.

    :param resource: the name that grants have for it.
    :param unscoped: what becomes of its use where nobody acts.
    :raises ConfigurationError: if the class cannot be guarded; the message says why.
    """
    protection.protect(model, resource, unscoped)
    _guard.listen()


def problems() -> list[str]:
    """The mappings around protected classes that cannot be guarded, a sentence for each."""
    return unguardable()


def scope(statement: S, action: Action, access: Access) -> S:
    """The statement with the row filters of an access, for Core and for connections of one's own.

    :raises Forbidden: if there is no grant.
    :raises Unguarded: if its form cannot be filtered; the message says what to do instead.
    """
    return cast(S, scoping.scoped(statement, action, access, rule_of))


def enter(who: Who) -> None:
    """To be called before an ``unrestricted`` block begins: what is pending is written for who acts until then.

    :raises Forbidden: if it may not be.
    """
    _guard.sessions.enter(who)


def leave(unrestricted: Unrestricted, failed: bool) -> None:
    """To be called when an ``unrestricted`` block ends, while it still acts.

    :param failed: whether it ends with an error.
    """
    _guard.sessions.leave(unrestricted, failed)
