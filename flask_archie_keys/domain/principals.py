"""Who is acting."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, NamedTuple

from werkzeug.datastructures import ImmutableDict

from .records import ContextValue


@dataclass(frozen=True, slots=True)
class Principal:
    """A key, a logged-in user of the host or the system itself. Read-only, and it never holds a secret.

    :ivar kind: ``"key"``, ``"user"`` or ``"system"`` (the command line, scripts).
    :ivar id: the key id, the host's user id, or ``"system"``.
    :ivar context: the key's context; lists in it are tuples, so nothing of it can be changed.
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

    @property
    def actor(self) -> str:
        """The form that ``created_by`` and audit events hold: ``key:7f3Kq2Zt9bXa``, ``user:42``, ``system``."""
        return self.id if self.kind == "system" else f"{self.kind}:{self.id}"

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
