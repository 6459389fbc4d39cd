"""The member ``details`` of a spool line: what else there is to know of an event, as one bounded JSON object."""

from __future__ import annotations

import re
from collections.abc import Mapping
from json import JSONEncoder
from typing import Any, Final

from ..domain.keytext import redact

DETAILS_MAX: Final = 1024
_TRUNCATED: Final = '{"truncated":true}'


def encode(details: Mapping[str, object], longest: int) -> str:
    """ASCII JSON of at most 1 KiB, and at most a quarter of a line of ``longest`` bytes. Keys in it lose their secret.

    Where that is too little, texts are cut, entries are dropped from the ends of its lists and ``"truncated":true`` is
    added. What does not fit even so, or is not JSON, is ``{"truncated":true}`` as a whole.
    """
    room = min(DETAILS_MAX, longest // 4)
    try:
        text = _encode(details)
        return text if len(text) <= room else _shortened(details, room)
    except (TypeError, ValueError, RecursionError):
        return _TRUNCATED


def _encode(value: object) -> str:
    # no escape can stand inside of a key, so this finds what it would find in the texts themselves
    text = redact(_to_line(value))
    return text if text.isascii() else text.replace("…", "\\u2026")


def _shortened(details: Mapping[str, object], room: int) -> str:
    cut = _cut(details, room // 8)  # texts first: a row filter may be longer than all that there is room for
    kept = {name: [] if type(value) is list else value for name, value in cut.items()} | {"truncated": True}
    left = room - len(_encode(kept))
    if left < 0:
        return _TRUNCATED
    for name, value in cut.items():
        for entry in value if type(value) is list else ():
            left -= len(_encode(entry)) + 1
            if left < 0:
                break
            kept[name].append(entry)
    return _encode(kept)


def _cut(value: Any, longest: int) -> Any:
    if isinstance(value, str):
        text = redact(value)
        return text if len(text) <= longest else f"{text[:longest]}…"
    if isinstance(value, Mapping):
        return {name: _cut(member, longest) for name, member in value.items()}
    return [_cut(entry, longest) for entry in value] if isinstance(value, (list, tuple)) else value


def to_column(details: Mapping[str, object] | None) -> str | None:
    """The text that the database holds; without what no database takes, see :func:`.event.clean`."""
    if not details:
        return None
    text = _NUL.sub(lambda found: found[0] if found[0] == "\\\\" else "\ufffd", _to_column(details))
    return text if text.isprintable() else text.encode("utf-8", "replace").decode()


def _plain(value: object) -> object:
    return dict(value) if isinstance(value, Mapping) else str(value)


_to_line = JSONEncoder(separators=(",", ":"), allow_nan=False, default=_plain).encode
_to_column = JSONEncoder(separators=(",", ":"), allow_nan=False, ensure_ascii=False).encode
_NUL = re.compile(r"\\\\|\\u0000")  # the first alternative: a backslash that is escaped itself begins no escape
