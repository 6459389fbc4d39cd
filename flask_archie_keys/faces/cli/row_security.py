"""``flask keys row-security``."""

from __future__ import annotations

import os

import click

from ...context import Environment
from ...rows import Secured
from . import keys_command
from .output import FAILED, environment_option


@keys_command.command("row-security")
@click.option("--apply", "applies", is_flag=True, help="Execute it, in one transaction.")
@click.option("--check", "checks", is_flag=True, help="See whether it holds; exit code 1 if it does not.")
@click.option("--url", metavar="URL", help="With --apply: the database, with the role that owns the tables.")
@click.option("--url-env", metavar="NAME", help="The same, from an environment variable.")
@click.option("--bind", metavar="NAME", help="Which bind, where protected tables are in several databases.")
@environment_option
def row_security(
    environment: Environment, applies: bool, checks: bool, url: str | None, url_env: str | None, bind: str | None
) -> None:
    """Print the SQL that makes PostgreSQL itself keep the rows of protected tables inside the grants of all roles.

    For psql, or a migration. Make it anew when roles get other filters, or protected tables other columns.
    """
    if applies and checks:
        raise click.UsageError("--apply and --check do not go together")
    if not applies and (url, url_env) != (None, None):
        raise click.UsageError("--url and --url-env go with --apply")
    owners = _url(url, url_env)
    secured = Secured(bind)
    if checks:
        _check(secured)
        return
    for lacking in secured.policies.lacking:
        found = f"Warning: the filter {lacking.filter!r} on {lacking.resource} is left out: {lacking.why}"
        click.echo(found, err=True)
    if applies:
        secured.apply(owners)
        click.echo(f"Row security is on for {', '.join(each.resource for each in secured.protected)}.", err=True)
    else:
        click.echo(secured.script)


def _url(url: str | None, name: str | None) -> str | None:
    if name is None:
        return url
    if url is not None:
        raise click.UsageError("--url and --url-env do not go together")
    if not os.environ.get(name):
        raise click.UsageError(f"--url-env: the environment variable {name} is not set")
    return os.environ[name]


def _check(secured: Secured) -> None:
    problems = secured.problems()
    for problem in problems:
        click.echo(f"Problem: {problem}")
    if problems:
        raise click.exceptions.Exit(FAILED)
    click.echo("Row security holds.")
