"""``flask --app example_app demo``: the life of a key, and two keys that see different orders, over real HTTP.

It runs on data of its own in a temporary folder, which is gone afterwards.
"""

from __future__ import annotations

import json
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterable
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import click
from flask import Flask

from example_app import create_app
from example_app.database import close, create_tables
from example_app.extensions import keys
from example_app.roles import ensure_roles
from example_app.seed import CUSTOMERS, seed
from example_app.server import served_in_background
from flask_archie_keys import Explanation

QUIET_PERIOD = timedelta(seconds=3)
OVERLAP = timedelta(hours=1)
#: How wide the names of who calls are printed.
WHO = max(len(name) for name in ("old key", *CUSTOMERS))


class DemoFailed(Exception):
    """Something did not happen as told."""


class Answer(NamedTuple):
    """What the server answered."""

    status: int
    content: Any


class Caller:
    """A program that uses the API with one key.

    :param address: the server's URL.
    :param secret: the key, or ``None`` to send none.
    """

    def __init__(self, address: str, secret: str | None) -> None:
        self._address = address
        self._secret = secret

    def call(self, method: str, path: str, content: object = None) -> Answer:
        """Send one request and read the JSON that comes back."""
        request = urllib.request.Request(self._address + path, method=method)
        request.add_header("User-Agent", "demo/1.0")
        if self._secret is not None:
            request.add_header("Authorization", f"Bearer {self._secret}")
        if content is not None:
            request.add_header("Content-Type", "application/json")
            request.data = json.dumps(content).encode()
        try:
            with urllib.request.urlopen(request, timeout=10) as response:
                return Answer(response.status, json.load(response))
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, json.load(error))

    def show(self, who: str, method: str, path: str, expected: int, content: object = None) -> Any:
        """Send one request, print what came back and insist on its status."""
        status, answer = self.call(method, path, content)
        click.echo(f"   {who:<{WHO}} {method:<5} {path:<24} -> {status} {_summary(answer)}".rstrip())
        if status != expected:
            raise DemoFailed(f"{method} {path} answered {status}, not {expected}: {answer}")
        return answer


def run() -> None:
    """Play the demo.

    :raises DemoFailed: something did not happen as told.
    """
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="order-desk-demo-"))
        app = create_app(_config(Path(folder)), instance_path=folder)
        stack.callback(close, app)
        with app.app_context():
            create_tables()
            ensure_roles()
            seed()
        address = stack.enter_context(served_in_background(app))
        click.echo(f"The order desk serves on {address}, with its data in {folder}.")
        _play(app, address)
    click.echo("\nDone. The server is stopped and the temporary folder is deleted.")


def _config(folder: Path) -> dict[str, Any]:
    return {
        "SQLALCHEMY_DATABASE_URI": f"sqlite:///{folder / 'demo.sqlite'}",
        "ARCHIE_KEYS_QUIET_PERIOD": QUIET_PERIOD,
        "SECRET_KEY": None,
        "ARCHIE_KEYS_PEPPERS": [],
    }


def _play(app: Flask, address: str) -> None:
    with app.app_context():
        old_id, old = _make_a_key(address)
        _use_it(address, old)
        _read_the_audit(old_id)
        new_id, new = _rotate(old_id, old, address)
        _move_traffic(old_id, new)
        _delete_the_old(old_id, old, new)
        _read_the_history(new_id)
        _compare_customers(address)


def _make_a_key(address: str) -> tuple[str, Caller]:
    _step("1. Make a key that may read and write orders")
    created = keys.service.create(name="Nightly import", roles=["editor"])
    click.echo(f"   secret  {created.secret}   (shown once, never stored)")
    click.echo(f"   id      {created.key.id}")
    return created.key.id, Caller(address, created.secret)


def _use_it(address: str, old: Caller) -> None:
    _step("2. Use it, and see what happens without it")
    Caller(address, None).show("no key", "GET", "/api/orders", 401)
    old.show("key", "GET", "/api/orders?per_page=5", 200)
    order = {"project": 1, "amount": "125.00", "note": "Placed by the nightly import."}
    placed = old.show("key", "POST", "/api/orders", 201, order)
    path = f"/api/orders/{placed['order']['number']}"
    old.show("key", "PATCH", path, 200, {"status": "shipped"})


def _read_the_audit(key_id: str) -> None:
    _step("3. Read in the audit what the key did")
    _print_events(keys.audit.find(key=key_id))


def _rotate(old_id: str, old: Caller, address: str) -> tuple[str, Caller]:
    _step("4. Rotate it: a new key beside the old one, which has an hour left")
    created = keys.service.rotate(old_id, overlap=OVERLAP)
    new = Caller(address, created.secret)
    click.echo(f"   secret  {created.secret}")
    click.echo(f"   id      {created.key.id}, replaces {old_id}")
    old.show("old key", "GET", "/api/projects/1", 200)
    new.show("new key", "GET", "/api/projects/1", 200)
    return created.key.id, new


def _move_traffic(old_id: str, new: Caller) -> None:
    _step("5. Move the traffic, and watch the old key fall silent")
    _print_traffic(old_id)
    last_call = time.monotonic() + 4 * QUIET_PERIOD.total_seconds()
    while not keys.traffic(old_id).safe_to_delete:
        if time.monotonic() > last_call:
            raise DemoFailed("the old key never became safe to delete")
        new.show("new key", "GET", "/api/orders?status=open", 200)
        time.sleep(0.7)
    _print_traffic(old_id)


def _delete_the_old(old_id: str, old: Caller, new: Caller) -> None:
    _step("6. Delete the old key")
    keys.service.delete(old_id)
    old.show("old key", "GET", "/api/projects/1", 401)
    new.show("new key", "GET", "/api/projects/1", 200)


def _read_the_history(new_id: str) -> None:
    _step("7. Read the history of both, asking for the new one with its lineage")
    _print_events(keys.audit.find(key=new_id, lineage=True))


def _compare_customers(address: str) -> None:
    _step("8. Give two customers a key each: the same role, different orders")
    mine, theirs = [
        keys.service.create(name=customer, roles=["customer_orders"], context={"customer": customer})
        for customer in CUSTOMERS
    ]
    caller, other = Caller(address, mine.secret), Caller(address, theirs.secret)
    caller.show(mine.key.name, "GET", "/api/orders", 200)
    (order,) = other.show(theirs.key.name, "GET", "/api/orders?per_page=1", 200)["orders"]
    path = f"/api/orders/{order['number']}"
    other.show(theirs.key.name, "GET", path, 200)
    hidden = caller.show(mine.key.name, "GET", path, 404)
    missing = caller.show(mine.key.name, "GET", "/api/orders/ORD-99999", 404)
    if hidden != missing:
        raise DemoFailed(f"a hidden order is told apart from one that is not there: {hidden}, {missing}")
    _step("9. Ask why")
    _print_explanation(keys.explain(mine.key.id, resource="orders", action="read"))
    _print_explanation(keys.explain(mine.key.id, resource="orders", action="update"))


def _step(title: str) -> None:
    click.echo()
    click.secho(title, bold=True)


def _summary(answer: Any) -> str:
    """One phrase about an answer of our API, or the title of a refusal."""
    match answer:
        case {"orders": [*_], "pagination": {"total": total}}:
            return f"{total} orders"
        case {"order": {"number": number, "status": status}}:
            return f"{number}, {status}"
        case {"project": {"name": name}}:
            return str(name)
        case {"title": message} | {"error": {"message": message}}:
            return str(message)
    return ""


def _print_traffic(key_id: str) -> None:
    traffic = keys.traffic(key_id)
    quiet = f"{traffic.quiet.total_seconds():.1f} s" if traffic.quiet is not None else "ever"
    verdict = "safe to delete" if traffic.safe_to_delete else "not safe to delete"
    click.echo(f"   {'old key':<{WHO}} quiet for {quiet}: {verdict}")


def _print_events(events: Iterable[Any]) -> None:
    for event in sorted(events, key=lambda event: (event.occurred_at, event.id)):
        took = f"{event.duration_ms:.1f} ms" if event.duration_ms is not None else ""
        what = f"{event.method} {event.path}" if event.method else ""
        click.echo(
            f"   {event.occurred_at:%H:%M:%S}  {event.key_id or '-':<12}  {event.kind:<16} "
            f"{event.outcome or '':<8} {what:<28} {event.status or '':<4} "
            f"{event.reason or took}".rstrip()
        )


def _print_explanation(explanation: Explanation) -> None:
    for check in explanation.checks:
        click.echo(f"   {'ok' if check.passed else 'REFUSED':<8} {check.name:<22} {check.why}")
    if explanation.filter is not None:
        click.echo(f"   filter   {explanation.filter}")
    click.echo(f"   so it is {'let in' if explanation.allowed else 'refused'}")
