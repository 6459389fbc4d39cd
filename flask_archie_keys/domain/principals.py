"""Who is acting."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, NamedTuple

from werkzeug.datastructures import ImmutableDict

from . import rules
from .records import ContextValue


@dataclass(frozen=True, slots=True)
class Principal:
    """A key, a logged-in user of the host or the system itself. Read-only, and it never holds a secret.

    :ivar kind: ``"key"``, ``"user"`` or ``"system"`` (the command line, scripts).
    :ivar id: the key id, the host's user id, or ``"system"``.
    :ivar context: the key's context; lists in it are tuples, so nothing of it can be changed.
    :ivar policy_epoch: when the roles of the environment had last changed as the key was read, in microseconds since
        the epoch; ``None`` if nobody looked.
    """

    kind: Literal["key", "user", "system"]
    id: str
    name: str
    project: str
    environment: str
    prefix: str | None = None
    roles: tuple[str, ...] = ()
    context: Mapping[str, ContextValue] = field(default_factory=ImmutableDict)
    owner: str | None = None
    expires_at: datetime | None = None
    policy_epoch: int | None = field(default=None, repr=False)

    @property
    def actor(self) -> str:
        """The form that ``created_by`` and audit events hold: ``key:7f3Kq2Zt9bXa``, ``user:42``, ``system``."""
        return self.id if self.kind == "system" else f"{self.kind}:{self.id}"

    @property
    def user_id(self) -> str | None:
        """What ``$userId`` stands for in filters: the key's owner, or the logged-in user."""
        return self.id if self.kind == "user" else self.owner

    @classmethod
    def user(
        cls,
        id: str | int,
        *,
        name: str | None = None,
        roles: Collection[str] = (),
        context: Mapping[str, object] | None = None,
        project: str = "",
        environment: str = "",
    ) -> Principal:
        """A logged-in user of the host, for :meth:`~flask_archie_keys.ArchieKeys.user_loader`.

        :param id: the host's id of the user; ``$userId`` in filters.
        :param roles: names of roles, as a key has them.
        :param context: as a key has it: names to strings, numbers, booleans or lists of those.
        :param project: the application's own when left out, as is the environment.
        :raises TypeError: if ``roles`` is a string, or ``id`` neither a number nor a text with something in it.
        :raises ValidationFailed: if the context is not one that a key could have.
        """
        if isinstance(id, bool) or not isinstance(id, (str, int)) or id == "":  # str() of None would be a user
            raise TypeError(f"id must be a string or an integer, not {id!r}; where nobody is logged in, give None")
        if isinstance(roles, (str, bytes)) or not all(isinstance(role, str) for role in roles):
            raise TypeError(f"roles must be a list of role names, not {roles!r}")
        clean = ImmutableDict(rules.context(context))
        return cls("user", str(id), name or str(id), project, environment, roles=tuple(roles), context=clean)

    @classmethod
    def system(cls, project: str, environment: str) -> Principal:
        """Who acts on the command line and in scripts."""
        return cls("system", "system", "system", project, environment)


class Acting(NamedTuple):
    """Who makes a change, and from where, as the audit log records it."""

    actor: str
    remote_address: str | None = None
    user_agent: str | None = None
    request_id: str | None = None
