"""Why a key would be let in or refused, check by check, without its secret."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, cast

from sqlalchemy import Dialect, Select, literal_column, select

from ..authentication import networks_of, refusals
from ..domain.clock import isoformat, now_micros, to_micros
from ..domain.permissions import ACTIONS, Action, Allowed, Denied, Requirement, Role, scope_of
from ..domain.principals import Principal
from ..domain.records import Key
from ..errors import BadRequest
from ..permissions.access import Access, joined
from ..permissions.roles import DatabasePermissions
from ..permissions.service import PermissionsService
from ..store.database import Database
from ..store.scope import RowRule
from .keys import KeyService


class Check(NamedTuple):
    """One check: what it looks at, whether the key passes, and a sentence."""

    name: str
    passed: bool
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What a request with a key would meet.

    :ivar checks: every check, in the order of a request.
    :ivar filter: the row filter with the key's values in the place of variables; ``None`` for all rows, and where no
        resource was asked for.
    :ivar sql: the condition that it becomes, with named parameters; ``parameters`` are their values.
    """

    key: Key
    checks: tuple[Check, ...]
    filter: str | None = None
    sql: str | None = None
    parameters: Mapping[str, object] = field(default_factory=dict)

    @property
    def allowed(self) -> bool:
        """Whether all checks pass."""
        return all(check.passed for check in self.checks)


class Explainer:
    """Explains the keys of one environment."""

    def __init__(
        self, service: KeyService, permissions: PermissionsService, roles: DatabasePermissions, database: Database
    ) -> None:
        self._service = service
        self._permissions = permissions
        self._roles = roles
        self._database = database

    def explain(
        self,
        key_id: str,
        *,
        roles: Sequence[str] = (),
        match: str = "any",
        resource: str | None = None,
        action: Action | None = None,
        remote_address: str | None = None,
    ) -> Explanation:
        """Every check that a request with this key would meet.

        :param roles: the roles that a view would ask for; ``match`` as in the decorator.
        :param resource: the resource that a view would ask for; ``action`` on it, to read it when left out.
        :param remote_address: where the request would come from; the network is not checked when left out.
        :raises KeyNotFound: if there is no such key here, or none that whoever acts may see.
        :raises BadRequest: if ``match`` or ``action`` is unknown, an action has no resource, or ``roles`` is a string.
        """
        _check(roles, match, resource, action)
        action = action or "read"
        key = self._service.get(key_id)
        checks = _of_key(key, remote_address)
        principal = principal_of(key)
        with self._database.read() as connection:
            known = self._roles.known(connection)
        unknown = [role for role in key.roles if role not in known]
        if unknown:  # which refuses nothing by itself
            checks.append(
                Check("known roles", True, f"there is no role {', '.join(unknown)} any more: it grants nothing")
            )
        if roles:
            checks.append(_of_roles(principal, roles, match))
        if resource is None:
            return Explanation(key=key, checks=tuple(checks))
        access = Access(principal, self._permissions)
        decision = access.decide(resource, action)
        by_database = self._permissions is self._roles
        checks += _of_grants(key.roles, known, resource, action) if by_database else []
        checks.append(_of_decision(decision, resource, action))
        if isinstance(decision, Denied) or decision.filters is None:
            return Explanation(key=key, checks=tuple(checks))
        rule = access.rule(resource, action)
        sql, parameters = _rendered(rule, self._database.engine.dialect)
        text = joined(tuple(str(bound) for bound in rule.bounds))
        return Explanation(key=key, checks=tuple(checks), filter=text, sql=sql, parameters=parameters)


def _check(roles: object, match: str, resource: object, action: str | None) -> None:
    if match not in ("any", "all"):
        raise BadRequest("match must be any or all")
    if action is not None and resource is None:
        raise BadRequest("an action needs a resource")
    if action is not None and action not in ACTIONS:
        raise BadRequest(f"action must be one of {', '.join(ACTIONS)}")
    if isinstance(roles, str):
        raise BadRequest("roles must be a list of role names")
    if resource is not None and not isinstance(resource, str):
        raise BadRequest("resource must be the name of a resource")


def principal_of(key: Key) -> Principal:
    """Who acts with a key."""
    return Principal(
        "key",
        key.id,
        key.name,
        key.project,
        key.environment,
        prefix=key.prefix,
        roles=key.roles,
        context=key.context,
        owner=key.owner,
        expires_at=key.expires_at,
    )


def _of_key(key: Key, remote_address: str | None) -> list[Check]:
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
    return checks


def _of_roles(principal: Principal, roles: Sequence[str], match: str) -> Check:
    requirement = Requirement(tuple(roles), cast(Literal["any", "all"], match))
    held = f"has {', '.join(principal.roles)}" if principal.roles else "has no roles"
    return Check("roles", bool(requirement.check(principal)), f"{held}; asked for {match} of {', '.join(roles)}")


def _of_grants(roles: Sequence[str], known: Mapping[str, Role], resource: str, action: Action) -> list[Check]:
    """What each role of the key says; any of them is enough, so those that say nothing do not count against it."""
    checks = []
    for name in roles:
        role = known.get(name)
        for grant in () if role is None else role.grants:
            if grant.resource == resource and getattr(grant, action):
                rows = "all rows" if grant.filter is None else f"rows where {grant.filter}"
                checks.append(Check(f"role {name}", True, f"grants {scope_of(resource, action)} on {rows}"))
    return checks


def _of_decision(decision: Allowed | Denied, resource: str, action: Action) -> Check:
    asked = scope_of(resource, action)
    if isinstance(decision, Denied):
        return Check("grant", False, f"no grant for {asked}" + (f": {decision.why}" if decision.why else ""))
    rows = "all rows" if decision.filters is None else "the rows of the filter"
    return Check("grant", True, f"{asked} on {rows}" + (f": {decision.why}" if decision.why else ""))


def _rendered(rule: RowRule, dialect: Dialect) -> tuple[str, dict[str, Any]]:
    """The condition as it stands in a statement: by itself, its sub-queries would name the table once more."""
    named: Any = type(dialect)
    statement: Select[Any] = select(literal_column("1")).select_from(rule.model).where(rule.condition())
    compiled = statement.compile(dialect=named(paramstyle="named"), compile_kwargs={"render_postcompile": True})
    return " ".join(str(compiled).split()).partition(" WHERE ")[2], dict(compiled.params)
