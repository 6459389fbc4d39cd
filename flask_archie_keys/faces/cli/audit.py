"""``flask keys audit | drain``."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import click

from ...audit.search import OUTCOMES
from ...context import Environment
from ...domain.clock import isoformat, to_micros, utcnow
from ...domain.ids import first_event_id
from ...domain.records import AuditEvent
from ...errors import StoreUnavailable
from .. import schemas
from . import keys_command
from .output import FAILED, environment_option, json_option, print_json, print_table, printable, to_json
from .params import Moment

_HEADERS = ["TIME", "WHAT", "KEY", "OUTCOME", "REASON", "STATUS", "MS", "REQUEST", "FROM", "AGENT"]
_SETTLE = timedelta(seconds=2)  # how long --follow waits for a request to be completed before it shows it
_WINDOW = timedelta(seconds=30)  # how late the spool of another machine may arrive


@keys_command.command("audit")
@click.option("--key", metavar="KEY_ID", help="Only events of this key.")
@click.option("--lineage", is_flag=True, help="Also of the keys that it replaced and that replaced it.")
@click.option("--kind", metavar="TEXT", help="Only events of this kind: request, key.created, unrestricted, …")
@click.option("--outcome", type=click.Choice(OUTCOMES), help="Only events with this outcome.")
@click.option("--reason", metavar="TEXT", help="Only events with this reason.")
@click.option("--status", type=int, help="Only events with this HTTP status.")
@click.option("--method", metavar="TEXT", help="Only events with this HTTP method.")
@click.option("--route", metavar="TEXT", help="Only events of this route, as in /api/orders/<number>.")
@click.option("--since", type=Moment(ago=True), help="From then on: 2h (ago), a date or a time.")
@click.option("--until", type=Moment(ago=True), help="Before then.")
@click.option("--limit", type=int, default=50, show_default=True, help="How many, at most 200.")
@click.option("--cursor", metavar="TEXT", help="Go on from the end of another list.")
@click.option("--follow", is_flag=True, help="Go on with new events as they come, until Ctrl-C.")
@json_option
@environment_option
def audit(
    environment: Environment, limit: int, cursor: str | None, follow: bool, as_json: bool, **filters: Any
) -> None:
    """Show audit events, newest first; with --follow, oldest first and on."""
    if filters["lineage"] and filters["key"] is None:
        raise click.UsageError("--lineage goes with --key")
    if follow:
        if cursor is not None or filters["until"] is not None:
            raise click.UsageError("--follow goes with neither --cursor nor --until")
        _follow(environment, limit, as_json, filters)
        return
    page = environment.audit.find(limit=limit, cursor=cursor, **filters)
    if as_json:
        print_json(schemas.page(page, schemas.event, limit))
        return
    print_table(_HEADERS, [_row(event) for event in page])
    if page.next_cursor is not None:
        click.echo(f"More: --cursor {page.next_cursor}", err=True)


def _row(event: AuditEvent) -> list[Any]:
    request = None if event.method is None else f"{event.method} {event.path}"
    what = event.kind if event.count == 1 else f"{event.kind} x{event.count}"
    duration = None if event.duration_ms is None else f"{event.duration_ms:.1f}"
    agent = None if event.user_agent is None else event.user_agent[:40]
    return [
        isoformat(event.occurred_at),
        what,
        event.key_id,
        event.outcome,
        event.reason,
        event.status,
        duration,
        request,
        event.remote_address,
        agent,
    ]


def _follow(environment: Environment, limit: int, as_json: bool, filters: dict[str, Any]) -> None:
    started, shown = utcnow(), set()
    for event in reversed(environment.audit.find(limit=limit, **filters).items):
        shown.add(event.id)
        _print_line(event, as_json)
    while True:
        time.sleep(0.5)
        window = max(started, utcnow() - _WINDOW)
        try:
            found = sorted(_all(environment, {**filters, "since": window}), key=lambda event: event.id)
        except StoreUnavailable as error:  # it may come back
            click.echo(f"Error: {error}: {error.cause}", err=True)
            continue
        shown = {event_id for event_id in shown if event_id >= first_event_id(to_micros(window))}
        for event in found:
            settled = event.status is not None or event.kind != "request" or utcnow() - event.occurred_at > _SETTLE
            if event.id not in shown and settled:
                shown.add(event.id)
                _print_line(event, as_json)


def _all(environment: Environment, filters: dict[str, Any]) -> Iterator[AuditEvent]:
    cursor = None
    while True:
        page = environment.audit.find(limit=200, cursor=cursor, **filters)
        yield from page
        cursor = page.next_cursor
        if cursor is None:
            return


def _print_line(event: AuditEvent, as_json: bool) -> None:
    if as_json:
        click.echo(to_json(schemas.event(event)))
    else:
        click.echo("  ".join("-" if cell is None else printable(str(cell)) for cell in _row(event)))


@keys_command.command("drain")
@json_option
@environment_option
def drain(environment: Environment, as_json: bool) -> None:
    """Take what waits in the spool of this machine into the database."""
    done = environment.audit.drain()
    if done is None:
        click.echo("Error: another drainer is at work on this spool", err=True)
        raise click.exceptions.Exit(FAILED)
    if as_json:
        print_json(schemas.one({"lines": done.lines, "quarantined": done.quarantined, "files": done.files}))
        return
    click.echo(f"{done.lines} lines drained, {done.quarantined} quarantined, {done.files} files finished.")
