"""The ceiling: whoever makes, edits or rotates a key, or saves a role, can hand out no more than it has.

A key manages others under four rules, which together keep what it hands out inside what it has:

- the roles of the other key are among its own, so every grant of the other one is one of its own;
- every variable that the filters which bound it use has the same value for the other key, or none for either;
  ``$keyId`` cannot, so it may only say which rows are the other key's own: ``key_id = $keyId``;
- the other key ends no later, and is bound to the same networks;
- a role that it saves grants nothing that it is not granted itself.

A filter does not bound whoever is granted the same with fewer conditions: to somebody who may read all orders, it does
not matter which customer a role says "the orders of ``$context.customer``" to. Whatever the variable is, its rows are
among all orders. So what is looked at, for each grant, is the widest of the actor's that covers it (:func:`_cover`).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable, Iterator, Mapping

from ..domain.clock import to_micros
from ..domain.filter_tree import And, Column, Comparison, Node, Variable
from ..domain.filters import Filter, FilterError, parse
from ..domain.permissions import Action, Grant, Role, scope_of
from ..domain.principals import Principal
from ..errors import Forbidden

_ABSENT = object()
_KEY_ID = "keyId"


def ensure_within(
    actor: Principal,
    *,
    known: Mapping[str, Role] | None,
    roles: Collection[str],
    context: Mapping[str, object],
    owner: str | None,
    expires_at: int | None,
    networks: Collection[str] | None,
    actor_networks: Collection[str] | None,
    project: str,
    environment: str,
) -> None:
    """Refuse a key that could do more than whoever makes, edits or rotates it.

    :param known: the roles as they are now, whose filters tell which variables matter; ``None`` where a remote service
        decides, for whose rules every variable may matter.
    :param expires_at: when the key would end, in microseconds since the epoch; ``None`` for never.
    :param networks: the networks that the key would be bound to; ``None`` for any. ``actor_networks`` likewise.
    :raises Forbidden: naming what goes beyond.
    """
    if (actor.project, actor.environment) != (project, environment):
        raise beyond(actor, f"it is of {actor.project}, {actor.environment} and cannot manage {project}, {environment}")
    foreign = [role for role in roles if role not in actor.roles]
    if foreign:
        raise beyond(actor, f"it does not have the role {foreign[0]!r} itself")
    used = None if known is None else variables_used(known, actor.roles)
    every = (f"context.{name}" for name in (*actor.context, *context))
    for name in sorted(v.removeprefix("context.") for v in set(every if used is None else used) if "." in v):
        if not _same(actor.context.get(name, _ABSENT), context.get(name, _ABSENT)):
            raise beyond(actor, f"its filters use $context.{name}, which must stay what it is for itself")
    if (used is None or "userId" in used) and owner != actor.user_id:
        raise beyond(actor, "its filters use $userId, so the owner must stay what it is for itself")
    if known is not None and any(_turns_on_key_id(filter) for filter in _bounds(known, actor.roles, roles)):
        raise beyond(actor, "filters of these roles use $keyId, which is another for each key")
    latest = None if actor.expires_at is None else to_micros(actor.expires_at)
    if latest is not None and (expires_at is None or expires_at > latest):
        raise beyond(actor, "it ends earlier itself")
    if actor_networks is not None and not _all_within(networks, actor_networks):
        raise beyond(actor, "it is bound to networks itself")


def ensure_role_within(actor: Principal, known: Mapping[str, Role], grants: Iterable[Grant]) -> None:
    """Refuse a role that grants what whoever saves it is not granted.

    A filtered grant is covered by one without a filter, by one with the same filter, and by one whose filter is among
    those that the new one joins by AND.

    :raises Forbidden: naming the grant that goes beyond.
    """
    held = [grant for name in actor.roles if name in known for grant in known[name].grants]
    for grant in grants:
        for action in grant.actions:
            own = [h for h in held if h.resource == grant.resource and getattr(h, action) is True]
            if not any(_covers(h.filter, grant.filter) for h in own):
                raise beyond(actor, f"it is not granted {scope_of(grant.resource, action)} that widely itself")


def ensure_holders_within(
    actor: Principal,
    known: Mapping[str, Role],
    grants: Iterable[Grant],
    context: Mapping[str, object],
    owner: str | None,
    roles: Collection[str] = (),
) -> None:
    """Refuse to save a role that another key has for which the same filters let other rows through than for the actor.

    :param context: of the key that has the role; ``owner`` and ``roles`` likewise.
    :raises Forbidden: naming the variable.
    """
    held = _grants(known, actor.roles)
    for grant, filter in _bounds_of(held, grants):
        for variable in sorted(filter.variables):
            name = variable.partition(".")[2]
            if variable == "userId":
                same = owner == actor.user_id
            elif variable == _KEY_ID:
                same = not _turns_on_key_id(filter)
            else:
                same = not name or _same(actor.context.get(name, _ABSENT), context.get(name, _ABSENT))
            if not same:
                raise beyond(actor, f"keys with another ${variable} have this role")
        if _reads_others(filter):  # which related rows a key sees, its other roles say
            raise beyond(actor, f"keys have this role, and its filter on {grant.resource} reads other tables")
    others = any(_reads_others(filter) for _, filter in _bounds_of(held, _grants(known, roles)))
    if others and any(grant.read for grant in grants):  # which rows those let through, readable related rows decide
        raise beyond(actor, "keys have this role, and filters of their other roles read other tables")


def variables_used(known: Mapping[str, Role], roles: Iterable[str]) -> set[str]:
    """The variables that the filters use which bound whoever has some roles."""
    held = list(roles)
    return {variable for filter in _bounds(known, held, held) for variable in filter.variables}


def _grants(known: Mapping[str, Role], roles: Iterable[str]) -> list[Grant]:
    return [grant for name in roles if name in known for grant in known[name].grants]


def _bounds(known: Mapping[str, Role], actor: Iterable[str], roles: Iterable[str]) -> Iterator[Filter]:
    """The filters that bound somebody with the roles ``actor`` where ``roles`` grant something."""
    return (filter for _, filter in _bounds_of(_grants(known, actor), _grants(known, roles)))


def _bounds_of(held: Collection[Grant], grants: Iterable[Grant]) -> Iterator[tuple[Grant, Filter]]:
    for grant in grants:
        for action in grant.actions:
            filter = _cover(held, grant, action)
            if filter is not None:
                yield grant, filter


def _cover(held: Iterable[Grant], grant: Grant, action: Action) -> Filter | None:
    """The filter of the widest of some grants that lets through all that ``grant`` does, as far as their forms show.

    ``None`` if that one has no filter; the filter of ``grant`` itself if there is no such one. A filter that cannot be
    read lets nothing through, so it does not count.
    """
    if grant.filter is None:
        return None
    best = _read(grant.filter)
    if best is None:
        return None
    for own in held:
        if own.resource == grant.resource and getattr(own, action) is True and _covers(own.filter, grant.filter):
            if own.filter is None:
                return None
            best = min(best, parse(own.filter), key=_uncertainty)
    return best


def _uncertainty(filter: Filter) -> tuple[int, bool]:
    """How much of what a filter lets through depends on whom it is asked for."""
    return len(filter.variables - {"environment", "project", "now"}), _reads_others(filter)


def _reads_others(filter: Filter) -> bool:
    """Whether it reads other tables, of which somebody else may see other rows."""
    return any(len(path) > 1 for path in filter.columns)


def _read(text: str) -> Filter | None:
    try:
        return parse(text)
    except FilterError:  # written by an older version, or by hand
        return None


def _turns_on_key_id(filter: Filter) -> bool:
    """Whether a filter uses ``$keyId`` otherwise than to say which rows are the key's own."""
    return _KEY_ID in filter.variables and not any(_is_own(node) for node in _conjuncts(filter))


def _is_own(node: Node) -> bool:
    """Whether this is ``column = $keyId``."""
    if not isinstance(node, Comparison) or node.operator != "=":
        return False
    sides = (node.left, node.right)
    return any(isinstance(side, Column) for side in sides) and any(
        isinstance(side, Variable) and side.name == _KEY_ID for side in sides
    )


def beyond(actor: Principal, why: str) -> Forbidden:
    """The refusal of what goes beyond the ceiling."""
    return Forbidden(
        f"whoever acts here can hand out no more than it has: {why}",
        reason="ceiling",
        key_id=actor.id if actor.kind == "key" else None,
    )


def _covers(own: str | None, wanted: str | None) -> bool:
    """Whether every row that ``wanted`` lets through is let through by ``own``, as far as their forms show."""
    if own is None:
        return True
    if wanted is None:
        return False
    mine = _read(own)
    return mine is not None and set(_conjuncts(mine)) <= set(_conjuncts(parse(wanted)))


def _conjuncts(filter: Filter) -> Iterator[Node]:
    """What a filter joins by AND at its top: more of these let fewer rows through."""
    stack: list[Node] = [filter.tree]
    while stack:
        node = stack.pop()
        if isinstance(node, And):
            stack.extend(node.parts)
        else:
            yield node


def _same(one: object, other: object) -> bool:
    """Equal, and of the same type: ``1`` is not ``true``, nor ``1.0``."""
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    return type(one) is type(other) and one == other


def _all_within(networks: Collection[str] | None, allowed: Collection[str]) -> bool:
    if networks is None:
        return False
    wide = [ipaddress.ip_network(network) for network in allowed]
    return all(any(_subnet(ipaddress.ip_network(network), of) for of in wide) for network in networks)


def _subnet(network: ipaddress.IPv4Network | ipaddress.IPv6Network, of: object) -> bool:
    return type(network) is type(of) and network.subnet_of(of)  # type: ignore[arg-type]
