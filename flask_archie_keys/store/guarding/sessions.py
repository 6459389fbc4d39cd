"""One principal for a session's life: what the objects in it may be shown to."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from sqlalchemy import inspect
from sqlalchemy.orm import Mapper, Session

from ...errors import NobodyActs, RowNotFound, Unguarded
from ..protection import Access, Protection, Unrestricted, protection_of
from . import advice
from .statements import reaches

Who = Access | Unrestricted | None


class _Bound:
    """What is kept with a session.

    :ivar access: whose objects are in it.
    :ivar thread: where it was used last.
    :ivar blocks: the ``unrestricted`` blocks that it is used in, with what was in it before.
    """

    __slots__ = ("access", "blocks", "thread")

    def __init__(self) -> None:
        self.access: Access | None = None
        self.thread = 0
        self.blocks: dict[int, _Before] = {}


class _Before:
    """The protected objects of a session when an ``unrestricted`` block was entered."""

    __slots__ = ("keys", "pending")

    def __init__(self, session: Session) -> None:
        self.keys = {state.key for state in _states(session)}
        self.pending = {inspect(each) for each in _pending(session)}


class Sessions:
    """Keeps apart what sessions hold for one principal and for another.

    :param current: tells who acts.
    """

    def __init__(self, current: Callable[[], Who]) -> None:
        self._current = current
        self._bound: weakref.WeakKeyDictionary[Session, _Bound] = weakref.WeakKeyDictionary()
        self._inside: dict[int, weakref.WeakSet[Session]] = {}

    def bind(self, session: Session, access: Access) -> None:
        """Use a session for a principal.

        :raises Unguarded: if it holds objects that were loaded for another one.
        """
        bound = self._bound.get(session)
        if bound is not None and bound.access is not None:
            same = bound.access is access or bound.access.principal == access.principal
            if same and not bound.blocks:
                bound.access = access
                return
            if same and not any(_brought(session, before) for before in bound.blocks.values()):
                return
        if _states(session) or (bound is not None and bound.access is not None and _pending(session)):
            raise Unguarded(advice.OTHER_SESSION)
        if session.identity_map:
            _forget(session)
        bound = self._take(session)
        bound.access = access
        bound.thread = threading.get_ident()

    def changes_hands(self, session: Session, access: Access, mappers: Iterable[Mapper[Any]]) -> None:
        """A session is used for classes that are not protected: their objects may hold what was read of protected
        rows for another principal.

        :raises Unguarded: if it holds objects that were loaded for that one.
        """
        bound = self._bound.get(session)
        if bound is None:
            return
        if bound.access is not None and bound.access.principal == access.principal and not bound.blocks:
            return
        if any(reaches(mapper) for mapper in mappers):
            self.bind(session, access)

    def _take(self, session: Session) -> _Bound:
        bound = self._bound.get(session)
        if bound is None:
            bound = self._bound[session] = _Bound()
            # past here come get() and many-to-one loads where the object is in the session, without a statement
            session._identity_lookup = partial(self._lookup, weakref.ref(session))  # type: ignore[method-assign]
        return bound

    def nobody(self, session: Session) -> None:
        """A session is used where nobody acts, for classes that allow it."""
        self._take(session)

    def _lookup(self, ref: weakref.ref[Session], mapper: Mapper[Any], *args: Any, **kw: Any) -> Any:
        session = ref()
        assert session is not None  # noqa: S101 - it is its own attribute that is called
        protection = protection_of(mapper)
        if protection is not None and session.identity_map:
            self._look(session, protection)
        elif session.identity_map:
            who = self._current()
            if who is not None and not isinstance(who, Unrestricted):
                self.changes_hands(session, who, (mapper,))
        try:
            return type(session)._identity_lookup(session, mapper, *args, **kw)
        except RowNotFound:  # it was there, has expired, and is outside by now
            return None

    def _look(self, session: Session, protection: Protection) -> None:
        who = self._current()
        if isinstance(who, Unrestricted):
            self.inside(session, who)
        elif who is not None:
            self.bind(session, who)
        elif protection.unscoped != "allow":
            raise NobodyActs(advice.NOBODY.format(tables=protection.table))

    def before_attach(self, session: Session, instance: object) -> None:
        """Listens to all sessions: an object is added."""
        state: Any = inspect(instance)
        protection = protection_of(state.mapper)
        if protection is None:
            return
        who = self._current()
        if isinstance(who, Unrestricted):
            self.inside(session, who)
        elif state.key is not None and (who is not None or protection.unscoped != "allow"):
            raise Unguarded(advice.DETACHED.format(model=state.mapper.class_.__name__))
        elif who is not None:
            self.bind(session, who)
        else:
            self.nobody(session)

    # unrestricted blocks

    def enter(self, who: Who) -> None:
        """Write what is pending before an ``unrestricted`` block begins: it is for who acts now to answer for.

        :param who: who has acted until now.
        """
        if who is None or isinstance(who, Unrestricted):
            return
        thread = threading.get_ident()
        for ref in self._bound.keyrefs():
            session = ref()
            bound = None if session is None else self._bound.get(session)
            if session is None or bound is None or bound.access is None or bound.thread != thread:
                continue
            if bound.access.principal == who.principal and _has_changes(session):
                session.flush()

    def inside(self, session: Session, block: Unrestricted) -> None:
        """A session is used in an ``unrestricted`` block."""
        bound = self._take(session)
        if id(block) not in bound.blocks:
            bound.blocks[id(block)] = _Before(session)
            self._inside.setdefault(id(block), weakref.WeakSet()).add(session)

    def leave(self, block: Unrestricted, failed: bool) -> None:
        """An ``unrestricted`` block ends: what it brought into sessions does not stay there.

        :param failed: whether it ends with an error; what is pending is not written then.
        """
        used = list(self._inside.get(id(block), ()))
        try:
            if not failed:
                for session in used:
                    session.flush()
        finally:
            self._inside.pop(id(block), None)
            for session in used:
                bound = self._take(session)
                before = bound.blocks.pop(id(block), None)
                for instance in [] if before is None else _brought(session, before):
                    session.expunge(instance)
                _forget(session)


def _brought(session: Session, before: _Before) -> list[object]:
    """The protected objects of a session that were not there before."""
    found = [state.obj() for state in _states(session) if state.key not in before.keys]
    return found + [each for each in _pending(session) if inspect(each) not in before.pending]


def _states(session: Session) -> list[Any]:
    """The states of the protected objects that are in the database."""
    return [
        state
        for state in session.identity_map.all_states()
        if protection_of(state.manager.mapper) is not None and state.obj() is not None
    ]


def _pending(session: Session) -> list[object]:
    return [each for each in session.new if protection_of(inspect(each).mapper) is not None]


def _has_changes(session: Session) -> bool:
    changed = [*session.new, *session.dirty, *session.deleted]
    return any(protection_of(inspect(each).mapper) is not None for each in changed)


def _forget(session: Session) -> None:
    """Objects keep nothing that was read of protected rows, but for what is about to be written."""
    for state in session.identity_map.all_states():
        instance = state.obj()
        if instance is None:
            continue
        keys = reaches(state.manager.mapper).intersection(state.dict) - set(state.committed_state)
        if keys:
            session.expire(instance, keys)
