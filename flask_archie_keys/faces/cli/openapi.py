"""``flask keys openapi``."""

from __future__ import annotations

import json

import click
from flask import current_app
from flask.cli import with_appcontext

from ...context import app_state
from . import keys_command


@keys_command.command("openapi")
@with_appcontext
def print_openapi() -> None:
    """Print the OpenAPI 3.1 document of the management API, as the API serves it."""
    state = app_state()
    config = state.configs[state.default]
    if "api" not in config.faces:
        raise click.ClickException('there is no API here: "api" is not in ARCHIE_KEYS_FACES')
    from ..api import openapi  # no other command needs it

    click.echo(json.dumps(openapi.document(current_app, config.api_prefix), indent=2))
