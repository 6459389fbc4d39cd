"""The applications that ``python -m benchmarks.gunicorn`` serves."""

from __future__ import annotations

import os
from pathlib import Path

from flask import Flask

from . import _ours, _peers
from ._sqlite import sqlite_uri

FOLDER = "BENCHMARK_FOLDER"


def make(kind: str) -> Flask:
    """The application of one contender; ours finds its database by the environment variable."""
    if kind == "bare":
        return _peers.bare_app()
    if kind == "httpauth":
        return _peers.httpauth_app()
    folder = Path(os.environ[FOLDER])
    staleness = _ours.STALE if kind == "stale" else _ours.FRESH
    return _ours.build(folder, uri=sqlite_uri(folder), staleness=staleness).app
