"""flask_archie_keys, as a host application would use it: one decorator, one key with one role.

The timed applications have no database of their own, so the extension brings its SQLite file; what
Flask-SQLAlchemy costs a request by itself is a row among the peers.

The spool is filled by the requests and not drained while they are timed (``background`` is off):
draining is work of another thread, which would slow whatever contender happens to be timed at that
moment. ``python -m benchmarks.drain`` measures it, and ``python -m benchmarks.gunicorn`` measures
the whole with draining on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from flask import Flask

from ._sqlite import host_database
from ._wsgi import BODY, PATH, Client, bearer, environ

ROLE = "viewer"
PEPPER = "a-pepper-of-the-benchmarks-0123456789"
WRONG_KEYS = 500
FRESH = timedelta(0)
STALE = timedelta(seconds=1)

AUTHENTICATE = "ours: no audit, read fresh"
NO_AUDIT_STALE = "ours: no audit, MAX_STALENESS 1 s"
AUDIT_FRESH = "ours: audit, read fresh"
AUDIT_STALE = "ours: audit, MAX_STALENESS 1 s"
WRONG = "ours: wrong key refused, in a flood"
WRONG_RECORDED = "ours: wrong key refused, each recorded"
MALFORMED = "ours: malformed key refused"


@dataclass(frozen=True)
class Made:
    """An application with our decorator, its extension, and the host's database if it has one."""

    app: Flask
    keys: Any
    db: Any

    def close(self) -> None:
        """Write what the audit still counts, and close files and connections."""
        self.keys.close(self.app)
        if self.db is not None:
            with self.app.app_context():
                self.db.engine.dispose()


def build(folder: Path, *, uri: str | None = None, staleness: timedelta = FRESH, **audit: Any) -> Made:
    """Make the application; its database may be there already.

    :param folder: an own, existing folder for this application's files.
    :param uri: the database of a host with Flask-SQLAlchemy; without one the extension brings its
        own SQLite file.
    :param audit: members of ``ARCHIE_KEYS_AUDIT``; the directory is given.
    """
    from flask_archie_keys import ArchieKeys, require_api_key

    app = Flask("bench_ours", instance_path=str(folder / "instance"))
    app.config.update(
        ARCHIE_KEYS_PEPPERS=[PEPPER],
        ARCHIE_KEYS_MAX_STALENESS=staleness,
        ARCHIE_KEYS_AUDIT={"directory": str(folder / "spool"), **audit},
    )
    db = None if uri is None else host_database(app, uri)
    keys = ArchieKeys()
    keys.init_app(app, db=db)

    @app.get(PATH)
    @require_api_key(roles=[ROLE])
    def items() -> dict[str, Any]:
        return BODY

    return Made(app, keys, db)


def prepare(made: Made) -> str:
    """Make the tables of a host's database, and one key; the key's secret."""
    with made.app.app_context():
        if made.db is not None:
            made.db.create_all()
        secret: str = made.keys.service.create(name="bench", roles=[ROLE]).secret
    return secret


def _folder(parent: Path, name: str) -> Path:
    folder = parent / name
    folder.mkdir()
    return folder


def allowed(name: str, folder: Path, *, staleness: timedelta, enabled: bool) -> Client:
    """A good key with the right role.

    :param enabled: whether the two audit records of each request are written.
    """
    audit: dict[str, Any] = {"background": False} if enabled else {"enabled": False}
    made = build(_folder(folder, name.replace(" ", "_")), staleness=staleness, **audit)
    return Client(name, made.app, [environ(bearer(prepare(made)))], close=made.close)


def refused(name: str, folder: Path, secrets: Sequence[str], *, recorded_per_second: int = 50) -> Client:
    """Keys that must be refused with 401, with the audit on and the key read fresh.

    :param recorded_per_second: refusals that get an event of their own; further ones are counted.
    """
    made = build(
        _folder(folder, name.replace(" ", "_")),
        background=False,
        refused_per_second=recorded_per_second,
    )
    prepare(made)
    requests = [environ(bearer(secret)) for secret in secrets]
    return Client(name, made.app, requests, status=401, close=made.close)


def wrong_secrets() -> list[str]:
    """Well-formed keys with right checksums that nobody ever issued, each with another id."""
    from flask_archie_keys.domain.keytext import mint

    return [mint("archie").text for _ in range(WRONG_KEYS)]


def malformed_secrets() -> list[str]:
    """Keys whose last character was mistyped: right form, wrong checksum."""
    return [s[:-1] + ("0" if s[-1] != "0" else "1") for s in wrong_secrets()]


def contenders(folder: Path) -> Iterator[tuple[str, Any]]:
    """The name of each of our rows and what makes its contender."""
    yield AUTHENTICATE, lambda: allowed(AUTHENTICATE, folder, staleness=FRESH, enabled=False)
    yield NO_AUDIT_STALE, lambda: allowed(NO_AUDIT_STALE, folder, staleness=STALE, enabled=False)
    yield AUDIT_FRESH, lambda: allowed(AUDIT_FRESH, folder, staleness=FRESH, enabled=True)
    yield AUDIT_STALE, lambda: allowed(AUDIT_STALE, folder, staleness=STALE, enabled=True)
    yield WRONG, lambda: refused(WRONG, folder, wrong_secrets())
    yield (
        WRONG_RECORDED,
        lambda: refused(WRONG_RECORDED, folder, wrong_secrets(), recorded_per_second=100_000),
    )
    yield MALFORMED, lambda: refused(MALFORMED, folder, malformed_secrets())
