"""The rules of the settings: each takes a value and gives the clean one, or raises :class:`Wrong`."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from datetime import timedelta

from werkzeug.datastructures import ImmutableDict

from .domain import role_rules
from .domain.keytext import is_prefix
from .domain.permissions import Role, is_role_name
from .errors import ValidationFailed

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # RFC 9110 section 5.6.2
_NAME_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")
FACES = ("pages", "api", "graphql", "cli")


class Wrong(Exception):
    """What is wrong with a value, as the end of a sentence that begins with the setting's name."""


def text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise Wrong(f"must be a non-empty string, not {value!r}")
    return value


def scope_name(value: object) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= 64 or not set(value) <= _NAME_CHARACTERS:
        raise Wrong(f"must be 1 to 64 letters, digits, '_', '.' or '-', not {value!r}")
    return value


def header(value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or _TOKEN.fullmatch(value) is None or value.lower() in ("authorization", "cookie"):
        raise Wrong(f"must be the name of a header of its own, not {value!r}")
    return value


def optional_text(value: object) -> str | None:
    return None if value is None else text(value)


def key_prefix(value: object) -> str:
    if not isinstance(value, str) or not is_prefix(value):
        raise Wrong(f"must be 1 to 32 of a-z, 0-9 and _, start with a letter and not end in _, not {value!r}")
    return value


def peppers(value: object) -> tuple[str, ...]:
    if isinstance(value, (str, bytes)) or not isinstance(value, (list, tuple)):
        raise Wrong("must be a list of strings, oldest first")
    peppers = tuple(value)
    for pepper in peppers:  # never shown in a message
        if not isinstance(pepper, str) or (pepper and len(pepper) < 16) or not pepper.isascii():
            raise Wrong("must hold strings of 16 or more ASCII characters, e.g. of secrets.token_urlsafe(32)")
    if peppers == ("",):
        raise Wrong('must not be [""]: the empty pepper stands for none, beside one that is being taken up')
    if len(set(peppers)) != len(peppers):
        raise Wrong("must not hold a pepper twice")
    return peppers


def duration(value: object) -> timedelta:
    if not isinstance(value, timedelta):
        raise Wrong(f"must be a timedelta, not {value!r}")
    if not timedelta(0) <= value <= timedelta(days=36525):
        raise Wrong(f"must be zero or more, and at most 100 years, not {value!r}")
    return value


def max_age(value: object) -> timedelta | None:
    if value is None:
        return None
    if not duration(value):
        raise Wrong("must be more than zero, or None for keys that need not end")
    return duration(value)


def staleness(value: object) -> timedelta:
    if duration(value) > timedelta(minutes=5):
        raise Wrong(f"must be at most five minutes, not {value!r}: a deleted key would work on for that long")
    return duration(value)


def roles(value: object) -> Mapping[str, Role]:
    if not isinstance(value, Mapping):
        raise Wrong('must be a mapping such as {"viewer": {"grants": [{"resource": "orders", "read": True}]}}')
    return ImmutableDict({name: role(name, given) for name, given in value.items()})


def role(name: object, value: object) -> Role:
    if not isinstance(name, str) or not is_role_name(name):
        raise Wrong(f"names a role {name!r}; role names are snake_case, at most 63 characters")
    if not isinstance(value, Mapping) or set(value) - {"description", "grants"}:
        raise Wrong(f'must give {name!r} a mapping such as {{"description": "…", "grants": []}}')
    try:
        described = role_rules.description(value.get("description", ""))
        grants = role_rules.grants(value.get("grants", ()))
        return Role(name=name, description=described, grants=grants, source="settings")
    except ValidationFailed as refused:
        error = refused.errors[0]
        raise Wrong(f"is wrong in the role {name!r}: {error.field} {error.message}") from None


def faces(value: object) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)) or not all(face in FACES for face in value):
        raise Wrong(f"must be a list of some of {', '.join(FACES)}, not {value!r}")
    return tuple(value)


def url_prefix(value: object) -> str:
    if not isinstance(value, str) or not value.startswith("/") or value.endswith("/"):
        raise Wrong(f"must be a path such as /settings, not {value!r}")
    return value


def schemes(value: object) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, (list, tuple)) or not all(isinstance(s, str) for s in value):
        raise Wrong("must be a list of names of passlib schemes")
    if any("plaintext" in scheme for scheme in value):
        raise Wrong("must not hold plaintext: whoever can read rows could use the keys")
    return tuple(value)


def not_yet(value: object) -> None:
    """A setting that is reserved. Taking a value without effect would promise a protection that is not there."""
    if value is not None:
        raise Wrong("has no effect in this version; leave it out")


def flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise Wrong(f"must be True or False, not {value!r}")
    return value


def count(least: int, most: int) -> Callable[[object], int]:
    def check(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise Wrong(f"must be a whole number from {least} to {most}, not {value!r}")
        return value

    return check


def on_failure(value: object) -> str:
    if value not in ("closed", "open"):
        raise Wrong(f"must be 'closed' or 'open', not {value!r}")
    return str(value)


def directory(value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, (str, os.PathLike)) or not os.path.isabs(value) or "\0" in str(value):
        raise Wrong(f"must be an absolute path, not {value!r}")
    return os.fspath(value)


def interval(value: object) -> timedelta:
    if not timedelta(milliseconds=10) <= duration(value) <= timedelta(hours=1):
        raise Wrong(f"must be from 10 milliseconds to one hour, not {value!r}")
    return duration(value)
