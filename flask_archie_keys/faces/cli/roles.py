"""``flask keys roles list | show | save | delete | copy``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TextIO

import click
from flask import current_app

from ...context import Environment
from ...domain.clock import isoformat
from ...domain.permissions import Role
from ...errors import RoleNotFound, ValidationFailed
from ...guarded_views import requirements
from .. import schemas
from . import keys_command, role_files
from .output import environment_option, json_option, print_facts, print_json, print_table, printable

_toml = click.option("--toml", "as_toml", is_flag=True, help="Print a TOML file that `roles save` reads.")


@keys_command.group("roles")
def roles() -> None:
    """Roles and their grants."""


@roles.command("list")
@_toml
@json_option
@environment_option
def list_roles(environment: Environment, as_json: bool, as_toml: bool) -> None:
    """List the roles that are saved, declared in the settings or named by views."""
    found = environment.roles.find()
    named = _named()
    if as_json:
        data = [{**schemas.plain(schemas.role(role)), "views": named.get(role.name, [])} for role in found]
        print_json(schemas.many(data, len(data)))
    elif as_toml:
        click.echo(role_files.to_toml(role for role in found if role.source == "saved"))
    else:
        rows = [
            [
                role.name,
                role.source,
                "; ".join(map(role_files.sentence, role.grants)) or None,
                ", ".join(named.get(role.name, ())) or None,
            ]
            for role in found
        ]
        print_table(["ROLE", "FROM", "GRANTS", "VIEWS"], rows)


def _named() -> dict[str, list[str]]:
    """The endpoints whose views name a role, by role."""
    named: dict[str, set[str]] = {}
    for endpoint, asked in requirements(current_app).items():
        for requirement in asked:
            for role in requirement.roles or ():
                named.setdefault(role, set()).add(endpoint)
    return {role: sorted(endpoints) for role, endpoints in named.items()}


@roles.command("show")
@click.argument("name")
@_toml
@json_option
@environment_option
def show(environment: Environment, name: str, as_json: bool, as_toml: bool) -> None:
    """Show the role called NAME."""
    role = environment.roles.get(name)
    if as_json:
        print_json(schemas.one(schemas.role(role)))
    elif as_toml:
        click.echo(role_files.to_toml([role]))
    else:
        facts: list[tuple[str, Any]] = [("name", role.name), ("description", role.description or None)]
        facts += [("from", role.source), *(("grants", role_files.sentence(grant)) for grant in role.grants)]
        if role.updated_at is not None:
            facts += [("changed", isoformat(role.updated_at)), ("version", role.version)]
        print_facts(facts)


@roles.command("save")
@click.argument("file", type=click.File(encoding="utf-8"))
@click.option("--dry-run", is_flag=True, help="Only show what would change.")
@json_option
@environment_option
def save(environment: Environment, file: TextIO, dry_run: bool, as_json: bool) -> None:
    """Save the roles in FILE, TOML or JSON; - reads standard input. Nothing is saved if any of them is refused."""
    try:
        given = role_files.read(file.read(), file.name)
    except UnicodeDecodeError as error:
        raise click.UsageError(f"{file.name}: not UTF-8: {error}") from None
    checked = _checked(environment, given)
    saved = [new if dry_run else environment.roles.save(new.name, **given[new.name]) for _, new in checked]
    if as_json:
        print_json(schemas.many([schemas.role(role) for role in saved], len(saved)))
        return
    for (old, _), role in zip(checked, saved, strict=True):
        for line in role_files.difference(old, role) or [f"= {role.name}"]:
            click.echo(printable(line))
        if role.locked_out:
            count = len(role.locked_out)
            click.echo(
                f"Warning: {count} key{'s have' if count > 1 else ' has'} the role {role.name} and no fitting context, "
                f"and {'have' if count > 1 else 'has'} no access by its filters: {', '.join(role.locked_out)}",
                err=True,
            )
    click.echo("Nothing was saved: this was a dry run." if dry_run else f"Saved: {len(saved)}.", err=True)


def _checked(environment: Environment, given: Mapping[str, Any]) -> list[tuple[Role | None, Role]]:
    """Each role as it is and as it would be.

    :raises ValidationFailed: naming all that is wrong, with the role.
    """
    checked, wrong = [], []
    for name, role in given.items():
        try:
            checked.append((_current(environment, name), environment.roles.check(name, **role)))
        except ValidationFailed as refused:
            wrong += [error._replace(field=f"{printable(name[:63])}.{error.field}") for error in refused.errors]
    if wrong:
        raise ValidationFailed(wrong)
    return checked


def _current(environment: Environment, name: str) -> Role | None:
    try:
        return environment.roles.get(name)
    except RoleNotFound:
        return None


@roles.command("delete")
@click.argument("name")
@click.option("--take-from-keys", is_flag=True, help="Take the role from the keys that have it.")
@environment_option
def delete(environment: Environment, name: str, take_from_keys: bool) -> None:
    """Delete the role called NAME; one that keys have is only deleted with --take-from-keys."""
    environment.roles.delete(name, take_from_keys=take_from_keys)
    click.echo(f"Deleted the role {name}.")


@roles.command("copy")
@click.argument("name")
@click.option("--to", "target", metavar="ENVIRONMENT", required=True, help="The environment to copy it to.")
@environment_option
def copy(environment: Environment, name: str, target: str) -> None:
    """Copy the role called NAME to another environment. Keys cannot be copied."""
    role = environment.roles.copy(name, target)
    click.echo(f"Copied the role {role.name} to {role.environment}.")
