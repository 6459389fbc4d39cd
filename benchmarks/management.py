"""``python -m benchmarks.management``: what managing keys costs when there are many.

Three figures, on SQLite in WAL mode with ``synchronous=NORMAL``; making keys also with SQLite as it comes, which waits
for the disk at each commit:

- 100 000 keys are listed through the JSON API in 1 000 pages of 100; the bar is on the median of the last hundred
  pages, in multiples of that of the first hundred.
- A key is made by the service and by the JSON API, beside a bare ``INSERT`` of the same row and its commit, by the
  driver and by SQLAlchemy on the same engine, round-robin.
- The audit log is streamed as CSV by processes of their own, once with a hundredth of the events and once with all; the
  bar is on the ratio of their peak resident memories.

A page with other keys than due, or a file with other lines, ends the run with an error.
"""

from __future__ import annotations

import argparse
import json
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from sqlalchemy import event, insert

from flask_archie_keys import Grant
from flask_archie_keys.domain.keytext import mint
from flask_archie_keys.faces import exports
from flask_archie_keys.store.models import keys as keys_table

from . import _ours
from ._events import EVENTS, Sqlite
from ._measure import Figures, WrongAnswer, figures, round_robin
from ._report import Bar, as_json, describe_run, request_table, table, write_json
from .audit_pages import rows_like

PER_PAGE = 100
DRIVER = "INSERT and commit, the driver alone"
CORE = "INSERT and commit, SQLAlchemy on the same engine"
SERVICE = "keys.service.create"
API = "POST /keys"


class Managed(Sqlite):
    """A database with a key that may manage keys."""

    def __init__(self, folder: Path) -> None:
        self._pragmas: tuple[str, ...] = ()
        super().__init__(folder)
        with self.made.app.app_context():
            self.made.keys.roles.save("manager", grants=[Grant("api_keys", read=True, write=True)])
            secret = self.made.keys.service.create(name="manager", roles=["manager"]).secret
        self.client = self.made.app.test_client()
        self.headers = _headers(secret)

    def as_it_comes(self) -> None:
        """Go on with the settings that SQLite has by itself."""
        self._pragmas = ("PRAGMA journal_mode=DELETE", "PRAGMA synchronous=FULL")
        engine = self.made.db.engine
        event.listen(engine, "connect", lambda connection, record: self._set(connection))
        engine.dispose()

    def _set(self, connection: Any) -> None:
        for pragma in self._pragmas:
            connection.execute(pragma)

    @contextmanager
    def driver(self) -> Iterator[sqlite3.Connection]:
        with super().driver() as connection:
            self._set(connection)
            yield connection

    def fill_keys(self, number: int) -> None:
        """Put so many keys into the table, all made a day ago or before."""
        columns, (row,) = self.query("SELECT * FROM archie_api_keys ORDER BY created_at LIMIT 1")
        at = {name: columns.index(name) for name in ("id", "name", "created_at")}
        self.insert("archie_api_keys", columns, _keys_like(row, at, number))
        with self.driver() as connection:
            connection.execute("ANALYZE")

    def pages(self) -> Iterator[float]:
        """List all keys; the milliseconds of each page."""
        cursor, seen = None, 0
        while True:
            query = f"?limit={PER_PAGE}" + ("" if cursor is None else f"&cursor={cursor}")
            start = time.perf_counter()
            answer = self.client.get(f"/archie/v1/keys{query}", headers=self.headers)
            yield (time.perf_counter() - start) * 1000
            if answer.status_code != 200:
                raise WrongAnswer(f"{answer.status}: {answer.text}")
            seen += len(answer.json["data"])
            cursor = answer.json["meta"]["pagination"]["nextCursor"]
            if cursor is None:
                break
        total = self.query("SELECT count(*) FROM archie_api_keys")[1][0][0]
        if seen != total:
            raise WrongAnswer(f"the pages have {seen} keys, the table {total}")

    def create(self) -> None:
        """Make a key by the service."""
        self.made.keys.service.create(name="another", roles=["manager"])

    def post(self) -> None:
        """Make a key by the JSON API."""
        answer = self.client.post("/archie/v1/keys", headers=self.headers, json={"name": "another"})
        if answer.status_code != 201:
            raise WrongAnswer(f"{answer.status}: {answer.text}")


def _headers(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def _keys_like(row: Sequence[Any], at: dict[str, int], number: int) -> Iterator[tuple[Any, ...]]:
    made = list(row)
    before = row[at["created_at"]] - 86_400_000_000
    for i in range(number):
        made[at["id"]] = mint("archie").key_id
        made[at["name"]] = f"key {i}"
        made[at["created_at"]] = before - i * 1000
        yield tuple(made)


class Work:
    """A contender."""

    def __init__(self, name: str, work: Any) -> None:
        self.name = name
        self._work = work

    def __call__(self) -> None:
        """Do it once."""
        self._work()


def inserts(database: Managed, stack: ExitStack) -> list[Work]:
    """The same row, inserted and committed without anything else."""
    columns, (row,) = database.query("SELECT * FROM archie_api_keys LIMIT 1")
    connection = stack.enter_context(database.driver())
    connection.isolation_level = None
    values = dict(zip(columns, row, strict=True))
    statement = f"INSERT INTO archie_api_keys ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"
    engine = database.made.db.engine

    def driver() -> None:
        connection.execute(statement, list({**values, "id": mint("archie").key_id}.values()))

    def core() -> None:
        with engine.begin() as begun:
            begun.execute(insert(keys_table), {**values, "id": mint("archie").key_id})

    return [Work(DRIVER, driver), Work(CORE, core)]


def measure_making(folder: Path, rounds: int, *, as_it_comes: bool) -> dict[str, Figures]:
    """Make keys, beside bare inserts."""
    folder.mkdir()
    with ExitStack() as stack:
        database = Managed(folder)
        stack.callback(database.close)
        stack.enter_context(database.made.app.app_context())
        if as_it_comes:
            database.as_it_comes()
        making = [*inserts(database, stack), Work(SERVICE, database.create), Work(API, database.post)]
        return figures(round_robin(making, rounds=rounds, requests=20), CORE)


def stream(folder: Path, key_id: str | None) -> dict[str, float]:
    """What a process of its own takes to write the audit log as CSV.

    :param key_id: only the events of this key.
    """
    command = [sys.executable, "-m", "benchmarks.management", "--stream", str(folder), key_id or ""]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def streaming(folder: Path, key_id: str) -> dict[str, float]:
    """Write the CSV, keep nothing of it; lines, seconds and the peak of resident memory in MiB."""
    from ._sqlite import sqlite_uri

    made = _ours.build(folder, uri=sqlite_uri(folder), staleness=_ours.STALE, background=False)
    start, lines = time.perf_counter(), -1
    with made.app.app_context():
        for part in exports.as_csv(made.keys.audit.stream(**({"key": key_id} if key_id else {}))):
            lines += part.count(b"\n")
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    made.close()
    return {"lines": lines, "seconds": seconds, "peak": peak}


def measure_streams(folder: Path, events: int) -> tuple[dict[str, dict[str, float]], Bar]:
    """Fill the audit log, and stream a hundredth and all of it."""
    database = Sqlite(folder)
    database.requests(1)
    database.drain()
    columns, (row,) = database.newest(1)
    few = "few0000000ab"
    at = columns.index("key_id")
    made = rows_like(columns, row, database.key_id, events)
    database.insert(EVENTS, columns, ((*r[:at], few, *r[at + 1 :]) if n % 100 == 0 else r for n, r in enumerate(made)))
    database.close()
    found = {"a hundredth": stream(folder, few), "all": stream(folder, None)}
    if found["all"]["lines"] < events or found["a hundredth"]["lines"] != -(-events // 100):
        raise WrongAnswer(f"the files have {found}")
    return found, Bar(
        "peak of all ≤ 1.1 x that of a hundredth", found["all"]["peak"] / found["a hundredth"]["peak"], 1.1
    )


def main(argv: list[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.management", description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--keys", type=int, default=100_000, help="in the table (100000)")
    parser.add_argument("--events", type=int, default=1_000_000, help="in the audit log (1000000)")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--stream", nargs=2, metavar=("FOLDER", "KEY"), help=argparse.SUPPRESS)
    given = parser.parse_args(argv)
    if given.stream:
        print(json.dumps(streaming(Path(given.stream[0]), given.stream[1])))
        return 0
    describe_run()
    with tempfile.TemporaryDirectory(prefix="archie-bench-") as name, ExitStack() as stack:
        folder, streams = Path(name) / "keys", Path(name) / "streams"
        folder.mkdir()
        streams.mkdir()
        database = Managed(folder)
        stack.callback(database.close)
        stack.enter_context(database.made.app.app_context())
        made = {
            "WAL, NORMAL": measure_making(Path(name) / "wal", given.rounds, as_it_comes=False),
            "as it comes": measure_making(Path(name) / "plain", given.rounds, as_it_comes=True),
        }
        database.fill_keys(given.keys)
        pages = list(database.pages())
        streamed, memory = measure_streams(streams, given.events)
    tenth = max(len(pages) // 10, 1)
    first, last = median(pages[:tenth]), median(pages[-tenth:])
    flat = Bar("last tenth ≤ 1.2 x the first", last / first, 1.2)
    bars = {}
    for how, found in made.items():
        bars[how] = Bar("≤ 3 x a bare INSERT and commit", found[SERVICE].ratio, 3.0)
        print(request_table(found, {SERVICE: bars[how]}, f"making a key, SQLite {how}", "x bare"))
        print()
    head = ["pages of 100 keys", "calls", "first tenth ms", "last tenth ms", "slowest ms", "bar"]
    row = [f"{given.keys} keys", str(len(pages)), f"{first:.2f}", f"{last:.2f}", f"{max(pages):.2f}", str(flat)]
    print(table(head, [row]))
    print()
    head = ["audit log as CSV", "lines", "seconds", "peak MiB", "bar"]
    print(table(head, [_shown(n, s, memory if n == "all" else None) for n, s in streamed.items()]))
    write_json(
        given.json,
        {
            "microseconds": {how: as_json(found) for how, found in made.items()},
            "pages_ms": {"first": first, "last": last},
            "streams": streamed,
        },
        {**bars, "pages": flat, "memory": memory},
    )
    return 0


def _shown(name: str, streamed: dict[str, float], bar: Bar | None) -> list[str]:
    figures_ = [f"{streamed['lines']:.0f}", f"{streamed['seconds']:.1f}", f"{streamed['peak']:.0f}"]
    return [name, *figures_, "" if bar is None else str(bar)]


if __name__ == "__main__":
    sys.exit(main())
