"""Real processes: an application of their own, started, killed and stopped by pid."""

from __future__ import annotations

import http.client
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
#: ``python -m flask`` without the commands of other installed packages, whose imports take as long as all the rest.
FLASK = ("-c", "import flask.cli; flask.cli.cli._loaded_plugin_commands = True; flask.cli.main()")

APPLICATION = """
import os, time
from datetime import timedelta
from flask import Flask
from flask_archie_keys import ArchieKeys, require_api_key

def create_app():
    app = Flask("served", instance_path=os.environ["INSTANCE"])
    app.config["ARCHIE_KEYS_PEPPERS"] = ["pepper-of-" + "the-processes"]
    app.config["ARCHIE_KEYS_AUDIT"] = {"interval": timedelta(milliseconds=10)}
    app.config["ARCHIE_KEYS_FACES"] = os.environ.get("FACES", "cli").split()
    ArchieKeys(app)

    @app.get("/x")
    @require_api_key(roles=["viewer"])
    def x():
        return "x"

    @app.get("/slow")
    @require_api_key
    def slow():
        time.sleep(30)
        return "slow"

    @app.get("/pid")
    def pid():
        return str(os.getpid())

    if os.environ.get("USED_BEFORE_FORK"):
        app.test_client().get("/x")
    return app
"""


class Application:
    """The application above in a folder of its own, with the processes that were started for it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "served.py").write_text(APPLICATION)
        self.instance = folder / "instance"
        paths = os.pathsep.join([str(folder), str(ROOT)])
        self.environment = {**os.environ, "INSTANCE": str(self.instance), "PYTHONPATH": paths}
        self.processes: list[subprocess.Popen[str]] = []

    def flask(self, *arguments: str, **kwargs: object) -> subprocess.CompletedProcess[str]:
        """Run `flask …` to its end."""
        command = [sys.executable, "-W", "error", *FLASK, "--app", "served:create_app()", *arguments]
        given = {"capture_output": True, "text": True, "timeout": 60, "env": self.environment, "cwd": self.folder}
        return subprocess.run(command, **{**given, **kwargs})  # type: ignore[call-overload, no-any-return]

    def start(self, *command: str, **environment: str) -> subprocess.Popen[str]:
        """Start a process that is stopped in the end."""
        process = subprocess.Popen(
            [sys.executable, *command],
            env={**self.environment, **environment},
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.processes.append(process)
        return process

    def serve(self, *options: str, **environment: str) -> Server:
        """Start gunicorn on a free port of 127.0.0.1."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        bind = ["-b", f"127.0.0.1:{port}", "--no-control-socket"]
        process = self.start("-m", "gunicorn", *bind, *options, "served:create_app()", **environment)
        return Server(process, port)

    def close(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.terminate()
            try:
                process.communicate(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()


class Server:
    """A server process and how to ask it."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process = process
        self.port = port
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            except OSError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise AssertionError(process.communicate()[0]) from None
                time.sleep(0.05)

    def get(self, path: str, secret: str | None = None, timeout: float = 30) -> tuple[int, str]:
        """One request on a connection of its own."""
        return self.ask("GET", path, secret, timeout)

    def ask(self, method: str, path: str, secret: str | None = None, timeout: float = 30) -> tuple[int, str]:
        """The same with any method."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method, path, headers={} if secret is None else {"Authorization": f"Bearer {secret}"})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()


def secret_in(output: str) -> str:
    """The key text in the output of a command."""
    found = re.search(r"\b[a-z][a-z0-9_]*_[0-9A-Za-z]{12}_[0-9A-Za-z]{38}\b", output)
    assert found, output
    return found[0]
