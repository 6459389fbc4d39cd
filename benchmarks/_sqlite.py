"""A host's database by Flask-SQLAlchemy; SQLite in WAL mode with ``synchronous=NORMAL``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flask import Flask


def sqlite_uri(folder: Path) -> str:
    """The URI of the SQLite file of one application."""
    return f"sqlite:///{folder / 'host.db'}"


def host_database(app: Flask, uri: str) -> Any:
    """Give an application a Flask-SQLAlchemy."""
    from flask_sqlalchemy import SQLAlchemy
    from sqlalchemy import event

    app.config["SQLALCHEMY_DATABASE_URI"] = uri
    db = SQLAlchemy(app)
    if uri.startswith("sqlite:"):
        with app.app_context():
            event.listen(db.engine, "connect", _wal)
    return db


def _wal(connection: Any, record: Any) -> None:
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
