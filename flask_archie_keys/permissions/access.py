"""What one principal may do: decided by the permissions service, once for each resource and action."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from ..audit.event import Request
from ..domain.clock import utcnow
from ..domain.filters import Filter, FilterError, parse
from ..domain.permissions import ALLOWED, Action, Allowed, Denied, Requirement, scope_of
from ..domain.principals import Principal
from ..errors import Forbidden
from ..store import protection
from ..store.models import ApiKey, AuditEvent, Role
from ..store.scope import RowRule, row_rule
from .service import PermissionsService

#: The models of our own resources, and the columns of theirs that filters may name.
OWN_MODELS: Mapping[str, type] = {"api_keys": ApiKey, "roles": Role, "audit_events": AuditEvent}
WHY_MAX = 256
NOT_GRANTED = "the {who} has no grant for this"
NO_ROLE = "the {who} lacks a role that this needs"


class Access:
    """One principal's permissions, for one request or one block of code.

    :param request: the facts of the request; ``None`` outside one.
    """

    __slots__ = ("_decisions", "_permissions", "_request", "_rules", "_under_way", "_variables", "principal")

    def __init__(self, principal: Principal, permissions: PermissionsService, request: Request | None = None) -> None:
        self.principal = principal
        self._permissions = permissions
        self._request = request
        self._decisions: dict[tuple[str, str], Allowed | Denied] = {}
        self._rules: dict[tuple[str, str, type], RowRule] = {}
        self._variables: dict[str, object] | None = None
        self._under_way: set[str] = set()

    def decide(self, resource: str, action: Action) -> Allowed | Denied:
        """What the permissions service says, and whether the filters can be applied to this principal.

        :raises PermissionsUnavailable: if the service cannot decide.
        """
        asked = (resource, action)
        decision = self._decisions.get(asked)
        if decision is None:
            decision = self._permissions.decide(self.principal, resource, action, self._request)
            if isinstance(decision, Allowed) and decision.filters is not None:
                decision = self._applied(resource, action, decision)
            self._decisions[asked] = decision
        return decision

    def _applied(self, resource: str, action: Action, decision: Allowed) -> Allowed | Denied:
        scope = scope_of(resource, action)
        models = models_of(resource)
        if not models:
            return Denied("missing_grant", scope, f"{resource} is not protected, so its filter cannot be applied")
        whys = [self._bind(model, resource, action, decision) for model in models]
        return Denied("missing_grant", scope, whys[0]) if all(whys) else decision

    def _bind(self, model: type, resource: str, action: Action, decision: Allowed) -> str | None:
        """Make the rule for one model; why it lets nothing through, if so."""
        outermost = resource not in self._under_way
        self._under_way.add(resource)
        try:
            filters, dropped = _read(decision.filters or ())
            rule = row_rule(model, resource, filters, self.variables, self._related)
        finally:
            if outermost:
                self._under_way.discard(resource)
        self._rules[resource, action, model] = rule
        return None if rule.bounds else "; ".join([*dropped, *rule.dropped])[:WHY_MAX]

    def _related(self, model: type) -> RowRule | None:
        """The rule of a table that a filter reaches by a dotted path; ``None`` for one that is not protected.

        Rules that refer to each other in a circle let nothing through.
        """
        protected = protection.protection_of(model)
        if protected is None:
            return None
        resource = protected.resource
        if resource in self._under_way:
            return nothing(model, resource)
        self._under_way.add(resource)
        try:
            return self.may(resource, "read", model) or nothing(model, resource)
        finally:
            self._under_way.discard(resource)

    def grant(self, requirement: Requirement, method: str) -> Allowed | Denied:
        """Whether the principal has the grant that a view asks for.

        :param method: the HTTP method, for views that do not say their action.
        """
        if requirement.resource is None:
            return ALLOWED
        action = requirement.action_for(method)
        if action is None:
            why = f"{method} is none of the methods that have an action of their own"
            return Denied("missing_grant", scope_of(requirement.resource, "read"), why)
        return self.decide(requirement.resource, action)

    def rule(self, resource: str, action: Action, model: type | None = None) -> RowRule:
        """The rows of a protected model that may be touched.

        :param model: needed where several models are protected as this resource, as with several applications.
        :raises Forbidden: if there is no grant.
        """
        decision = self.decide(resource, action)
        if isinstance(decision, Denied):
            raise forbidden(decision, self.principal, resource, action)
        return self._rule(resource, action, model, decision)

    def may(self, resource: str, action: Action, model: type | None = None) -> RowRule | None:
        """The same; ``None`` if there is no grant."""
        decision = self.decide(resource, action)
        return None if isinstance(decision, Denied) else self._rule(resource, action, model, decision)

    def _rule(self, resource: str, action: Action, model: type | None, decision: Allowed) -> RowRule:
        model = model or next(iter(models_of(resource)), None)
        if model is None:
            raise LookupError(f"{resource} is not a protected resource")
        rule = self._rules.get((resource, action, model))
        if rule is None and decision.filters is not None:  # the model was protected after the decision
            self._bind(model, resource, action, decision)
            rule = self._rules[resource, action, model]
        if rule is None:
            rule = self._rules[resource, action, model] = row_rule(model, resource, None, {}, self._related)
        return rule

    @property
    def variables(self) -> Mapping[str, object]:
        """The values of the variables of filters."""
        if self._variables is None:
            self._variables = variables_of(self.principal)
        return self._variables

    @property
    def decided(self) -> int:
        """How many decisions were made so far."""
        return len(self._decisions)

    @property
    def denied(self) -> Denied | None:
        """A denial among the decisions, if there is one."""
        return next((d for d in self._decisions.values() if isinstance(d, Denied)), None)

    def decisions(self) -> list[dict[str, object]]:
        """What was decided so far, as the audit log holds it."""
        made: list[dict[str, object]] = []
        for (resource, action), decision in self._decisions.items():
            verdict = "allowed" if decision else "denied"
            entry: dict[str, object] = {"resource": resource, "action": action, "decision": verdict}
            if isinstance(decision, Allowed) and decision.filters is not None:
                entry["filter"] = joined(decision.filters)
            if decision.why is not None:
                entry["why"] = decision.why
            made.append(entry)
        return made


def _read(texts: Iterable[str]) -> tuple[tuple[Filter, ...], list[str]]:
    """The filters that can be read, and what is wrong with the others: they let nothing through."""
    filters, wrong = [], []
    for text in texts:
        try:
            filters.append(parse(text))
        except FilterError as error:  # written by an older version, or by hand
            wrong.append(f"{text}: {error}")
    return tuple(filters), wrong


def forbidden(
    decision: Denied, principal: Principal, resource: str | None = None, action: str | None = None
) -> Forbidden:
    """The error of a denial."""
    asked = None if resource is None else {"resource": resource, "action": action, "decision": "denied"}
    if asked is not None and decision.why is not None:
        asked["why"] = decision.why
    who = "API key" if principal.kind == "key" else principal.kind
    return Forbidden(
        (NO_ROLE if decision.reason == "missing_role" else NOT_GRANTED).format(who=who),
        reason=decision.reason,
        scope=decision.scope,
        key_id=principal.id if principal.kind == "key" else None,
        details=None if asked is None else {"permissions": [asked]},
    )


def variables_of(principal: Principal, now: datetime | None = None) -> dict[str, object]:
    """The variables of filters, without their ``$``; those without a value are left out."""
    values: dict[str, object] = {
        "project": principal.project,
        "environment": principal.environment,
        "now": (now or utcnow()).astimezone(UTC),
    }
    if principal.user_id is not None:
        values["userId"] = principal.user_id
    if principal.kind == "key":
        values["keyId"] = principal.id
    for name, value in principal.context.items():
        values[f"context.{name}"] = value
    return values


def models_of(resource: str) -> list[type]:
    """The models of a resource: one of ours, or those that the applications of this process protect as it."""
    own = OWN_MODELS.get(resource)
    return protection.models_of(resource) if own is None else [own]


def nothing(model: type, resource: str) -> RowRule:
    """The rule that lets no row through."""
    return row_rule(model, resource, (), {}, lambda model: None)


def joined(filters: tuple[str, ...]) -> str:
    """Several filters as one text."""
    return filters[0] if len(filters) == 1 else " OR ".join(f"({text})" for text in filters)
