"""``python -m benchmarks.postgresql``: a key read fresh from PostgreSQL at every request.

Compared in one run, round-robin: bare Flask; the same with one ``SELECT … WHERE id = %s`` in the
view, by psycopg on an open connection, prepared, which is one round trip and the least that any
fresh read can cost; and ours without and with audit, the key read over 127.0.0.1 at every request.
The bar is on what ours adds to bare Flask, in multiples of what the select adds. The same select in
a tight loop is shown too: it is faster, because a server that is asked again at once is awake.

Then the server's own log counts the statements that it got for one request.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from flask import Flask

from . import _ours, _peers
from ._bars import BASELINE
from ._measure import figures, round_robin
from ._postgres import PostgresqlMissing, Server, server
from ._report import Bar, as_json, describe_run, request_table, write_json
from ._wsgi import BODY, PATH, Client, bearer, environ

IN_VIEW = "bare Flask and one psycopg select"
LOOP = "the select alone, in a tight loop"
QUIET = "ours: no audit, read fresh"
AUDITED = "ours: audit, read fresh"
_COUNTED = 20
STATEMENT = re.compile(r"LOG: +(?:execute|statement)\b")


class Select:
    """A contender that makes one prepared select by primary key on an open connection."""

    name = LOOP

    def __init__(self, conninfo: str, key_id: str) -> None:
        import psycopg

        self._connection = psycopg.connect(conninfo, autocommit=True, prepare_threshold=0)
        self._cursor = self._connection.cursor()
        self._key_id = (key_id,)

    def __call__(self) -> None:
        """Read the row of the key.

        :raises LookupError: if it is not there.
        """
        self._cursor.execute(
            "SELECT id, digest, name, roles, context, expires_at, disabled_at, deleted_at"
            " FROM archie_api_keys WHERE id = %s",
            self._key_id,
        )
        if self._cursor.fetchone() is None:
            raise LookupError("the row is missing")

    def client(self) -> Client:
        """The contender that makes the select in the view of an otherwise bare application."""
        app = Flask("bench_select")

        @app.get(PATH)
        def items() -> dict[str, Any]:
            self()
            return BODY

        return Client(IN_VIEW, app, [environ()])

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def _make(folder: Path, server: Server) -> tuple[list[Client], Select, list[_ours.Made]]:
    clients = [_peers.bare()]
    made: list[_ours.Made] = []
    audits: dict[str, dict[str, Any]] = {QUIET: {"enabled": False}, AUDITED: {"background": False}}
    for name, audit in audits.items():
        own = folder / str(len(made))
        own.mkdir()
        application = _ours.build(own, uri=server.uri, **audit)
        secret = _ours.prepare(application)
        clients.append(Client(name, application.app, [environ(bearer(secret))]))
        made.append(application)
    return clients, Select(server.conninfo, secret.split("_")[-2]), made


def statements(client: Client, server: Server) -> float:
    """How many statements the server gets for one request, by its own log."""
    import psycopg

    def logged() -> int:
        time.sleep(0.3)
        lines = server.log.read_text(errors="replace").splitlines()
        return sum(STATEMENT.search(line) is not None for line in lines)

    def switch(value: str) -> None:
        with psycopg.connect(server.conninfo, autocommit=True) as connection:
            connection.execute(f"ALTER SYSTEM SET log_statement = '{value}'")
            connection.execute("SELECT pg_reload_conf()")
        time.sleep(0.3)

    switch("all")
    before = logged()
    for _ in range(_COUNTED):
        client()
    counted = logged() - before
    switch("none")
    return counted / _COUNTED


def measure(rounds: int, requests: int) -> dict[str, Any]:
    """Measure in temporary folders; the figures by row and the statements a request."""
    with tempfile.TemporaryDirectory(prefix="archie-bench-") as name, server() as running:
        clients, select, made = _make(Path(name), running)
        try:
            samples = round_robin([*clients, select.client(), select], rounds=rounds, requests=requests)
            counted = {c.name: statements(c, running) for c in clients if c.name in (QUIET, AUDITED)}
        finally:
            select.close()
            for application in made:
                application.close()
    return {"figures": figures(samples, BASELINE), "statements": counted}


def main(argv: list[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.postgresql", description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--requests", type=int, default=100)
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args(argv)
    try:
        results = measure(options.rounds, options.requests)
    except PostgresqlMissing as missing:
        print(missing, file=sys.stderr)
        return 2
    found = results["figures"]
    select = found[IN_VIEW].added_us
    bars = {
        name: Bar(
            f"{found[name].added_us / select:.2f} selects added; ≤ 1.5, stretch 1.2",
            found[name].added_us / select,
            1.5,
            1.2,
        )
        for name in (QUIET, AUDITED)
    }
    describe_run()
    print(f"{options.rounds} rounds of {options.requests} requests each\n")
    print(request_table(found, bars))
    for name, count in results["statements"].items():
        print(f"{name}: {count:g} statements a request")
    write_json(
        options.json,
        {"microseconds": as_json(found), "statements": results["statements"]},
        bars,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
