"""What an ORM statement names, and the criteria that keep it inside the rows of who acts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, and_, literal_column
from sqlalchemy.orm import LoaderCriteriaOption, Mapper
from sqlalchemy.sql.elements import False_

from ..protection import Access, Protection, protection_of, registry
from ..scope import Criteria, RowRule

_LEAVES = frozenset(("column", "table"))


class RowCriteria(Criteria):
    """The rows of one protected class that a statement may touch, wherever the class stands in it.

    A class of our own: what it is made from has been decided by the guard, and nobody else makes one.
    """

    __slots__ = ("mapper",)
    _traverse_internals = Criteria._traverse_internals  # it takes part in cache keys as its base does

    def __init__(self, model: type[Any], condition: ColumnElement[bool]) -> None:
        super().__init__(model, condition, include_aliases=True)
        self.mapper: Mapper[Any] = self.entity.mapper  # type: ignore[union-attr]

    def __reduce__(self) -> tuple[Any, ...]:
        # it goes along with pickled objects; what is read by them elsewhere must not see more for it
        return _closed, (self.mapper.class_,)


def _closed(model: type[Any]) -> RowCriteria:
    return RowCriteria(model, NO_ROW)


def condition_of(rules: Iterable[RowRule], of: Any = None) -> ColumnElement[bool]:
    """What a row must be like for all of the rules; never a plain true or false, which may vanish from a statement."""
    conditions = [rule.condition(of) for rule in rules if not rule.everything]
    if any(isinstance(condition, False_) for condition in conditions):
        return NO_ROW
    return and_(*conditions) if conditions else EVERY_ROW


#: In the place of conditions where there are none: they say that the guard has been here.
EVERY_ROW: ColumnElement[bool] = literal_column("1") == literal_column("1")
NO_ROW: ColumnElement[bool] = literal_column("1") == literal_column("0")


@lru_cache(maxsize=2048)
def criteria_of(protection: Protection, rules: tuple[RowRule, ...]) -> RowCriteria:
    """The criteria for rows that all of the rules let through; for none where there is no rule."""
    return RowCriteria(protection.model, condition_of(rules) if rules else NO_ROW)


class Mark:
    """What the guard found of one statement; as an execution option it goes with it to the engine.

    :ivar criteria: by protected mapper.
    :ivar denied: the protections without a grant for reading, by mapper.
    :ivar secondary: association tables that a relationship load goes by.
    :ivar rules: for UPDATE and DELETE: those of the rows that are changed.
    """

    __slots__ = ("access", "criteria", "denied", "rules", "secondary")

    def __init__(self, access: Access) -> None:
        self.access = access
        self.criteria: dict[Mapper[Any], RowCriteria] = {}
        self.denied: dict[Mapper[Any], Protection] = {}
        self.secondary: frozenset[Any] = frozenset()
        self.rules: tuple[RowRule, ...] = ()


class Named:
    """The mapped classes that a statement names.

    :ivar mappers: at any depth of it.
    :ivar loaded: by its loader options.
    :ivar anything: by a loader option with a wildcard: any relationship may be loaded.
    """

    __slots__ = ("anything", "loaded", "mappers")

    def __init__(self, statement: Any) -> None:
        self.loaded: set[Mapper[Any]] = set()
        self.anything = False
        stack: list[Any] = [statement]
        options = statement._with_options
        for memoized in getattr(statement, "_memoized_select_entities", ()):  # before with_only_columns()
            options += memoized._with_options
        for option in options:
            if not isinstance(option, LoaderCriteriaOption):
                self._load(option, stack)
            elif not isinstance(option, RowCriteria):
                stack.append(option.where_criteria)
        self.mappers = _entities_in(stack)

    def _load(self, option: Any, stack: list[Any]) -> None:
        elements = getattr(option, "context", None)
        if elements is None:
            self.anything = True
            return
        for element in elements:
            stack += element._extra_criteria  # and_() of a relationship
            for part in element.path.path:
                if isinstance(part, str):
                    self.anything = self.anything or part.startswith("relationship:")
                elif (mapper := getattr(part, "mapper", None)) is not None:
                    self.loaded.add(mapper)

    @property
    def protected(self) -> dict[Mapper[Any], Protection]:
        """The protected ones that are named, by base mapper."""
        found = {}
        for mapper in self.mappers:
            protection = protection_of(mapper)
            if protection is not None:
                found[mapper.base_mapper] = protection
        return found

    @property
    def reached(self) -> set[Mapper[Any]]:
        """The protected base mappers that may be read besides: by relationships that are joined to their parents, by
        column properties and loader options. Rather too many than too few: the criteria of what is not there cost
        little.
        """
        found: set[Mapper[Any]] = set()
        changes = registry.changes
        for mapper in self.mappers | self.loaded:
            found |= _reached(mapper, self.anything, changes)
        return found


def _entities_in(stack: list[Any]) -> set[Mapper[Any]]:
    entities: set[Any] = set()
    pop, extend, add = stack.pop, stack.extend, entities.add
    while stack:  # the one loop here that each statement pays for
        element = pop()
        annotations = element._annotations
        if annotations:
            if "parententity" in annotations:
                add(annotations["parententity"])
                if element.__visit_name__ in _LEAVES:
                    continue
            elif "parentmapper" in annotations:  # the far side of a relationship
                add(annotations["parentmapper"])
        if element.__visit_name__ == "select":
            for target, _, _, _ in element._setup_joins:
                mapper = getattr(getattr(target, "property", None), "mapper", None)
                if mapper is not None:
                    add(mapper)
        extend(element.get_children())
    return {entity.mapper for entity in entities}


@lru_cache(maxsize=4096)
def _reached(mapper: Mapper[Any], anything: bool, changes: int) -> frozenset[Mapper[Any]]:
    seen: set[Mapper[Any]] = set()
    stack = [mapper]
    while stack:
        for each in stack.pop().self_and_descendants:
            if each not in seen:
                seen.add(each)
                stack.extend(_next(each, anything))
    return frozenset(each.base_mapper for each in seen if protection_of(each) is not None)


def _next(mapper: Mapper[Any], anything: bool) -> Iterator[Mapper[Any]]:
    yield from mapper.iterate_to_root()
    for relationship in mapper.relationships:
        if anything or relationship.lazy in ("joined", False):
            yield relationship.mapper
    for prop in mapper.column_attrs:
        yield from _entities_in(list(prop.columns))


def reaches(mapper: Mapper[Any]) -> frozenset[str]:
    """The attributes of a class that hold what was read of protected rows."""
    return _reaches(mapper, registry.changes)


@lru_cache(maxsize=1024)
def _reaches(mapper: Mapper[Any], changes: int) -> frozenset[str]:
    if protection_of(mapper) is not None:
        return frozenset(mapper.attrs.keys())
    found = {each.key for each in mapper.relationships if protection_of(each.mapper) is not None}
    for prop in mapper.column_attrs:
        if any(protection_of(each) is not None for each in _entities_in(list(prop.columns)) if each is not mapper):
            found.add(prop.key)
    return frozenset(found)
