"""The bars that our in-process figures are held to. Where a bar names a peer, it is that peer in
the same run.

Bars in microseconds were set on a machine whose bare Flask took 46 µs. Only ratios travel, so the
ratio decides.
"""

from __future__ import annotations

from collections.abc import Mapping

from . import _ours
from ._measure import Figures
from ._report import Bar

BASELINE = "bare Flask"
HTTPAUTH = "Flask-HTTPAuth, dict and role"


def request_bars(figures: Mapping[str, Figures]) -> dict[str, Bar]:
    """The bars of the rows that were measured, by the row's name."""
    added = figures[HTTPAUTH].added_us if HTTPAUTH in figures else None
    whole = figures[HTTPAUTH].ratio if HTTPAUTH in figures else None
    refused = "≤ 1.25 x bare, stretch 1.1"
    bars = {
        _ours.AUDIT_FRESH: _ratio(figures, _ours.AUDIT_FRESH, "≤ 1.55 x bare, stretch 1.39", 1.55, 1.39),
        _ours.AUDIT_STALE: _ratio(figures, _ours.AUDIT_STALE, "≤ 1.35 x bare, stretch Flask-HTTPAuth", 1.35, whole),
        _ours.NO_AUDIT_STALE: Bar(
            "added ≤ 0.75 x Flask-HTTPAuth's, stretch 0.5 x",
            figures[_ours.NO_AUDIT_STALE].added_us if _ours.NO_AUDIT_STALE in figures else None,
            added and 0.75 * added,
            added and 0.5 * added,
        ),
        _ours.WRONG: _ratio(figures, _ours.WRONG, refused, 1.25, 1.1),
        _ours.WRONG_RECORDED: _ratio(figures, _ours.WRONG_RECORDED, refused, 1.25, 1.1),
        _ours.MALFORMED: _ratio(figures, _ours.MALFORMED, refused, 1.25, 1.1),
    }
    return {name: bar for name, bar in bars.items() if name in figures}


def _ratio(figures: Mapping[str, Figures], name: str, text: str, limit: float, stretch: float | None) -> Bar:
    return Bar(text, figures[name].ratio if name in figures else None, limit, stretch)
