"""From what a caller wants of a key to the values of its row."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from datetime import timedelta
from typing import Any

from sqlalchemy import RowMapping

from ..config import Config
from ..domain import rules
from ..domain.clock import from_micros, isoformat
from ..domain.hashing import Hasher
from ..domain.keytext import mint
from ..store.keys import dump
from ..store.models import keys as table

CHANGEABLE = ("name", "roles", "context", "expires_at", "owner", "allowed_networks")
_JSON = ("roles", "context", "allowed_networks")
_MICROSECOND = timedelta(microseconds=1)


class Drafts:
    """Checks input and makes rows, for the keys of one project and environment."""

    def __init__(self, config: Config, hasher: Hasher) -> None:
        self._config = config
        self._hasher = hasher

    def checked(
        self, given: Mapping[str, Any], *, known_roles: Collection[str], now: int, created: int
    ) -> dict[str, Any]:
        """The values to store for the given fields.

        :param known_roles: the names that roles may have.
        :param now: microseconds since the epoch; ``created`` likewise: when the key was, or is being made.
        :raises ValidationFailed: naming every refused field.
        """
        check: dict[str, Callable[[Any], Any]] = {
            "name": rules.name,
            "prefix": rules.prefix,
            "roles": lambda value: rules.roles(value, known_roles),
            "context": rules.context,
            "expires_at": lambda value: rules.expiry(value, now=now, created=created, max_age=self._config.max_age),
            "owner": rules.owner,
            "allowed_networks": rules.allowed_networks,
        }
        problems = rules.Problems()
        values = {name: problems.take(check[name], value) for name, value in given.items()}
        problems.check()
        return {name: dump(value) if name in _JSON and value is not None else value for name, value in values.items()}

    def inherited(self, old: RowMapping, now: int) -> dict[str, Any]:
        """What a new key takes over from the row of the one that it replaces: all but its identity.

        It lives as long as the old one was meant to, from ``now``, and no longer than keys may by now.
        """
        values = {name: old[name] for name in ("name", "prefix", "roles", "context", "owner", "allowed_networks")}
        lifetime = None if old["expires_at"] is None else old["expires_at"] - old["created_at"]
        if self._config.max_age is not None:
            longest = self._config.max_age // _MICROSECOND
            lifetime = longest if lifetime is None else min(lifetime, longest)
        values["expires_at"] = None if lifetime is None else min(now + lifetime, rules.LATEST)
        values["replaces"] = old["id"]
        return values

    def new(self, values: Mapping[str, Any], now: int, actor: str) -> tuple[str, dict[str, Any]]:
        """A new key text and its row."""
        key_id, text = mint(values["prefix"])
        row: dict[str, Any] = dict.fromkeys(table.c.keys())
        row.update(values)
        row.update(
            id=key_id,
            project=self._config.project,
            environment=self._config.environment,
            digest=self._hasher.digest(key_id, text),
            created_at=now,
            created_by=actor,
            version=1,
        )
        return text, row


def shown(name: str, value: Any) -> Any:
    """A stored value as the audit log shows it."""
    if value is None:
        return None
    if name == "expires_at":
        return isoformat(from_micros(value))
    return json.loads(value) if name in _JSON else value
