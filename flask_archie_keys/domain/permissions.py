"""Roles and their grants, what a view asks of a key, and the answer: :class:`Allowed` or :class:`Denied`, told apart by
truth.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from .principals import Principal

Action = Literal["read", "write", "update", "delete"]
ACTIONS: tuple[Action, ...] = ("read", "write", "update", "delete")
#: What the HTTP methods do (RFC 9110 section 9.3), where a view does not say its action itself.
ACTION_OF_METHOD: dict[str, Action] = {
    "GET": "read",
    "HEAD": "read",
    "POST": "write",
    "PUT": "update",
    "PATCH": "update",
    "DELETE": "delete",
}
#: The resources that are ours: who may manage keys and roles, and read the audit log.
OWN_RESOURCES = ("api_keys", "roles", "audit_events")
RoleSource = Literal["saved", "settings", "views"]
_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")


def is_role_name(text: str) -> bool:
    """Whether ``text`` can name a role: snake_case, at most 63 long."""
    return _NAME.fullmatch(text) is not None


def is_resource_name(text: str) -> bool:
    """Whether ``text`` can name a resource: snake_case, at most 63 long."""
    return _NAME.fullmatch(text) is not None


def scope_of(resource: str, action: str) -> str:
    """A grant as the ``scope`` of a challenge: ``orders:update``."""
    return f"{resource}:{action}"


@dataclass(frozen=True, slots=True)
class Grant:
    """What a role may do with one resource.

    :ivar resource: a protected table of the host, or ``api_keys``, ``roles`` or ``audit_events``.
    :ivar write: make new rows.
    :ivar filter: which rows, in the filter language; ``None`` for all of them.
    """

    resource: str
    read: bool = False
    write: bool = False
    update: bool = False
    delete: bool = False
    filter: str | None = None

    @property
    def actions(self) -> tuple[Action, ...]:
        """The actions that are granted."""
        return tuple(action for action in ACTIONS if getattr(self, action))


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """A named set of grants.

    :ivar source: ``"saved"``, ``"settings"`` (declared in ``ARCHIE_KEYS_ROLES``) or ``"views"`` (only named by a
        decorator; it has no grants). Only saved ones can be changed.
    :ivar version: grows by one with every change; 0 for roles that are not saved.
    :ivar locked_out: after a save: the ids of keys that have the role and whose context does not fit its filters, as
        far as whoever saved it may read them.
    """

    name: str
    description: str = ""
    grants: tuple[Grant, ...] = ()
    source: RoleSource = "saved"
    project: str = ""
    environment: str = ""
    version: int = 0
    created_at: datetime | None = None
    updated_at: datetime | None = None
    locked_out: tuple[str, ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class Allowed:
    """Yes.

    :ivar filters: which rows: those that any of these filters lets through; ``None`` for all.
    :ivar why: what the permissions service said, if it said something.
    """

    filters: tuple[str, ...] | None = None
    why: str | None = None


@dataclass(frozen=True, slots=True)
class Denied:
    """No, and why.

    :ivar reason: for the audit log.
    :ivar scope: what would be needed, for the client.
    :ivar why: what the permissions service said, or what was missing; for the audit log only.
    """

    reason: str
    scope: str | None = None
    why: str | None = None

    def __bool__(self) -> bool:
        return False


ALLOWED = Allowed()


def union(grants: Iterable[Grant], resource: str, action: Action) -> Allowed | None:
    """What several grants allow together: all rows if one of them has no filter, else what any filter lets through.

    ``None`` if none of them is for this resource and action.
    """
    filters: dict[str, None] = {}
    for grant in grants:
        if grant.resource == resource and getattr(grant, action) is True:
            if grant.filter is None:
                return ALLOWED
            filters[grant.filter] = None
    return Allowed(tuple(filters)) if filters else None


@dataclass(frozen=True, slots=True)
class Requirement:
    """What a view asks for. Without roles and resource, any good key will do.

    :ivar roles: role names; ``None`` when the view asks for none.
    :ivar match: ``"any"`` of them, or ``"all"``.
    :ivar optional: let a request without one of our keys pass, unauthenticated.
    :ivar resource: the resource that a grant is needed on, besides the roles; ``None`` when the view asks for none.
    :ivar action: the action of that grant; ``None`` takes it from the HTTP method.
    """

    roles: tuple[str, ...] | None = None
    match: Literal["any", "all"] = "any"
    optional: bool = False
    resource: str | None = None
    action: Action | None = None

    def check(self, principal: Principal) -> Allowed | Denied:
        """Decide about the roles of a principal; one without roles is denied wherever roles are asked for."""
        if self.roles is None:
            return ALLOWED
        held = principal.roles
        if self.match == "all":
            good = bool(self.roles) and all(role in held for role in self.roles)
        else:
            good = not frozenset(self.roles).isdisjoint(held)
        return ALLOWED if good else Denied("missing_role", scope=" ".join(self.roles))

    def action_for(self, method: str) -> Action | None:
        """The action that a request with this HTTP method needs; ``None`` if the method has none of its own."""
        return self.action or ACTION_OF_METHOD.get(method)


def as_action(text: object) -> Action:
    """``text`` as an action.

    :raises ValueError: if it is none.
    """
    if text not in ACTIONS:
        raise ValueError(f"action must be one of {', '.join(ACTIONS)}, not {text!r}")
    return text  # type: ignore[return-value, unused-ignore]
