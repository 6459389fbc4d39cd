"""Which mapped classes are protected, and which tables that concerns. The registry is the mappings themselves."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, Protocol

import sqlalchemy
from sqlalchemy import ForeignKeyConstraint, MetaData, Table, event, inspect
from sqlalchemy.exc import NoReferenceError
from sqlalchemy.orm import Mapper
from sqlalchemy.sql.expression import TableClause

from ..domain.permissions import OWN_RESOURCES, Action, is_resource_name
from ..domain.principals import Principal
from ..errors import ConfigurationError
from .scope import RowRule

#: The name of what is ours in ``Table.info``, execution options and annotations.
KEY = "archie_keys"
_UNPROTECTED = "archie_keys_unprotected"
_ATTRIBUTE = "__archie_keys_protection__"


class Access(Protocol):
    """What the guard asks about who acts.

    :ivar principal: who acts.
    """

    @property
    def principal(self) -> Principal: ...

    def rule(self, resource: str, action: Action, model: type | None = None) -> RowRule:
        """Which rows of a class that is protected as the resource.

        :raises Forbidden: if there is no grant.
        """

    def may(self, resource: str, action: Action, model: type | None = None) -> RowRule | None:
        """Which rows; ``None`` if there is no grant."""


class Unrestricted:
    """Who acts in an ``unrestricted`` block: everything passes.

    :ivar reason: why, for the audit log.
    """

    __slots__ = ("__weakref__", "reason")

    def __init__(self, reason: str) -> None:
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Protection:
    """One protected class, with all that inherit from it.

    :ivar resource: the name that grants have for it.
    :ivar unscoped: what becomes of its use where nobody acts.
    """

    model: type[Any]
    resource: str
    unscoped: Literal["refuse", "allow"]

    @property
    def mapper(self) -> Mapper[Any]:
        """The mapper of the class."""
        mapper: Mapper[Any] = inspect(self.model)
        return mapper

    @property
    def table(self) -> Table:
        """The table of the class, which holds the columns that filters read."""
        table = self.mapper.local_table
        assert isinstance(table, Table)  # noqa: S101 - protect() has seen to it
        return table

    @property
    def tables(self) -> frozenset[Table]:
        """Its table and those of the classes that inherit from it."""
        mappers = self.mapper.self_and_descendants
        return frozenset(table for mapper in mappers for table in mapper.tables if isinstance(table, Table))


class _Registry:
    """The protected mappers.

    :ivar by_table: what was found out since the last change.
    :ivar changes: grows with what is protected or declared unprotected, and with the tables and mappers that are made
        beside them after that: what was found out about tables before may not hold any more.
    """

    def __init__(self) -> None:
        self.mappers: weakref.WeakSet[Mapper[Any]] = weakref.WeakSet()
        self.metadata: tuple[weakref.ref[MetaData], ...] = ()
        self.changes = 0
        self.by_table: weakref.WeakKeyDictionary[Table, Protection | None] = weakref.WeakKeyDictionary()
        self._watches = False

    def add(self, mapper: Mapper[Any], metadata: MetaData) -> None:
        """Remember a protected mapper."""
        self.mappers.add(mapper)
        if metadata not in [ref() for ref in self.metadata]:
            self.metadata = (*self.metadata, weakref.ref(metadata))
        if not self._watches:
            event.listen(Table, "after_parent_attach", self._table_made)
            event.listen(Mapper, "after_mapper_constructed", self._mapper_made)
            self._watches = True
        self.changed()

    def changed(self) -> None:
        """Something is protected, or may be, that was not known before."""
        self.by_table = weakref.WeakKeyDictionary()
        self.changes += 1

    def _table_made(self, table: Table, metadata: MetaData) -> None:
        if any(ref() is metadata for ref in self.metadata):
            self.changed()

    def _mapper_made(self, mapper: Mapper[Any], model: type[Any]) -> None:
        if any(protected.registry is mapper.registry for protected in list(self.mappers)):
            self.changed()


registry = _Registry()


def protect(model: type[Any], resource: str, unscoped: Literal["refuse", "allow"] = "refuse") -> None:
    """Put a mapped class under the grants on a resource.

    :raises ConfigurationError: if the class cannot be guarded; the message says why.
    """
    if tuple(int(part) for part in sqlalchemy.__version__.split(".")[:2]) < (2, 1):
        raise ConfigurationError(f"protect() needs SQLAlchemy 2.1; this is {sqlalchemy.__version__}")
    if unscoped not in ("refuse", "allow"):
        raise ConfigurationError(f'unscoped must be "refuse" or "allow", not {unscoped!r}')
    if not isinstance(resource, str) or not is_resource_name(resource):
        raise ConfigurationError(f"a resource is named in snake_case, at most 63 characters long, not {resource!r}")
    if resource in OWN_RESOURCES:
        raise ConfigurationError(f"the resource {resource} is this extension's own; name another")
    mapper = _guardable(model)
    protection = Protection(model, resource, unscoped)
    present = protection_of(mapper)
    if present == protection:
        return
    if present is not None:
        how = f"as the resource {present.resource}, with unscoped={present.unscoped!r}"
        raise ConfigurationError(f"{model.__name__} is protected already, {how}")
    for other in protections():
        if other.resource == resource and other.model is not model and other.mapper.registry is mapper.registry:
            raise ConfigurationError(f"the resource {resource} is {other.model.__name__}; name another")
    protection.table.info[KEY] = protection
    type.__setattr__(model, _ATTRIBUTE, protection)
    registry.add(mapper, protection.table.metadata)


def _guardable(model: type[Any]) -> Mapper[Any]:
    mapper = inspect(model, raiseerr=False) if isinstance(model, type) else None
    if not isinstance(mapper, Mapper):
        raise ConfigurationError(f"protect() takes a mapped class, not {model!r}")
    if mapper.inherits is not None or mapper.concrete:
        base = mapper.base_mapper.class_.__name__
        raise ConfigurationError(
            f"{model.__name__} inherits from {base}; protect the base, and its rules hold for all that inherit from it"
            if mapper.inherits is not None and not mapper.concrete
            else f"{model.__name__} has concrete inheritance, which filters on {base} do not reach"
        )
    if not isinstance(mapper.local_table, Table):
        raise ConfigurationError(
            f"{model.__name__} is not mapped to a table but to {type(mapper.local_table).__name__}"
        )
    if mapper.local_table.info.get(_UNPROTECTED):
        raise ConfigurationError(f"{model.__name__} was declared unprotected")
    return mapper


def unprotected(model_or_table: type[Any] | Table) -> None:
    """Record that every key may see all of a table, although it refers to protected rows or is named like a protected
    table.

    :raises ConfigurationError: if it is no mapped class and no table, or is protected.
    """
    mapper = inspect(model_or_table, raiseerr=False)
    if isinstance(mapper, Mapper):
        tables = [table for table in mapper.tables if isinstance(table, Table)]
    elif isinstance(model_or_table, Table):
        tables = [model_or_table]
    else:
        raise ConfigurationError(f"unprotected() takes a mapped class or a table, not {model_or_table!r}")
    for table in tables:
        if protection_of(table) is not None:
            raise ConfigurationError(f"the table {table} is protected")
        table.info[_UNPROTECTED] = True
    registry.changed()


def protections() -> list[Protection]:
    """Everything that is protected, by resource."""
    found = [protection for mapper in list(registry.mappers) if (protection := protection_of(mapper)) is not None]
    return sorted(found, key=lambda protection: (protection.resource, protection.model.__qualname__))


def resources() -> dict[str, type[Any]]:
    """The protected classes by the names of their resources."""
    return {protection.resource: protection.model for protection in protections()}


def models_of(resource: str) -> list[type[Any]]:
    """The classes that are protected as a resource: one in each application of a process."""
    return [protection.model for protection in protections() if protection.resource == resource]


def protection_of(of: Any) -> Protection | None:
    """The protection of a mapper, mapped class or table; ``None`` if there is none."""
    if isinstance(of, Table):
        known = registry.by_table
        if of not in known:
            known[of] = of.info.get(KEY) or next((each for each in protections() if of in each.tables), None)
        return known[of]
    mapper = of if isinstance(of, Mapper) else inspect(of, raiseerr=False)
    return mapper.base_mapper.class_.__dict__.get(_ATTRIBUTE) if isinstance(mapper, Mapper) else None


def is_unprotected(table: TableClause) -> bool:
    """Whether a table was declared unprotected."""
    return isinstance(table, Table) and bool(table.info.get(_UNPROTECTED))


def references(table: Table) -> Iterator[tuple[ForeignKeyConstraint, Protection, Table]]:
    """The foreign keys of a table that lead to protected tables, with where they lead.

    Those of the tables of one inheritance among each other are not among them.
    """
    for constraint in sorted(table.foreign_key_constraints, key=lambda each: [str(c) for c in each.column_keys]):
        try:
            target = constraint.referred_table
        except NoReferenceError:  # the other table is not known to this process: so it is not protected either
            continue
        protection = protection_of(target)
        if protection is None or is_inherited_key(constraint):
            continue
        yield constraint, protection, target


def is_inherited_key(constraint: ForeignKeyConstraint) -> bool:
    """Whether a foreign key is what joins the table of a derived class to that of its base."""
    table = constraint.table
    try:
        target = constraint.referred_table
    except NoReferenceError:
        return False
    protection = protection_of(table)
    return (
        protection is not None
        and table is not protection.table
        and protection_of(target) is protection
        and set(constraint.columns) == set(table.primary_key.columns)
    )


def is_child(table: TableClause) -> bool:
    """Whether a table refers to protected rows and has no rule of its own."""
    if not isinstance(table, Table) or is_unprotected(table) or protection_of(table) is not None:
        return False
    return any(True for _ in references(table))


def is_mapped(table: Table) -> bool:
    """Whether a class is mapped to a table; association tables have none."""
    registries = {mapper.registry for mapper in list(registry.mappers)}
    return any(table in mapper.tables for each in registries for mapper in each.mappers)


def child_advice(table: Table) -> str:
    """What to do about a table that refers to protected rows and has no rule of its own."""
    target = next(target for _, _, target in references(table))
    name = next((mapper.class_.__name__ for mapper in _mappers_of(table)), None)
    if name is None:
        return (
            f"{table} refers to the protected table {target} and has no rule of its own: go by a relationship of the "
            f"mapped classes, or keys.unprotected(<the table {table}>) if every key may see all of it"
        )
    return (
        f"{table} refers to the protected table {target} and has no rule of its own: keys.protect({name}, …), or "
        f"keys.unprotected({name}) if every key may see all of it"
    )


def _mappers_of(table: Table) -> Iterator[Mapper[Any]]:
    for each in {mapper.registry for mapper in list(registry.mappers)}:
        yield from (mapper for mapper in each.mappers if mapper.local_table is table)


def guarded_names() -> dict[str, list[Table]]:
    """The tables that cannot be used freely: protected ones and their children, by their names in lower case."""
    return _guarded_names(registry.changes)


@lru_cache(maxsize=1)
def _guarded_names(changes: int) -> dict[str, list[Table]]:
    found: dict[str, list[Table]] = {}
    for table in _tables():
        if protection_of(table) is not None or is_child(table):
            found.setdefault(table.name.casefold(), []).append(table)
    return found


def concerned_names() -> set[str]:
    """The names of all tables that are protected or refer to protected ones, in lower case."""
    return {
        table.name.casefold()
        for table in _tables()
        if protection_of(table) is not None or any(True for _ in references(table))
    }


def _tables() -> Iterator[Table]:
    for ref in registry.metadata:
        metadata = ref()
        if metadata is not None:
            yield from list(metadata.tables.values())
