"""Commands: ``flask --app example_app seed``, ``set-password`` and ``demo``."""

from __future__ import annotations

import click
from flask import Flask
from flask.cli import with_appcontext

from example_app import administrators, seed
from example_app.database import create_tables
from example_app.roles import ensure_roles


def init_app(app: Flask) -> None:
    """Add the commands."""
    for command in (seed_command, set_password_command, demo_command):
        app.cli.add_command(command)


@click.command("seed")
@with_appcontext
def seed_command() -> None:
    """Create the tables and the roles, and fill an empty database with sample data."""
    create_tables()
    ensure_roles()
    added = seed.seed()
    if added:
        click.echo(f"Added {added} sample orders.")
    else:
        click.echo("There is data already; no orders were added.")


@click.command("set-password")
@click.argument("username", default=administrators.FIRST_USERNAME)
@with_appcontext
def set_password_command(username: str) -> None:
    """Give an administrator a new generated password, and print it."""
    if not username.isidentifier() or len(username) > 64:
        raise click.BadParameter("use up to 64 letters, digits and underscores", param_hint="USERNAME")
    create_tables()
    click.echo(f"Password of {username}: {administrators.replace_password(username)}")


@click.command("demo")
def demo_command() -> None:
    """Walk through a key's life over real HTTP, in a temporary folder."""
    # imported here, for the demo imports create_app, which imports the commands
    from example_app.demo import DemoFailed, run

    try:
        run()
    except DemoFailed as failure:
        raise click.ClickException(str(failure)) from failure
