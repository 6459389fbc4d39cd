"""The rules for what a caller may write in a role, for saved ones and for those in the settings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields

from ..errors import FieldError, ValidationFailed
from . import rules
from .filters import FilterError, parse
from .permissions import ACTIONS, Grant, is_resource_name, is_role_name

GRANTS_MAX = 200
DESCRIPTION_MAX = 2000
_MEMBERS = tuple(field.name for field in fields(Grant))


def name(value: object) -> str:
    """The name of a role: snake_case, at most 63 long."""
    if not isinstance(value, str) or not is_role_name(value):
        raise ValidationFailed.one(
            "name", "pattern", "must be snake_case: a-z, 0-9 and _, beginning with a letter, at most 63 characters"
        )
    return value


def description(value: object) -> str:
    """What a role is for: any text of at most 2 000 characters, or none."""
    if not isinstance(value, str):
        raise ValidationFailed.one("description", "type", "must be a string")
    if len(value) > DESCRIPTION_MAX:
        raise ValidationFailed.one("description", "length", f"must be at most {DESCRIPTION_MAX} characters")
    return rules.text("description", value, DESCRIPTION_MAX) if value.strip() else ""


def grants(value: object) -> tuple[Grant, ...]:
    """The grants of a role, as :class:`Grant` or as mappings with its members."""
    if isinstance(value, (str, Mapping)) or not isinstance(value, Iterable):
        raise ValidationFailed.one("grants", "type", "must be a list of grants")
    given = list(value)
    if len(given) > GRANTS_MAX:
        raise ValidationFailed.one("grants", "length", f"must be at most {GRANTS_MAX} grants")
    problems = rules.Problems()
    clean = [problems.take(_grant, f"grants[{number}]", item) for number, item in enumerate(given)]
    problems.check()
    return tuple(grant for grant in clean if grant is not None)


def _grant(field: str, value: object) -> Grant:
    if isinstance(value, Grant):
        value = {member: getattr(value, member) for member in _MEMBERS}
    if not isinstance(value, Mapping) or not all(isinstance(member, str) for member in value):
        raise ValidationFailed.one(field, "type", 'must be an object such as {"resource": "orders", "read": true}')
    wrong = [
        FieldError(f"{field}.{member[:63]}", "unknown", f"is no part of a grant{rules.nearest(member[:63], _MEMBERS)}")
        for member in value
        if member not in _MEMBERS
    ]
    resource = value.get("resource")
    if not isinstance(resource, str) or not is_resource_name(resource):
        wrong.append(FieldError(f"{field}.resource", "pattern", "must be the name of a resource, in snake_case"))
    for action in ACTIONS:
        if not isinstance(value.get(action, False), bool):  # never by truth: "false" is a text, and true
            wrong.append(FieldError(f"{field}.{action}", "type", "must be true or false"))
    if not any(value.get(action) is True for action in ACTIONS):
        wrong.append(FieldError(field, "required", f"must grant one of {', '.join(ACTIONS)}"))
    if wrong:
        raise ValidationFailed(wrong)
    return Grant(**{**value, "filter": _filter(f"{field}.filter", value.get("filter"))})


def _filter(field: str, value: object) -> str | None:
    """The text of a filter. An empty one is refused: whoever left it empty by mistake meant fewer rows, not all."""
    if value is None:
        return None
    if not isinstance(value, str):
        raise ValidationFailed.one(field, "type", "must be a string, or left out for all rows")
    try:
        parse(value)
    except FilterError as error:
        raise ValidationFailed.one(field, "filter", str(error)) from None
    return value
