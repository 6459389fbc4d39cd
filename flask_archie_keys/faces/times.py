"""Time spans in words."""

from __future__ import annotations

from datetime import datetime, timedelta

from ..domain.clock import utcnow


def ago(moment: datetime | None) -> str:
    """How long ago, or in how long, in the largest unit: ``5m ago``, ``in 90d``, ``never``."""
    if moment is None:
        return "never"
    span = utcnow() - moment
    return f"{span_text(span)} ago" if span >= timedelta(0) else f"in {span_text(-span)}"


def span_text(span: timedelta) -> str:
    """A time span in its largest unit, rounded: ``45s``, ``5m``, ``3h``, ``90d``."""
    seconds = span.total_seconds()
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if round(seconds / size) >= 2 or round(seconds) == size:
            return f"{round(seconds / size)}{unit}"
    return f"{round(seconds)}s"
