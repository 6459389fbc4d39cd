"""A policy decision point as a process of its own: OpenID AuthZEN Authorization API 1.0, by the standard library.

It speaks the published protocol, has a small policy, and misbehaves where the resource's name asks for it. Run as a
module it prints its port; :class:`DecisionPoint` starts it, asks it what it has seen, and stops it by its pid.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import ssl
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from typing import Any

from ..permissions.answers import (
    ALL_ROWS,
    EVALUATION,
    HEAD,
    SLOW,
    SPECIFIED_DECISIONS,
    TOKEN,
    WRONG_ANSWERS,
    WRONG_BYTES,
    WRONG_DOCUMENTS,
    Answer,
)

ROOT = Path(__file__).parents[2]

#: Under these the same point is served.
BASES = ("", "/base/path")

# -- its policy

Granted = tuple[tuple[str, ...], str | list[str] | None]
NOTHING: Granted = ((), None)
#: By role: the actions on orders, and the row filter that they come with.
POLICY: dict[str, Granted] = {
    "manager": (("read", "write", "update", "delete"), None),
    "seller": (("read", "update"), ["region = $context.region", "owner_id = $userId"]),
    "viewer": (("read",), "region = $context.region"),
}


def decide(question: Mapping[str, Any]) -> dict[str, Any]:
    """The decision on a question that has the right form."""
    subject, action, kind = question["subject"], question["action"]["name"], question["resource"]["type"]
    if subject["id"].endswith("@example.com") and action == "can_read":
        return {"decision": True}
    roles = subject.get("properties", {}).get("roles", [])
    for role, (actions, rows) in POLICY.items():
        if kind == "orders" and role in roles and action in actions:
            context = {"reason_admin": {"en": f"{role}s may"}}
            return {"decision": True, "context": context if rows is None else {**context, "filter": rows}}
    return {"decision": False, "context": {"reason_admin": {"en": f"no policy lets {subject['id']} {action} {kind}"}}}


def fault(question: object) -> str | None:
    """What is wrong with the form of a question (sections 5 and 6.1)."""
    if not isinstance(question, dict) or set(question) - {"subject", "action", "resource", "context"}:
        return "not an evaluation request"
    for name, required in {"subject": ("type", "id"), "action": ("name",), "resource": ("type", "id")}.items():
        entity = question.get(name)
        if not isinstance(entity, dict) or not all(isinstance(entity.get(member), str) for member in required):
            return f"{name} must be an object with the texts {' and '.join(required)}"
        if not isinstance(entity.get("properties", {}), dict):
            return f"the properties of {name} must be an object"
    return None if isinstance(question.get("context", {}), dict) else "context must be an object"


class Seen:
    """What the point was asked, and over how many connections."""

    def __init__(self) -> None:
        self._lock = Lock()
        self.connections = 0
        self.questions: list[dict[str, Any]] = []

    def note(self, question: dict[str, Any], *, first: bool) -> None:
        with self._lock:
            self.connections += first
            self.questions.append(question)

    def take(self) -> dict[str, Any]:
        """All of it; from here on it is new."""
        with self._lock:
            taken = {"connections": self.connections, "questions": self.questions}
            self.connections, self.questions = 0, []
        return taken


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else every answer takes 40 milliseconds
    seen = Seen()

    def setup(self) -> None:
        super().setup()
        self.asked = 0

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self.answer(Answer(body=json.dumps(self.seen.take()).encode()))

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.asked += 1
        asked = {"path": self.path, "headers": self.headers.items(), "body": body.decode()}
        self.seen.note(asked, first=self.asked == 1)
        if self.headers["Authorization"] != f"Bearer {TOKEN}":
            refused = (("Content-Type", "text/plain"), ("WWW-Authenticate", 'Bearer realm="https://as.example.com"'))
            self.answer(Answer(401, refused, f"no such token: {self.headers['Authorization']}".encode()))
        elif self.path not in [base + EVALUATION for base in BASES]:
            self.answer(Answer(404, body=b"no such endpoint"))
        elif self.headers["Content-Type"] != "application/json":
            self.answer(Answer(400, body=b"the content type must be application/json"))
        else:
            self.evaluate(body)

    def evaluate(self, body: bytes) -> None:
        try:
            question = json.loads(body)
        except ValueError as error:
            return self.answer(Answer(400, body=str(error).encode()))
        wrong = fault(question)
        if wrong is not None:
            return self.answer(Answer(400, body=wrong.encode()))
        name = question["resource"]["type"]
        behaviour = BEHAVIOURS.get(name)
        if behaviour is not None:
            return behaviour(self)
        literal = SPECIFIED_DECISIONS.get(name) or WRONG_DOCUMENTS.get(name)
        return self.answer(Answer(body=json.dumps(decide(question)).encode() if literal is None else literal))

    def answer(self, answer: Answer) -> None:
        self.send_response(answer.status)
        number = self.headers["X-Request-ID"]
        if number is not None and not any(name == "X-Request-ID" for name, _ in answer.headers):
            self.send_header("X-Request-ID", number)
        for name, value in answer.headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)

    def send(self, data: bytes) -> None:
        """Bytes as they are, and the end of the connection."""
        self.close_connection = True
        self.wfile.write(data)

    def drip(self, at_once: bytes, slowly: list[bytes]) -> None:
        self.close_connection = True
        end = time.monotonic() + 10
        try:
            self.wfile.write(at_once)
            for data in slowly:
                time.sleep(0.1)
                self.wfile.write(data)
            self.connection.settimeout(max(0.1, end - time.monotonic()))
            self.connection.recv(1)  # until the other side has enough of it
        except OSError:
            pass

    def reset(self) -> None:
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def answer_once(self) -> None:
        """One answer for each connection; the next question finds it open, and is not answered."""
        if self.asked > 1:
            self.send(b"")
        else:
            self.answer(Answer())

    def answer_and_close(self) -> None:
        """An answer, and the connection is closed without a word of it."""
        self.answer(Answer())
        self.close_connection = True

    def answer_twice(self) -> None:
        """A no, and what would do as the answer to the next question."""
        head = HEAD.replace(b"\r\n", b"\r\nX-Request-ID: %s\r\n" % self.headers["X-Request-ID"].encode(), 1)
        no = b'{"decision": false}'
        self.wfile.write(head + b"Content-Length: %d\r\n\r\n" % len(no) + no + self.too_much())

    def too_much(self) -> bytes:
        return HEAD + b"Content-Length: %d\r\n\r\n" % len(ALL_ROWS) + ALL_ROWS

    def answer_twice_slowly(self) -> None:
        """The same, in two pieces."""
        self.answer(Answer(body=b'{"decision": false}'))
        self.wfile.flush()
        time.sleep(0.05)
        self.wfile.write(self.too_much())

    def echo(self) -> None:
        """Give away what nobody should write down."""
        told = {"reason_admin": f"asked with {self.headers['Authorization']}"}
        self.answer(Answer(body=json.dumps({"decision": False, "context": told}).encode()))

    def echo_badly(self) -> None:
        self.send(f"{self.headers['Authorization']} is no status line\r\n\r\n".encode())

    def chunked(self) -> None:
        """A body of no stated length."""
        self.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\n{\r\n" + b"10000\r\n" + 65536 * b" " + b"\r\n")

    def charset(self) -> None:
        self.answer(Answer(headers=(("content-TYPE", "Application/JSON ; charset=utf-8"),)))


def _slowly(at_once: bytes, slowly: list[bytes]) -> Callable[[Handler], None]:
    return lambda handler: handler.drip(at_once, slowly)


def _wrongly(answer: Answer) -> Callable[[Handler], None]:
    return lambda handler: handler.answer(answer)


def _rudely(data: bytes) -> Callable[[Handler], None]:
    return lambda handler: handler.send(data)


BEHAVIOURS: dict[str, Callable[[Handler], None]] = {
    **{name: _slowly(*parts) for name, parts in SLOW.items()},
    **{name: _wrongly(answer) for name, answer in WRONG_ANSWERS.items()},
    **{name: _rudely(data) for name, data in WRONG_BYTES.items()},
    "reset": Handler.reset,
    "huge_chunks": Handler.chunked,
    "answers_once": Handler.answer_once,
    "answers_and_closes": Handler.answer_and_close,
    "answers_twice": Handler.answer_twice,
    "answers_twice_slowly": Handler.answer_twice_slowly,
    "echoes": Handler.echo,
    "echoes_badly": Handler.echo_badly,
    "other_case": Handler.charset,
}


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        pass  # callers hang up on it, and are meant to


def serve(certificate: str | None) -> None:
    """Serve until the process is stopped, or whoever started it is gone."""
    Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
    server = Server(("127.0.0.1", 0), Handler)
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    sys.stdout.write(f"{server.server_port}\n")
    sys.stdout.flush()
    server.serve_forever()


class DecisionPoint:
    """The process, from outside.

    :param certificate: a file with a certificate and its key, to serve by TLS.
    """

    def __init__(self, certificate: Path | None = None) -> None:
        command = [sys.executable, "-m", "tests.support.decision_point", str(certificate or "")]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())
        self.certificate = certificate
        self.url = f"{'https' if certificate else 'http'}://127.0.0.1:{self.port}"

    def post(self, body: bytes, headers: Mapping[str, str]) -> tuple[int, Mapping[str, str], bytes]:
        """Ask as any client would: status, headers and body of the answer."""
        connection = self._connection()
        try:
            connection.request("POST", EVALUATION, body, dict(headers))
            answer = connection.getresponse()
            return answer.status, dict(answer.headers), answer.read()
        finally:
            connection.close()

    def take(self) -> dict[str, Any]:
        """The questions since the last time, and the number of connections that they came over."""
        connection = self._connection()
        try:
            connection.request("GET", "/")
            taken: dict[str, Any] = json.loads(connection.getresponse().read())
            return taken
        finally:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        if self.certificate is None:
            return http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        context = ssl.create_default_context(cafile=self.certificate)
        return http.client.HTTPSConnection("localhost", self.port, timeout=20, context=context)

    def close(self) -> None:
        self.process.terminate()
        try:
            self.process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()


def make_certificate(folder: Path) -> Path:
    """A certificate for ``localhost`` that is its own authority, with its key, in one file."""
    file = folder / "decision_point.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-days", "2"]
    files = ["-keyout", str(folder / "key.pem"), "-out", str(file)]
    subprocess.run([*command, *names, *files], check=True, capture_output=True)
    file.write_text(file.read_text() + (folder / "key.pem").read_text())
    return file


if __name__ == "__main__":
    serve(sys.argv[1] or None)
