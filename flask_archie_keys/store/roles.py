"""Reads and writes of roles. Every statement carries project and environment, every change moves the policy epoch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, RowMapping, and_, case, delete, insert, select, update

from ..domain.clock import from_micros
from ..domain.permissions import Grant, Role
from .inserts import insert_unless_there
from .models import epochs, grants, roles


def to_role(row: RowMapping | Mapping[str, Any], of_role: Iterable[Grant]) -> Role:
    """The record of a row and its grants."""
    return Role(
        name=row["name"],
        description=row["description"],
        grants=tuple(of_role),
        source="saved",
        project=row["project"],
        environment=row["environment"],
        version=row["version"],
        created_at=from_micros(row["created_at"]),
        updated_at=from_micros(row["updated_at"]),
    )


class RoleStore:
    """The saved roles of one project and environment."""

    def __init__(self, project: str, environment: str) -> None:
        self._values = {"project": project, "environment": environment}
        self._of_roles, self._of_grants, self._of_epochs = (
            and_(table.c.project == project, table.c.environment == environment) for table in (roles, grants, epochs)
        )

    # -- reading

    def epoch(self, connection: Connection, *, lock: bool = False) -> int:
        """When the roles last changed, in microseconds since the epoch; 0 if they never did.

        :param lock: nobody changes a role until the end of the transaction.
        """
        statement = select(epochs.c.epoch).where(self._of_epochs)
        if not lock:
            return connection.execute(statement).scalar() or 0
        statement = statement.with_for_update(read=True)  # on SQLite the transaction holds the lock already
        found: int | None = connection.execute(statement).scalar()
        if found is None:  # what is not there cannot be locked
            self._make_epoch(connection)
            found = connection.execute(statement).scalar()
        return found or 0

    def all(self, connection: Connection) -> dict[str, Role]:
        """All saved roles, by name."""
        of_roles: dict[str, list[Grant]] = defaultdict(list)
        ordered = select(grants).where(self._of_grants).order_by(grants.c.role, grants.c.position)
        for row in connection.execute(ordered).mappings():
            of_roles[row["role"]].append(_to_grant(row))
        rows = connection.execute(select(roles).where(self._of_roles).order_by(roles.c.name)).mappings()
        return {row["name"]: to_role(row, of_roles.get(row["name"], ())) for row in rows}

    def names(self, connection: Connection) -> list[str]:
        """The names of all saved roles."""
        return list(connection.execute(select(roles.c.name).where(self._of_roles)).scalars())

    def get(self, connection: Connection, name: str) -> Role | None:
        """One saved role."""
        row = connection.execute(select(roles).where(self._of_roles, roles.c.name == name)).mappings().first()
        if row is None:
            return None
        ordered = select(grants).where(self._of_grants, grants.c.role == name).order_by(grants.c.position)
        return to_role(row, [_to_grant(grant) for grant in connection.execute(ordered).mappings()])

    # -- writing

    def lock(self, connection: Connection) -> None:
        """Keep others from changing roles, and from giving them to keys, until the end of the transaction."""
        self._make_epoch(connection)
        connection.execute(select(epochs.c.epoch).where(self._of_epochs).with_for_update())

    def move(self, connection: Connection, now: int) -> None:
        """Move the epoch: what was made of the roles before is not used again.

        :param now: microseconds since the epoch.
        """
        next_ = case((epochs.c.epoch < now, now), else_=epochs.c.epoch + 1)
        connection.execute(update(epochs).where(self._of_epochs).values(epoch=next_))

    def _make_epoch(self, connection: Connection) -> None:
        """The row of the epoch, if there is none yet: what is not there cannot be locked."""
        if connection.execute(select(epochs.c.epoch).where(self._of_epochs)).first() is None:
            insert_unless_there(connection, epochs, {**self._values, "epoch": 0})  # another process may make it, too

    def save(
        self, connection: Connection, name: str, description: str, of_role: Iterable[Grant], now: int, old: Role | None
    ) -> None:
        """Write a role and all its grants.

        :param old: the role as it is now; ``None`` for a new one.
        """
        if old is None:
            row = {"name": name, "description": description, "created_at": now, "updated_at": now, "version": 1}
            connection.execute(insert(roles), {**self._values, **row})
        else:
            changed = {"description": description, "updated_at": now, "version": roles.c.version + 1}
            connection.execute(update(roles).where(self._of_roles, roles.c.name == name).values(**changed))
            connection.execute(delete(grants).where(self._of_grants, grants.c.role == name))
        rows = [
            {**self._values, "role": name, "position": position, **_to_row(grant)}
            for position, grant in enumerate(of_role)
        ]
        if rows:
            connection.execute(insert(grants), rows)

    def remove(self, connection: Connection, name: str) -> None:
        """Remove a role and its grants."""
        connection.execute(delete(grants).where(self._of_grants, grants.c.role == name))
        connection.execute(delete(roles).where(self._of_roles, roles.c.name == name))


def _to_row(grant: Grant) -> dict[str, Any]:
    return {name: getattr(grant, name) for name in _FIELDS}


def _to_grant(row: RowMapping) -> Grant:
    return Grant(**{name: row[name] for name in _FIELDS})


_FIELDS = ("resource", "read", "write", "update", "delete", "filter")
