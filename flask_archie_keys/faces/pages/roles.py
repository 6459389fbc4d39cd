"""The pages about roles."""

from __future__ import annotations

from typing import Any

from flask import Blueprint

from ...context import current_environment
from .rendering import page

Answer = Any


def add_to(blueprint: Blueprint) -> None:
    """Add the pages."""
    blueprint.add_url_rule("/roles", view_func=list_roles)


def list_roles() -> Answer:
    """All roles, by name."""
    return page("roles.html", roles=current_environment().roles.find())
