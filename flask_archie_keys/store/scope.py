"""Which rows of a model an action may touch, as SQL and in Python."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, time
from decimal import Decimal
from functools import cached_property, lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import Column, ColumnElement, FromClause, Table, false, inspect, select, true
from sqlalchemy.orm import LoaderCriteriaOption, PassiveFlag, object_session
from sqlalchemy.orm.attributes import get_history

from ..domain.filter_tree import Field, leaves, operands
from ..domain.filters import ABSENT, Bound, Filter, FilterError, Unbound, bind, check, evaluate
from .filter_sql import Condition, Place, columns_of
from .schema import Hop, ModelSchema, Target

__all__ = ["Criteria", "ModelSchema", "RowRule", "row_rule"]

#: The most comparisons and values in one rule, those of related rules included each time that they are written out.
#: Databases have bounds on the parameters of a statement (PostgreSQL: 65 535).
VALUES_MAX = 5000
#: The most filters in one rule. SQLite takes a thousand expressions within each other, and a chain of ORs is so many.
FILTERS_MAX = 200
_CACHE_SIZE = 2048
_SCALARS = (str, int, float, Decimal, date, time, UUID)
_UNKNOWN = object()
Path = tuple[str, ...]
Related = Callable[[type], "RowRule | None"]


class RowRule:
    """Which rows of one protected model an action may touch, for one set of values.

    Immutable, and shared between threads. Made by :func:`row_rule`.

    :ivar everything: every row may be touched.
    :ivar bounds: a row may be touched that one of these lets through; none of them where there are none.
    :ivar dropped: why other filters let nothing through, a sentence for each.
    :ivar size: how many comparisons and values the condition has.
    :ivar tables: the tables that the condition reads besides the model's own, for dotted paths.
    :ivar columns: the columns that it reads of any table, those of foreign keys included.
    :ivar lasting: whether it holds at another time as well: false where ``$now`` is used.
    """

    __slots__ = (
        "_condition",
        "_option",
        "_related",
        "_schema",
        "bounds",
        "columns",
        "dropped",
        "everything",
        "lasting",
        "model",
        "resource",
        "size",
        "tables",
    )

    def __init__(
        self,
        plan: _Plan,
        bounds: tuple[Bound, ...] = (),
        *,
        everything: bool = False,
        dropped: tuple[str, ...] = (),
        related: Mapping[Path, RowRule | None] | None = None,
        lasting: bool = True,
    ) -> None:
        self.model = plan.model
        self.resource = plan.resource
        self.everything = everything
        self.bounds = bounds
        self.dropped = dropped
        self.lasting = lasting
        self._schema = plan.schema
        self._related = related or {}
        targets = [self._schema.target(path) for bound in bounds for path in bound.columns]
        rules = [rule for rule in self._related.values() if rule is not None]
        self.columns: frozenset[Column[Any]] = frozenset(
            column for target in targets for column in _read_by(target)
        ).union(*[rule.columns for rule in rules])
        self.tables: frozenset[Table] = frozenset(hop.table for target in targets for hop in target.hops).union(
            *[rule.tables for rule in rules]
        )
        self.size = sum(_size(bound, self._related) for bound in bounds)
        self._condition: ColumnElement[bool] | None = None
        self._option: LoaderCriteriaOption | None = None

    def __repr__(self) -> str:
        what = "everything" if self.everything else f"{len(self.bounds)} filters"
        return f"<RowRule {self.resource}: {what}>"

    def condition(self, of: Any = None) -> ColumnElement[bool]:
        """What a row must be like, as an SQL expression.

        :param of: a table, alias or sub-query whose columns stand for those of the model's table, or an
            :func:`~sqlalchemy.orm.aliased` class; the model itself when left out.
        """
        if self.everything:
            return true()
        if not self.bounds:
            return false()
        if of is not None:
            return self._condition_of(of)
        if self._condition is None:
            self._condition = self._condition_of(self.model)
        return self._condition

    def _condition_of(self, of: Any) -> ColumnElement[bool]:
        place = columns_of(of) if isinstance(of, FromClause) else _attributes_of(of)
        return Condition(self._schema, place, self._related).any_of(self.bounds)

    @property
    def option(self) -> LoaderCriteriaOption | None:
        """The condition for every use of the model in an ORM statement; ``None`` when every row may be touched."""
        if self._option is None and not self.everything:
            self._option = Criteria(self.model, self.condition(), include_aliases=True)
        return self._option

    def allows(self, row: object) -> bool:
        """What the condition says of one row, in Python.

        Related rows are those that the row's foreign keys will lead to when it is written: from the row's attributes
        where they are loaded, else through its session. Without either they are unknown, and unknown is no.

        :param row: an instance of the model, or any object with its attributes.
        """
        return self.everything or any(evaluate(bound, lambda path: self._read(row, path)) for bound in self.bounds)

    def _read(self, row: object, path: Path) -> object:
        target = self._schema.target(path)
        for at, hop in enumerate(target.hops):
            row = _related_row(row, hop)
            rule = self._related[path[: at + 1]]
            if row is None or not (rule is None or rule.allows(row)):
                return ABSENT
        return getattr(row, target.key, ABSENT)


def row_rule(
    model: type, resource: str, filters: tuple[Filter, ...] | None, variables: Mapping[str, object], related: Related
) -> RowRule:
    """The rule for one model and one set of values. It is remembered.

    :param filters: a row may be touched that one of them lets through; none may with ``()``, every one with ``None``.
        Those that do not fit the columns, or have a variable without a fitting value, are dropped.
    :param variables: values by name; see :func:`~flask_archie_keys.domain.filters.bind`.
    :param related: the rule for reading a related model; ``None`` for one that is not protected. For a model whose
        rule is being made just now it must answer with a rule that lets nothing through: circles deny.
    """
    plan = _plan(model, resource, filters)
    if filters is None or not plan.filters:
        return plan.constant
    values = tuple([_known(variables.get(name)) for name in plan.variables])
    rules = tuple([related(each) for each in plan.related])
    lasting = "now" not in plan.variables and all(rule is None or rule.lasting for rule in rules)
    types = tuple([(*map(type, value),) if type(value) is tuple else type(value) for value in values])
    return (_made if lasting else _make)(plan, values, types, rules)


@dataclass(frozen=True, eq=False)
class _Plan:
    """What is known of a rule before there are values.

    :ivar filters: those that fit the columns.
    :ivar variables: the names that they use, in order.
    :ivar related: the models that their dotted paths lead over.
    """

    model: type
    resource: str
    schema: ModelSchema
    filters: tuple[Filter, ...]
    dropped: tuple[str, ...]
    variables: tuple[str, ...]
    related: tuple[type, ...]
    everything: bool

    @cached_property
    def constant(self) -> RowRule:
        """The rule where there is nothing to bind."""
        return RowRule(self, everything=self.everything, dropped=self.dropped)


@lru_cache(maxsize=512)
def _plan(model: type, resource: str, filters: tuple[Filter, ...] | None) -> _Plan:
    schema = ModelSchema(model)
    fitting, dropped = [], []
    for filter in dict.fromkeys(filters or ()):
        try:
            check(filter, schema)
        except FilterError as error:
            dropped.append(f"{filter.text}: {error}")
        else:
            fitting.append(filter)
    paths = [path for filter in fitting for path in sorted(filter.columns)]
    models = dict.fromkeys(hop.model for path in paths for hop in schema.target(path).hops)
    variables = tuple(sorted({name for filter in fitting for name in filter.variables}))
    return _Plan(
        model, resource, schema, tuple(fitting), tuple(dropped), variables, tuple(models), everything=filters is None
    )


def _make(plan: _Plan, values: tuple[object, ...], types: object, rules: tuple[RowRule | None, ...]) -> RowRule:
    """Bind the filters.

    :param types: the types of the values, so that what was remembered for ``1`` is not taken for ``true``.
    """
    variables = dict(zip(plan.variables, values, strict=True))
    rule_of = dict(zip(plan.related, rules, strict=True))
    related = {
        path[: at + 1]: rule_of[hop.model]
        for filter in plan.filters
        for path in filter.columns
        for at, hop in enumerate(plan.schema.target(path).hops)
    }
    bounds: list[Bound] = []
    dropped, size = list(plan.dropped), 0
    for filter in plan.filters:
        try:
            bound = bind(filter, plan.schema, variables)
        except Unbound as unbound:
            dropped.append(f"{filter.text}: {unbound}")
            continue
        if bound in bounds:
            continue
        if len(bounds) == FILTERS_MAX or size + _size(bound, related) > VALUES_MAX:
            dropped.append(f"{filter.text}: the filters of a rule have too many comparisons and values together")
            continue
        size += _size(bound, related)
        bounds.append(bound)
    lasting = "now" not in plan.variables and all(rule is None or rule.lasting for rule in rules)
    return RowRule(plan, tuple(bounds), dropped=tuple(dropped), related=related, lasting=lasting)


_made = lru_cache(maxsize=_CACHE_SIZE)(_make)


def _known(value: object) -> object:
    """The value if it may fit something; else one that fits nothing, and can be part of the cache's key."""
    if value is None or isinstance(value, _SCALARS):
        return value
    if isinstance(value, (list, tuple)):
        return tuple([item if isinstance(item, _SCALARS) else _UNKNOWN for item in value])
    return _UNKNOWN


def _size(bound: Bound, related: Mapping[Path, RowRule | None]) -> int:
    """How many comparisons and values a bound filter is as SQL; each dotted path has the related rules with it."""
    size = bound.size
    if related:
        for leaf in leaves(bound.tree):
            paths = [operand.path for operand in operands(leaf) if isinstance(operand, Field)]
            farthest = max(paths, key=len)
            rules = [related[farthest[: at + 1]] for at in range(len(farthest) - 1)]
            size += sum(rule.size for rule in rules if rule is not None)
    return size


def _read_by(target: Target) -> Iterator[Column[Any]]:
    yield target.column
    for hop in target.hops:
        for pair in hop.pairs:
            yield from pair


def _attributes_of(entity: Any) -> Place:
    """The attributes of a model or of an alias of it, which SQLAlchemy can put those of others in the place of."""

    def place(key: str, column: Column[Any]) -> ColumnElement[Any]:
        expression: ColumnElement[Any] = inspect(getattr(entity, key)).expression
        return expression

    return place


class Criteria(LoaderCriteriaOption):
    """Criteria that keep to the alias that they are made for.

    SQLAlchemy 2.1.9 leaves them on the model's own table where an alias is joined with an ON clause of the caller's:
    ``select(Order).join(alias, alias.id == Order.parent_id)`` would let all rows of the alias through. The values stay
    those of the option, which its cache key has; they must not be made anew here.
    """

    __slots__ = ()
    _traverse_internals = LoaderCriteriaOption._traverse_internals  # for the cache key: looked up in each class alone

    def _resolve_where_criteria(self, ext_info: Any) -> ColumnElement[bool]:
        criteria = _resolve_where_criteria(self, ext_info)
        adapter = ext_info._adapter if ext_info.is_aliased_class else None
        return criteria if adapter is None else adapter.traverse(criteria)


#: Named here, so that a SQLAlchemy without it is found at once.
_resolve_where_criteria = LoaderCriteriaOption._resolve_where_criteria


def _related_row(row: object, hop: Hop) -> object | None:
    """The row that a foreign key leads to, or will when the row is written."""
    state: Any = inspect(row, raiseerr=False)
    if state is None or not hasattr(state, "dict"):
        return getattr(row, hop.key, None)
    own = [getattr(row, key, None) for key, _ in hop.keys]
    if hop.key in state.dict:
        found: object | None = state.dict[hop.key]
        if get_history(row, hop.key, PassiveFlag.PASSIVE_NO_INITIALIZE).has_changes():
            return found  # the unit of work will write its key
        if found is not None and own == [getattr(found, key, None) for _, key in hop.keys]:
            return found
    session = object_session(row)
    if session is None or None in own:
        return None
    by_column = {other: value for (_, other), value in zip(hop.pairs, own, strict=True)}
    primary: tuple[Column[Any], ...] = inspect(hop.model).primary_key
    with session.no_autoflush:
        if set(primary) == set(by_column):
            return session.get(hop.model, tuple([by_column[column] for column in primary]))
        return session.scalars(select(hop.model).where(*[c == value for c, value in by_column.items()])).first()
