"""``python -m benchmarks.gunicorn``: requests a second and p99 behind gunicorn, two sync workers.

Four servers run at once and idle while another is measured: bare Flask, Flask-HTTPAuth, and ours
with the audit on, the key read fresh or with ``MAX_STALENESS`` of 1 s; SQLite, and the drain
running in the workers as it does by default. A second process makes the load in a closed loop,
some seconds at each server in turn, round after round in a shuffled order.

Every ratio compares a round with bare Flask's of the same round; the median over the rounds is
shown. On few processors the load and the workers share them, which pulls the ratios of requests/s
towards 1; the processor time that the workers took for a request, also shown, is free of that.
Afterwards the audit is counted: it must hold one event for every request that was answered.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

from . import _ours, _peers
from ._postgres import free_port
from ._report import INSTALL, Bar, describe_run, table, write_json
from ._served import FOLDER
from ._sqlite import sqlite_uri

WORKERS = 2
START_SECONDS = 20.0
NAMES = {
    "bare": "bare Flask",
    "httpauth": "Flask-HTTPAuth, dict and role",
    "fresh": "ours: audit, read fresh",
    "stale": "ours: audit, MAX_STALENESS 1 s",
}


@dataclass
class Site:
    """One contender behind its own gunicorn."""

    kind: str
    port: int
    master: subprocess.Popen[bytes]
    folder: Path
    authorization: str
    rounds: list[dict[str, Any]] = field(default_factory=list)
    answered: int = 0

    def processor_seconds(self) -> float:
        """The processor time that the workers have used; 0 where ``/proc`` does not tell."""
        try:
            master = self.master.pid
            children = Path(f"/proc/{master}/task/{master}/children").read_text().split()
            stats = [Path(f"/proc/{pid}/stat").read_text() for pid in children]
        except OSError:
            return 0.0
        ticks = sum(int(t) for stat in stats for t in stat.rpartition(")")[2].split()[11:13])
        return ticks / os.sysconf("SC_CLK_TCK")


class LoadProcess:
    """The second process, which makes the load."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "benchmarks._load"]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)

    def run(self, site: Site, seconds: float, connections: int) -> dict[str, Any]:
        """Make load for so many seconds.

        :raises RuntimeError: if an answer was not 200.
        """
        assert self._process.stdin is not None and self._process.stdout is not None
        order = {"port": site.port, "authorization": site.authorization}
        order |= {"seconds": seconds, "connections": connections}
        print(json.dumps(order), file=self._process.stdin, flush=True)
        used = site.processor_seconds()
        found: dict[str, Any] = json.loads(self._process.stdout.readline())
        found["server_us"] = 1e6 * (site.processor_seconds() - used) / max(1, found["requests"])
        if found["failed"]:
            raise RuntimeError(f"{NAMES[site.kind]}: {found['failed']}")
        site.answered += found["requests"]
        return found

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


def _no_control_socket() -> list[str]:
    """Newer versions open a control socket in the user's home, where four servers would meet."""
    from gunicorn.config import KNOWN_SETTINGS

    known = any(setting.name == "control_socket_disable" for setting in KNOWN_SETTINGS)
    return ["--no-control-socket"] if known else []


@contextmanager
def site(kind: str, parent: Path) -> Iterator[Site]:
    """Serve one contender until the end of the block."""
    folder = parent / kind
    folder.mkdir()
    secret = {"bare": "", "httpauth": _peers.SECRET}.get(kind)
    if secret is None:
        ours = _ours.build(folder, uri=sqlite_uri(folder), background=False)
        secret = _ours.prepare(ours)
        ours.close()
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", "--workers", str(WORKERS), "--log-level", "error"]
    command += ["--bind", f"127.0.0.1:{port}", *_no_control_socket()]
    command.append(f"benchmarks._served:make('{kind}')")
    master = subprocess.Popen(command, env={**os.environ, FOLDER: str(folder)})
    made = Site(kind, port, master, folder, f"Bearer {secret}" if secret else "")
    try:
        yield made
    finally:
        master.terminate()
        try:
            master.wait(30)
        except subprocess.TimeoutExpired:
            master.kill()
            master.wait()


def _wait(made: Site) -> None:
    """Wait until the server takes connections."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", made.port), timeout=1).close()
            return
        except OSError:
            if made.master.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"gunicorn does not serve {NAMES[made.kind]}") from None
            time.sleep(0.1)


def measure(rounds: int, seconds: float, connections: int) -> tuple[list[Site], list[str]]:
    """Serve, load and stop; the sites with their rounds, and what the audit kept."""
    with tempfile.TemporaryDirectory(prefix="archie-bench-") as name:
        with ExitStack() as stack:
            sites = [stack.enter_context(site(kind, Path(name))) for kind in NAMES]
            load = LoadProcess()
            stack.callback(load.close)
            for made in sites:
                _wait(made)
                load.run(made, 0.5, connections)
            order = list(sites)
            shuffle = random.Random(1).shuffle
            for _ in range(rounds):
                shuffle(order)
                for made in order:
                    made.rounds.append(load.run(made, seconds, connections))
        kept = [_kept(made) for made in sites if made.kind in ("fresh", "stale")]
    return sites, kept


def _kept(made: Site) -> str:
    """Drain what is left of the audit and count its events, once the workers have ended."""
    from sqlalchemy import text

    ours = _ours.build(made.folder, uri=sqlite_uri(made.folder), background=False)
    with ours.app.app_context():
        ours.keys.audit.drain()
        sql = "SELECT count(*) FROM archie_audit_events WHERE status = 200"
        with ours.db.engine.connect() as connection:
            events = connection.execute(text(sql)).scalar_one()
    ours.close()
    return f"{NAMES[made.kind]}: {made.answered} requests answered, {events} events in the audit"


def ratios(sites: Sequence[Site], value: str) -> dict[str, float]:
    """The median over the rounds of each site's value in multiples of bare Flask's."""
    base = [r[value] for r in sites[0].rounds]
    return {
        made.kind: median(r[value] / b for r, b in zip(made.rounds, base, strict=True)) for made in sites if all(base)
    }


def bars(sites: Sequence[Site]) -> dict[str, Bar]:
    """The bars of both of our rows: the rate and the p99, against bare Flask."""
    rate, p99 = ratios(sites, "per_second"), ratios(sites, "p99_ms")
    return {
        f"{NAMES[kind]}, {what}": bar
        for kind in ("fresh", "stale")
        for what, bar in {
            "rate": Bar(
                f"{rate[kind]:.2f} x bare's rate; ≥ 0.85, stretch Flask-HTTPAuth's",
                rate[kind],
                0.85,
                rate["httpauth"],
                at_least=True,
            ),
            "p99": Bar(f"{p99[kind]:.2f} x bare's p99; ≤ 1.5", p99[kind], 1.5),
        }.items()
    }


def show(sites: Sequence[Site], kept: Sequence[str], found: dict[str, Bar]) -> None:
    """Print the table, the bars and what the audit kept."""

    def middle(made: Site, value: str) -> float:
        return float(median(r[value] for r in made.rounds))

    rate, p99, cpu = (ratios(sites, v) for v in ("per_second", "p99_ms", "server_us"))
    head = ["gunicorn, 2 sync workers", "requests/s", "x bare", "p50 ms", "p99 ms", "x bare"]
    head += ["worker CPU µs/request", "x bare", ""]
    rows = [
        [
            NAMES[made.kind],
            f"{middle(made, 'per_second'):.0f}",
            f"{rate[made.kind]:.2f}",
            f"{middle(made, 'p50_ms'):.2f}",
            f"{middle(made, 'p99_ms'):.2f}",
            f"{p99[made.kind]:.2f}",
            f"{middle(made, 'server_us'):.0f}",
            f"{cpu[made.kind]:.2f}" if cpu else "",
            "",
        ]
        for made in sites
    ]
    print(table(head, rows))
    print(*[f"{name}: {bar}" for name, bar in found.items()], *kept, sep="\n")


def main(argv: list[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gunicorn", description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=1.0, help="of load in a round (1)")
    parser.add_argument("--connections", type=int, default=4, help="requests under way at once (4)")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args(argv)
    if find_spec("gunicorn") is None:
        print(f"gunicorn is missing: {INSTALL}", file=sys.stderr)
        return 2
    sites, kept = measure(options.rounds, options.seconds, options.connections)
    found = bars(sites)
    describe_run()
    print(f"{options.rounds} rounds of {options.seconds:g} s, {options.connections} connections\n")
    show(sites, kept, found)
    write_json(options.json, {"rounds": {NAMES[s.kind]: s.rounds for s in sites}, "audit": kept}, found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
