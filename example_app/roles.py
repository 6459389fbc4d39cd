"""The roles of the order desk: what keys and administrators may do, and with which rows.

Every filter names the environment, for the tables hold the rows of all environments.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from flask import current_app

from example_app.extensions import keys
from flask_archie_keys import Grant

HERE = "environment = $environment"
OF_CUSTOMER = f"{HERE} AND customer.name = $context.customer"
OF_REGION = f"{HERE} AND region = $context.region"

_SEE_ALL = (Grant("customers", read=True, filter=HERE), Grant("projects", read=True, filter=HERE))

#: For the setting ``ARCHIE_KEYS_ROLES``: they come with the code and cannot be edited.
DECLARED: dict[str, dict[str, Any]] = {
    "viewer": {
        "description": "Reads everything.",
        "grants": [Grant("orders", read=True, filter=HERE), *_SEE_ALL],
    },
    "editor": {
        "description": "Reads everything, places orders and changes them.",
        "grants": [Grant("orders", read=True, write=True, update=True, filter=HERE), *_SEE_ALL],
    },
    "administrator": {
        "description": "What people may do who log in to the pages.",
        "grants": [
            Grant("orders", read=True, write=True, update=True, filter=HERE),
            *_SEE_ALL,
            *(Grant(own, read=True, write=True, update=True, delete=True) for own in ("api_keys", "roles")),
            Grant("audit_events", read=True),
        ],
    },
}


class Draft(NamedTuple):
    """A role as it is first saved."""

    description: str
    grants: tuple[Grant, ...]


#: Saved in the database, where ``flask keys roles`` can change them.
SAVED = {
    "customer_orders": Draft(
        "For the programs of one customer: reads its orders and places new ones.",
        (
            Grant("orders", read=True, write=True, filter=OF_CUSTOMER),
            Grant("projects", read=True, filter=OF_CUSTOMER),
            Grant("customers", read=True, filter=f"{HERE} AND name = $context.customer"),
        ),
    ),
    "regional_clerk": Draft(
        "Places the orders of one region and changes them until they are archived.",
        (
            Grant("orders", read=True, write=True, filter=OF_REGION),
            Grant("orders", update=True, filter=f"{OF_REGION} AND archived_at IS NULL"),
            Grant("projects", read=True, filter=f"{HERE} AND customer.region = $context.region"),
            Grant("customers", read=True, filter=OF_REGION),
        ),
    ),
}


def ensure_roles() -> None:
    """Save the roles that are not there yet, in every environment; those that are stay as they are."""
    for environment in current_app.config["ARCHIE_KEYS_ENVIRONMENTS"]:
        roles = keys.for_environment(environment).roles
        known = {role.name for role in roles.find()}
        for name, draft in SAVED.items():
            if name not in known:
                roles.save(name, description=draft.description, grants=draft.grants)
