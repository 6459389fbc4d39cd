"""The operations of the management API as requests to be sent: made here, sent elsewhere."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Generic, Literal, TypedDict, TypeVar, Unpack

import msgspec
from msgspec import UNSET, Struct

from ..audit.search import Filters
from ..domain import role_rules
from ..domain.keytext import is_key_id
from ..domain.permissions import ACTIONS, Action, Grant, Role, is_role_name
from ..domain.records import AuditEvent, ContextValue, CreatedKey, Key, Page, Status, Traffic
from ..errors import BadRequest, KeyNotFound, NotFound, RoleNotFound
from ..faces import exports, inputs, schemas
from ..services.once import checked
from . import answers
from .records import Explanation, Me

T = TypeVar("T")
_SECOND = timedelta(seconds=1)
_SAFE = frozenset(("GET", "PUT", "DELETE"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Generic[T]):
    """One request.

    :ivar path: below the prefix of the API, without a leading slash.
    :ivar read: makes what is answered of the body; of each line, where ``accept`` says that there are lines.
    :ivar missing: what a 404 of the API is.
    :ivar repeatable: it may be sent again without knowing whether it was done.
    :ivar gone_is_done: if it was sent again, that there is nothing any more is what was asked for.
    """

    method: str
    path: str
    read: Callable[[bytes], T]
    query: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    accept: str = "application/json"
    missing: type[NotFound] = NotFound
    repeatable: bool = True
    gone_is_done: bool = False

    @property
    def idempotency_key(self) -> str | None:
        """What tells it from others that would make the same."""
        return self.headers.get("Idempotency-Key")

    def next_to(self, page: Page[Any]) -> Call[T] | None:
        """The same for the next page; ``None`` after the last one."""
        cursor = page.next_cursor
        return None if cursor is None else replace(self, query={**self.query, "cursor": cursor})


class KeyChanges(TypedDict, total=False):
    """What can be changed of a key."""

    name: str
    roles: Collection[str]
    context: Mapping[str, ContextValue | None]
    expires_at: datetime | None
    owner: str | None
    allowed_networks: Collection[str] | None


# -- keys

_KEY = answers.one(schemas.Key, answers.key)
_CREATED = answers.one(schemas.SecretKey, answers.created_key)
_KEYS = answers.page(schemas.Key, answers.key)
_TRAFFIC = answers.one(schemas.Traffic, answers.traffic)


def find_keys(
    *,
    status: Status | None = None,
    role: str | None = None,
    prefix: str | None = None,
    q: str | None = None,
    limit: int = 50,
    cursor: str | None = None,
) -> Call[Page[Key]]:
    """Keys, newest first.

    :param status: only those with it.
    :param role: only those that have it.
    :param prefix: only those whose prefix is it.
    :param q: only those whose name contains it, in any case, or whose id or owner is it.
    :param limit: how many on a page, 1 to 200.
    :param cursor: ``next_cursor`` of the page before.
    :raises BadRequest: for a status that there is not, a wrong limit or a cursor of another list.
    """
    asked = inputs.KeyQuery(status=status, role=role, prefix=prefix, q=q, limit=limit, cursor=cursor)
    return Call(method="GET", path="keys", query=_query(asked), read=_KEYS)


def get_key(key_id: str) -> Call[Key]:
    """The record of a key, deleted ones included.

    :raises KeyNotFound: if there is none with that id, or none that the caller may see.
    """
    return _of_key(key_id, "GET", read=_KEY)


def create_key(
    *,
    name: str,
    roles: Collection[str] = (),
    context: Mapping[str, ContextValue] | None = None,
    prefix: str | None = None,
    expires_at: datetime | None = None,
    owner: str | None = None,
    allowed_networks: Collection[str] | None = None,
    idempotency_key: str | None = None,
) -> Call[CreatedKey]:
    """Make a key. Its secret is in the answer, and nowhere else ever again.

    Sent again if the answer is lost, with the same ``Idempotency-Key``, so that it makes one key at most.

    :param idempotency_key: the caller's own name for this request; a random one when left out.
    :raises Replayed: if the key was made and its secret is lost, see :ref:`replayed`.
    :raises ValidationFailed: naming each refused field, the rule and why.
    :raises Forbidden: if it would have more than the caller has.
    """
    body = inputs.NewKey(
        name=name,
        roles=roles,  # type: ignore[arg-type]
        context=context or {},  # type: ignore[arg-type]
        prefix=UNSET if prefix is None else prefix,
        expires_at=expires_at,
        owner=owner,
        allowed_networks=allowed_networks,  # type: ignore[arg-type]
    )
    once = _once(idempotency_key)
    return Call(method="POST", path="keys", body=_body(body), headers={**_JSON, **once}, read=_CREATED)


def update_key(key_id: str, *, version: int | None, **changes: Unpack[KeyChanges]) -> Call[Key]:
    """Change a key: what is left out stays, ``None`` takes away. A context is merged into the one that there is.

    :param version: the version that the caller has seen; ``None`` for whichever there is. Nothing is changed if it is
        another one by now.
    :param changes: ``name``, ``roles``, ``context``, ``expires_at``, ``owner``, ``allowed_networks``.
    :raises VersionMismatch: if the key was changed since ``version``.
    :raises ValidationFailed: for a value that is refused.
    :raises Conflict: if the key is deleted, or expired and its expiry was to be changed.
    """
    headers = {"Content-Type": "application/merge-patch+json", "If-Match": "*" if version is None else f'"{version}"'}
    patch = inputs.KeyPatch(**changes)  # type: ignore[arg-type]
    return _of_key(key_id, "PATCH", body=_body(patch), headers=headers, read=_KEY)


def rotate_key(
    key_id: str, *, overlap: timedelta | None = None, idempotency_key: str | None = None
) -> Call[CreatedKey]:
    """Make a key with the same name, roles, context, owner and networks; the old one ends after ``overlap``.

    Sent again if the answer is lost, as :meth:`create` is.

    :param overlap: how long both work, in whole seconds; the setting of the server when left out.
    :raises Replayed: if the new key was made and its secret is lost, see :ref:`replayed`.
    :raises Conflict: if the key is deleted, disabled or expired, or was rotated before.
    """
    body = inputs.Rotation(overlap_seconds=None if overlap is None else overlap // _SECOND)
    headers = {**_JSON, **_once(idempotency_key)}
    return _of_key(key_id, "POST", "rotate", body=_body(body), headers=headers, read=_CREATED)


def disable_key(key_id: str) -> Call[Key]:
    """Stop a key; :meth:`enable` undoes it. Disabling one that is disabled changes nothing.

    :raises Conflict: if the key is deleted.
    """
    return _of_key(key_id, "POST", "disable", read=_KEY)


def enable_key(key_id: str) -> Call[Key]:
    """Let a disabled key work again. Enabling one that is not disabled changes nothing.

    :raises Conflict: if the key is deleted.
    """
    return _of_key(key_id, "POST", "enable", read=_KEY)


def delete_key(key_id: str, *, only_if_quiet: bool = False) -> Call[Key]:
    """End a key for good; its record stays. Deleting a deleted key changes nothing.

    :param only_if_quiet: refuse if the key was used within the quiet period of the server.
    :raises KeyInUse: if it was.
    """
    return _of_key(key_id, "DELETE", query=_query(inputs.DeleteKeyQuery(only_if_quiet=only_if_quiet)), read=_KEY)


def traffic_of_key(key_id: str) -> Call[Traffic]:
    """Whether a key is still used, and its requests of the last 24 hours."""
    return _of_key(key_id, "GET", "traffic", read=_TRAFFIC)


def _of_key(key_id: object, method: str, *below: str, **members: Any) -> Call[Any]:
    """A call about a key. What has not the form of an id is never sent: it would be another address."""
    if not isinstance(key_id, str) or not is_key_id(key_id):
        raise KeyNotFound(f"there is no key {str(key_id)[:100]!r}")
    repeatable = method in _SAFE or "Idempotency-Key" in members.get("headers", ())
    path = "/".join(("keys", key_id, *below))
    return Call(method=method, path=path, missing=KeyNotFound, repeatable=repeatable, **members)


# -- roles

_ROLE = answers.one(schemas.Role, answers.role)
_ROLES = answers.page(schemas.Role, answers.role)


def find_roles() -> Call[Page[Role]]:
    """All roles that the caller may see, by name."""
    return Call(method="GET", path="roles", read=_ROLES)


def get_role(name: str) -> Call[Role]:
    """A role.

    :raises RoleNotFound: if there is none of that name, or none that the caller may see.
    """
    return Call(method="GET", path=_role_path(name), read=_ROLE, missing=RoleNotFound)


def create_role(name: str, *, description: str = "", grants: Iterable[Grant | Mapping[str, object]] = ()) -> Call[Role]:
    """Make a role. Not sent again if the answer is lost.

    :raises Conflict: if there is one of that name.
    :raises ValidationFailed: naming each refused field; a filter's mistake with its position.
    """
    body = {"name": name, **_role(description, grants)}
    return Call(method="POST", path="roles", body=_body(body), headers=_JSON, repeatable=False, read=_ROLE)


def save_role(
    name: str,
    *,
    description: str = "",
    grants: Iterable[Grant | Mapping[str, object]] = (),
    version: int | None = None,
) -> Call[Role]:
    """Save a whole role: what it granted before and is not among ``grants`` it grants no more.

    Sent again if the answer is lost, unless it is for one version only.

    :param version: the version that the caller has seen (0: there is none yet); another one is refused.
    :returns: the role; its ``locked_out`` names the keys that have it and whose context does not fit its filters.
    :raises ValidationFailed: naming each refused field; a filter's mistake with its position.
    :raises VersionMismatch: if the role was changed since ``version``.
    :raises Forbidden: if it would grant more than the caller has.
    """
    condition = {} if version is None else {"If-None-Match": "*"} if version == 0 else {"If-Match": f'"{version}"'}
    return Call(
        method="PUT",
        path=f"roles/{role_rules.name(name)}",
        body=_body(_role(description, grants)),
        headers={**_JSON, **condition},
        repeatable=version is None,
        read=_ROLE,
    )


def delete_role(name: str, *, take_from_keys: bool = False) -> Call[None]:
    """Delete a saved role.

    :param take_from_keys: take it from the keys that have it; else a role that keys have is not deleted.
    :raises RoleNotFound: if there is no such role.
    :raises Conflict: if keys have it, or it is not a saved one.
    """
    query = _query(inputs.DeleteRoleQuery(take_from_keys=take_from_keys))
    return Call(
        method="DELETE",
        path=_role_path(name),
        query=query,
        read=answers.nothing,
        missing=RoleNotFound,
        gone_is_done=True,
    )


def _role_path(name: object) -> str:
    if not isinstance(name, str) or not is_role_name(name):  # it would be another address
        raise RoleNotFound(f"there is no role {str(name)[:100]!r}")
    return f"roles/{name}"


def _role(description: str, grants: Iterable[Grant | Mapping[str, object]]) -> dict[str, object]:
    return {"description": description, "grants": [_grant(each) for each in grants]}


def _grant(grant: Grant | Mapping[str, object]) -> Mapping[str, object]:
    if isinstance(grant, Grant):
        return {member: getattr(grant, member) for member in ("resource", *ACTIONS, "filter")}
    return grant


# -- the audit log, and the rest

_EVENTS = answers.page(schemas.Event, answers.event)
_EVENT = answers.line(schemas.Event, answers.event)
_ME = answers.one(schemas.Me, answers.me)
_EXPLANATION = answers.one(schemas.Explanation, answers.explanation)


def find_events(*, limit: int = 50, cursor: str | None = None, **filters: Unpack[Filters]) -> Call[Page[AuditEvent]]:
    """Audit events, newest first.

    :param limit: how many on a page, 1 to 200.
    :param cursor: ``next_cursor`` of the page before.
    :param filters: ``key`` (with ``lineage=True``, also those that it replaced and that replaced it), ``kind``,
        ``outcome``, ``reason``, ``status``, ``method``, ``route``, ``since``, ``until``.
    :raises BadRequest: for a filter that cannot be.
    """
    asked = inputs.EventQuery(limit=limit, cursor=cursor, **filters)  # type: ignore[arg-type]
    return Call(method="GET", path="audit", query=_query(asked), read=_EVENTS)


def stream_events(**filters: Unpack[Filters]) -> Call[AuditEvent]:
    """All audit events, newest first, as one answer (NDJSON) that is read as it comes.

    :param filters: as in :meth:`find`.
    :raises NoAnswer: also in the middle of it, if it breaks off.
    """
    asked = inputs.EventFilter(**filters)  # type: ignore[arg-type]
    return Call(method="GET", path="audit", query=_query(asked), accept=exports.NDJSON, read=_EVENT)


def me() -> Call[Me]:
    """Who calls: its roles, context and grants."""
    return Call(method="GET", path="me", read=_ME)


def explain(
    key_id: str,
    *,
    roles: Collection[str] = (),
    match: Literal["any", "all"] = "any",
    resource: str | None = None,
    action: Action | None = None,
    remote_address: str | None = None,
) -> Call[Explanation]:
    """Every check that a request with a key would meet.

    :param roles: the roles that a view would ask for; ``match`` as in the decorator.
    :param resource: the resource that a view would ask for, with an ``action``.
    :param remote_address: where the request would come from; the network is not checked when left out.
    :raises KeyNotFound: if there is no such key, or none that the caller may see.
    """
    question = inputs.Question(
        key_id=key_id,
        roles=roles,  # type: ignore[arg-type]
        match=match,
        resource=resource,
        action=action,
        remote_address=remote_address,
    )
    return Call(
        method="POST", path="explain", body=_body(question), headers=_JSON, missing=KeyNotFound, read=_EXPLANATION
    )


# -- parts

_JSON = {"Content-Type": "application/json"}


def _body(body: object) -> bytes:
    try:
        return msgspec.json.encode(body)
    except UnicodeEncodeError:
        raise BadRequest("there is a lone surrogate, which is no character") from None


def _query(asked: Struct) -> dict[str, str]:
    given = msgspec.to_builtins(asked)
    return {name: _text(value) for name, value in given.items() if value is not None and value is not False}


def _text(value: object) -> str:
    return "true" if value is True else str(value)


def _once(value: str | None) -> dict[str, str]:
    return {"Idempotency-Key": checked(secrets.token_urlsafe(24) if value is None else value)}
