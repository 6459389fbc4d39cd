"""The JSON shapes that all faces share: camelCase, times in ISO 8601 UTC with milliseconds and ``Z``.

Each shape is a struct, which the OpenAPI document describes, and a function that makes it of a record.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Generic, TypeVar

import msgspec
from msgspec import Meta, Struct

from ..domain import records
from ..domain.clock import isoformat
from ..domain.permissions import ACTIONS, RoleSource
from ..domain.permissions import Grant as GrantRecord
from ..domain.permissions import Role as RoleRecord
from ..domain.principals import Principal
from ..domain.records import AuditEvent, CreatedKey, Page, Scalar, Status
from ..domain.records import Key as KeyRecord
from ..services import explain
from ..services.profiles import Profile

T = TypeVar("T")
Time = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
Context = dict[str, Scalar | list[Scalar]]


class Shape(Struct, rename="camel", kw_only=True):
    """The base of all shapes."""


class Key(Shape):
    """A key. Its secret is not in it."""

    id: str
    name: str
    prefix: str
    hint: str
    project: str
    environment: str
    roles: list[str]
    context: Context
    owner: str | None
    status: Status
    created_at: Time
    created_by: str
    expires_at: Time | None
    last_used_at: Time | None
    disabled_at: Time | None
    deleted_at: Time | None
    replaces: str | None
    replaced_by: str | None
    rate_limit: str | None
    allowed_networks: list[str] | None
    version: int


class SecretKey(Key):
    """A new key with its secret, which is shown here and nowhere else ever again."""

    secret: str

    def __repr__(self) -> str:
        return f"<SecretKey {self.id}>"  # debuggers and error reports show the locals of a function


class Grant(Shape):
    """What a role may do with one resource, and with which of its rows; all of them where there is no filter."""

    resource: str
    read: bool
    write: bool
    update: bool
    delete: bool
    filter: str | None


class Role(Shape):
    """A role with its grants. Only a saved one can be changed."""

    name: str
    description: str
    grants: list[Grant]
    source: RoleSource
    project: str
    environment: str
    created_at: Time | None
    updated_at: Time | None
    version: int
    locked_out: list[str]


class RoleGrant(Grant):
    """A grant, and the role that it comes from."""

    role: str


class Me(Shape):
    """Who calls. ``grants`` is null where a remote service decides."""

    kind: str
    id: str
    name: str
    project: str
    environment: str
    roles: list[str]
    context: Context
    owner: str | None
    expires_at: Time | None
    grants: list[RoleGrant] | None


class Check(Shape):
    """One check and its verdict."""

    name: str
    passed: bool
    why: str


class Explanation(Shape):
    """Why a key is let in or refused."""

    key_id: str
    allowed: bool
    checks: list[Check]
    filter: str | None
    sql: str | None
    parameters: dict[str, Any]


class Event(Shape):
    """An audit event."""

    id: str
    occurred_at: Time
    project: str
    environment: str
    kind: str
    key_id: str | None
    actor: str | None
    outcome: str
    reason: str | None
    method: str | None
    route: str | None
    path: str | None
    status: int | None
    duration_ms: float | None
    remote_address: str | None
    user_agent: str | None
    request_id: str | None
    count: int
    truncated: bool
    streamed: bool
    details: dict[str, Any]


class TrafficCount(Shape):
    """Requests in one interval."""

    start: Time
    requests: int


class Traffic(Shape):
    """Whether a key is still used."""

    last_used_at: Time | None
    quiet_seconds: int
    safe_to_delete: bool
    counts: list[TrafficCount]


class Pagination(Shape):
    """Where a part of a list stands."""

    limit: int
    has_next_page: bool
    next_cursor: str | None


class ListMeta(Shape):
    """What is said of a list."""

    pagination: Pagination


class One(Shape, Generic[T]):
    """The envelope of one thing."""

    data: T


class Many(Shape, Generic[T]):
    """The envelope of a part of a list."""

    data: list[T]
    meta: ListMeta


class RefusedField(Shape):
    """One refused field of the input."""

    field: str
    rule: str
    message: str


class Problem(Shape, omit_defaults=True):
    """An error as problem details (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[RefusedField] | msgspec.UnsetType = msgspec.UNSET
    key_id: str | msgspec.UnsetType = msgspec.UNSET


def plain(shape: Any) -> Any:
    """A shape as dicts and lists."""
    return msgspec.to_builtins(shape)


def _time(moment: datetime) -> str:
    return isoformat(moment)


def _time_or_none(moment: datetime | None) -> str | None:
    return None if moment is None else isoformat(moment)


def context(record: Mapping[str, records.ContextValue]) -> Context:
    """A context."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in record.items()}


def _key_members(record: KeyRecord) -> dict[str, Any]:
    return {
        "id": record.id,
        "name": record.name,
        "prefix": record.prefix,
        "hint": record.hint,
        "project": record.project,
        "environment": record.environment,
        "roles": list(record.roles),
        "context": context(record.context),
        "owner": record.owner,
        "status": record.status,
        "created_at": _time(record.created_at),
        "created_by": record.created_by,
        "expires_at": _time_or_none(record.expires_at),
        "last_used_at": _time_or_none(record.last_used_at),
        "disabled_at": _time_or_none(record.disabled_at),
        "deleted_at": _time_or_none(record.deleted_at),
        "replaces": record.replaces,
        "replaced_by": record.replaced_by,
        "rate_limit": record.rate_limit,
        "allowed_networks": None if record.allowed_networks is None else list(record.allowed_networks),
        "version": record.version,
    }


def key(record: KeyRecord) -> Key:
    """A key."""
    return Key(**_key_members(record))


def created_key(created: CreatedKey) -> SecretKey:
    """A new key with its secret: the only shape that has one."""
    return SecretKey(secret=created.secret, **_key_members(created.key))


def _grant_members(record: GrantRecord) -> dict[str, Any]:
    return {member: getattr(record, member) for member in ("resource", *ACTIONS, "filter")}


def role(record: RoleRecord) -> Role:
    """A role with its grants."""
    return Role(
        name=record.name,
        description=record.description,
        grants=[Grant(**_grant_members(each)) for each in record.grants],
        source=record.source,
        project=record.project,
        environment=record.environment,
        created_at=_time_or_none(record.created_at),
        updated_at=_time_or_none(record.updated_at),
        version=record.version,
        locked_out=list(record.locked_out),
    )


def me(record: Profile) -> Me:
    """Who calls."""
    principal: Principal = record.principal
    grants = None
    if record.roles is not None:
        grants = [RoleGrant(role=role.name, **_grant_members(each)) for role in record.roles for each in role.grants]
    return Me(
        kind=principal.kind,
        id=principal.id,
        name=principal.name,
        project=principal.project,
        environment=principal.environment,
        roles=list(principal.roles),
        context=context(principal.context),
        owner=principal.owner,
        expires_at=_time_or_none(principal.expires_at),
        grants=grants,
    )


def explanation(record: explain.Explanation) -> Explanation:
    """Why a key is let in or refused."""
    return Explanation(
        key_id=record.key.id,
        allowed=record.allowed,
        checks=[Check(**check._asdict()) for check in record.checks],
        filter=record.filter,
        sql=record.sql,
        parameters={name: _plain(value) for name, value in record.parameters.items()},
    )


def _plain(value: object) -> object:
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)


def event(record: AuditEvent) -> Event:
    """An audit event."""
    return Event(
        id=record.id,
        occurred_at=_time(record.occurred_at),
        project=record.project,
        environment=record.environment,
        kind=record.kind,
        key_id=record.key_id,
        actor=record.actor,
        outcome=record.outcome,
        reason=record.reason,
        method=record.method,
        route=record.route,
        path=record.path,
        status=record.status,
        duration_ms=record.duration_ms,
        remote_address=record.remote_address,
        user_agent=record.user_agent,
        request_id=record.request_id,
        count=record.count,
        truncated=record.truncated,
        streamed=record.streamed,
        details=dict(record.details),
    )


def traffic(record: records.Traffic) -> Traffic:
    """Whether a key is still used."""
    return Traffic(
        last_used_at=_time_or_none(record.last_used_at),
        quiet_seconds=int(record.quiet.total_seconds()),
        safe_to_delete=record.safe_to_delete,
        counts=[TrafficCount(start=_time(count.start), requests=count.requests) for count in record.counts],
    )


def one(data: T) -> One[T]:
    """The envelope of one thing."""
    return One(data=data)


def page(records: Page[Any], shape: Callable[[Any], T], limit: int) -> Many[T]:
    """The envelope of a part of a list."""
    return many([shape(record) for record in records], limit, records.next_cursor)


def many(data: Sequence[T], limit: int, next_cursor: str | None = None) -> Many[T]:
    """The envelope of a list."""
    pagination = Pagination(limit=limit, has_next_page=next_cursor is not None, next_cursor=next_cursor)
    return Many(data=list(data), meta=ListMeta(pagination=pagination))
