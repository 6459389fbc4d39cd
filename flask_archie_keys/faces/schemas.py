"""The JSON shapes that all faces share: camelCase, times in ISO 8601 UTC with milliseconds and ``Z``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, TypeVar

from ..domain.clock import isoformat
from ..domain.permissions import ACTIONS, Grant, Role
from ..domain.records import AuditEvent, CreatedKey, Key, Page, Traffic
from ..services.explain import Explanation

T = TypeVar("T")


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else isoformat(moment)


def key(record: Key) -> dict[str, Any]:
    """A key."""
    return {
        "id": record.id,
        "name": record.name,
        "prefix": record.prefix,
        "hint": record.hint,
        "project": record.project,
        "environment": record.environment,
        "roles": list(record.roles),
        "context": dict(record.context),
        "owner": record.owner,
        "status": record.status,
        "createdAt": _time(record.created_at),
        "createdBy": record.created_by,
        "expiresAt": _time(record.expires_at),
        "lastUsedAt": _time(record.last_used_at),
        "disabledAt": _time(record.disabled_at),
        "deletedAt": _time(record.deleted_at),
        "replaces": record.replaces,
        "replacedBy": record.replaced_by,
        "rateLimit": record.rate_limit,
        "allowedNetworks": None if record.allowed_networks is None else list(record.allowed_networks),
        "version": record.version,
    }


def created_key(created: CreatedKey) -> dict[str, Any]:
    """A new key with its secret: the only shape that has one."""
    return {"secret": created.secret, **key(created.key)}


def grant(record: Grant) -> dict[str, Any]:
    """A grant of a role."""
    return {
        "resource": record.resource,
        **{action: getattr(record, action) for action in ACTIONS},
        "filter": record.filter,
    }


def role(record: Role) -> dict[str, Any]:
    """A role with its grants."""
    return {
        "name": record.name,
        "description": record.description,
        "grants": [grant(each) for each in record.grants],
        "source": record.source,
        "project": record.project,
        "environment": record.environment,
        "createdAt": _time(record.created_at),
        "updatedAt": _time(record.updated_at),
        "version": record.version,
        "lockedOut": list(record.locked_out),
    }


def explanation(record: Explanation) -> dict[str, Any]:
    """Why a key is let in or refused."""
    return {
        "keyId": record.key.id,
        "allowed": record.allowed,
        "checks": [check._asdict() for check in record.checks],
        "filter": record.filter,
        "sql": record.sql,
        "parameters": {name: _plain(value) for name, value in record.parameters.items()},
    }


def _plain(value: object) -> object:
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)


def event(record: AuditEvent) -> dict[str, Any]:
    """An audit event."""
    return {
        "id": record.id,
        "occurredAt": _time(record.occurred_at),
        "project": record.project,
        "environment": record.environment,
        "kind": record.kind,
        "keyId": record.key_id,
        "actor": record.actor,
        "outcome": record.outcome,
        "reason": record.reason,
        "method": record.method,
        "route": record.route,
        "path": record.path,
        "status": record.status,
        "durationMs": record.duration_ms,
        "remoteAddress": record.remote_address,
        "userAgent": record.user_agent,
        "requestId": record.request_id,
        "count": record.count,
        "truncated": record.truncated,
        "streamed": record.streamed,
        "details": dict(record.details),
    }


def traffic(record: Traffic) -> dict[str, Any]:
    """Whether a key is still used."""
    return {
        "lastUsedAt": _time(record.last_used_at),
        "quietSeconds": int(record.quiet.total_seconds()),
        "safeToDelete": record.safe_to_delete,
        "counts": [{"start": _time(count.start), "requests": count.requests} for count in record.counts],
    }


def one(data: Any) -> dict[str, Any]:
    """The envelope of one thing."""
    return {"data": data}


def page(records: Page[T], shape: Callable[[T], Any], limit: int) -> dict[str, Any]:
    """The envelope of a part of a list."""
    return many([shape(record) for record in records], limit, records.next_cursor)


def many(data: Sequence[Any], limit: int, next_cursor: str | None = None) -> dict[str, Any]:
    """The envelope of a list."""
    pagination = {"limit": limit, "hasNextPage": next_cursor is not None, "nextCursor": next_cursor}
    return {"data": list(data), "meta": {"pagination": pagination}}
