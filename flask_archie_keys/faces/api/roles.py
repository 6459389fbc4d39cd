"""Roles in the JSON API."""

from __future__ import annotations

from flask import request, url_for
from msgspec import structs

from ...context import current_environment
from ...domain.permissions import Role as RoleRecord
from ...errors import Conflict, NotFound, RoleInUse, ValidationFailed, VersionMismatch
from .. import schemas
from ..inputs import DeleteRoleQuery, NewRole, SavedRole
from ..schemas import Many, One, Role
from .operations import Answer, operation
from .requests import etag, wanted_version

_READ_ONLY = frozenset(field.encode_name for field in structs.fields(Role))


@operation("GET", "/roles", grant=("roles", "read"), answer=Many[Role])
def list_roles() -> Many[Role]:
    """List all roles, by name."""
    found = current_environment().roles.find()
    return schemas.page(found, schemas.role, len(found))


@operation(
    "POST",
    "/roles",
    grant=("roles", "write"),
    body=NewRole,
    read_only=_READ_ONLY,
    status=201,
    etag=True,
    answer=One[Role],
    errors=(Conflict, ValidationFailed),
)
def create_role(body: NewRole) -> Answer:
    """Make a role."""
    try:
        role = current_environment().roles.save(body.name, **body.wanted(), version=0)
    except VersionMismatch:
        raise Conflict(f"there is a role {body.name!r} already") from None
    return _answer(role, 201, {"Location": url_for("archie_keys_api.getRole", name=role.name)})


def _answer(role: RoleRecord, status: int = 200, headers: dict[str, str] | None = None) -> Answer:
    return Answer(schemas.one(schemas.role(role)), status, {**(headers or {}), **etag(role.version)})


@operation("GET", "/roles/<name>", grant=("roles", "read"), answer=One[Role], etag=True, errors=(NotFound,))
def get_role(name: str) -> Answer:
    """Show a role."""
    return _answer(current_environment().roles.get(name))


@operation(
    "PUT",
    "/roles/<name>",
    grant=("roles", "update"),
    body=SavedRole,
    read_only=_READ_ONLY,
    answer=One[Role],
    etag=True,
    if_match="optional",
    may_make=True,
    errors=(Conflict, VersionMismatch, ValidationFailed),
)
def save_role(name: str, body: SavedRole) -> Answer:
    """Save a whole role, which is made if there is none: what it granted before and does not grant here is gone."""
    roles = current_environment().roles
    version = _present(name) if request.if_match.star_tag else wanted_version(required=False)
    role = roles.save(name, **body.wanted(), version=version)
    return _answer(role, 201 if role.version == 1 else 200)


def _present(name: str) -> int:
    """The version that there is: ``If-Match: *`` is for any, and for none that there is not (RFC 9110 13.1.1)."""
    try:
        return current_environment().roles.get(name).version
    except NotFound:
        raise VersionMismatch("there is no such role") from None


@operation(
    "DELETE",
    "/roles/<name>",
    grant=("roles", "delete"),
    query=DeleteRoleQuery,
    status=204,
    errors=(NotFound, RoleInUse),
)
def delete_role(name: str, query: DeleteRoleQuery) -> None:
    """Delete a role. With ``takeFromKeys``, it is taken from the keys that have it."""
    current_environment().roles.delete(name, take_from_keys=query.take_from_keys)
