"""Why a key would be let in or refused, check by check, without its secret."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, cast

from ..authentication import networks_of, refusals
from ..domain.clock import isoformat, now_micros, to_micros
from ..domain.permissions import Requirement
from ..domain.principals import Principal
from ..domain.records import Key


class Check(NamedTuple):
    """One check: what it looks at, whether the key passes, and a sentence."""

    name: str
    passed: bool
    why: str


def explain(
    key: Key, *, roles: Sequence[str] = (), match: str = "any", remote_address: str | None = None
) -> list[Check]:
    """Every check that a request with this key would meet, in the order of a request.

    :param roles: the roles that a view would ask for.
    :param remote_address: where the request would come from; the network is not checked when left out.
    """
    moments = [None if m is None else to_micros(m) for m in (key.expires_at, key.disabled_at, key.deleted_at)]
    networks = networks_of(key.allowed_networks)
    against = {r.reason for r in refusals(*moments, now=now_micros(), networks=networks, remote_address=remote_address)}
    checks = [
        Check(
            "deleted",
            "deleted" not in against,
            f"deleted {isoformat(key.deleted_at)}" if key.deleted_at else "not deleted",
        ),
        Check("disabled", "disabled" not in against, "disabled" if key.disabled_at else "not disabled"),
        Check(
            "expired",
            "expired" not in against,
            f"ends {isoformat(key.expires_at)}" if key.expires_at else "does not end",
        ),
    ]
    if remote_address is not None or networks is None:
        allowed = "any address" if networks is None else f"allowed are {', '.join(key.allowed_networks or ())}"
        checks.append(Check("network", "network" not in against, allowed))
    if roles:
        requirement = Requirement(tuple(roles), cast(Literal["any", "all"], match))
        principal = Principal("key", key.id, key.name, key.project, key.environment, roles=key.roles)
        held = f"has {', '.join(key.roles)}" if key.roles else "has no roles"
        checks.append(
            Check("roles", bool(requirement.check(principal)), f"{held}; asked for {match} of {', '.join(roles)}")
        )
    return checks
