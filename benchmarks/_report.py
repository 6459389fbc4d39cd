"""How figures are shown: a table for people, JSON for programs, and the bars with verdicts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ._measure import Figures, environment

INSTALL = "python -m pip install -r benchmarks/requirements.txt"


@dataclass(frozen=True)
class Bar:
    """What a figure has to hold.

    :param text: the bar as the design says it.
    :param value: the figure that is compared, or None where a row it refers to was not measured.
    :param limit: at most this, or at least this with ``at_least``.
    :param stretch: the harder limit.
    """

    text: str
    value: float | None
    limit: float | None
    stretch: float | None = None
    at_least: bool = False

    @property
    def verdict(self) -> str:
        """``stretch``, ``pass``, ``miss``, or ``?`` where there is nothing to compare."""
        if self.value is None or self.limit is None:
            return "?"
        if self.stretch is not None and self._holds(self.value, self.stretch):
            return "stretch"
        return "pass" if self._holds(self.value, self.limit) else "miss"

    def _holds(self, value: float, limit: float) -> bool:
        return value >= limit if self.at_least else value <= limit

    def __str__(self) -> str:
        return f"{self.verdict}: {self.text}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns aligned: the first and the last to the left, the others to the right."""
    lines = [list(head), *[list(row) for row in rows]]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]

    def show(line: Sequence[str]) -> str:
        last = len(line) - 1
        cells = [
            cell.ljust(width) if i in (0, last) else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        return "  ".join(cells).rstrip()

    return "\n".join([show(lines[0]), "  ".join("-" * w for w in widths), *map(show, lines[1:])])


def request_table(
    figures: Mapping[str, Figures],
    bars: Mapping[str, Bar],
    what: str = "in-process request",
    ratio: str = "x bare",
) -> str:
    """The table of microseconds, in the order of ``figures``.

    :param what: the heading over the rows' names.
    :param ratio: the heading over the ratios to the baseline.
    """
    head = [what, "median µs", "±", "mean µs", "added µs", ratio, "bar"]
    rows = [
        [
            name,
            f"{f.median_us:.1f}",
            f"{f.spread_us:.1f}",
            f"{f.mean_us:.1f}",
            f"{f.added_us:.1f}",
            f"{f.ratio:.2f}",
            str(bars.get(name, "")),
        ]
        for name, f in figures.items()
    ]
    return table(head, rows)


def write_json(path: Path | None, results: Mapping[str, Any], bars: Mapping[str, Bar]) -> None:
    """Write everything that was measured, with the facts of the run, if a path was given."""
    if path is None:
        return
    document = {
        "environment": environment(),
        **results,
        "bars": {name: {**asdict(bar), "verdict": bar.verdict} for name, bar in bars.items()},
    }
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def as_json(figures: Mapping[str, Figures]) -> dict[str, dict[str, float]]:
    """The figures as plain values, rounded to what they can mean."""
    return {name: {key: round(value, 3) for key, value in asdict(f).items()} for name, f in figures.items()}


def describe_run(say: Callable[[str], None] = print) -> None:
    """Say what the figures were measured on."""
    facts = environment()
    packages = ", ".join(f"{name} {version}" for name, version in facts["packages"].items())
    load = facts["load"][0]
    say(f"Python {facts['python']}, {facts['system']}, {facts['cpus']} CPUs, load {load}")
    say(f"{packages}, SQLite {facts['sqlite']}")
