"""``flask keys init-db | purge``."""

from __future__ import annotations

from datetime import timedelta

import click

from ...context import Environment
from ...store.database import create_tables
from . import keys_command
from .output import environment_option
from .params import Duration


@keys_command.command("init-db")
@environment_option
def init_db(environment: Environment) -> None:
    """Make the tables that are missing; for hosts without migrations."""
    missing = environment.database.missing_tables()
    create_tables(environment.database.engine)
    click.echo(f"Made: {', '.join(missing)}." if missing else "Nothing to do: all tables are there.")


@keys_command.command("purge")
@click.option(
    "--deleted-before",
    type=Duration(),
    metavar="DURATION",
    help="Also remove the records of keys that were deleted longer ago than this: 365d.",
)
@environment_option
def purge(environment: Environment, deleted_before: timedelta | None) -> None:
    """Remove what is past retention: audit events by ARCHIE_KEYS_AUDIT["retention"], and records of deleted keys."""
    events = environment.audit.purge()
    records = 0 if deleted_before is None else environment.service.purge(older_than=deleted_before)
    click.echo(f"Removed {events} events and {records} records of deleted keys.")
