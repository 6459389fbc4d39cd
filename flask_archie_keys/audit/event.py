"""The lines of the spool: one JSON object each, ASCII, bounded, readable by any log shipper.

A request that is let through has two lines: ``received`` before the view runs, ``completed`` after it. One that is
turned away has one, ``refused``. Other acts have one, ``noted``. Times are nanoseconds and durations microseconds;
members that do not apply are left out. Built by hand, because two lines are written at every request and
:func:`json.dumps` takes as long as the rest.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from json.encoder import encode_basestring_ascii as quote
from typing import Any, Final, NamedTuple

from ..domain.keytext import SECRET_LENGTH, redact
from ..domain.principals import Acting
from ..store.models import events
from .details import DETAILS_MAX, encode, to_column

PATH_MAX: Final = 1024
ROUTE_MAX: Final = 1024
USER_AGENT_MAX: Final = 256
REQUEST_ID_MAX: Final = 128
METHOD_MAX: Final = 32
ADDRESS_MAX: Final = 64
ACTOR_MAX: Final = 255
_KIND = re.compile(r"[a-z][a-z0-9_.]{0,31}")


class Request(NamedTuple):
    """What the log holds of a request. No header besides these, no query string, no body."""

    method: str | None
    route: str | None
    path: str | None
    remote_address: str | None
    user_agent: str | None
    request_id: str | None


def head(project: str, environment: str) -> str:
    """The members that all first lines of an environment share."""
    return f'"project":{quote(project)},"environment":{quote(environment)}'


def is_kind(text: str) -> bool:
    """Whether ``text`` can say what was noted: lower case, digits, ``_`` and ``.``, at most 32; not ``request``."""
    return _KIND.fullmatch(text) is not None and text != "request"


def first_line(
    event_id: str,
    phase: str,
    ts: int,
    scope: str,
    request: Request,
    *,
    key_id: str | None,
    outcome: str,
    reason: str | None = None,
    status: int | None = None,
    duration_us: int | None = None,
    count: int = 1,
    details: Mapping[str, object] | None = None,
    longest: int = 4096,
) -> bytes:
    """A ``received`` or ``refused`` line, at most ``longest`` bytes long.

    Texts beyond their bounds are cut and the line is marked ``"truncated":true``. Escapes can make a text six times as
    long, so where the line is still too long its texts are cut to a quarter, as often as needed.

    :param scope: from :func:`head`.
    :param details: what else there is to know; JSON types, cut to a quarter of the line, at most 1 KiB.
    """
    tail = f'"outcome":"{outcome}"'
    if key_id is not None:
        tail += f',"key_id":"{key_id}"'
    if reason is not None:
        tail += f',"reason":"{reason}"'
    if status is not None:
        tail += f',"status":{status},"duration_us":{duration_us}'
    if count != 1:
        tail += f',"count":{count}'
    if details:
        tail += f',"details":{encode(details, longest)}'
    start = f'{{"id":"{event_id}","phase":"{phase}","ts":{ts},{scope},{tail}'
    divisor = 1
    while True:
        texts, cut = _texts(request, divisor)
        line = (start + texts + (',"truncated":true}\n' if cut else "}\n")).encode()
        if len(line) <= longest or divisor > PATH_MAX:
            return line
        divisor *= 4


def _texts(request: Request, divisor: int) -> tuple[str, bool]:
    parts, cut = "", False
    for start, value, longest in zip(_STARTS, request, _LONGEST):  # noqa: B905 - at every request
        if value is not None:
            if len(value) > SECRET_LENGTH:  # else it holds no key
                value = redact(value)
                if len(value) > longest // divisor:
                    value, cut = value[: longest // divisor], True
            parts += start + quote(value)
    return parts, cut


_STARTS = tuple(f',"{name}":' for name in Request._fields)
_LONGEST = (METHOD_MAX, ROUTE_MAX, PATH_MAX, ADDRESS_MAX, USER_AGENT_MAX, REQUEST_ID_MAX)


def noted_line(
    event_id: str,
    ts: int,
    scope: str,
    kind: str,
    acting: Acting,
    *,
    key_id: str | None,
    details: Mapping[str, object],
    longest: int = 4096,
) -> bytes:
    """The line of an act that is neither a request nor a change in our tables; bounded as :func:`first_line`.

    :param kind: see :func:`is_kind`.
    """
    request = Request(None, None, None, acting.remote_address, acting.user_agent, acting.request_id)
    scope += f',"kind":{quote(kind)},"actor":{_actor(acting.actor, longest // 4)}'
    return first_line(
        event_id, "noted", ts, scope, request, key_id=key_id, outcome="allowed", details=details, longest=longest
    )


def _actor(actor: str, longest: int) -> str:
    text = redact(actor)
    cut = text[:ACTOR_MAX]
    while len(quote(cut)) > longest:  # escapes
        cut = cut[: len(cut) // 2]
    return quote(text if cut == text else f"{cut[:-1]}…")


def completed_line(
    event_id: str,
    status: int | None,
    duration_us: int,
    *,
    outcome: str | None = None,
    reason: str | None = None,
    streamed: bool = False,
    details: Mapping[str, object] | None = None,
    longest: int = 4096,
) -> bytes:
    """A ``completed`` line. ``outcome`` and ``reason`` where they changed after the first line was written.

    :param details: what became known after the first line. By top-level name they take the place of the first line's;
        names that only the first line has stay. Without any, the first line's stay as they are.
    """
    changed = "" if outcome is None else f',"outcome":"{outcome}","reason":{json.dumps(reason)}'
    stream = ',"streamed":true' if streamed else ""
    shown = "null" if status is None else status
    if details:
        stream += f',"details":{encode(details, longest)}'
    return (
        f'{{"id":"{event_id}","phase":"completed","status":{shown},"duration_us":{duration_us}{changed}{stream}}}\n'
    ).encode()


class BadLine(ValueError):
    """A line that is not one of ours."""


def parse(line: bytes) -> dict[str, Any]:
    """Read a line back; its ``details`` as the text that the database holds.

    :raises BadLine: if it is not a JSON object with the members of a line, of the right types.
    """
    try:
        return _checked(json.loads(line))
    except (ValueError, RecursionError) as error:
        raise error if isinstance(error, BadLine) else BadLine(f"not JSON: {error}") from None


def parse_all(lines: Sequence[bytes]) -> list[dict[str, Any]] | None:
    """Read many lines at once, three times as fast; ``None`` if any of them is bad."""
    try:
        records = json.loads(b"[%s]" % b",".join(lines))
        return [_checked(record) for record in records] if len(records) == len(lines) else None
    except (ValueError, RecursionError):
        return None


def _checked(record: Any) -> dict[str, Any]:
    if type(record) is not dict:
        raise BadLine("not an object")
    wanted = _WANTED.get(record["phase"]) if type(record.get("phase")) is str else None
    if wanted is None:
        raise BadLine(f"no such phase: {record.get('phase')!r}")
    for name in wanted:
        if record.get(name) is None:
            raise BadLine(f"{name} is missing")
    for name, value in record.items():
        if type(value) is str:
            if name in _TYPES:
                raise BadLine(f"{name} must be {_TYPES[name].__name__}")
        elif value is not None:
            if type(value) is not _TYPES.get(name, str):
                raise BadLine(f"{name} must be {_TYPES.get(name, str).__name__}")
            if type(value) is int and not 0 <= value < 2**63:
                raise BadLine(f"{name} is out of range")
    if "details" in record:
        record["details"] = to_column(record["details"])
        if len(record["details"] or "") > DETAILS_MAX:
            raise BadLine("details is too long")
    if record["phase"] == "noted" and not is_kind(record["kind"]):
        raise BadLine("no such kind")
    result: dict[str, Any] = record
    return result


_FIRST = ("id", "ts", "project", "environment", "outcome")
_WANTED = {
    "received": _FIRST,
    "refused": _FIRST,
    "noted": (*_FIRST, "kind", "actor"),
    "completed": ("id", "duration_us"),
}
_TYPES = {
    **dict.fromkeys(("ts", "status", "duration_us", "count"), int),
    **dict.fromkeys(("truncated", "streamed"), bool),
    "details": dict,
}


def to_row(record: Mapping[str, Any]) -> dict[str, Any]:
    """The database row of a first line."""
    row: dict[str, Any] = dict.fromkeys(events.c.keys())
    for name in record.keys() & _FROM_LINE:
        row[name] = clean(record[name])
    row |= {"occurred_at": record["ts"] // 1000, "kind": "request", "streamed": False}
    row["count"] = row["count"] or 1
    row["truncated"] = row["truncated"] or False
    if record["phase"] == "noted":
        row |= {"kind": record["kind"], "actor": clean(record["actor"])}
    return row


def to_ending(record: Mapping[str, Any]) -> dict[str, Any]:
    """How a request ended, from a ``completed`` line."""
    return {
        "id": record["id"],
        "status": record.get("status"),
        "duration_us": record["duration_us"],
        "outcome": record.get("outcome"),
        "reason": record.get("reason"),
        "streamed": record.get("streamed", False),
        "details": record.get("details"),
    }


_FROM_LINE = {
    *("id", "project", "environment", "key_id", "outcome", "reason", "status", "duration_us", "count", "truncated"),
    "details",
    *Request._fields,
}


def bounded(request: Request) -> Request:
    """The facts as a row may hold them, for events that do not go through the spool."""
    cut = (
        value if value is None else clean(redact(value)[:longest])
        for value, longest in zip(request, _LONGEST, strict=True)
    )
    return Request(*cut)


def clean(value: Any) -> Any:
    """NUL cannot be stored in PostgreSQL, nor a lone surrogate in anything."""
    if type(value) is str and not value.isprintable():
        return value.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
    return value
