"""The peers that run in Flask: what a user of Flask would pick or write instead.

Each function makes one application with the same view and gives the contender that calls it.
"""

from __future__ import annotations

import functools
import hashlib
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flask import Flask, abort, g, request

from ._sqlite import host_database, sqlite_uri
from ._wsgi import BODY, PATH, Client, bearer, environ

SECRET = "bench_" + "0123456789abcdef" * 3
ROLE = "viewer"

View = Callable[..., Any]


def _app(guard: Callable[[View], View], name: str) -> Flask:
    """An application with the view that all contenders have, behind ``guard``."""
    app = Flask(f"bench_{name}")

    @guard
    def items() -> dict[str, Any]:
        return BODY

    app.add_url_rule(PATH, "items", items)
    return app


def bare_app() -> Flask:
    """Flask alone: the view behind nothing."""
    return _app(lambda view: view, "bare")


def bare() -> Client:
    """The baseline: Flask alone."""
    return Client("bare Flask", bare_app(), [environ()])


def with_database(folder: Path) -> Client:
    """Flask with Flask-SQLAlchemy set up and not used: what a host with a database pays anyway."""
    app = bare_app()
    host_database(app, sqlite_uri(folder))
    return Client("bare Flask with Flask-SQLAlchemy", app, [environ()])


def httpauth_app() -> Flask:
    """Flask-HTTPAuth: a bearer token looked up in a dict, and a role."""
    from flask_httpauth import HTTPTokenAuth

    auth = HTTPTokenAuth(scheme="Bearer")
    users = {SECRET: {"name": "bench", "roles": [ROLE]}}
    auth.verify_token(users.get)
    auth.get_user_roles(lambda user: user["roles"])
    return _app(auth.login_required(role=ROLE), "httpauth")


def httpauth() -> Client:
    """Flask-HTTPAuth with the one token that it knows."""
    return Client("Flask-HTTPAuth, dict and role", httpauth_app(), [environ(bearer(SECRET))])


def jwt() -> Client:
    """Flask-JWT-Extended: a signed token with a role among its claims (HS256, no blocklist)."""
    from flask_jwt_extended import JWTManager, create_access_token, get_jwt, jwt_required

    def guard(view: View) -> View:
        @functools.wraps(view)
        def checked(*args: Any, **kwargs: Any) -> Any:
            if ROLE not in get_jwt()["roles"]:
                abort(403)
            return view(*args, **kwargs)

        guarded: View = jwt_required()(checked)
        return guarded

    app = _app(guard, "jwt")
    app.config.update(JWT_SECRET_KEY="k" * 32, JWT_ACCESS_TOKEN_EXPIRES=False)
    JWTManager(app)
    with app.app_context():
        token = create_access_token("bench", additional_claims={"roles": [ROLE]})
    return Client("Flask-JWT-Extended, role claim", app, [environ(bearer(token))])


def _by_hash(users: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The least that a key check has to do: hash what was sent, look it up, check a role."""
    scheme, _, secret = request.headers.get("Authorization", "").partition(" ")
    user = users.get(hashlib.sha256(secret.encode()).hexdigest())
    if scheme != "Bearer" or user is None:
        abort(401)
    if ROLE not in user["roles"]:
        abort(403)
    g.user = user
    return user


def _users() -> dict[str, dict[str, Any]]:
    return {hashlib.sha256(SECRET.encode()).hexdigest(): {"id": "bench", "roles": {ROLE}}}


def decorator() -> Client:
    """A hand-written decorator: hash, dict, role. The limit of the job in Flask."""
    users = _users()

    def guard(view: View) -> View:
        @functools.wraps(view)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            _by_hash(users)
            return view(*args, **kwargs)

        return guarded

    app = _app(guard, "decorator")
    return Client("decorator: hash, dict, role", app, [environ(bearer(SECRET))])


def decorator_with_append(folder: Path) -> Client:
    """The same, and a line appended to a file before the view: the limit with a record."""
    users = _users()
    file = os.open(folder / "decorator.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def guard(view: View) -> View:
        @functools.wraps(view)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            user = _by_hash(users)
            line = (
                f'{{"at":{time.time_ns()},"key":"{user["id"]}","method":"{request.method}",'
                f'"path":"{request.path}","address":"{request.remote_addr}"}}\n'
            )
            os.write(file, line.encode())
            return view(*args, **kwargs)

        return guarded

    app = _app(guard, "append")
    return Client("the same and one O_APPEND write", app, [environ(bearer(SECRET))])


def handwritten(folder: Path) -> Client:
    """What a tutorial writes: Flask-SQLAlchemy, an indexed look-up, an audit row and a commit at
    every request.

    SQLite in WAL mode with ``synchronous=NORMAL``, the fastest setting that survives a crash of the
    process.
    """
    from sqlalchemy import select

    app = Flask("bench_handwritten")
    db = host_database(app, sqlite_uri(folder))

    class Key(db.Model):  # type: ignore[name-defined, misc]
        id = db.Column(db.Integer, primary_key=True)
        digest = db.Column(db.String(64), unique=True, index=True, nullable=False)
        role = db.Column(db.String(32), nullable=False)

    class Audit(db.Model):  # type: ignore[name-defined, misc]
        id = db.Column(db.Integer, primary_key=True)
        at = db.Column(db.DateTime, nullable=False)
        key_id = db.Column(db.Integer, nullable=False)
        method = db.Column(db.String(10), nullable=False)
        path = db.Column(db.String(200), nullable=False)

    def guard(view: View) -> View:
        @functools.wraps(view)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            scheme, _, secret = request.headers.get("Authorization", "").partition(" ")
            digest = hashlib.sha256(secret.encode()).hexdigest()
            key = db.session.scalar(select(Key).where(Key.digest == digest))
            if scheme != "Bearer" or key is None or key.role != ROLE:
                abort(401)
            at = datetime.now(UTC).replace(tzinfo=None)
            db.session.add(Audit(at=at, key_id=key.id, method=request.method, path=request.path))
            db.session.commit()
            return view(*args, **kwargs)

        return guarded

    with app.app_context():
        db.create_all()
        db.session.add(Key(digest=hashlib.sha256(SECRET.encode()).hexdigest(), role=ROLE))
        db.session.commit()
    app.add_url_rule(PATH, "items", guard(lambda: BODY))
    return Client("hand-written: look-up, audit row, commit", app, [environ(bearer(SECRET))])
