"""``python -m benchmarks``: microseconds a request, in-process, ours beside the peers.

One process, one thread, all contenders in one run, round-robin; see ``_measure``. Each contender
answers the same small JSON view, and a wrong status or body ends the run with an error.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from . import _bars, _drf, _ours, _peers
from ._measure import Figures, WrongAnswer, figures, round_robin
from ._report import INSTALL, as_json, describe_run, request_table, write_json
from ._wsgi import BODY, Client

Maker = Callable[[], Client]


def makers(folder: Path) -> Iterator[tuple[str, Maker]]:
    """Every row of the table and what makes its contender, peers first."""
    yield _bars.BASELINE, _peers.bare
    yield "bare Flask with Flask-SQLAlchemy", lambda: _peers.with_database(folder)
    yield "decorator: hash, dict, role", _peers.decorator
    yield "the same and one O_APPEND write", lambda: _peers.decorator_with_append(folder)
    yield _bars.HTTPAUTH, _peers.httpauth
    yield "Flask-JWT-Extended, role claim", _peers.jwt
    yield _drf.NAME, lambda: _drf.drf(folder)
    yield "hand-written: look-up, audit row, commit", lambda: _peers.handwritten(folder)
    yield from _ours.contenders(folder)


def chosen(folder: Path, only: list[str]) -> Iterator[Client]:
    """The contenders whose names hold one of the given words, and always the baseline."""
    for name, make in makers(folder):
        if name == _bars.BASELINE or not only or any(word.lower() in name.lower() for word in only):
            client = make()
            _check(client)
            yield client


def _check(client: Client) -> None:
    """One request before anything is timed: the status, and the body of the view."""
    client()
    if client.status == 200 and json.loads(client.read()) != BODY:
        raise WrongAnswer(f"{client.name}: another body than the view's")


def measure(only: list[str], rounds: int, requests: int) -> dict[str, Figures]:
    """Make the contenders in a temporary folder, measure them and clean up."""
    with tempfile.TemporaryDirectory(prefix="archie-bench-") as name:
        clients = list(chosen(Path(name), only))
        try:
            samples = round_robin(clients, rounds=rounds, requests=requests, on_round=lambda n: _progress(n, rounds))
        finally:
            for client in clients:
                client.close()
    return figures(samples, _bars.BASELINE)


def _progress(number: int, rounds: int) -> None:
    if sys.stderr.isatty():
        end = "\n" if number == rounds else ""
        print(f"\rround {number} of {rounds}", end=end, file=sys.stderr, flush=True)


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """The options of the command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=100, help="rounds over all contenders (100)")
    parser.add_argument("--requests", type=int, default=100, help="timed requests of a contender in a round (100)")
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="WORD",
        help="only rows whose name holds WORD; may be repeated",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to FILE")
    parser.add_argument("--strict", action="store_true", help="exit with status 1 where a bar is missed")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit status is 0, 1 with ``--strict`` and a missed bar, or 2 where a
    package is missing.
    """
    options = arguments(argv)
    try:
        found = measure(options.only, options.rounds, options.requests)
    except ModuleNotFoundError as missing:
        print(f"{missing.name} is missing: {INSTALL}", file=sys.stderr)
        return 2
    bars = _bars.request_bars(found)
    describe_run()
    print(f"{options.rounds} rounds of {options.requests} requests each\n")
    print(request_table(found, bars))
    results = {
        "rounds": options.rounds,
        "requests": options.requests,
        "microseconds": as_json(found),
    }
    write_json(options.json, results, bars)
    return int(options.strict and any(bar.verdict == "miss" for bar in bars.values()))


if __name__ == "__main__":
    sys.exit(main())
