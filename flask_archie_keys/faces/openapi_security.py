"""What the OpenAPI document of an application should say of its guarded views."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from flask import Flask
from flask.views import View

from ..domain.permissions import Requirement
from ..errors import BadRequest, Forbidden, ServiceError, Unauthorized, Unavailable
from ..guarded_views import requirements_of
from . import problems

#: The name of the security scheme of keys, here and in the document of the management API.
KEY_SCHEME = "apiKey"
#: How a key is sent, as a Security Scheme Object.
KEY_SCHEME_OBJECT: dict[str, Any] = {"type": "http", "scheme": "bearer", "description": "An API key."}
_HEADERS = {401: "WWW-Authenticate", 403: "WWW-Authenticate", 503: "Retry-After"}
_PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
    },
}


@dataclass(frozen=True, slots=True)
class ViewSecurity:
    """What a view asks of those who call it.

    :ivar guarded: something stands before the view; False for an open one.
    :ivar optional: it lets requests without a key pass.
    :ivar roles: the names of all roles that are asked for.
    :ivar grants: the grants that are asked for: ``orders:read``.
    :ivar needs: a phrase for each thing that is asked for; all of them must be met.
    """

    guarded: bool
    optional: bool
    roles: tuple[str, ...]
    grants: tuple[str, ...]
    needs: tuple[str, ...]

    @property
    def schemes(self) -> dict[str, Any]:
        """For ``components.securitySchemes``."""
        return {KEY_SCHEME: dict(KEY_SCHEME_OBJECT)}

    @property
    def security(self) -> list[dict[str, list[str]]]:
        """Security Requirement Objects; none for an open view. Roles are not in them: OpenAPI 3.0 forbids that."""
        if not self.guarded:
            return []
        return [{KEY_SCHEME: []}, {}] if self.optional else [{KEY_SCHEME: []}]

    @property
    def responses(self) -> dict[str, Any]:
        """What the guard itself answers, by status: 400, 401, 403 and 503; nothing for an open view."""
        if not self.guarded:
            return {}
        return {str(error.status): _response(error) for error in (BadRequest, Unauthorized, Forbidden, Unavailable)}

    @property
    def description(self) -> str:
        """A sentence for people; empty for an open view."""
        if not self.guarded:
            return ""
        key = "Takes an API key" if self.optional else "Needs an API key"
        return f"{key} with {' and '.join(self.needs)}." if self.needs else f"{key}."

    def add_to(self, operation: dict[str, Any]) -> None:
        """Add it to an Operation Object. What is there stays: ``security``, and responses of the same status."""
        if not self.guarded:
            return
        operation.setdefault("security", self.security)
        there = operation.setdefault("responses", {})
        for status, response in self.responses.items():
            if status not in there and int(status) not in there:  # builders of documents have both
                there[status] = response
        operation["description"] = "\n\n".join(filter(None, (operation.get("description"), self.description)))


def _response(error: type[ServiceError]) -> dict[str, Any]:
    response: dict[str, Any] = {
        "description": f"{error.title}: `{error.type}`",
        "content": {problems.MEDIA_TYPE: {"schema": _PROBLEM}},
    }
    if error.status in _HEADERS:
        response["headers"] = {_HEADERS[error.status]: {"schema": {"type": "string"}}}
    return response


def security_of(app: Flask, view: str | Callable[..., Any] | type[View], method: str | None) -> ViewSecurity:
    """What a view asks for; see :meth:`~flask_archie_keys.ArchieKeys.openapi_security`."""
    found = requirements_of(app, view, method)
    asked = [requirement for requirement, _ in found]
    roles = dict.fromkeys(role for requirement in asked for role in requirement.roles or ())
    grants = dict.fromkeys(grant for requirement, at in found for grant in _grant(requirement, at, view))
    needs = dict.fromkeys(need for requirement in asked for need in _roles(requirement))
    return ViewSecurity(
        guarded=bool(asked),
        optional=bool(asked) and all(requirement.optional for requirement in asked),
        roles=tuple(roles),
        grants=tuple(grants),
        needs=(*needs, *(f"the grant {grant}" for grant in grants)),
    )


def _roles(requirement: Requirement) -> Iterator[str]:
    if requirement.roles is None:
        return
    if len(requirement.roles) == 1:
        yield f"the role {requirement.roles[0]}"
    else:
        of = "one" if requirement.match == "any" else "all"
        yield f"{of} of the roles {', '.join(requirement.roles)}"


def _grant(requirement: Requirement, method: str | None, view: object) -> Iterator[str]:
    if requirement.resource is None:
        return
    action = requirement.action or (None if method is None else requirement.action_for(method))
    if action is None and method is None:
        raise ValueError(f"{view!r} asks for another grant with each method; say which: method='GET'")
    if action is not None:
        yield f"{requirement.resource}:{action}"
