"""``python -m benchmarks.drain``: events a second from the spool into the database.

In each round real requests fill the spool (not timed), ``keys.audit.drain()`` takes all of it into
the database (timed), and the same rows go once more into a table of the same shape by the driver's
fastest way (timed): ``executemany`` on SQLite, ``COPY`` on PostgreSQL. One event is one request,
which is two lines of the spool. The medians over the rounds are shown; after each drain the events
are counted, and one too few or too many ends the run with an error.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from ._events import ENGINES, RAW, Database, databases
from ._measure import WrongAnswer
from ._postgres import PostgresqlMissing
from ._report import Bar, describe_run, table, write_json

BAR = 50_000.0
STRETCH = 100_000.0

Rates = dict[str, dict[str, float]]


def one_round(database: Database, events: int) -> tuple[float, float]:
    """Events a second, by our drain and raw.

    :raises WrongAnswer: if the drain lost or doubled events.
    """
    before = database.count()
    database.requests(events)
    seconds = database.drain()
    drained = database.count() - before
    if drained != events:
        raise WrongAnswer(f"{database.name}: {drained} events drained where {events} were spooled")
    columns, rows = database.newest(events)
    return events / seconds, events / database.insert(RAW, columns, rows)


def measure(engines: Sequence[str], rounds: int, events: int) -> Rates:
    """The median rates by engine."""
    with (
        tempfile.TemporaryDirectory(prefix="archie-bench-") as name,
        databases(Path(name), engines) as all_,
    ):
        found: dict[str, list[tuple[float, float]]] = {database.name: [] for database in all_}
        for database in all_:
            database.make_raw_table()
            database.requests(10)
            database.drain()
        for _ in range(rounds):
            for database in all_:
                found[database.name].append(one_round(database, events))
    return {
        name: {"drain": median(d for d, _ in pairs), "raw": median(r for _, r in pairs)}
        for name, pairs in found.items()
    }


def main(argv: list[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.drain", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--events", type=int, default=20_000, help="of a round (20000)")
    parser.add_argument("--engine", choices=ENGINES, action="append", help="all when left out")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args(argv)
    try:
        rates = measure(options.engine or ENGINES, options.rounds, options.events)
    except PostgresqlMissing as missing:
        print(missing, file=sys.stderr)
        return 2
    bars = {
        name: Bar("≥ 50 000 events/s, stretch 100 000", rate["drain"], BAR, STRETCH, at_least=True)
        for name, rate in rates.items()
    }
    describe_run()
    print(f"{options.rounds} rounds of {options.events} events each\n")
    rows = [
        [
            name,
            f"{r['drain']:.0f}",
            f"{r['raw']:.0f}",
            f"{r['drain'] / r['raw']:.2f}",
            str(bars[name]),
        ]
        for name, r in rates.items()
    ]
    print(table(["audit drain", "events/s", "raw rows/s", "x raw", "bar"], rows))
    write_json(options.json, {"rates": rates}, bars)
    return 0


if __name__ == "__main__":
    sys.exit(main())
