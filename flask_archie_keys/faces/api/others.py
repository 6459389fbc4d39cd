"""Who calls, and why a key would be let in or refused, in the JSON API."""

from __future__ import annotations

from typing import cast

from ...context import app_state, current_environment, current_principal
from ...domain.principals import Principal
from ...errors import NotFound, ValidationFailed
from .. import schemas
from ..inputs import Question
from ..schemas import Explanation, Me, One
from .operations import operation


@operation("GET", "/me", answer=One[Me])
def get_me() -> One[Me]:
    """Show who calls: roles, context and grants."""
    principal = cast(Principal, current_principal())  # nobody gets here without one
    environment = app_state().environment(principal.environment)  # where its roles are; a user may be of another one
    return schemas.one(schemas.me(environment.profiles.of(principal)))


@operation(
    "POST",
    "/explain",
    grant=("api_keys", "read"),
    body=Question,
    answer=One[Explanation],
    errors=(NotFound, ValidationFailed),
)
def explain(body: Question) -> One[Explanation]:
    """Show why a key would be let in or refused: every check with its verdict."""
    found = current_environment().explainer.explain(
        body.key_id,
        roles=body.roles,
        match=body.match,
        resource=body.resource,
        action=body.action,
        remote_address=body.remote_address,
    )
    return schemas.one(schemas.explanation(found))
