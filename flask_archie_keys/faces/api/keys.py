"""Keys in the JSON API."""

from __future__ import annotations

from collections.abc import Mapping

from flask import url_for

from ...context import current_environment
from ...domain.records import ContextValue, CreatedKey
from ...domain.records import Key as KeyRecord
from ...errors import Conflict, KeyInUse, NotFound, Replayed, ValidationFailed, VersionMismatch
from .. import schemas
from ..inputs import READ_ONLY, DeleteKeyQuery, KeyPatch, KeyQuery, NewKey, Rotation
from ..schemas import Key, Many, One, SecretKey, Traffic
from .operations import Answer, operation
from .requests import etag, idempotency_key, wanted_version

_ERRORS = (NotFound, Conflict)


@operation("GET", "/keys", grant=("api_keys", "read"), query=KeyQuery, answer=Many[Key])
def list_keys(query: KeyQuery) -> Many[Key]:
    """List keys, newest first."""
    page = current_environment().service.find(
        status=query.status, role=query.role, prefix=query.prefix, q=query.q, limit=query.limit, cursor=query.cursor
    )
    return schemas.page(page, schemas.key, query.limit)


@operation(
    "POST",
    "/keys",
    grant=("api_keys", "write"),
    body=NewKey,
    read_only=READ_ONLY,
    status=201,
    etag=True,
    answer=One[SecretKey],
    idempotent=True,
    errors=(Replayed, ValidationFailed),
)
def create_key(body: NewKey) -> Answer:
    """Make a key. Its secret is in this answer and nowhere else."""
    created = current_environment().service.create(**body.wanted(), idempotency_key=idempotency_key())
    return _created(created)


def _created(created: CreatedKey) -> Answer:
    location = url_for("archie_keys_api.getKey", key_id=created.key.id)
    return Answer(schemas.one(schemas.created_key(created)), 201, {"Location": location, **etag(created.key.version)})


@operation("GET", "/keys/<key_id>", grant=("api_keys", "read"), answer=One[Key], etag=True, errors=(NotFound,))
def get_key(key_id: str) -> Answer:
    """Show a key, deleted ones included."""
    key = current_environment().service.get(key_id)
    return Answer(schemas.one(schemas.key(key)), headers=etag(key.version))


@operation(
    "PATCH",
    "/keys/<key_id>",
    grant=("api_keys", "update"),
    body=KeyPatch,
    read_only=READ_ONLY,
    answer=One[Key],
    etag=True,
    if_match="required",
    errors=(*_ERRORS, VersionMismatch, ValidationFailed),
)
def update_key(key_id: str, body: KeyPatch) -> Answer:
    """Change a key: what is left out stays, null takes away (RFC 7396)."""
    key = change(key_id, body, wanted_version(required=True))
    return Answer(schemas.one(schemas.key(key)), headers=etag(key.version))


def change(key_id: str, patch: KeyPatch, version: int | None) -> KeyRecord:
    """Change a key; a context is merged into what there is, so for no other version than that.

    :param version: the one that the caller has seen; ``None`` for whichever there is.
    """
    service = current_environment().service
    present: Mapping[str, ContextValue] = {}
    if isinstance(patch.context, dict):
        key = service.get(key_id)
        present, version = key.context, key.version if version is None else version
    return service.update(key_id, version=version, **patch.changes(present))


@operation(
    "DELETE",
    "/keys/<key_id>",
    grant=("api_keys", "delete"),
    query=DeleteKeyQuery,
    answer=One[Key],
    errors=(NotFound, KeyInUse),
)
def delete_key(key_id: str, query: DeleteKeyQuery) -> One[Key]:
    """End a key for good; its record stays. With ``onlyIfQuiet``, not while it is used."""
    return schemas.one(schemas.key(current_environment().service.delete(key_id, only_if_quiet=query.only_if_quiet)))


@operation(
    "POST",
    "/keys/<key_id>/rotate",
    grant=("api_keys", "write"),
    body=Rotation,
    body_optional=True,
    status=201,
    etag=True,
    answer=One[SecretKey],
    idempotent=True,
    errors=(*_ERRORS, Replayed, ValidationFailed),
)
def rotate_key(key_id: str, body: Rotation) -> Answer:
    """Make a key that replaces this one; both work until the overlap is over."""
    service = current_environment().service
    return _created(service.rotate(key_id, overlap=body.overlap, idempotency_key=idempotency_key()))


@operation("POST", "/keys/<key_id>/disable", grant=("api_keys", "update"), answer=One[Key], errors=_ERRORS)
def disable_key(key_id: str) -> One[Key]:
    """Stop a key; enabling it undoes that."""
    return schemas.one(schemas.key(current_environment().service.disable(key_id)))


@operation("POST", "/keys/<key_id>/enable", grant=("api_keys", "update"), answer=One[Key], errors=_ERRORS)
def enable_key(key_id: str) -> One[Key]:
    """Let a disabled key work again."""
    return schemas.one(schemas.key(current_environment().service.enable(key_id)))


@operation("GET", "/keys/<key_id>/traffic", grant=("api_keys", "read"), answer=One[Traffic], errors=(NotFound,))
def get_traffic(key_id: str) -> One[Traffic]:
    """Show whether a key is still used, and its requests of the last 24 hours."""
    return schemas.one(schemas.traffic(current_environment().traffic(key_id)))
