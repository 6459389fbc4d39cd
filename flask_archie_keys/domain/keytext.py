"""The text of a key: ``<prefix>_<id12>_<secret32><crc6>``.

``archie_7f3Kq2Zt9bXa_…``: a prefix that says whose key it is, the public id that finds its record, 32 random base62
characters (190 bits) and the CRC32 of all that stands before it. The checksum finds typing errors and lets secret
scanners drop false alarms; it protects nothing.

The published regular expression is :data:`PATTERN`. A prefix may itself hold underscores, so a text is read from the
right, by fixed lengths.
"""

from __future__ import annotations

import re
import zlib
from typing import NamedTuple

from .ids import BASE62, KEY_ID_LENGTH, new_key_id, random_base62

SECRET_LENGTH = 32
CHECKSUM_LENGTH = 6
PREFIX_MAX_LENGTH = 32
MAX_LENGTH = PREFIX_MAX_LENGTH + 1 + KEY_ID_LENGTH + 1 + SECRET_LENGTH + CHECKSUM_LENGTH

#: The key text, as documented for secret scanners. Linear: no two parts can match the same text in two ways.
PATTERN = r"[a-z][a-z0-9_]{0,31}_[0-9A-Za-z]{12}_[0-9A-Za-z]{38}"

_PREFIX = re.compile(r"[a-z](?:[a-z0-9_]{0,30}[a-z0-9])?")
_KEY_ID = re.compile(r"[0-9A-Za-z]{12}")
_TEXT = re.compile(r"[a-z](?:[a-z0-9_]{0,30}[a-z0-9])?_([0-9A-Za-z]{12})_[0-9A-Za-z]{38}")
_SUSPECT = re.compile(r"_[0-9A-Za-z]{12}_[0-9A-Za-z]{38}")  # begins with a literal: fast where there is none
_REDACT = re.compile(r"(_[0-9A-Za-z]{12}_)[0-9A-Za-z]{38}")

_PAIRS = [first + second for first in BASE62 for second in BASE62]


class KeyText(NamedTuple):
    """A new key: the public id and the whole text, which is the secret."""

    key_id: str
    text: str


class NotAKey(ValueError):
    """The text does not have the form of a key."""


class BadChecksum(NotAKey):
    """The text has the form of a key and was mistyped or cut."""


def checksum(text: str) -> str:
    """The CRC32 of ``text`` (ASCII) as six base62 characters, most significant first."""
    rest, low = divmod(zlib.crc32(text.encode("ascii")), 3844)
    high, middle = divmod(rest, 3844)
    return _PAIRS[high] + _PAIRS[middle] + _PAIRS[low]


def is_prefix(text: str) -> bool:
    """Whether ``text`` can stand before a key: lower case, digits, ``_``; 1 to 32 long, not ending in ``_``."""
    return _PREFIX.fullmatch(text) is not None


def is_key_id(text: str) -> bool:
    """Whether ``text`` has the form of a key id."""
    return _KEY_ID.fullmatch(text) is not None


def mint(prefix: str) -> KeyText:
    """Make a new key text.

    :raises ValueError: if ``prefix`` is outside the grammar.
    """
    if not is_prefix(prefix):
        raise ValueError(f"not a key prefix: {prefix!r}")
    key_id = new_key_id()
    body = f"{prefix}_{key_id}_{random_base62(SECRET_LENGTH)}"
    return KeyText(key_id, body + checksum(body))


def find_key_id(text: str) -> str | None:
    """The key id in a text that has the form of a key; ``None`` for any other text."""
    match = _TEXT.fullmatch(text)
    return None if match is None else match[1]


def has_good_checksum(text: str) -> bool:
    """Whether the checksum of a text that has the form of a key is right."""
    return checksum(text[:-CHECKSUM_LENGTH]) == text[-CHECKSUM_LENGTH:]


def parse(text: str) -> str:
    """Find the key id in a key text whose checksum is right.

    :raises BadChecksum: if the text has the form of a key with another checksum.
    :raises NotAKey: if it does not have the form of a key.
    """
    key_id = find_key_id(text)
    if key_id is None:
        raise NotAKey("not the form of a key")
    if not has_good_checksum(text):
        raise BadChecksum("the checksum is wrong")
    return key_id


def hint(prefix: str, key_id: str) -> str:
    """What may be shown of a key: all but its secret."""
    return f"{prefix}_{key_id}_…"


def redact(text: str) -> str:
    """Replace the secret of every key text in ``text``, for logs and messages."""
    return _REDACT.sub(r"\1…", text) if _SUSPECT.search(text) else text
