"""An order desk: customers, their projects and their orders, for two environments.

People log in and work on pages; programs use the JSON API with an API key. Start it with
``python -m example_app``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flask import Flask

from example_app import api, auth, cli, database, errors, pages
from example_app.config import load_config
from example_app.extensions import csrf, db, keys

__all__ = ["create_app"]


def create_app(
    config: Mapping[str, Any] | None = None, *, instance_path: str | os.PathLike[str] | None = None
) -> Flask:
    """Build the application.

    :param config: settings that win over the defaults and over the process environment.
    :param instance_path: the folder for the database and the generated secrets; by default the one
        that the environment variable ``EXAMPLE_APP_INSTANCE`` names, else Flask's ``instance``
        folder.
    """
    app = Flask(__name__, instance_path=_absolute(instance_path))
    load_config(app, config or {})
    db.init_app(app)
    csrf.init_app(app)
    keys.init_app(app, db=db)
    database.prepare_engines(app)
    for part in (errors, auth, pages, api, cli):
        part.init_app(app)
    return app


def _absolute(instance_path: str | os.PathLike[str] | None) -> str | None:
    chosen = instance_path or os.environ.get("EXAMPLE_APP_INSTANCE")
    return str(Path(chosen).absolute()) if chosen else None
