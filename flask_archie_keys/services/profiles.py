"""What somebody may do, told to itself."""

from __future__ import annotations

from dataclasses import dataclass

from ..domain.permissions import Role
from ..domain.principals import Principal
from ..permissions.roles import DatabasePermissions
from ..store.database import Database


@dataclass(frozen=True, slots=True)
class Profile:
    """Who calls, and what it may do.

    :ivar roles: its roles that are known, with their grants; ``None`` where a remote service decides.
    """

    principal: Principal
    roles: tuple[Role, ...] | None


class Profiles:
    """The profiles of one environment.

    :param permissions: the roles of the database; ``None`` where a remote service decides.
    """

    def __init__(self, permissions: DatabasePermissions | None, database: Database) -> None:
        self._permissions = permissions
        self._database = database

    def of(self, principal: Principal) -> Profile:
        """The profile of who calls. It needs no grant: everybody may know what they may do.

        :raises StoreUnavailable: if the roles cannot be read.
        """
        if self._permissions is None:
            return Profile(principal, None)
        with self._database.read() as connection:
            known = self._permissions.known(connection)
        return Profile(principal, tuple(known[name] for name in principal.roles if name in known))
