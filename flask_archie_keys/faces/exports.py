"""The audit log as files: CSV for spreadsheets, NDJSON for programs, one event at a time."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator

import msgspec

from ..domain.records import AuditEvent
from . import schemas
from .schemas import Event

CSV = "text/csv"
NDJSON = "application/x-ndjson"
#: What makes a spreadsheet take a cell for a formula (OWASP, CSV Injection); the full-width forms do so in some.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
_COLUMNS = tuple(msgspec.structs.fields(Event))


def ndjson(events: Iterable[AuditEvent]) -> Iterator[bytes]:
    """A JSON object a line."""
    encode = msgspec.json.Encoder().encode
    for event in events:
        yield encode(schemas.event(event)) + b"\n"


def as_csv(events: Iterable[AuditEvent]) -> Iterator[bytes]:
    """A header and a line an event (RFC 4180); a cell that a spreadsheet would take for a formula begins with ``'``."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(column.encode_name for column in _COLUMNS)
    for event in events:
        writer.writerow(_cell(value) for value in msgspec.structs.astuple(schemas.event(event)))
        yield _taken(buffer)
    rest = _taken(buffer)
    if rest:
        yield rest


def _taken(buffer: io.StringIO) -> bytes:
    content = buffer.getvalue().encode()
    buffer.seek(0)
    buffer.truncate()
    return content


def _cell(value: object) -> object:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return msgspec.json.encode(value).decode() if value else ""
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return value
