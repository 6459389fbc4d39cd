"""What the services hand out: frozen records of keys, audit events, traffic and pages of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Generic, Literal, TypeVar, overload

from .keytext import hint

Scalar = str | int | float | bool
ContextValue = Scalar | tuple[Scalar, ...]
Status = Literal["active", "retiring", "disabled", "expired", "deleted"]
STATUSES: tuple[Status, ...] = ("active", "retiring", "disabled", "expired", "deleted")
T = TypeVar("T")


def status_at(
    now: int, *, expires_at: int | None, disabled_at: int | None, deleted_at: int | None, replaced_by: str | None
) -> Status:
    """The status of a key at ``now``; all times in microseconds since the epoch. The first that holds wins."""
    if deleted_at is not None:
        return "deleted"
    if expires_at is not None and expires_at <= now:
        return "expired"
    if disabled_at is not None:
        return "disabled"
    return "active" if replaced_by is None else "retiring"


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """The record of a key. Times are aware UTC; the secret is not in it, nor its digest.

    :ivar status: what the key was when this record was read.
    :ivar last_used_at: the last authenticated request that has been drained from the spool.
    :ivar replaces: the id of the key that this one was made to replace by a rotation.
    :ivar replaced_by: the id of the key that replaces this one.
    :ivar allowed_networks: CIDR networks that requests must come from; ``None`` for any.
    :ivar version: grows by one with every change; the ETag of the JSON API.
    """

    id: str
    name: str
    prefix: str
    project: str
    environment: str
    roles: tuple[str, ...]
    context: Mapping[str, ContextValue]
    owner: str | None
    status: Status
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    last_used_at: datetime | None
    disabled_at: datetime | None
    deleted_at: datetime | None
    replaces: str | None
    replaced_by: str | None
    rate_limit: str | None
    allowed_networks: tuple[str, ...] | None
    version: int

    @property
    def hint(self) -> str:
        """What may be shown of the key text."""
        return hint(self.prefix, self.id)


@dataclass(frozen=True, slots=True)
class CreatedKey:
    """A new key and its secret, which is nowhere else and cannot be had again."""

    secret: str = field(repr=False)
    key: Key


@dataclass(frozen=True, slots=True)
class Page(Sequence[T], Generic[T]):
    """A part of a list, newest first.

    :ivar next_cursor: pass it as ``cursor`` for the next page; ``None`` on the last one.
    """

    items: tuple[T, ...]
    next_cursor: str | None = None

    def __iter__(self) -> Iterator[T]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)

    @overload
    def __getitem__(self, index: int) -> T: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[T, ...]: ...

    def __getitem__(self, index: int | slice) -> T | tuple[T, ...]:
        return self.items[index]


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEvent:
    """One entry of the audit log.

    :ivar id: UUIDv7 as 32 hexadecimal digits; sorts by time.
    :ivar kind: ``request``, or what was done: ``key.created``, ``role.saved``, ``unrestricted``, …
    :ivar key_id: the key that the request used, or that was changed, or that acted.
    :ivar actor: who changed something: ``system``, ``key:…``, ``user:…``; ``None`` for requests.
    :ivar outcome: ``allowed``, ``denied`` (a good key that may not do this) or ``refused`` (no good key).
    :ivar status: HTTP status; ``None`` if the request was never completed: still running, or the process died.
    :ivar duration_ms: milliseconds from the check of the key to the end of the request.
    :ivar count: how many requests this event stands for; more than 1 only in a flood of refused ones.
    :ivar truncated: a text was cut to its bound.
    :ivar streamed: the body was still being sent when ``duration_ms`` was taken.
    :ivar details: what else there is to know, by name.
    """

    id: str
    occurred_at: datetime
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
    details: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class TrafficCount:
    """Requests with one key from ``start`` for one interval."""

    start: datetime
    requests: int


@dataclass(frozen=True, slots=True)
class Traffic:
    """Whether a key is still used.

    :ivar last_used_at: the last authenticated request; ``None`` if there was none.
    :ivar quiet: how long ago that was, or since the key was made.
    :ivar safe_to_delete: no request for ``ARCHIE_KEYS_QUIET_PERIOD``, or the key is expired or deleted. Never where the
        audit of requests is off: then nobody knows.
    :ivar counts: authenticated requests by time, oldest first, intervals without any included.
    """

    last_used_at: datetime | None
    quiet: timedelta
    safe_to_delete: bool
    counts: tuple[TrafficCount, ...]
