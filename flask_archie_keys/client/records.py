"""What the management API answers and no service hands out in this form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from ..domain.permissions import Grant
from ..domain.principals import Principal
from ..services.explain import Check


class RoleGrant(NamedTuple):
    """A grant, and the role that it comes from."""

    role: str
    grant: Grant


@dataclass(frozen=True, slots=True)
class Me:
    """Who calls, and what it may do.

    :ivar grants: what its roles grant; ``None`` where a remote service decides.
    """

    principal: Principal
    grants: tuple[RoleGrant, ...] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What a request with a key would meet.

    :ivar checks: every check, in the order of a request.
    :ivar filter: the row filter with the key's values in the place of variables; ``None`` for all rows, and where no
        resource was asked for.
    :ivar sql: the condition that it becomes, with named parameters; ``parameters`` are their values.
    """

    key_id: str
    allowed: bool
    checks: tuple[Check, ...]
    filter: str | None = None
    sql: str | None = None
    parameters: Mapping[str, object] = field(default_factory=dict)
