"""Who makes a change, whether it may, and how far it may go: asked by the services before they do anything."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, Table

from ..config import Config
from ..domain.clock import from_micros, now_micros, to_micros
from ..domain.permissions import Action, Role
from ..domain.principals import Acting, Principal
from ..errors import Forbidden
from ..permissions.access import Access
from ..permissions.ceiling import beyond, ensure_within
from ..permissions.roles import DatabasePermissions
from ..store.keys import KeyStore, load_context, load_list, to_key
from ..store.scope import RowRule


@dataclass(frozen=True, slots=True)
class Permit:
    """That somebody may do something, and to which of our rows.

    :ivar actor: who is bound by the ceiling; ``None`` for the system.
    """

    actor: Principal | None = None
    rule: RowRule | None = None

    def conditions(self, table: Table) -> list[ColumnElement[bool]]:
        """What a row must be like, in SQL."""
        return [] if self.rule is None or self.rule.everything else [self.rule.condition(table)]

    def require(self, row: Mapping[str, Any]) -> None:
        """:raises Forbidden: if a row that is about to be written is not among those that may be."""
        if self.actor is not None and self.rule is not None and not self.rule.allows(_Row(row)):
            raise beyond(self.actor, f"its filter on {self.rule.resource} does not let this through")

    def require_other(self, key_id: str) -> None:
        """:raises Forbidden: if a key is about to change itself."""
        if self.actor is not None and self.actor.kind == "key" and self.actor.id == key_id:
            raise beyond(self.actor, "a key does not change itself")


class _Row:
    """A row's values as attributes, as filters read them."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.__dict__.update(values)


class Authority:
    """Answers for whoever acts now.

    :param acting: who acts and from where, for the audit log.
    :param access: the permissions of who acts; ``None`` for the system, which may do everything.
    :param permissions: the roles of the database.
    :param remote: a remote service decides, whose rules are not known here.
    """

    def __init__(
        self,
        config: Config,
        permissions: DatabasePermissions,
        *,
        acting: Callable[[], Acting],
        access: Callable[[], Access | None],
        remote: bool,
    ) -> None:
        self._config = config
        self._access = access
        self._keys = KeyStore(config.project, config.environment)
        self._remote = remote
        self.acting = acting
        self.permissions = permissions

    def permit(self, resource: str, action: Action) -> Permit:
        """Leave to do something with one of our own resources.

        :raises Forbidden: if who acts has no grant for it, or is of another project or environment.
        """
        access = self._access()
        if access is None or access.principal.kind == "system":
            return Permit()
        actor = access.principal
        if (actor.project, actor.environment) != (self._config.project, self._config.environment):
            raise beyond(actor, f"it is of {actor.environment} and cannot manage {self._config.environment}")
        return Permit(actor, access.rule(resource, action))

    def readable(self, resource: str, table: Table) -> list[ColumnElement[bool]]:
        """What the rows of one of our tables must be like for who acts to read them.

        :raises Forbidden: if it has no grant for that.
        """
        return self.permit(resource, "read").conditions(table)

    def seen(self, resource: str, rows: Iterable[RowMapping]) -> list[RowMapping]:
        """Those of some rows of ours that who acts may read; none without a grant for that."""
        access = self._access()
        if access is None or access.principal.kind == "system":
            return list(rows)
        rule = access.may(resource, "read")
        return [] if rule is None else [row for row in rows if rule.allows(_Row(dict(row)))]

    def ensure_within(
        self, connection: Connection, permit: Permit, known: Mapping[str, Role], row: Mapping[str, Any] | RowMapping
    ) -> None:
        """Keep a key under the ceiling of whoever makes or changes it.

        :param row: the key's row as it would be.
        :raises Forbidden: if it could do more.
        """
        if permit.actor is None:
            return
        actor, networks = self.by_now(connection, permit.actor)
        ensure_within(
            actor,
            known=None if self._remote else known,
            roles=load_list(row["roles"]) or (),
            context=load_context(row["context"]),
            owner=row["owner"],
            expires_at=row["expires_at"],
            networks=load_list(row["allowed_networks"]),
            actor_networks=networks,
            project=self._config.project,
            environment=self._config.environment,
        )

    def by_now(self, connection: Connection, actor: Principal) -> tuple[Principal, Collection[str] | None]:
        """Whoever acts as it is by now, and the networks that it is bound to (``None`` for any).

        What was read of a key when its request began may be old: what it makes would outlive it.

        :raises Forbidden: if the key does not work any more.
        """
        if actor.kind != "key":
            return actor, None
        row = self._keys.get(connection, actor.id)
        status = "deleted" if row is None else to_key(row, now_micros()).status
        if row is None or status not in ("active", "retiring"):
            raise Forbidden(f"the API key that acts is {status} by now", reason=status, key_id=actor.id)
        actor = replace(
            actor,
            roles=load_list(row["roles"]) or (),
            context=load_context(row["context"]),
            owner=row["owner"],
            expires_at=None if row["expires_at"] is None else from_micros(row["expires_at"]),
        )
        return actor, load_list(row["allowed_networks"])

    @staticmethod
    def latest(permit: Permit, expires_at: int | None) -> int | None:
        """The end of a key for which none was asked for: no later than that of whoever makes it."""
        if permit.actor is None or permit.actor.expires_at is None:
            return expires_at
        own = to_micros(permit.actor.expires_at)
        return own if expires_at is None else min(own, expires_at)
