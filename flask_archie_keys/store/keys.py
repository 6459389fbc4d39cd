"""Reads and writes of key records. Every statement carries project and environment."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, and_, case, func, insert, or_, select, tuple_, update
from werkzeug.datastructures import ImmutableDict

from ..domain.clock import from_micros
from ..domain.records import ContextValue, Key, Status, status_at
from .models import keys


def dump(value: object) -> str:
    """A list or context as JSON text, in one form for equal values."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def load_context(text: str) -> Mapping[str, ContextValue]:
    """A context from JSON text, read-only."""
    return ImmutableDict(
        {name: tuple(value) if isinstance(value, list) else value for name, value in json.loads(text).items()}
    )


def load_list(text: str | None) -> tuple[str, ...] | None:
    """A list of strings from JSON text."""
    return None if text is None else tuple(json.loads(text))


def _moment(micros: int | None) -> Any:
    return None if micros is None else from_micros(micros)


def to_key(row: RowMapping | Mapping[str, Any], now: int) -> Key:
    """The record of a row, with its status at ``now`` (microseconds since the epoch)."""
    return Key(
        id=row["id"],
        name=row["name"],
        prefix=row["prefix"],
        project=row["project"],
        environment=row["environment"],
        roles=load_list(row["roles"]) or (),
        context=load_context(row["context"]),
        owner=row["owner"],
        status=status_at(
            now,
            expires_at=row["expires_at"],
            disabled_at=row["disabled_at"],
            deleted_at=row["deleted_at"],
            replaced_by=row["replaced_by"],
        ),
        created_at=from_micros(row["created_at"]),
        created_by=row["created_by"],
        expires_at=_moment(row["expires_at"]),
        last_used_at=_moment(row["last_used_at"]),
        disabled_at=_moment(row["disabled_at"]),
        deleted_at=_moment(row["deleted_at"]),
        replaces=row["replaces"],
        replaced_by=row["replaced_by"],
        rate_limit=row["rate_limit"],
        allowed_networks=load_list(row["allowed_networks"]),
        version=row["version"],
    )


class KeyStore:
    """The key records of one project and environment."""

    def __init__(self, project: str, environment: str) -> None:
        self._scope = and_(keys.c.project == project, keys.c.environment == environment)

    def get(
        self, connection: Connection, key_id: str, *conditions: ColumnElement[bool], lock: bool = False
    ) -> RowMapping | None:
        """The row of a key; with ``lock``, nobody else changes it until the end of the transaction."""
        statement = select(keys).where(self._scope, keys.c.id == key_id, *conditions)
        if lock:  # on SQLite the transaction holds the lock already
            statement = statement.with_for_update()
        return connection.execute(statement).mappings().first()

    def add(self, connection: Connection, row: Mapping[str, Any]) -> None:
        """Insert a row."""
        connection.execute(insert(keys), dict(row))

    def change(
        self, connection: Connection, key_id: str, values: Mapping[str, Any], *guards: ColumnElement[bool]
    ) -> bool:
        """Update one key where the guards hold, and count its version up; whether it was done.

        One statement: of any number of callers whose guards exclude each other, one succeeds.
        """
        statement = update(keys).where(self._scope, keys.c.id == key_id, *guards)
        result = connection.execute(statement.values(**values, version=keys.c.version + 1))
        return result.rowcount == 1

    def replace_digest(self, connection: Connection, key_id: str, old: str, new: str) -> bool:
        """Store a digest made anew, unless it was changed meanwhile. Not a new version: the key is the same."""
        statement = update(keys).where(self._scope, keys.c.id == key_id, keys.c.digest == old).values(digest=new)
        return connection.execute(statement).rowcount == 1

    def find(
        self,
        connection: Connection,
        *conditions: ColumnElement[bool],
        now: int,
        limit: int,
        before: tuple[int, str] | None,
        status: Status | None,
        role: str | None,
        prefix: str | None,
        q: str | None,
    ) -> list[RowMapping]:
        """Up to ``limit`` rows, newest first, that come after the position ``before``: (created_at, id)."""
        statement = select(keys).where(self._scope, *conditions)
        if before is not None:
            statement = statement.where(tuple_(keys.c.created_at, keys.c.id) < tuple_(*before))
        if status is not None:
            statement = statement.where(has_status(status, now))
        if role is not None:
            statement = statement.where(_has_role(role))
        if prefix is not None:
            statement = statement.where(keys.c.prefix == prefix)
        if q is not None:
            statement = statement.where(
                or_(
                    keys.c.name.contains(q, autoescape=True),
                    func.lower(keys.c.name).contains(q.lower(), autoescape=True),  # of ASCII only, on SQLite
                    keys.c.id == q,
                    keys.c.owner == q,
                )
            )
        ordered = statement.order_by(keys.c.created_at.desc(), keys.c.id.desc()).limit(limit)
        return list(connection.execute(ordered).mappings())

    def with_role(
        self, connection: Connection, role: str, *conditions: ColumnElement[bool], limit: int | None = None
    ) -> list[RowMapping]:
        """The rows of the keys that have a role, deleted ones left out, oldest first; with a limit, newest first."""
        statement = select(keys).where(self._scope, keys.c.deleted_at.is_(None), _has_role(role), *conditions)
        if limit is None:
            ordered = statement.order_by(keys.c.created_at, keys.c.id)
        else:
            ordered = statement.order_by(keys.c.created_at.desc(), keys.c.id.desc()).limit(limit)
        return list(connection.execute(ordered).mappings())

    def count_by_roles(
        self, connection: Connection, *conditions: ColumnElement[bool]
    ) -> list[tuple[tuple[str, ...], int]]:
        """How many keys have the same roles, deleted ones left out."""
        statement = select(keys.c.roles, func.count()).where(self._scope, keys.c.deleted_at.is_(None), *conditions)
        found = connection.execute(statement.group_by(keys.c.roles))
        return [(load_list(roles) or (), count) for roles, count in found]

    def lineage(self, connection: Connection, key_id: str) -> list[str]:
        """The ids of the keys that were rotated into this one and that this one was rotated into, oldest first."""
        found = [key_id]
        for column, at in ((keys.c.replaces, 0), (keys.c.replaced_by, -1)):
            while True:
                statement = select(column).where(self._scope, keys.c.id == found[at])
                neighbour = connection.execute(statement).scalar()
                if neighbour is None or neighbour in found:
                    break
                found.insert(0, neighbour) if at == 0 else found.append(neighbour)
        return found

    def deleted_before(self, connection: Connection, moment: int, *conditions: ColumnElement[bool]) -> list[str]:
        """The ids of keys deleted before ``moment``."""
        statement = select(keys.c.id).where(self._scope, keys.c.deleted_at < moment, *conditions)
        return list(connection.execute(statement).scalars())

    def remove(self, connection: Connection, key_id: str) -> None:
        """Remove a record altogether; for retention only."""
        connection.execute(keys.delete().where(self._scope, keys.c.id == key_id))


def _has_role(role: str) -> ColumnElement[bool]:
    return keys.c.roles.contains(f'"{role}"', autoescape=True)


def has_status(status: Status, now: int) -> ColumnElement[bool]:
    """The condition that a key has ``status`` at ``now``; the twin of :func:`~..domain.records.status_at`."""
    code = case(
        (keys.c.deleted_at.is_not(None), "deleted"),
        (keys.c.expires_at <= now, "expired"),
        (keys.c.disabled_at.is_not(None), "disabled"),
        (keys.c.replaced_by.is_not(None), "retiring"),
        else_="active",
    )
    return code == status


def is_alive(now: int) -> ColumnElement[bool]:
    """The condition that a key works at ``now``: not deleted, not disabled, not expired."""
    return and_(
        keys.c.deleted_at.is_(None),
        keys.c.disabled_at.is_(None),
        or_(keys.c.expires_at.is_(None), keys.c.expires_at > now),
    )
