"""The permissions service by default: the roles in the database, those in the settings and those that views name."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import NamedTuple

from sqlalchemy import Connection

from ..audit.event import Request
from ..config import Config
from ..domain.permissions import Action, Allowed, Denied, Grant, Role, scope_of, union
from ..domain.principals import Principal
from ..store.database import Database
from ..store.roles import RoleStore

_DECISIONS_MAX = 10_000


class _Known(NamedTuple):
    """The grants of all roles as they were at an epoch, and what was decided by them."""

    epoch: int
    grants: Mapping[str, tuple[Grant, ...]]
    decisions: dict[tuple[tuple[str, ...], str, str], Allowed | Denied]


class DatabasePermissions:
    """Decides by roles: what any of a principal's roles grants is granted.

    All roles of the environment are read once, and again when the policy epoch has moved. The epoch is read together
    with each key, so a change holds at the very next request, in every process.

    :param named: gives the names of the roles that the application's views name.
    """

    def __init__(self, config: Config, database: Database, named: Callable[[], Collection[str]]) -> None:
        self._config = config
        self._database = database
        self._named = named
        self._store = RoleStore(config.project, config.environment)
        self._known: _Known | None = None
        self._saved: tuple[int, Mapping[str, Role]] = (-1, {})

    def decide(
        self, principal: Principal, resource: str, action: Action, request: Request | None = None
    ) -> Allowed | Denied:
        """What the principal's roles grant together; a role that is not known grants nothing.

        Nor does one to a principal of another project or environment, where a role of that name may be another.

        :raises StoreUnavailable: if the roles cannot be read.
        """
        if principal.environment != self._config.environment or principal.project != self._config.project:
            return Denied("missing_grant", scope_of(resource, action), "the principal is of another environment")
        known = self._at(principal.policy_epoch)
        asked = (principal.roles, resource, action)
        decision = known.decisions.get(asked)
        if decision is None:
            grants = (grant for role in principal.roles for grant in known.grants.get(role, ()))
            decision = union(grants, resource, action) or Denied("missing_grant", scope_of(resource, action))
            if len(known.decisions) >= _DECISIONS_MAX:
                known.decisions.clear()
            known.decisions[asked] = decision
        return decision

    def _at(self, epoch: int | None) -> _Known:
        known = self._known
        if known is None or epoch != known.epoch:
            with self._database.read() as connection:
                # the epoch first: roles that change between the two reads are read once more at the next request
                now = self._store.epoch(connection)
                if known is None or now != known.epoch:
                    saved = self._store.all(connection)
                    roles = {**saved, **self._config.roles}
                    known = _Known(now, {name: role.grants for name, role in roles.items()}, {})
                    self._known = known
        return known

    # -- for the services

    @property
    def declared(self) -> Mapping[str, Role]:
        """The roles of the settings, by name."""
        return {name: self._here(role) for name, role in self._config.roles.items()}

    def known(self, connection: Connection, epoch: int | None = None) -> dict[str, Role]:
        """All roles by name, as they are now: of the views, saved, of the settings; the later ones win.

        :param epoch: when they last changed, if nobody can change them meanwhile: then they are not read again.
        """
        saved = self._saved
        if epoch is None or saved[0] != epoch:
            saved = (-1 if epoch is None else epoch, self._store.all(connection))
            if epoch is not None:
                self._saved = saved
        named = {name: self._here(Role(name=name, source="views")) for name in self._named()}
        return {**named, **saved[1], **self.declared}

    def _here(self, role: Role) -> Role:
        return replace(role, project=self._config.project, environment=self._config.environment)
