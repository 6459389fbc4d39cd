"""What a view asks of a key, and the answer: :class:`Allowed` or :class:`Denied`, told apart by truth."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from .principals import Principal

_ROLE_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")


def is_role_name(text: str) -> bool:
    """Whether ``text`` can name a role: snake_case, at most 63 long."""
    return _ROLE_NAME.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class Allowed:
    """Yes."""


@dataclass(frozen=True, slots=True)
class Denied:
    """No, and why.

    :ivar reason: for the audit log.
    :ivar scope: what would be needed, for the client.
    """

    reason: str
    scope: str | None = None

    def __bool__(self) -> bool:
        return False


@dataclass(frozen=True, slots=True)
class Requirement:
    """What a view asks for. Without roles, any good key will do.

    :ivar roles: role names; ``None`` when the view asks for none.
    :ivar match: ``"any"`` of them, or ``"all"``.
    :ivar optional: let a request without one of our keys pass, unauthenticated.
    """

    roles: tuple[str, ...] | None = None
    match: Literal["any", "all"] = "any"
    optional: bool = False

    def check(self, principal: Principal) -> Allowed | Denied:
        """Decide for one principal. A key without roles is denied wherever roles are asked for."""
        if self.roles is None:
            return ALLOWED
        held = principal.roles
        if self.match == "all":
            good = bool(self.roles) and all(role in held for role in self.roles)
        else:
            good = not frozenset(self.roles).isdisjoint(held)
        return ALLOWED if good else Denied("missing_role", scope=" ".join(self.roles))


ALLOWED = Allowed()
