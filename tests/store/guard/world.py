"""A database with the models' rows, keys that act on it, and a look past the guard at what is really there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from flask_archie_keys.domain.filters import parse
from flask_archie_keys.domain.permissions import ACTIONS, Action
from flask_archie_keys.domain.principals import Principal
from flask_archie_keys.errors import Forbidden
from flask_archie_keys.store import guard
from flask_archie_keys.store.guard import Unrestricted
from flask_archie_keys.store.scope import RowRule, row_rule

from .models import ROWS, Base

Grants = Mapping[str, Mapping[Action, str | None]]
BY_ENV = "env = $context.env"


class KeyAccess:
    """What a key may do: filters by resource and action."""

    def __init__(self, grants: Grants, name: str = "key", **context: Any) -> None:
        self.principal = Principal("key", f"id-{name}", name, "default", "master", context=context)
        self.grants = grants

    def rule(self, resource: str, action: Action, model: type | None = None) -> RowRule:
        found = self.may(resource, action, model)
        if found is None:
            scope = f"{resource}:{action}"
            raise Forbidden(f"this key may not {scope}", reason="missing_grant", scope=scope, key_id=self.principal.id)
        return found

    def may(self, resource: str, action: Action, model: type | None = None) -> RowRule | None:
        granted = self.grants.get(resource, {})
        if action not in granted:
            return None
        filter = granted[action]
        values = {f"context.{name}": value for name, value in self.principal.context.items()}
        filters = None if filter is None else (parse(filter),)
        return row_rule(model or guard.resources()[resource], resource, filters, values, self._related)

    def _related(self, model: type) -> RowRule | None:
        for resource, protected in guard.resources().items():
            if protected is model:
                return self.may(resource, "read") or row_rule(model, resource, (), {}, lambda model: None)
        return None


def all_actions(filter: str | None) -> dict[Action, str | None]:
    return dict.fromkeys(ACTIONS, filter)


class World:
    """One database. ``with world.acting(world.key): …``"""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.who: Any = None
        Base.metadata.create_all(engine)
        seed(self.engine, {})
        self.key = KeyAccess(
            {
                "docs": all_actions(BY_ENV),
                "notes": all_actions("doc.env = $context.env"),
                "pages": all_actions(BY_ENV),
            },
            env="prod",
        )
        self.other = KeyAccess(self.key.grants, "other", env="dev")
        self.reader = KeyAccess(
            {"docs": {"read": BY_ENV}, "notes": {"read": None}, "pages": {"read": BY_ENV}}, "reader", env="prod"
        )
        self.admin = KeyAccess(
            {"docs": all_actions(None), "notes": all_actions(None), "pages": all_actions(None)}, "admin"
        )
        self.dotted = KeyAccess({"docs": all_actions("folder.region = $context.region")}, "dotted", region="eu")
        self.empty = KeyAccess(self.key.grants, "empty")
        self.stranger = KeyAccess({}, "stranger", env="prod")
        self._sessions: list[Session] = []

    def current(self) -> Any:
        return self.who

    @contextmanager
    def acting(self, who: Any) -> Iterator[None]:
        before, self.who = self.who, who
        try:
            yield
        finally:
            self.who = before

    @contextmanager
    def unrestricted(self, why: str = "a test") -> Iterator[None]:
        """As an application's ``with keys.unrestricted(…)`` does it."""
        guard.enter(self.who)
        block = Unrestricted(why)
        failed = True
        with self.acting(block):
            try:
                yield
                failed = False
            finally:
                guard.leave(block, failed)

    @contextmanager
    def granting(self, resource: str, **actions: Any) -> Iterator[None]:
        """The keys have other filters for a while; ``...`` takes a grant away."""
        grants: Any = self.key.grants[resource]
        before = dict(grants)
        grants.update(actions)
        for action in [action for action, filter in actions.items() if filter is ...]:
            del grants[action]
        try:
            yield
        finally:
            grants.update(before)

    def session(self, **kw: Any) -> Session:
        self._sessions.append(Session(self.engine, **kw))
        return self._sessions[-1]

    def raw(self, statement: str) -> list[tuple[Any, ...]]:
        """Run a statement past SQLAlchemy, as a database administrator would."""
        connection = self.engine.raw_connection()
        try:
            cursor = connection.cursor()
            cursor.execute(statement)
            rows = [tuple(row) for row in cursor.fetchall()] if cursor.description else []
            connection.commit()
            return rows
        finally:
            connection.close()

    def dump(self) -> dict[str, list[tuple[Any, ...]]]:
        return {name: self.raw(f"SELECT * FROM {name} ORDER BY 1, 2") for name in ROWS}

    def restore(self) -> None:
        """Put the rows back if they were changed."""
        self.who = None
        for session in self._sessions:
            session.close()
        self._sessions.clear()
        if self.dump() == ROWS:
            return
        self.raw("UPDATE doc SET favourite_id = NULL, parent_id = NULL")
        for table in reversed(Base.metadata.sorted_tables):
            self.raw(f"DELETE FROM {table.name}")
        seed(self.engine, {})


def seed(engine: Engine, only: Mapping[str, Callable[[tuple[Any, ...]], bool]]) -> None:
    """Put the models' rows into empty tables.

    :param only: whether a row is wanted, by table.
    """
    connection = engine.raw_connection()
    cursor = connection.cursor()
    place = "?" if engine.dialect.name == "sqlite" else "%s"
    order = ["folder", "tag", "setting", "public_page", "doc", "special_doc", "note", "doc_tag", "remark", "visit"]
    for name in order:
        columns = Base.metadata.tables[name].columns
        wanted = [row for row in ROWS[name] if name not in only or only[name](row)]
        # parents first: documents refer to each other
        for row in sorted(wanted, key=lambda row: (name == "doc" and row[7] is not None, row[0])):
            names = ", ".join(column.name for column in columns)
            cursor.execute(f"INSERT INTO {name} ({names}) VALUES ({', '.join([place] * len(row))})", row)
        if place == "%s" and "id" in columns and name != "special_doc":
            cursor.execute(f"ALTER SEQUENCE {name}_id_seq RESTART 100")
    connection.commit()
    connection.close()


Run = Callable[[World, Session], Any]
