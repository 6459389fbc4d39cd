"""The rules for what a caller may write on a key. Each one returns the clean value or raises :class:`ValidationFailed`.

They are the same for every face: pages, JSON API, GraphQL and command line only parse their own syntax.
"""

from __future__ import annotations

import difflib
import ipaddress
import json
import math
import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime, timedelta
from typing import TypeVar

from ..errors import BadRequest, FieldError, ValidationFailed
from .clock import from_micros, isoformat, to_micros
from .keytext import is_prefix
from .records import ContextValue, Scalar

NAME_MAX = 200
OWNER_MAX = 200
ROLES_MAX = 32
CONTEXT_MAX_NAMES = 32
CONTEXT_MAX_BYTES = 4096
CONTEXT_MAX_ITEMS = 100
NETWORKS_MAX = 64
_CONTEXT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_INT64 = 2**63
LATEST = to_micros(datetime.fromisoformat("9999-01-01T00:00:00+00:00"))
T = TypeVar("T")


class Problems:
    """Collects refused fields, so that a caller hears of all of them at once."""

    def __init__(self) -> None:
        self.errors: list[FieldError] = []

    def take(self, rule: Callable[..., T], *args: object) -> T | None:
        """The rule's value, or ``None`` with its refusal noted."""
        try:
            return rule(*args)
        except ValidationFailed as refused:
            self.errors.extend(refused.errors)
            return None

    def check(self) -> None:
        """:raises ValidationFailed: if anything was refused."""
        if self.errors:
            raise ValidationFailed(self.errors)


def nearest(name: str, known: Iterable[str]) -> str:
    """`` (did you mean 'x'?)`` for the known name nearest to ``name``, or nothing."""
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {found[0]!r}?" if found else ""


def text(field: str, value: object, longest: int) -> str:
    if not isinstance(value, str):
        raise ValidationFailed.one(field, "type", "must be a string")
    if any(unicodedata.category(c) in ("Cc", "Cs") for c in value):
        raise ValidationFailed.one(field, "characters", "must not contain control characters")
    text = value.strip()
    if not text:
        raise ValidationFailed.one(field, "required", "must not be empty")
    if len(text) > longest:
        raise ValidationFailed.one(field, "length", f"must be at most {longest} characters, not {len(text)}")
    return text


def name(value: object) -> str:
    """A key's name: 1 to 200 characters of any script, no control characters; outer blanks are dropped."""
    return text("name", value, NAME_MAX)


def owner(value: object) -> str | None:
    """Who a key belongs to, in the host's own terms: 1 to 200 characters, or ``None``."""
    return None if value is None else text("owner", value, OWNER_MAX)


def prefix(value: object) -> str:
    """A key's prefix."""
    if not isinstance(value, str):
        raise ValidationFailed.one("prefix", "type", "must be a string")
    if not is_prefix(value):
        raise ValidationFailed.one(
            "prefix", "pattern", "must be 1 to 32 of a-z, 0-9 and _, start with a letter and not end in _"
        )
    return value


def roles(value: object, known: Collection[str]) -> tuple[str, ...]:
    """A key's roles: known names, in the order given, each once."""
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise ValidationFailed.one("roles", "type", "must be a list of role names")
    names: list[str] = []
    for role in value:
        if not isinstance(role, str):
            raise ValidationFailed.one("roles", "type", "must be a list of role names")
        if role not in names:
            names.append(role)
        if len(names) > ROLES_MAX:
            raise ValidationFailed.one("roles", "length", f"must be at most {ROLES_MAX} roles")
    unknown = [role for role in names if role not in known]
    if unknown:
        raise ValidationFailed(
            [FieldError("roles", "unknown", f"there is no role {r[:100]!r}{nearest(r[:100], known)}") for r in unknown]
        )
    return tuple(names)


def _scalar(field: str, value: object) -> Scalar:
    if isinstance(value, str):
        if "\0" in value or any(unicodedata.category(c) == "Cs" for c in value):
            raise ValidationFailed.one(field, "characters", "must not contain NUL or lone surrogates")
        return value
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        if not -_INT64 <= value < _INT64:
            raise ValidationFailed.one(field, "range", "must be a 64-bit integer")
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValidationFailed.one(field, "range", "must be a finite number")
        return value
    raise ValidationFailed.one(field, "type", "must be a string, a number, a boolean or a list of those")


def _context_value(field: str, value: object) -> ContextValue:
    if isinstance(value, (list, tuple)):
        if len(value) > CONTEXT_MAX_ITEMS:
            raise ValidationFailed.one(field, "length", f"must be at most {CONTEXT_MAX_ITEMS} items")
        return tuple(_scalar(field, item) for item in value)
    return _scalar(field, value)


def context(value: object) -> dict[str, ContextValue]:
    """A key's context: names to strings, numbers, booleans or lists of those; at most 32 names and 4 096 bytes."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ValidationFailed.one("context", "type", "must be an object of names and values")
    if len(value) > CONTEXT_MAX_NAMES:
        raise ValidationFailed.one("context", "length", f"must be at most {CONTEXT_MAX_NAMES} names")
    problems = Problems()
    clean: dict[str, ContextValue] = {}
    for key, item in value.items():
        if not isinstance(key, str) or _CONTEXT_NAME.fullmatch(key) is None:
            problems.errors.append(
                FieldError("context", "name", f"{str(key)[:100]!r} is not a name: letters, digits and _, at most 64")
            )
            continue
        taken = problems.take(_context_value, f"context.{key}", item)
        if taken is not None:
            clean[key] = taken
    problems.check()
    size = len(json.dumps(clean, ensure_ascii=False, separators=(",", ":")).encode())
    if size > CONTEXT_MAX_BYTES:
        raise ValidationFailed.one(
            "context", "length", f"must be at most {CONTEXT_MAX_BYTES} bytes as JSON, not {size}"
        )
    return clean


def allowed_networks(value: object) -> tuple[str, ...] | None:
    """CIDR networks, IPv4 or IPv6, or ``None`` for any. An empty list is refused: it would let nobody in."""
    if value is None:
        return None
    field = "allowed_networks"
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise ValidationFailed.one(field, "type", "must be a list of networks such as 10.0.0.0/8")
    networks = list(value)
    if not networks:
        raise ValidationFailed.one(field, "required", "must not be empty; leave it out to allow any address")
    if len(networks) > NETWORKS_MAX:
        raise ValidationFailed.one(field, "length", f"must be at most {NETWORKS_MAX} networks")
    problems = Problems()
    clean = [problems.take(_network, item) for item in networks]
    problems.check()
    return tuple(dict.fromkeys(n for n in clean if n is not None))


def _network(value: object) -> str:
    field = "allowed_networks"
    if not isinstance(value, str):
        raise ValidationFailed.one(field, "type", "must be a list of networks such as 10.0.0.0/8")
    try:
        network = ipaddress.ip_network(value.strip(), strict=False)
    except ValueError:
        raise ValidationFailed.one(field, "network", f"{value[:100]!r} is not a network such as 10.0.0.0/8") from None
    mapped = network.network_address.ipv4_mapped if isinstance(network, ipaddress.IPv6Network) else None
    if mapped is not None and network.prefixlen >= 96:  # peers are compared as the IPv4 addresses that they are
        return f"{mapped}/{network.prefixlen - 96}"
    if "/" in value and network.network_address != ipaddress.ip_interface(value.strip()).ip:
        raise ValidationFailed.one(field, "network", f"{value!r} has bits set behind its mask; did you mean {network}?")
    return str(network)


def moment(field: str, value: object) -> int:
    """An aware datetime as microseconds since the epoch; a naive one is refused."""
    if not isinstance(value, datetime):
        raise ValidationFailed.one(field, "type", "must be a datetime")
    if value.utcoffset() is None:
        raise ValidationFailed.one(field, "timezone", "must say its time zone, as in 2030-01-31T00:00:00Z")
    return to_micros(value)


def expiry(value: object, *, now: int, created: int, max_age: timedelta | None) -> int | None:
    """When a key ends, in microseconds since the epoch: in the future, at most ``max_age`` after it was made.

    ``None`` means never; it is refused where there is a ``max_age``.
    """
    field = "expires_at"
    latest = None if max_age is None else created + max_age // timedelta(microseconds=1)
    if value is None:
        if latest is not None:
            raise ValidationFailed.one(field, "max_age", f"must be set: keys live at most {max_age} here")
        return None
    end = moment(field, value)
    if end <= now:
        raise ValidationFailed.one(field, "future", "must be in the future")
    if end > LATEST:
        raise ValidationFailed.one(field, "range", "must be before the year 9999")
    if latest is not None and end > latest:
        raise ValidationFailed.one(
            field, "max_age", f"must be at most {max_age} after creation: {isoformat(from_micros(latest))} or before"
        )
    return end


def overlap(value: object) -> timedelta:
    """How long an old key works on after a rotation: zero or more, at most 100 years."""
    if not isinstance(value, timedelta):
        raise ValidationFailed.one("overlap", "type", "must be a timedelta")
    if not timedelta(0) <= value <= timedelta(days=36525):
        raise ValidationFailed.one("overlap", "range", "must be zero or more, and at most 100 years")
    return value


def limit(value: object) -> int:
    """How many records a page has: 1 to 200.

    :raises BadRequest: for anything else.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 200:
        raise BadRequest("limit must be a whole number from 1 to 200")
    return value


def search_text(field: str, value: object) -> None:
    """A text to search for: one that a database can take, at most 1 024 characters.

    :raises BadRequest: if it is no text, is longer, or holds NUL or lone surrogates.
    """
    if isinstance(value, str) and "\0" not in value and len(value) <= 1024:
        try:
            value.encode()
            return
        except UnicodeEncodeError:
            pass
    raise BadRequest(f"{field} must be a text of at most 1024 characters without NUL and lone surrogates")
