"""``flask keys create | list | show | update | rotate | disable | enable | delete | traffic | explain``."""

from __future__ import annotations

import sys
from datetime import datetime, timedelta
from typing import Any

import click

from ...context import Environment
from ...domain.clock import isoformat
from ...domain.permissions import ACTIONS, Action
from ...domain.records import STATUSES, CreatedKey, Key
from .. import schemas
from ..times import ago, span_text
from . import keys_command
from .output import (
    FAILED,
    environment_option,
    json_option,
    key_facts,
    print_facts,
    print_json,
    print_table,
    printable,
    require_output,
    uninterrupted,
)
from .params import ContextMember, Duration, Moment, context_of

_quiet = click.option("--quiet", is_flag=True, help="Print the secret alone.")
_role = click.option("--role", "roles", multiple=True, metavar="NAME", help="A role; may be given more than once.")
_context = click.option(
    "--context",
    "members",
    type=ContextMember(),
    multiple=True,
    help="A member of the context: name=text, or name:=json for numbers, booleans and lists.",
)
_networks = click.option(
    "--network", "networks", multiple=True, metavar="CIDR", help="A network that requests must come from."
)
_owner = click.option("--owner", metavar="TEXT", help="Who the key belongs to.")


@keys_command.command("create")
@click.argument("name")
@_role
@_context
@click.option("--prefix", metavar="TEXT", help="What the key begins with; the environment's prefix if left out.")
@click.option("--expires", type=Moment(), help="When it ends: 90d, 2030-01-31 or 2030-01-31T12:00:00Z.")
@_owner
@_networks
@json_option
@_quiet
@environment_option
def create(
    environment: Environment,
    name: str,
    roles: tuple[str, ...],
    members: tuple[tuple[str, Any], ...],
    prefix: str | None,
    expires: datetime | None,
    owner: str | None,
    networks: tuple[str, ...],
    as_json: bool,
    quiet: bool,
) -> None:
    """Make a key called NAME and show its secret, once."""
    context = context_of(members)
    require_output()
    with uninterrupted():
        created = environment.service.create(
            name=name,
            roles=roles,
            context=context,
            prefix=prefix,
            expires_at=expires,
            owner=owner,
            allowed_networks=networks or None,
        )
        _hand_over(environment, created, as_json, quiet)


def _hand_over(
    environment: Environment, created: CreatedKey, as_json: bool, quiet: bool, replaced: Key | None = None
) -> None:
    """Show a new secret. A key whose secret could not be written out is of no use to anybody: it is taken back."""
    try:
        if as_json:
            print_json(schemas.one(schemas.created_key(created)))
        elif quiet:
            click.echo(created.secret)
        else:
            print_facts([*key_facts(created.key), ("secret", created.secret)])
        sys.stdout.flush()
    except Exception as error:  # a full disk, a closed pipe, a terminal without these characters
        environment.service.take_back(created, replaced)
        click.echo(f"Error: the secret could not be written ({error}); the new key was deleted again", err=True)
        raise click.exceptions.Exit(FAILED) from error
    if not as_json and not quiet:
        click.echo("Store the secret now: it is not kept and cannot be shown again.", err=True)


@keys_command.command("list")
@click.option("--status", type=click.Choice(STATUSES), help="Only keys with this status.")
@click.option("--role", metavar="NAME", help="Only keys that have this role.")
@click.option("--prefix", metavar="TEXT", help="Only keys with this prefix.")
@click.option("--search", "q", metavar="TEXT", help="Only keys whose name contains it, or whose id or owner is it.")
@click.option("--limit", type=int, default=50, show_default=True, help="How many, at most 200.")
@click.option("--cursor", metavar="TEXT", help="Go on from the end of another list.")
@json_option
@environment_option
def list_(environment: Environment, limit: int, cursor: str | None, as_json: bool, **filters: Any) -> None:
    """List keys, newest first."""
    page = environment.service.find(limit=limit, cursor=cursor, **filters)
    if as_json:
        print_json(schemas.page(page, schemas.key, limit))
        return
    print_table(
        ["ID", "NAME", "STATUS", "ROLES", "CREATED", "EXPIRES", "LAST USED"],
        [
            [
                k.id,
                k.name,
                k.status,
                ", ".join(k.roles) or None,
                ago(k.created_at),
                ago(k.expires_at),
                ago(k.last_used_at),
            ]
            for k in page
        ],
    )
    if page.next_cursor is not None:
        click.echo(f"More: --cursor {page.next_cursor}", err=True)


@keys_command.command("show")
@click.argument("key_id")
@json_option
@environment_option
def show(environment: Environment, key_id: str, as_json: bool) -> None:
    """Show the key KEY_ID."""
    _print_key(environment.service.get(key_id), as_json)


def _print_key(key: Key, as_json: bool) -> None:
    if as_json:
        print_json(schemas.one(schemas.key(key)))
    else:
        print_facts(key_facts(key))


@keys_command.command("update")
@click.argument("key_id")
@click.option("--name", metavar="TEXT", help="A new name.")
@_role
@click.option("--no-roles", is_flag=True, help="Take all roles away.")
@_context
@click.option("--no-context", is_flag=True, help="Empty the context.")
@click.option("--expires", type=Moment(), help="A new end.")
@click.option("--never-expires", is_flag=True, help="Take the end away.")
@_owner
@click.option("--no-owner", is_flag=True, help="Take the owner away.")
@_networks
@click.option("--any-network", is_flag=True, help="Let requests come from anywhere.")
@json_option
@environment_option
def update(environment: Environment, key_id: str, as_json: bool, **given: Any) -> None:
    """Change the key KEY_ID. Roles, context and networks that are given replace those it has."""
    changes = _changes(given)
    if not changes:
        raise click.UsageError("say what to change; see --help")
    _print_key(environment.service.update(key_id, **changes), as_json)


def _changes(given: dict[str, Any]) -> dict[str, Any]:
    """The changes that the options ask for. An option and the one that takes it away exclude each other."""
    changes: dict[str, Any] = {}
    for field, value, taken_away, empty in (
        ("name", given["name"], False, None),
        ("roles", given["roles"], given["no_roles"], ()),
        ("context", context_of(given["members"]), given["no_context"], {}),
        ("expires_at", given["expires"], given["never_expires"], None),
        ("owner", given["owner"], given["no_owner"], None),
        ("allowed_networks", given["networks"], given["any_network"], None),
    ):
        there = value is not None and value not in ((), {})
        if there and taken_away:
            raise click.UsageError(f"{field}: given and taken away at once")
        if there or taken_away:
            changes[field] = empty if taken_away else value
    return changes


@keys_command.command("rotate")
@click.argument("key_id")
@click.option("--overlap", type=Duration(), help="How long the old key works on: 24h, 0s. The setting's if left out.")
@json_option
@_quiet
@environment_option
def rotate(environment: Environment, key_id: str, overlap: timedelta | None, as_json: bool, quiet: bool) -> None:
    """Make a key that replaces KEY_ID; both work until the overlap is over."""
    require_output()
    replaced = environment.service.get(key_id)
    with uninterrupted():
        created = environment.service.rotate(key_id, overlap=overlap)
        _hand_over(environment, created, as_json, quiet, replaced)
        if not as_json and not quiet:
            old = environment.service.get(key_id)
            click.echo(f"The old key {key_id} works until {_end(old)}.", err=True)
            click.echo(f"See whether it is still used: flask keys traffic {key_id}", err=True)


def _end(key: Key) -> str:
    return (
        "now"
        if key.status == "expired"
        else f"{isoformat(key.expires_at)} ({ago(key.expires_at)})"
        if key.expires_at
        else "-"
    )


@keys_command.command("disable")
@click.argument("key_id")
@json_option
@environment_option
def disable(environment: Environment, key_id: str, as_json: bool) -> None:
    """Stop the key KEY_ID; `enable` undoes it."""
    _print_key(environment.service.disable(key_id), as_json)


@keys_command.command("enable")
@click.argument("key_id")
@json_option
@environment_option
def enable(environment: Environment, key_id: str, as_json: bool) -> None:
    """Let the disabled key KEY_ID work again."""
    _print_key(environment.service.enable(key_id), as_json)


@keys_command.command("delete")
@click.argument("key_id")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--only-if-quiet", is_flag=True, help="Refuse (exit code 3) if the key was used in the quiet period.")
@json_option
@environment_option
def delete(environment: Environment, key_id: str, yes: bool, only_if_quiet: bool, as_json: bool) -> None:
    """End the key KEY_ID for good. Its record stays for the audit log; its secret never works again."""
    if not yes:
        _show_use(environment, key_id)
        click.confirm("Delete it for good?", abort=True, err=True)
    _print_key(environment.service.delete(key_id, only_if_quiet=only_if_quiet), as_json)


def _show_use(environment: Environment, key_id: str) -> None:
    key = environment.service.get(key_id)
    traffic = environment.traffic(key_id)
    click.echo(f"{printable(key.name)} ({key.hint}) is {key.status}.", err=True)
    click.echo(f"Last used: {ago(traffic.last_used_at)}. Requests in 24 hours: {_sum(traffic)}.", err=True)
    for event in environment.audit.find(key=key_id, limit=5):
        if event.kind == "request":
            agent = printable(event.user_agent or "-")
            line = f"{isoformat(event.occurred_at)} {event.method} {event.path} from {event.remote_address}"
            click.echo(f"  {printable(line)} {agent}", err=True)
    if not traffic.safe_to_delete and traffic.last_used_at is not None:
        click.secho("It is still in use: whoever uses it will be refused.", fg="red", err=True)


def _sum(traffic: Any) -> int:
    return sum(count.requests for count in traffic.counts)


@keys_command.command("traffic")
@click.argument("key_id")
@json_option
@environment_option
def traffic(environment: Environment, key_id: str, as_json: bool) -> None:
    """Show whether the key KEY_ID is still used, and its requests of the last 24 hours."""
    found = environment.traffic(key_id)
    if as_json:
        print_json(schemas.one(schemas.traffic(found)))
        return
    safe = "yes" if found.safe_to_delete else "no"
    print_facts(
        [("last used", ago(found.last_used_at)), ("quiet for", span_text(found.quiet)), ("safe to delete", safe)]
    )
    most = max(count.requests for count in found.counts) or 1
    for count in found.counts:
        bar = "#" * -(-count.requests * 40 // most)
        click.echo(f"{isoformat(count.start)[:16]}Z {count.requests:>8} {bar}".rstrip())


@keys_command.command("explain")
@click.argument("key_id")
@_role
@click.option(
    "--match", type=click.Choice(["any", "all"]), default="any", show_default=True, help="Any of the roles, or all."
)
@click.option("--resource", metavar="NAME", help="The resource that the view asks for.")
@click.option("--action", type=click.Choice(ACTIONS), help="The action on it; to read it if left out.")
@click.option("--address", metavar="IP", help="The address that the request would come from.")
@json_option
@environment_option
def explain(
    environment: Environment,
    key_id: str,
    roles: tuple[str, ...],
    match: str,
    resource: str | None,
    action: Action | None,
    address: str | None,
    as_json: bool,
) -> None:
    """Show why the key KEY_ID would be let in or refused: every check with its verdict."""
    found = environment.explainer.explain(
        key_id, roles=roles, match=match, resource=resource, action=action, remote_address=address
    )
    if as_json:
        print_json(schemas.one(schemas.explanation(found)))
        return
    print_table(["CHECK", "VERDICT", "WHY"], [[c.name, "ok" if c.passed else "refused", c.why] for c in found.checks])
    if found.filter is not None:
        click.echo(f"Filter: {printable(found.filter)}")
        click.echo(f"SQL: {printable(found.sql or '')}")
        for name, value in found.parameters.items():
            click.echo(f"  {name} = {printable(repr(value))}")
    click.echo(f"The key would be {'let in' if found.allowed else 'turned away'}.")
