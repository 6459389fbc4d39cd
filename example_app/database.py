"""How this application uses its database: connections, tables, and closing them."""

from __future__ import annotations

from typing import Any

from flask import Flask
from sqlalchemy import Engine, event

from example_app.extensions import db, keys


def prepare_engines(app: Flask) -> None:
    """Set up every SQLite connection for several processes at once, with foreign keys enforced."""
    with app.app_context():
        for engine in db.engines.values():
            if engine.dialect.name == "sqlite":
                _prepare_sqlite(engine)


def create_tables() -> None:
    """Create the tables that are not there yet: ours and those of the API keys."""
    db.create_all()


def close(app: Flask) -> None:
    """Close all that the application holds open, so that its files can be moved or deleted."""
    keys.close(app)
    with app.app_context():
        db.session.remove()
        for engine in db.engines.values():
            engine.dispose()


def _prepare_sqlite(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def configure(connection: Any, _record: object) -> None:
        cursor = connection.cursor()
        try:
            cursor.execute("PRAGMA busy_timeout = 5000")
            cursor.execute("PRAGMA journal_mode = WAL")
            cursor.execute("PRAGMA foreign_keys = ON")
        finally:
            cursor.close()
