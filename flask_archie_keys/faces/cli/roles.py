"""``flask keys roles list | show | save | delete | copy``."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any, TextIO

import click
from flask import current_app

from ...context import Environment, app_state
from ...domain.clock import isoformat
from ...domain.permissions import Role
from ...errors import RoleInUse, RoleNotFound, ValidationFailed
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
        print_table(["ROLE", "FROM", "GRANTS", "VIEWS"], list(_rows(found, named)))


def _rows(roles: Sequence[Role], named: Mapping[str, Sequence[str]]) -> Iterator[Sequence[str | None]]:
    """The rows of the table: a role's grants one below the other, in lines that fit into 100 columns."""
    views = {role.name: ", ".join(named.get(role.name, ())) for role in roles}
    views_width = min(24, max((len(text) for text in views.values()), default=0))
    names = max((len(role.name) for role in roles), default=0)
    grants_width = max(32, 100 - names - len("settings") - max(views_width, len("VIEWS")) - 3 * len("  "))
    for role in roles:
        grants = [line for grant in role.grants for line in _lines(role_files.sentence(grant), grants_width)]
        others = _lines(views[role.name], 24)
        yield [role.name, role.source, *(texts[0] if texts else None for texts in (grants, others))]
        yield from (["", "", *line] for line in zip_longest(grants[1:], others[1:], fillvalue=""))


def _lines(text: str, width: int) -> list[str]:
    """``text`` in lines; all but the first begin with an ellipsis, so that none is taken for another grant."""
    return textwrap.wrap(
        printable(text),
        width,
        subsequent_indent="… ",
        expand_tabs=False,
        replace_whitespace=False,
        break_on_hyphens=False,
    )


def _named() -> dict[str, list[str]]:
    """The endpoints whose views name a role, by role."""
    named: dict[str, set[str]] = {}
    app = current_app._get_current_object()  # type: ignore[attr-defined]
    for endpoint, asked in requirements(app).items():
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
    try:
        environment.roles.delete(name, take_from_keys=take_from_keys)
    except RoleInUse as refused:
        raise click.ClickException(f"{refused}; --take-from-keys takes it from them") from None
    click.echo(f"Deleted the role {name}.")


@roles.command("copy")
@click.argument("name")
@click.option("--to", "target", metavar="ENVIRONMENT", required=True, help="The environment to copy it to.")
@environment_option
def copy(environment: Environment, name: str, target: str) -> None:
    """Copy the role called NAME to another environment. Keys cannot be copied."""
    if target not in app_state().configs:
        raise click.UsageError(f"--to: there is no environment {target!r}, only {', '.join(app_state().configs)}")
    role = environment.roles.copy(name, target)
    click.echo(f"Copied the role {role.name} to {role.environment}.")
