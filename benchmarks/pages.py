"""``python -m benchmarks.pages``: the pages of the console over 100 000 keys and 1 000 000 events, on SQLite.

The tables are filled raw: a quarter of the events is of one busy key, the others are of 500 keys, over thirty days; one
in fifty was denied, one in two hundred refused, ten were refused for a reason of their own. A tenth of the keys has a
role with a filter. Then each page is asked for in turn, by a user who may see everything. The bar is on the median of
the slowest page. An answer other than 200, or without what it must show, ends the run with an error.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

from flask import request
from flask_wtf.csrf import generate_csrf

from flask_archie_keys import Grant, Principal
from flask_archie_keys.domain.keytext import mint

from ._events import EVENTS, Row, Sqlite
from ._measure import WrongAnswer
from ._report import Bar, describe_run, table, write_json

KEYS = "archie_api_keys"
SPAN = timedelta(days=30)
BUSY_PART = 4
OTHERS = 500
RARE = "expired"
OWN = ("api_keys", "roles", "audit_events")


@dataclass(frozen=True)
class Page:
    """A page to ask for.

    :ivar shows: what must be in it.
    :ivar form: what is posted; ``None`` for GET.
    """

    name: str
    path: str
    shows: str = ""
    form: dict[str, str] | None = None


class Console(Sqlite):
    """An application with the console, whose user may see everything."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        app, keys = self.made.app, self.made.keys
        app.config["SECRET_KEY"] = "of-the-benchmarks"
        app.add_url_rule("/token", "token", generate_csrf)
        keys.user_loader(lambda: None if request.path == "/token" else Principal.user("u", roles=["all"]))
        with app.app_context():
            everything = {"read": True, "write": True, "update": True, "delete": True}
            keys.roles.save("all", grants=[Grant(resource, **everything) for resource in OWN])
            keys.roles.save("clerk", grants=[Grant("api_keys", read=True, filter="owner = $context.region")])
        self.client = app.test_client()

    def fill(self, keys: int, events: int) -> list[str]:
        """Fill both tables; the ids of the keys that have events, the busy one first."""
        self.requests(1)
        self.drain()
        columns, (row,) = self.query(f"SELECT * FROM {KEYS} LIMIT 1")
        ids = [self.key_id]
        self.insert(KEYS, columns, _keys(columns, row, keys, ids))
        columns, (row,) = self.newest(1)
        self.insert(EVENTS, columns, _events(columns, row, events, ids[: OTHERS + 1]))
        return ids[: OTHERS + 1]

    def ask(self, page: Page) -> float:
        """Ask for a page; the milliseconds until it was there, whole."""
        form = None if page.form is None else {**page.form, "csrf_token": self.client.get("/token").text}
        start = time.perf_counter()
        answer = self.client.open(f"/settings{page.path}", method="GET" if form is None else "POST", data=form)
        text = answer.text
        took = (time.perf_counter() - start) * 1000
        if answer.status_code != 200 or page.shows not in text:
            raise WrongAnswer(f"{page.name}: {answer.status}, without {page.shows!r}")
        return took


def _keys(columns: Sequence[str], row: Row, number: int, ids: list[str]) -> Iterator[Row]:
    """Keys like one, newest first."""
    at = {name: columns.index(name) for name in ("id", "name", "created_at", "roles", "context")}
    made = list(row)
    for i in range(number):
        made[at["id"]] = mint("archie").key_id
        made[at["name"]] = f"key {i}"
        made[at["created_at"]] = row[at["created_at"]] - i * 1000
        made[at["roles"]] = '["clerk"]' if i % 10 == 0 else '["viewer"]'
        made[at["context"]] = '{"region":"eu"}'
        if len(ids) <= OTHERS:
            ids.append(str(made[at["id"]]))
        yield tuple(made)


def _events(columns: Sequence[str], row: Row, number: int, ids: Sequence[str]) -> Iterator[Row]:
    """Events like one, oldest first and ending at its time."""
    names = ("id", "occurred_at", "key_id", "outcome", "reason", "status", "route", "path", "method")
    at = {name: columns.index(name) for name in names}
    made = list(row)
    step = SPAN // timedelta(microseconds=1) // number
    for i in range(number):
        micros = int(row[at["occurred_at"]]) - (number - i) * step
        millis, rest = divmod(micros, 1000)
        made[at["id"]] = f"{millis << 80 | 0x7 << 76 | (rest * 4096 // 1000) << 64 | 0x8 << 60 | i:032x}"
        made[at["occurred_at"]] = micros
        made[at["key_id"]] = ids[0] if i % BUSY_PART == 0 else ids[1 + i % (len(ids) - 1)]
        ends: tuple[Any, ...] = ("allowed", None, 200)
        if i % (number // 10) == 7:
            ends = ("refused", RARE, 401)
        elif i % 200 == 3:
            ends = ("refused", "wrong_secret", 401)
        elif i % 50 == 1:
            ends = ("denied", "missing_role", 403)
        made[at["outcome"]], made[at["reason"]], made[at["status"]] = ends
        made[at["route"]] = made[at["path"]] = f"/api/part{i % 20}"
        made[at["method"]] = "POST" if i % 5 == 0 else "GET"
        yield tuple(made)


def pages(console: Console, ids: Sequence[str]) -> list[Page]:
    """The pages, with what their filters must find."""
    day = (datetime.now(UTC) - timedelta(days=10)).strftime("%Y-%m-%dT%H:%M:%S")
    after = (datetime.now(UTC) - timedelta(days=9)).strftime("%Y-%m-%dT%H:%M:%S")
    with console.made.app.app_context():
        log, service = console.made.keys.audit, console.made.keys.service
        event = log.find(key=ids[0], limit=1)[0].id
        deep = log.find(until=datetime.now(UTC) - timedelta(days=29), limit=1).next_cursor
        older = service.find(limit=200).next_cursor
    typed = {
        "grant": "0",
        "resource-0": "api_keys",
        "read": "0",
        "filter-0": "owner = $context.region",
        "name": "clerk",
    }
    return [
        Page("keys", "/api-keys", ids[1]),
        Page("keys, page five", f"/api-keys?cursor={older}", "archie_"),
        Page("keys, searched for a name", "/api-keys?q=key+99", "key 99"),
        Page("keys, searched for what is not there", "/api-keys?q=nowhere", "No key is like that"),
        Page("keys, by a role", "/api-keys?role=clerk", "key 0"),
        Page("keys, by a status that none has", "/api-keys?status=expired", "No key is like that"),
        Page("a key with a quarter of the events", f"/api-keys/{ids[0]}", ids[0]),
        Page("audit", "/audit", "archie-bar-allowed"),
        Page("audit, far down", f"/audit?cursor={deep}", "/api/part"),
        Page("audit, a key and its lineage", f"/audit?key={ids[0]}&lineage=1", ids[0]),
        Page("audit, another key", f"/audit?key={ids[9]}", ids[9]),
        Page("audit, denied", "/audit?outcome=denied", "missing_role"),
        Page("audit, a reason that ten have", f"/audit?reason={RARE}", RARE),
        Page("audit, a reason that none has", "/audit?reason=network", "No event is like that"),
        Page("audit, a route and a method", "/audit?route=/api/part5&method=POST", "/api/part5"),
        Page("audit, one day", f"/audit?since={day}&until={after}", "archie-bar-allowed"),
        Page("audit, one day, denied", f"/audit?since={day}&until={after}&outcome=denied", "missing_role"),
        Page("an event", f"/audit/{event}", event),
        Page("roles", "/roles", "clerk"),
        Page("a role that a tenth of the keys has", "/roles/clerk", "owner = $context.region"),
        Page("a role, checked as one types", "/check-role", "lockedOut", typed),
    ]


def main(argv: list[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pages", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--keys", type=int, default=100_000, help="in the table (100000)")
    parser.add_argument("--events", type=int, default=1_000_000, help="in the table (1000000)")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args(argv)
    describe_run()
    with tempfile.TemporaryDirectory(prefix="archie-bench-") as name:
        console = Console(Path(name))
        try:
            asked = pages(console, console.fill(options.keys, options.events))
            samples: dict[str, list[float]] = {page.name: [] for page in asked}
            for _ in range(options.rounds):
                for page in asked:
                    samples[page.name].append(console.ask(page))
        finally:
            console.close()
    found = {name: (median(took), max(took)) for name, took in samples.items()}
    slowest = max(value for value, _ in found.values())
    bar = Bar("slowest page ≤ 1000 ms, stretch 500", slowest, 1000.0, 500.0)
    print(f"\n{options.keys} keys, {options.events} events, {options.rounds} rounds\n")
    rows = [(name, f"{value:.0f}", f"{worst:.0f}", "") for name, (value, worst) in found.items()]
    print(table(("page", "median ms", "worst ms", ""), rows))
    print(f"\n{bar}")
    write_json(options.json, {"milliseconds": {name: value for name, (value, _) in found.items()}}, {"pages": bar})
    return 0


if __name__ == "__main__":
    sys.exit(main())
