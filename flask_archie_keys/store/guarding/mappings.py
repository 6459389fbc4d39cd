"""Mappings around protected classes that no filter reaches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Table
from sqlalchemy.orm import Mapper, configure_mappers
from sqlalchemy.sql.expression import TableClause
from sqlalchemy.sql.selectable import Select
from sqlalchemy.sql.visitors import iterate

from ..protection import protection_of, protections, registry


def unguardable() -> list[str]:
    """A sentence for each."""
    if not protections():
        return []
    configure_mappers()
    registries = {mapper.registry for mapper in list(registry.mappers)}
    mappers = [mapper for each in registries for mapper in each.mappers]
    return sorted({problem for mapper in mappers for problem in _problems(mapper)})


def _problems(mapper: Mapper[Any]) -> Iterator[str]:
    name = mapper.class_.__name__
    if protection_of(mapper) is None:
        for table in mapper.tables:
            if isinstance(table, Table) and protection_of(table) is not None:
                yield f"{name} is mapped to the protected table {table} besides its own class: inherit from that class"
    elif mapper.concrete:
        yield f"{name} has concrete inheritance, which filters do not reach: map it by itself, and protect it"
    for relationship in mapper.relationships:
        if relationship.parent is mapper:
            yield from _of_relationship(name, relationship)
    for prop in mapper.column_attrs:
        for column in prop.columns:
            for table in _core_tables(column):
                yield (
                    f"{name}.{prop.key} reads the protected table {table} past its class: write its expression with "
                    "the class's attributes"
                )


def _of_relationship(name: str, relationship: Any) -> Iterator[str]:
    secondary = relationship.secondary
    if isinstance(secondary, Table) and protection_of(secondary) is not None:
        yield (
            f"{name}.{relationship.key} has the protected table {secondary} as its secondary, where filters do not "
            "reach: use two relationships, or an association proxy"
        )


def _core_tables(expression: Any) -> Iterator[Any]:
    """The protected tables that a SELECT in an expression reads without their classes."""
    for part in iterate(expression):
        if isinstance(part, Select) and part._propagate_attrs.get("compile_state_plugin") != "orm":
            for table in part.get_final_froms():
                if isinstance(table, TableClause) and isinstance(table, Table) and protection_of(table) is not None:
                    yield table
