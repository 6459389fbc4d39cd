"""The audit log in the JSON API."""

from __future__ import annotations

from typing import Any

from flask import Response, request
from msgspec import structs

from ...context import current_environment
from ...errors import BadRequest
from .. import exports, schemas
from ..inputs import EventFilter, EventQuery
from ..schemas import Event, Many
from .operations import operation

_WRITERS = {exports.CSV: exports.as_csv, exports.NDJSON: exports.ndjson}
_NAMES = {exports.CSV: "csv", exports.NDJSON: "ndjson"}


@operation(
    "GET", "/audit", grant=("audit_events", "read"), query=EventQuery, answer=Many[Event], media_types=tuple(_WRITERS)
)
def list_audit_events(query: EventQuery) -> Many[Event] | Response:
    """List audit events, newest first; as CSV or NDJSON all of them, whatever the limit.

    :raises BadRequest: for a cursor with one of those: they have no parts.
    """
    log = current_environment().audit
    filters: dict[str, Any] = {field.name: getattr(query, field.name) for field in structs.fields(EventFilter)}
    wanted = request.accept_mimetypes.best_match(["application/json", *_WRITERS], default="application/json")
    if wanted in _WRITERS:
        if query.cursor is not None:
            raise BadRequest(f"{wanted} has all events at once, and no cursor")
        response = Response(_WRITERS[wanted](log.stream(**filters)), mimetype=wanted)
        response.headers["Content-Disposition"] = f'attachment; filename="audit.{_NAMES[wanted]}"'
        return response
    return schemas.page(log.find(limit=query.limit, cursor=query.cursor, **filters), schemas.event, query.limit)
