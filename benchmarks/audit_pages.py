"""``python -m benchmarks.audit_pages``: one key's newest 50 of 1 000 000 events, at any depth.

The table is filled raw: every second event is of one busy key, the others are of fifty. Then
``keys.audit.find(key=…, limit=50, cursor=…)`` reads the first page and pages far down, and the
driver alone reads the first page with the same condition and order, round-robin. The bar is on the
slowest page, in multiples of the first. A page that does not hold 50 events of that key, each older
than the one before it, ends the run with an error.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ._events import ENGINES, EVENTS, Database, Row, databases
from ._measure import Figures, WrongAnswer, figures, round_robin
from ._postgres import PostgresqlMissing
from ._report import Bar, as_json, describe_run, request_table, write_json

LIMIT = 50
OTHERS = 50
FIRST = "first page"
RAW_FIRST = "first page, the driver alone"
DEPTHS = (0.25, 0.5, 0.75, 0.99)


class Page:
    """A contender that reads one page."""

    def __init__(self, name: str, database: Database, cursor: str | None) -> None:
        self.name = name
        self._find = database.made.keys.audit.find
        self._wanted: dict[str, Any] = {"key": database.key_id, "limit": LIMIT, "cursor": cursor}

    def __call__(self) -> None:
        """Read the page."""
        self._find(**self._wanted)

    def check(self) -> None:
        """See that the page is what it should be.

        :raises WrongAnswer: if it is not.
        """
        events = list(self._find(**self._wanted))
        times = [event.occurred_at for event in events]
        mine = all(event.key_id == self._wanted["key"] for event in events)
        if len(events) != LIMIT or not mine or times != sorted(times, reverse=True):
            raise WrongAnswer(f"{self.name}: not {LIMIT} events of the key, newest first")


class RawPage:
    """A contender that reads the first page by the driver alone, on an open connection."""

    name = RAW_FIRST

    def __init__(self, connection: Any, place: str, key: Sequence[Any]) -> None:
        self._cursor = connection.cursor()
        self._key = tuple(key)
        self._sql = (
            f"SELECT * FROM {EVENTS} WHERE project = {place} AND environment = {place}"
            f" AND key_id = {place} ORDER BY id DESC LIMIT {LIMIT}"
        )

    def __call__(self) -> None:
        """Read the page."""
        self._cursor.execute(self._sql, self._key)
        self._cursor.fetchall()


def rows_like(columns: Sequence[str], row: Row, key_id: str, number: int) -> Iterator[Row]:
    """``number`` rows as ``row``, a millisecond apart and ending at its time, ids rising."""
    place = {name: columns.index(name) for name in ("id", "occurred_at", "key_id")}
    last = uuid.UUID(row[place["id"]]).int >> 80
    for i in range(number):
        made = list(row)
        millis = last - number + i
        made[place["id"]] = f"{millis << 80 | 0x7 << 76 | 0x8 << 60 | i:032x}"
        made[place["occurred_at"]] = millis * 1000
        made[place["key_id"]] = key_id if i % 2 else f"other{i // 2 % OTHERS:07d}"
        yield tuple(made)


def fill(database: Database, number: int) -> Row:
    """Fill the table; project, environment and key id of the busy key."""
    database.requests(1)
    database.drain()
    columns, (row,) = database.newest(1)
    database.insert(EVENTS, columns, rows_like(columns, row, database.key_id, number))
    with database.driver() as connection:
        connection.cursor().execute("ANALYZE")
    return tuple(row[columns.index(name)] for name in ("project", "environment", "key_id"))


def cursors(database: Database, number: int) -> dict[float, str]:
    """The cursors of the pages at each depth of the key's events, by walking there."""
    found: dict[float, str] = {}
    step, seen, cursor = 200, 0, None
    for depth in DEPTHS:
        while seen < depth * number / 2 - step:
            page = database.made.keys.audit.find(key=database.key_id, limit=step, cursor=cursor)
            seen, cursor = seen + step, page.next_cursor
        found[depth] = cursor or ""
    return found


def measure(database: Database, number: int, rounds: int) -> dict[str, Figures]:
    """Fill one database and read its pages."""
    key = fill(database, number)
    with database.made.app.app_context(), database.driver() as connection:
        pages = [Page(FIRST, database, None)]
        for depth, cursor in cursors(database, number).items():
            pages.append(Page(f"page at {depth:.0%} of the key's events", database, cursor))
        for page in pages:
            page.check()
        raw = RawPage(connection, "?" if database.name == "SQLite" else "%s", key)
        return figures(round_robin([*pages, raw], rounds=rounds, requests=5), FIRST)


def main(argv: list[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.audit_pages", description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--events", type=int, default=1_000_000, help="in the table (1000000)")
    parser.add_argument("--engine", choices=ENGINES, action="append", help="all when left out")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args(argv)
    results: dict[str, Any] = {}
    bars: dict[str, Bar] = {}
    describe_run()
    try:
        with (
            tempfile.TemporaryDirectory(prefix="archie-bench-") as name,
            databases(Path(name), options.engine or ENGINES) as all_,
        ):
            for database in all_:
                found = measure(database, options.events, options.rounds)
                worst = max(f.ratio for name, f in found.items() if name != RAW_FIRST)
                bar = Bar("slowest page ≤ 3 x the first, stretch 2", worst, 3.0, 2.0)
                print(f"\n{database.name}, {options.events} events, {options.rounds} rounds\n")
                print(request_table(found, {FIRST: bar}, "page of 50 events", "x first"))
                results[database.name], bars[database.name] = as_json(found), bar
    except PostgresqlMissing as missing:
        print(missing, file=sys.stderr)
        return 2
    write_json(options.json, {"microseconds": results}, bars)
    return 0


if __name__ == "__main__":
    sys.exit(main())
