"""``flask keys init-db | purge | roles``."""

from __future__ import annotations

from datetime import timedelta

import click
from flask import current_app

from ...authorization import requirements
from ...context import Environment
from ...store.database import create_tables
from .. import schemas
from . import keys_command
from .output import environment_option, json_option, print_json, print_table
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


@keys_command.group("roles")
def roles() -> None:
    """See the roles that keys can have."""


@roles.command("list")
@json_option
@environment_option
def list_roles(environment: Environment, as_json: bool) -> None:
    """List the roles that are declared in the settings or named by views."""
    declared = environment.config.roles
    named: dict[str, list[str]] = {}
    for endpoint, asked in requirements(current_app).items():
        for requirement in asked:
            for role in requirement.roles or ():
                named.setdefault(role, []).append(endpoint)
    names = sorted({*declared, *named})
    if as_json:
        data = [{"name": n, "description": declared.get(n, ""), "views": sorted(set(named.get(n, ())))} for n in names]
        print_json(schemas.many(data, len(data)))
        return
    rows = [
        [n, "settings" if n in declared else "views", ", ".join(sorted(set(named.get(n, ())))) or None] for n in names
    ]
    print_table(["ROLE", "FROM", "VIEWS"], rows)
