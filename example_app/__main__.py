"""``python -m example_app``: from an empty folder to a served application with ready keys."""

from __future__ import annotations

import argparse
import logging
import signal
import sys

from flask import Flask

from example_app import create_app
from example_app.administrators import FIRST_USERNAME, ensure_administrator
from example_app.database import close, create_tables
from example_app.extensions import keys
from example_app.roles import ensure_roles
from example_app.seed import CUSTOMERS, seed
from example_app.server import PortBusy, address_of, listen, serve

QUICKSTART = "quickstart"


def main(arguments: list[str] | None = None) -> int:
    """Set the application up, print keys and a login, and serve until stopped.

    :returns: the exit code: 0, or 1 when the port cannot be used.
    """
    options = _parser().parse_args(arguments)
    try:
        listener = listen(options.port)
    except PortBusy as error:
        print(error, file=sys.stderr)
        return 1
    signal.signal(signal.SIGTERM, _stop)
    with listener:
        app = create_app()
        try:
            with app.app_context():
                _announce(app, address_of(listener))
            logging.getLogger("werkzeug").setLevel(logging.INFO)
            serve(app, listener)
        except KeyboardInterrupt:
            pass
        finally:
            close(app)
    return 0


def fresh_key(name: str, role: str, **context: str) -> str:
    """Replace the key of this name that an earlier start printed, so that only the newest one works.

    :returns: the new key's secret.
    """
    for key in keys.service.find(q=name):
        if key.name == name and key.status != "deleted":
            keys.service.delete(key.id)
    return keys.service.create(name=name, roles=[role], context=context).secret


def _announce(app: Flask, address: str) -> None:
    create_tables()
    ensure_roles()
    added = seed()
    password = ensure_administrator()
    secret = fresh_key(QUICKSTART, "editor")
    if added:
        print(f"Added {added} sample orders to an empty database.")
    print(f"Data folder: {app.instance_path}")
    print()
    print("A key for the API (role editor), shown only now:")
    print()
    print(f"    {secret}")
    print()
    print("Use it:")
    print()
    print(f"    curl -H 'Authorization: Bearer {secret}' '{address}/api/orders?per_page=3'")
    print()
    print("Two customers' keys (role customer_orders). Each sees the orders of its customer only:")
    print()
    for customer in CUSTOMERS:
        secret = fresh_key(f"{QUICKSTART} of {customer}", "customer_orders", customer=customer)
        print(f"    {customer}:")
        print(f"    curl -H 'Authorization: Bearer {secret}' '{address}/api/orders?per_page=1'")
        print()
    print(f"Pages for administrators: {address}/")
    print(f"    user name  {FIRST_USERNAME}")
    print(f"    password   {password or _where_the_password_is()}")
    print()
    print(f"Serving on {address} (Ctrl-C stops it)", flush=True)


def _where_the_password_is() -> str:
    return f"as printed at the first start; `flask --app example_app set-password {FIRST_USERNAME}` makes a new one"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m example_app", description="Serve the order desk on 127.0.0.1.")
    parser.add_argument("--port", type=_port, default=5000, help="the port to serve on; 0 means any free one")
    return parser


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError("a port is a number from 0 to 65535")
    return port


def _stop(_signal: int, _frame: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
