"""The permission matrix of a role as it was typed, and what becomes of it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from werkzeug.datastructures import MultiDict

from ...domain.permissions import ACTIONS, Role
from ...domain.role_rules import GRANTS_MAX
from ...errors import FieldError, ValidationFailed

_ROW = re.compile(r"[0-9]{1,4}")
_OF_GRANT = re.compile(r"grants\[([0-9]+)\](?:\.(.*))?")


@dataclass(slots=True)
class GrantRow:
    """One row of the matrix.

    :ivar number: the name that its fields had when it was sent.
    :ivar added: one that was added by hand, whose resource can be chosen.
    :ivar filter: empty for all rows.
    """

    resource: str = ""
    actions: frozenset[str] = frozenset()
    filter: str = ""
    added: bool = False
    number: str = ""
    errors: list[str] = field(default_factory=list)

    @property
    def is_used(self) -> bool:
        """Whether there is anything in it that would be saved, or is a mistake."""
        return bool(self.actions or self.filter.strip())


@dataclass(slots=True)
class RoleForm:
    """The form of a role: what was typed stays, with the mistakes beside their fields.

    :ivar version: of the role that the form was filled from; 0 for a new one.
    """

    name: str = ""
    description: str = ""
    version: int | None = None
    rows: list[GrantRow] = field(default_factory=list)
    errors: dict[str, list[str]] = field(default_factory=dict)

    @classmethod
    def typed(cls, form: MultiDict[str, str], name: str | None = None) -> RoleForm:
        """What was sent.

        :param name: of a role that is there already.
        """
        checked = {action: set(form.getlist(action)) for action in ACTIONS}
        rows = [
            GrantRow(
                form.get(f"resource-{number}", "").strip(),
                frozenset(action for action in ACTIONS if number in checked[action]),
                form.get(f"filter-{number}", "").replace("\r\n", " ").replace("\n", " "),
                added=f"added-{number}" in form,
                number=number,
            )
            for number in dict.fromkeys(form.getlist("grant"))
            if _ROW.fullmatch(number)
        ]
        version = form.get("version", "")
        return cls(
            name=form.get("name", "").strip() if name is None else name,
            description=form.get("description", ""),
            version=int(version) if _ROW.fullmatch(version) else None,
            rows=rows[: 2 * GRANTS_MAX],
        )

    @classmethod
    def of(cls, role: Role) -> RoleForm:
        """What a role has."""
        rows = [GrantRow(grant.resource, frozenset(grant.actions), grant.filter or "") for grant in role.grants]
        return cls(role.name, role.description, role.version, rows)

    def fill(self, resources: Iterable[str]) -> None:
        """A row for each resource that has none, in the order of the resources; further rows stand below their like."""
        order = {resource: number for number, resource in enumerate(resources)}
        there = {row.resource for row in self.rows if not row.added}
        self.rows += [GrantRow(resource) for resource in order if resource not in there]
        self.rows.sort(key=lambda row: order.get(row.resource, len(order)) if not row.added else len(order) + 1)

    def add(self) -> None:
        """One more row."""
        self.rows.append(GrantRow(added=True))

    def wanted(self) -> dict[str, Any]:
        """The arguments of the service, but the name."""
        return {"description": self.description, "grants": [_grant(row) for row in self._used]}

    @property
    def _used(self) -> list[GrantRow]:
        return [row for row in self.rows if row.is_used]

    def refuse(self, refused: ValidationFailed) -> None:
        """Put the mistakes beside their fields."""
        used = self._used
        for error in refused.errors:
            of_grant = _OF_GRANT.fullmatch(error.field)
            if of_grant is not None and int(of_grant[1]) < len(used):
                used[int(of_grant[1])].errors.append(_sentence(error, of_grant[2]))
            else:
                self.errors.setdefault(error.field, []).append(error.message)

    @property
    def is_wrong(self) -> bool:
        """Whether anything was refused."""
        return bool(self.errors) or any(row.errors for row in self.rows)


def _grant(row: GrantRow) -> dict[str, object]:
    filter = row.filter.strip()
    grant: dict[str, object] = {"resource": row.resource, **dict.fromkeys(row.actions, True)}
    return {**grant, "filter": filter} if filter else grant


def _sentence(error: FieldError, member: str | None) -> str:
    return error.message if member in (None, "filter") else f"{member}: {error.message}"
