"""What is typed into the forms about keys, and what becomes of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from werkzeug.datastructures import MultiDict

from ...domain.clock import utcnow
from ...domain.filters import FilterError, parse
from ...domain.permissions import Role
from ...domain.records import Key
from ...domain.rules import Problems
from ...errors import FieldError, ValidationFailed
from .rendering import translate

#: The usual choices of an expiry: value and days.
EXPIRIES = {"7": 7, "30": 30, "90": 90, "365": 365}
_TRUTH = {"true": True, "false": False}


@dataclass(slots=True)
class Row:
    """One member of the context as it was typed.

    :ivar kind: ``text``, ``number``, ``truth`` or ``list``.
    """

    name: str
    value: str = ""
    kind: str = "text"


@dataclass(slots=True)
class KeyForm:
    """The form of a key: what was typed stays, with the mistakes beside their fields.

    :ivar expires: ``""`` for the default, ``"never"``, a number of days, or ``"date"``.
    :ivar networks: one a line.
    :ivar request_id: of a form that was sent twice, one makes a key.
    """

    name: str = ""
    prefix: str = ""
    roles: list[str] = field(default_factory=list)
    context: list[Row] = field(default_factory=list)
    expires: str = ""
    expires_on: str = ""
    owner: str = ""
    networks: str = ""
    request_id: str = ""
    errors: dict[str, list[str]] = field(default_factory=dict)

    @classmethod
    def typed(cls, form: MultiDict[str, str]) -> KeyForm:
        """What was sent."""
        rows = zip(
            form.getlist("context_name"), form.getlist("context_value"), form.getlist("context_kind"), strict=False
        )
        return cls(
            name=form.get("name", ""),
            prefix=form.get("prefix", ""),
            roles=form.getlist("roles"),
            context=[Row(name.strip(), value, kind) for name, value, kind in rows if name.strip() or value.strip()],
            expires=form.get("expires", ""),
            expires_on=form.get("expires_on", ""),
            owner=form.get("owner", ""),
            networks=form.get("networks", ""),
            request_id=form.get("request_id", ""),
        )

    @classmethod
    def of(cls, key: Key) -> KeyForm:
        """What a key has."""
        return cls(
            name=key.name,
            prefix=key.prefix,
            roles=list(key.roles),
            context=[_row(name, value) for name, value in key.context.items()],
            expires="never" if key.expires_at is None else "date",
            expires_on="" if key.expires_at is None else key.expires_at.strftime("%Y-%m-%dT%H:%M"),
            owner=key.owner or "",
            networks="\n".join(key.allowed_networks or ()),
        )

    def wanted(self) -> dict[str, Any]:
        """The values for the service.

        :raises ValidationFailed: naming what cannot be read.
        """
        problems = Problems()
        context = problems.take(self._context)
        expires_at = problems.take(self._expires_at)
        problems.check()
        networks = [line.strip() for line in self.networks.replace(",", "\n").splitlines() if line.strip()]
        return {
            "name": self.name,
            "roles": self.roles,
            "context": context,
            "expires_at": expires_at,
            "owner": self.owner.strip() or None,
            "allowed_networks": networks or None,
        }

    def _context(self) -> dict[str, object]:
        problems = Problems()
        members: dict[str, object] = {}
        for row in self.context:
            if row.name in members:
                problems.errors.append(FieldError(f"context.{row.name}", "twice", "is there twice"))
            members[row.name] = problems.take(_value, row)
        problems.check()
        return members

    def _expires_at(self) -> datetime | None:
        if self.expires in EXPIRIES:
            return utcnow() + timedelta(days=EXPIRIES[self.expires])
        if self.expires != "date":
            return None
        try:
            moment = datetime.fromisoformat(self.expires_on)
        except ValueError:
            raise ValidationFailed.one("expires_at", "type", "choose a date and a time") from None
        return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)

    def refuse(self, refused: ValidationFailed) -> None:
        """Put the mistakes beside their fields."""
        for error in refused.errors:
            self.errors.setdefault(error.field.partition(".")[0].partition("[")[0], []).append(_sentence(error))

    def add_needed(self, roles: Iterable[Role]) -> None:
        """Rows for the variables that the filters of the chosen roles use."""
        chosen = [role for role in roles if role.name in self.roles]
        there = {row.name for row in self.context}
        self.context += [Row(name) for role in chosen for name in needed(role) if name not in there]


def needed(role: Role) -> list[str]:
    """The members of the context that the filters of a role use."""
    found: dict[str, None] = {}
    for grant in role.grants:
        if grant.filter is None:
            continue
        try:
            variables = parse(grant.filter).variables
        except FilterError:  # one that was saved by an older version; the role page shows it
            continue
        found |= dict.fromkeys(
            name.removeprefix("context.") for name in sorted(variables) if name.startswith("context.")
        )
    return list(found)


def _sentence(error: FieldError) -> str:
    inside = error.field.partition(".")[2]
    message = translate(error.message)
    return f"{inside}: {message}" if inside else message


def _row(name: str, value: object) -> Row:
    if isinstance(value, bool):
        return Row(name, str(value).lower(), "truth")
    if isinstance(value, (int, float)):
        return Row(name, str(value), "number")
    if isinstance(value, tuple):
        return Row(name, ", ".join(map(str, value)), "list")
    return Row(name, str(value))


def _value(row: Row) -> object:
    text = row.value.strip()
    if row.kind == "list":
        return [item.strip() for item in text.split(",") if item.strip()]
    if row.kind == "truth":
        if text.lower() not in _TRUTH:
            raise ValidationFailed.one(f"context.{row.name}", "type", "must be true or false")
        return _TRUTH[text.lower()]
    if row.kind == "number":
        return _number(row.name, text)
    return row.value


def _number(name: str, text: str) -> float | int:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    raise ValidationFailed.one(f"context.{name}", "type", "must be a number")
