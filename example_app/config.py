"""Settings: defaults, then the process environment, then what ``create_app`` was given.

The process environment has ``DATABASE_URL``, ``SECRET_KEY``, ``ARCHIE_KEYS_PEPPERS`` (separated by commas) and, for
PostgreSQL after ``flask keys row-security --apply``, ``ARCHIE_KEYS_ROW_SECURITY=1``.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from flask import Flask

from example_app.roles import DECLARED

SECRETS_FILE = "secrets.json"

DEFAULTS: dict[str, Any] = {
    "ARCHIE_KEYS_PROJECT": "orders",
    "ARCHIE_KEYS_ENVIRONMENT": "master",
    "ARCHIE_KEYS_ENVIRONMENTS": {
        "master": {},
        "staging": {"PREFIX": "archie_test", "MAX_AGE": timedelta(days=30)},
    },
    "ARCHIE_KEYS_ENVIRONMENT_HEADER": "environment",
    "ARCHIE_KEYS_ROLES": DECLARED,
    "ARCHIE_KEYS_BASE_TEMPLATE": "base.html",
    "ARCHIE_KEYS_LOGIN_ENDPOINT": "auth.login",
    "MAX_CONTENT_LENGTH": 64 * 1024,
    "PERMANENT_SESSION_LIFETIME": timedelta(hours=12),
    "SESSION_COOKIE_NAME": "order_desk",
    "SESSION_COOKIE_SAMESITE": "Lax",
    "WTF_CSRF_TIME_LIMIT": None,
}


def load_config(app: Flask, given: Mapping[str, Any]) -> None:
    """Fill ``app.config``.

    Secrets that nobody gave are generated once and kept in the instance folder.
    """
    app.config.from_mapping(DEFAULTS)
    app.config.from_mapping(_from_process_environment())
    app.config.from_mapping(given)
    instance = Path(app.instance_path)
    missing = [name for name in ("SECRET_KEY", "ARCHIE_KEYS_PEPPERS") if not app.config.get(name)]
    if missing:
        kept = _kept_secrets(instance)
        app.config.from_mapping({name: kept[name] for name in missing})
    if not app.config.get("SQLALCHEMY_DATABASE_URI"):
        make_instance_folder(instance)
        app.config["SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{instance / 'orders.sqlite'}"


def make_instance_folder(folder: Path) -> None:
    """Create the instance folder, private to the user and ignored by git."""
    if not folder.is_dir():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / ".gitignore").write_text("*\n", encoding="utf-8")


def _from_process_environment() -> dict[str, Any]:
    found: dict[str, Any] = {}
    if url := os.environ.get("DATABASE_URL"):
        found["SQLALCHEMY_DATABASE_URI"] = _with_driver(url)
    if secret_key := os.environ.get("SECRET_KEY"):
        found["SECRET_KEY"] = secret_key
    if peppers := os.environ.get("ARCHIE_KEYS_PEPPERS"):
        found["ARCHIE_KEYS_PEPPERS"] = [p.strip() for p in peppers.split(",") if p.strip()]
    if row_security := os.environ.get("ARCHIE_KEYS_ROW_SECURITY"):
        found["ARCHIE_KEYS_ROW_SECURITY"] = row_security == "1"
    return found


def _with_driver(url: str) -> str:
    """Name psycopg 3 in a PostgreSQL URL; SQLAlchemy 2.0 would take psycopg2."""
    scheme, separator, rest = url.partition("://")
    if scheme in ("postgres", "postgresql"):
        scheme = "postgresql+psycopg"
    return scheme + separator + rest


def _kept_secrets(folder: Path) -> dict[str, Any]:
    make_instance_folder(folder)
    path = folder / SECRETS_FILE
    if not path.exists():
        _generate(path)
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        return {name: kept[name] for name in ("SECRET_KEY", "ARCHIE_KEYS_PEPPERS")}
    except (ValueError, KeyError, TypeError) as error:
        raise RuntimeError(
            f"{path} is damaged. Restore it from a backup; if you delete it, new secrets are"
            " generated and all API keys and sessions made with the old ones stop working."
        ) from error


def _generate(path: Path) -> None:
    """Write fresh secrets; of several processes that start together, all use the first one's."""
    content = {
        "SECRET_KEY": secrets.token_urlsafe(32),
        "ARCHIE_KEYS_PEPPERS": [secrets.token_urlsafe(32)],
    }
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(content, file, indent=2)
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
