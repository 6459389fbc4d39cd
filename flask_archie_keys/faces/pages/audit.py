"""The pages about the audit log."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, request

from ...context import current_environment
from .rendering import page

Answer = Any
PER_PAGE = 50


def add_to(blueprint: Blueprint) -> None:
    """Add the pages."""
    blueprint.add_url_rule("/audit", view_func=list_events)


def list_events() -> Answer:
    """Events, newest first."""
    found = current_environment().audit.find(limit=PER_PAGE, cursor=request.args.get("cursor"))
    return page("events.html", events=found)
