"""Roles as TOML or JSON files, so that they can be kept under version control.

::

    [roles.viewer]
    description = "Reads the orders of its region"

    [[roles.viewer.grants]]
    resource = "orders"
    read = true
    filter = "region = $context.region"

JSON has the same members: ``{"roles": {"viewer": {"description": "…", "grants": [{…}]}}}``. What ``roles show --json``
and ``roles list --json`` print is read as well.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping
from typing import Any

import click

from ...domain.permissions import ACTIONS, Grant, Role

_READ_ONLY = {"name", "source", "project", "environment", "version", "createdAt", "updatedAt", "views", "lockedOut"}


def read(text: str, name: str) -> dict[str, dict[str, Any]]:
    """The roles of a file, by name, each with ``description`` and ``grants`` as they were written.

    :param name: the file's; JSON when it ends in ``.json`` or the text begins with ``{``.
    :raises click.UsageError: if the file is not of that form.
    """
    document = _document(text, name)
    data = document.get("data")
    if set(document) <= {"data", "meta"} and isinstance(data, (dict, list)):
        if isinstance(data, list):  # of a list, what was never saved is left out
            data = [role for role in data if not isinstance(role, dict) or role.get("source", "saved") == "saved"]
        listed = data if isinstance(data, list) else [data]
        by_name = {str(role.get("name")): role for role in listed if isinstance(role, dict)}
        if len(by_name) != len(listed):
            raise click.UsageError(f"{name}: a role is there twice, or is not an object")
        return {key: _members(name, key, role, _READ_ONLY) for key, role in by_name.items()}
    roles = document.get("roles")
    if set(document) != {"roles"} or not isinstance(roles, dict) or not roles:
        raise click.UsageError(f'{name}: must hold roles, as in [roles.viewer] or {{"roles": {{"viewer": …}}}}')
    return {str(key): _members(name, key, role, set()) for key, role in roles.items()}


def _document(text: str, name: str) -> dict[str, Any]:
    is_json = name.endswith(".json") or text.lstrip().startswith("{")
    try:
        document = json.loads(text, object_pairs_hook=_once) if is_json else tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise click.UsageError(f"{name}: {error}") from None
    if not isinstance(document, dict):
        raise click.UsageError(f"{name}: must be an object")
    return document


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object without duplicate members: of two filters, the wider one must not win unseen."""
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member is there twice")
    return members


def _members(file: str, name: object, role: object, ignored: set[str]) -> dict[str, Any]:
    if not isinstance(role, dict):
        raise click.UsageError(f"{file}: the role {name!r} must be an object with description and grants")
    wrong = sorted(set(role) - {"description", "grants"} - ignored)
    if wrong:
        raise click.UsageError(f"{file}: the role {name!r} has a member {wrong[0]!r}; there are description and grants")
    return {member: role[member] for member in ("description", "grants") if member in role}


def to_toml(roles: Iterable[Role]) -> str:
    """Roles as a TOML file that :func:`read` reads back."""
    blocks = []
    for role in roles:
        lines = [f"[roles.{role.name}]", f"description = {_string(role.description)}"]
        for grant in role.grants:
            lines += ["", f"[[roles.{role.name}.grants]]", f"resource = {_string(grant.resource)}"]
            lines += [f"{action} = true" for action in grant.actions]
            if grant.filter is not None:
                lines.append(f"filter = {_string(grant.filter)}")
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def _string(text: str) -> str:
    """A basic string of TOML, which JSON's escapes suit, but for one character."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def difference(old: Role | None, new: Role) -> list[str]:
    """What saving ``new`` over ``old`` changes, one line each; none if nothing does."""
    if old is None or old.source == "views":
        return [f"+ {new.name}", *(f"  + {sentence(grant)}" for grant in new.grants)]
    lines = []
    if old.description != new.description:
        lines.append(f"  ~ description: {old.description!r} -> {new.description!r}")
    lines += [f"  - {sentence(grant)}" for grant in old.grants if grant not in new.grants]
    lines += [f"  + {sentence(grant)}" for grant in new.grants if grant not in old.grants]
    if not lines and old.grants != new.grants:
        lines.append("  ~ the grants are in another order")
    return [f"~ {new.name}", *lines] if lines else []


def sentence(grant: Grant | Mapping[str, Any]) -> str:
    """A grant in words: ``orders: read, update where region = $context.region``."""
    if not isinstance(grant, Grant):
        grant = Grant(**grant)
    where = "" if grant.filter is None else f" where {grant.filter}"
    return f"{grant.resource}: {', '.join(action for action in ACTIONS if getattr(grant, action))}{where}"
