"""The pages about the audit log: the list with its filters and its chart, one event, and the files."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

from flask import Blueprint, Response, request

from ...audit.timeline import Timeline
from ...context import current_environment
from ...domain.records import AuditEvent, Key, Page
from ...errors import BadRequest, NotFound
from .. import exports
from .access import may
from .audit_forms import KINDS, METHODS, OUTCOMES, REASONS, EventForm, as_typed, ranges
from .rendering import page

Answer = Any
PER_PAGE = 50
WIDTH, HEIGHT = 960, 120
_FILES = {"csv": (exports.CSV, exports.as_csv), "ndjson": (exports.NDJSON, exports.ndjson)}


def add_to(blueprint: Blueprint) -> None:
    """Add the pages."""
    blueprint.add_url_rule("/audit", view_func=list_events)
    blueprint.add_url_rule("/audit.<any(csv, ndjson):form>", view_func=export_events)
    blueprint.add_url_rule("/audit/<event_id>", view_func=show_event)


def list_events() -> Answer:
    """Events, newest first, with a chart of when they were."""
    log = current_environment().audit
    form = EventForm.asked(request.args)
    filters = form.filters()
    events: Page[AuditEvent] = Page(())
    timeline, wrong = Timeline((), True), None
    if form.errors:
        log.find(limit=1)  # whoever may not read the log gets the refusal here
    else:
        try:
            events = log.find(limit=PER_PAGE, cursor=request.args.get("cursor"), **filters)
            timeline = log.timeline(**filters)
            if not timeline.exact and events.next_cursor is None and "cursor" not in request.args:
                timeline = timeline.of(events)  # they are few among many: an estimate would miss them
        except BadRequest as error:
            wrong = error.detail
    shown = page(
        "events.html",
        events=events,
        form=form,
        wrong=wrong,
        chart=chart(timeline),
        timeline=timeline,
        ranges=ranges(),
        of_key=_key(form.key),
        choices={"kind": KINDS, "outcome": OUTCOMES, "reason": REASONS, "method": METHODS},
    )
    return shown, 400 if wrong or form.errors else 200


def show_event(event_id: str) -> Answer:
    """One event, with all that is known of it."""
    event = current_environment().audit.get(event_id)
    decisions = event.details.get("permissions")
    decisions = decisions if isinstance(decisions, list) and all(isinstance(each, dict) for each in decisions) else []
    others = {name: value for name, value in event.details.items() if name != "permissions" or not decisions}
    return page(
        "event.html",
        event=event,
        decisions=decisions,
        others=json.dumps(others, indent=2, ensure_ascii=False) if others else None,
        key=_key(event.key_id or ""),
    )


def export_events(form: str) -> Answer:
    """All events that the filters find, as a file."""
    asked = EventForm.asked(request.args)
    filters = asked.filters()
    if asked.errors:
        raise BadRequest("; ".join(f"{name} {text}" for name, texts in asked.errors.items() for text in texts))
    media_type, write = _FILES[form]
    response = Response(write(current_environment().audit.stream(**filters)), mimetype=media_type)
    response.headers["Content-Disposition"] = f'attachment; filename="audit.{form}"'
    return response


def _key(key_id: str) -> Key | None:
    """The key of some events, where the user may see it."""
    if key_id and may("api_keys", "read"):
        with suppress(NotFound):
            return current_environment().service.get(key_id)
    return None


def chart(timeline: Timeline) -> dict[str, Any]:
    """What the template draws: a bar for each interval, made of a part for each outcome."""
    step = WIDTH / max(len(timeline.intervals), 1)
    most = max((interval.total for interval in timeline.intervals), default=0)
    bars = []
    for number, interval in enumerate(timeline.intervals):
        bottom, parts = float(HEIGHT), []
        for outcome in OUTCOMES:
            count = interval.counts.get(outcome, 0)
            if count:
                tall = max(count * (HEIGHT - 4) / most, 1.5)
                bottom -= tall
                parts.append({"outcome": outcome, "y": f"{bottom:.2f}", "height": f"{tall:.2f}"})
        bars.append(
            {
                "x": f"{number * step:.2f}",
                "width": f"{max(step - 1.5, 0.5):.2f}",
                "parts": parts,
                "since": as_typed(interval.start),
                "until": as_typed(interval.end),
                "interval": interval,
            }
        )
    return {"bars": bars, "most": most, "step": f"{step:.2f}", "width": WIDTH, "height": HEIGHT}
