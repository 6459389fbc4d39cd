"""Whether a key has what the filters of its roles need, and whether filters fit the tables that they are for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from sqlalchemy import RowMapping

from ..domain.filters import FilterError, Schema, Unbound, bind, check, parse
from ..domain.permissions import OWN_RESOURCES, Grant, Role
from ..domain.principals import Principal
from ..domain.rules import nearest
from ..errors import FieldError
from ..permissions.access import variables_of
from ..store.keys import load_context

Schemas = Callable[[str], "Schema | None"]


def misfits(roles: Iterable[Role], row: Mapping[str, Any] | RowMapping, schema_of: Schemas) -> list[FieldError]:
    """The variables that a key lacks, or has with a value of another type: each one once, with the role that needs it.

    :param row: the key's row.
    :param schema_of: the columns of a resource; ``None`` for one that this process does not know.
    """
    context = load_context(row["context"])
    key_id, project, environment = (row.get(name) or "" for name in ("id", "project", "environment"))
    values = variables_of(Principal("key", key_id, "", project, environment, context=context, owner=row["owner"]))
    found: dict[str, FieldError] = {}
    for role in roles:
        for grant in role.grants:
            for variable, rule, why in _misfits(grant, values, schema_of):
                field, said = _field(variable), _said(role.name, grant.resource, variable)
                found.setdefault(f"{field} {rule}", FieldError(field, rule, f"{said}, which {why}"))
    return list(found.values())


def _misfits(grant: Grant, values: Mapping[str, object], schema_of: Schemas) -> Iterator[tuple[str, str, str]]:
    if grant.filter is None:
        return
    try:
        filter = parse(grant.filter)
        missing = sorted(filter.variables - values.keys())
        yield from ((variable, "required", "has no value") for variable in missing)
        schema = schema_of(grant.resource)
        if schema is not None and not missing:
            bind(filter, schema, values)
    except Unbound as unbound:
        if unbound.variable == "userId" or unbound.variable.startswith("context."):
            yield unbound.variable, "type", unbound.why
    except FilterError:  # no key can mend that; saving the role and `doctor` say it
        return


def _field(variable: str) -> str:
    return "owner" if variable == "userId" else variable


def _said(role: str, resource: str, variable: str) -> str:
    owner = " (the key's owner)" if variable == "userId" else ""
    return f"the role {role!r} filters {resource} by ${variable}{owner}"


def wrong_grants(grants: Iterable[Grant], schema_of: Schemas, known: Iterable[str]) -> list[FieldError]:
    """What is wrong with the grants of a role: resources that there are not, filters that do not fit their columns."""
    names = [*known, *OWN_RESOURCES]
    wrong = []
    for number, grant in enumerate(grants):
        field = f"grants[{number}]"
        schema = schema_of(grant.resource)
        if grant.resource not in names:
            said = f"there is no resource {grant.resource!r}{nearest(grant.resource, names)}"
            wrong.append(FieldError(f"{field}.resource", "unknown", said))
        elif grant.filter is not None and schema is None:
            said = f"{grant.resource} is not protected, so its rows cannot be filtered"
            wrong.append(FieldError(f"{field}.filter", "unprotected", said))
        elif grant.filter is not None and schema is not None:
            try:
                check(parse(grant.filter), schema)
            except FilterError as error:
                wrong.append(FieldError(f"{field}.filter", "filter", str(error)))
    return wrong
