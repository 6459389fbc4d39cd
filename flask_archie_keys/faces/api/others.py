"""Who calls, and why a key would be let in or refused, in the JSON API."""

from __future__ import annotations

from ...context import current_environment, current_profile
from ...errors import NotFound, ValidationFailed
from .. import schemas
from ..inputs import Question
from ..schemas import Explanation, Me, One
from .operations import operation


@operation("GET", "/me", answer=One[Me])
def get_me() -> One[Me]:
    """Show who calls: roles, context and grants."""
    return schemas.one(schemas.me(current_profile()))


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
