"""Reading what the management API answers: records, or the errors of the services."""

from __future__ import annotations

import email.utils
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import httpx
import msgspec

from ..domain import records
from ..domain.clock import utcnow
from ..domain.permissions import ACTIONS, Grant, Role
from ..domain.principals import Principal
from ..domain.records import AuditEvent, ContextValue, CreatedKey, Key, Page, Traffic, TrafficCount
from ..errors import (
    ArchieKeysError,
    BadRequest,
    Conflict,
    ContentTooLarge,
    FieldError,
    Forbidden,
    KeyInUse,
    MethodNotAllowed,
    NotFound,
    PreconditionRequired,
    Replayed,
    Unauthorized,
    Unavailable,
    UnsupportedMediaType,
    ValidationFailed,
    VersionMismatch,
)
from ..faces import problems, schemas
from ..services.explain import Check
from .errors import BadAnswer, RateLimited
from .records import Explanation, Me, RoleGrant

T = TypeVar("T")
S = TypeVar("S")
RETRY_AFTER_DEFAULT = 1
_SCOPE = re.compile(r'\bscope="([^"]*)"')

# -- records


def read(response: httpx.Response, reader: Callable[[bytes], T], missing: type[NotFound]) -> T:
    """What a response holds.

    :param reader: makes it of the body.
    :param missing: what a 404 of the API is.
    :raises ArchieKeysError: the error that it is, or :exc:`BadAnswer` if it is nothing that the API answers.
    """
    if not response.is_success:
        raise error_of(response, missing)
    try:
        return reader(response.content)
    except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError) as error:
        what = f"{_named(response)}, and it is not what the management API answers: {type(error).__name__}"
    raise BadAnswer(what, status=response.status_code)  # out here, where the error with its frames is gone


def one(shape: type[S], record: Callable[[S], T]) -> Callable[[bytes], T]:
    """A reader of one thing."""
    decoder = msgspec.json.Decoder(schemas.One[shape])  # type: ignore[valid-type]
    return lambda content: record(decoder.decode(content).data)


def page(shape: type[S], record: Callable[[S], T]) -> Callable[[bytes], Page[T]]:
    """A reader of a part of a list."""
    decoder = msgspec.json.Decoder(schemas.Many[shape])  # type: ignore[valid-type]

    def reader(content: bytes) -> Page[T]:
        many = decoder.decode(content)
        return Page(tuple(record(shape) for shape in many.data), many.meta.pagination.next_cursor)

    return reader


def line(shape: type[S], record: Callable[[S], T]) -> Callable[[bytes], T]:
    """A reader of one line of a stream."""
    decoder = msgspec.json.Decoder(shape)
    return lambda content: record(decoder.decode(content))


def nothing(content: bytes) -> None:
    """A reader of what needs no reading."""


def _time(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.utcoffset() is None:
        raise ValueError("a time without its zone")
    return moment.astimezone(UTC)


def _time_or_none(text: str | None) -> datetime | None:
    return None if text is None else _time(text)


def _context(shape: schemas.Context) -> dict[str, ContextValue]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in shape.items()}


def key(shape: schemas.Key) -> Key:
    """A key."""
    return Key(
        id=shape.id,
        name=shape.name,
        prefix=shape.prefix,
        project=shape.project,
        environment=shape.environment,
        roles=tuple(shape.roles),
        context=_context(shape.context),
        owner=shape.owner,
        status=shape.status,
        created_at=_time(shape.created_at),
        created_by=shape.created_by,
        expires_at=_time_or_none(shape.expires_at),
        last_used_at=_time_or_none(shape.last_used_at),
        disabled_at=_time_or_none(shape.disabled_at),
        deleted_at=_time_or_none(shape.deleted_at),
        replaces=shape.replaces,
        replaced_by=shape.replaced_by,
        rate_limit=shape.rate_limit,
        allowed_networks=None if shape.allowed_networks is None else tuple(shape.allowed_networks),
        version=shape.version,
    )


def created_key(shape: schemas.SecretKey) -> CreatedKey:
    """A new key with its secret."""
    return CreatedKey(shape.secret, key(shape))


def _grant(shape: schemas.Grant) -> Grant:
    return Grant(**{member: getattr(shape, member) for member in ("resource", *ACTIONS, "filter")})


def role(shape: schemas.Role) -> Role:
    """A role with its grants."""
    return Role(
        name=shape.name,
        description=shape.description,
        grants=tuple(_grant(each) for each in shape.grants),
        source=shape.source,
        project=shape.project,
        environment=shape.environment,
        version=shape.version,
        created_at=_time_or_none(shape.created_at),
        updated_at=_time_or_none(shape.updated_at),
        locked_out=tuple(shape.locked_out),
    )


def me(shape: schemas.Me) -> Me:
    """Who calls."""
    if shape.kind not in ("key", "user"):
        raise ValueError("neither a key nor a user")
    principal = Principal(
        shape.kind,  # type: ignore[arg-type, unused-ignore]
        shape.id,
        shape.name,
        shape.project,
        shape.environment,
        roles=tuple(shape.roles),
        context=_context(shape.context),
        owner=shape.owner,
        expires_at=_time_or_none(shape.expires_at),
    )
    grants = None if shape.grants is None else tuple(RoleGrant(each.role, _grant(each)) for each in shape.grants)
    return Me(principal, grants)


def explanation(shape: schemas.Explanation) -> Explanation:
    """Why a key is let in or refused."""
    return Explanation(
        key_id=shape.key_id,
        allowed=shape.allowed,
        checks=tuple(Check(check.name, check.passed, check.why) for check in shape.checks),
        filter=shape.filter,
        sql=shape.sql,
        parameters=shape.parameters,
    )


def event(shape: schemas.Event) -> AuditEvent:
    """An audit event."""
    members: dict[str, Any] = msgspec.structs.asdict(shape)
    return AuditEvent(**{**members, "occurred_at": _time(shape.occurred_at)})


def traffic(shape: schemas.Traffic) -> Traffic:
    """Whether a key is still used."""
    return records.Traffic(
        _time_or_none(shape.last_used_at),
        timedelta(seconds=shape.quiet_seconds),
        shape.safe_to_delete,
        tuple(TrafficCount(_time(count.start), count.requests) for count in shape.counts),
    )


# -- errors

_PLAIN = (BadRequest, KeyInUse, VersionMismatch, UnsupportedMediaType, PreconditionRequired)


def error_of(response: httpx.Response, missing: type[NotFound]) -> ArchieKeysError:
    """The error that a response is."""
    problem = _problem(response)
    if problem is None:
        return _without_problem(response)
    for plain in _PLAIN:
        if problem.type == plain.type:
            return (ContentTooLarge if response.status_code == ContentTooLarge.status else plain)(problem.detail)
    make = _MAKERS.get(problem.type)
    if make is not None:
        return make(problem, response)
    if problem.type == NotFound.type:
        return missing(problem.detail)
    return BadAnswer(f"{_named(response)}: {problem.title}: {problem.detail}", status=response.status_code)


def _problem(response: httpx.Response) -> schemas.Problem | None:
    if response.headers.get("Content-Type", "").partition(";")[0].strip().lower() != problems.MEDIA_TYPE:
        return None
    try:
        return msgspec.json.decode(response.content, type=schemas.Problem)
    except (msgspec.MsgspecError, RecursionError):
        return None


def _without_problem(response: httpx.Response) -> ArchieKeysError:
    """What a proxy or another application has answered."""
    status = response.status_code
    if status in (502, 503, 504):
        return Unavailable(f"{_named(response)}: it cannot be reached", retry_after=retry_after(response))
    if status == RateLimited.status:
        return RateLimited(_named(response), retry_after=retry_after(response))
    hint = ""
    if response.has_redirect_location:
        hint = f": a redirect to {response.headers['Location'][:200]}, which is not followed"
    return BadAnswer(
        f"{_named(response)}{hint}, and no management API; base_url must be its address with the prefix, as in "
        "https://shop.example/archie/v1",
        status=status,
    )


def _named(response: httpx.Response) -> str:
    return f"{response.request.method} {response.request.url.copy_with(query=None)} was answered {response.status_code}"


def retry_after(response: httpx.Response) -> int:
    """The seconds to wait that a response asks for (RFC 9110 section 10.2.3); 1 if it does not say."""
    text = response.headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit() and len(text) < 10:
        return int(text)
    try:
        moment = email.utils.parsedate_to_datetime(text)
        return max(0, -int((utcnow() - moment.replace(tzinfo=moment.tzinfo or UTC)).total_seconds() // 1))
    except (ValueError, OverflowError):
        return RETRY_AFTER_DEFAULT


def _unauthorized(problem: schemas.Problem, response: httpx.Response) -> ArchieKeysError:
    told = 'error="invalid_token"' in response.headers.get("WWW-Authenticate", "")
    return Unauthorized(problem.detail, reason="invalid_token" if told else "no_credentials")


def _forbidden(problem: schemas.Problem, response: httpx.Response) -> ArchieKeysError:
    scope = _SCOPE.search(response.headers.get("WWW-Authenticate", ""))
    return Forbidden(problem.detail, reason="insufficient_scope", scope=None if scope is None else scope[1])


def _not_allowed(problem: schemas.Problem, response: httpx.Response) -> ArchieKeysError:
    allowed = [name.strip() for name in response.headers.get("Allow", "").split(",") if name.strip()]
    return MethodNotAllowed(problem.detail, allowed=allowed)


def _conflict(problem: schemas.Problem, response: httpx.Response) -> ArchieKeysError:
    if isinstance(problem.key_id, str):
        return Replayed(problem.detail, key_id=problem.key_id)
    return Conflict(problem.detail)


def _refused(problem: schemas.Problem, response: httpx.Response) -> ArchieKeysError:
    found = problem.errors if isinstance(problem.errors, list) else []
    return ValidationFailed([FieldError(in_python(entry.field), entry.rule, entry.message) for entry in found])


def _unavailable(problem: schemas.Problem, response: httpx.Response) -> ArchieKeysError:
    return Unavailable(problem.detail, retry_after=retry_after(response))


def _limited(problem: schemas.Problem, response: httpx.Response) -> ArchieKeysError:
    return RateLimited(problem.detail, retry_after=retry_after(response))


_MAKERS: dict[str, Callable[[schemas.Problem, httpx.Response], ArchieKeysError]] = {
    Unauthorized.type: _unauthorized,
    Forbidden.type: _forbidden,
    MethodNotAllowed.type: _not_allowed,
    Conflict.type: _conflict,
    ValidationFailed.type: _refused,
    Unavailable.type: _unavailable,
    RateLimited.type: _limited,
}


def in_python(field: str) -> str:
    """The name of a field in Python: ``expiresAt`` is ``expires_at``; what is inside of it keeps its name."""
    head, dot, rest = field.partition(".")
    return re.sub(r"(?<=[a-z0-9])[A-Z]", lambda found: f"_{found[0].lower()}", head) + dot + rest
