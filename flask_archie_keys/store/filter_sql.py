"""Bound filters as SQL: parameters for all values, comparisons that mean on each database what they mean in Python."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from sqlalchemy import Boolean, Column, ColumnElement, FromClause, and_, bindparam, not_, null, or_, select
from sqlalchemy.exc import CompileError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import BinaryExpression, BindParameter
from sqlalchemy.sql.visitors import InternalTraversal

from ..domain.filter_tree import (
    And,
    Between,
    Comparison,
    Field,
    In,
    Leaf,
    Node,
    Not,
    Operand,
    Or,
    Value,
    operands,
)
from ..domain.filters import Bound
from .schema import Hop, ModelSchema, Target

if TYPE_CHECKING:
    from .scope import RowRule

_BOOLEAN = Boolean()
_OPERATORS: dict[str, tuple[Any, Any]] = {
    "=": (operators.eq, operators.ne),
    "!=": (operators.ne, operators.eq),
    "<": (operators.lt, operators.ge),
    "<=": (operators.le, operators.gt),
    ">": (operators.gt, operators.le),
    ">=": (operators.ge, operators.lt),
}


class Exact(ColumnElement[str]):
    """A text that compares by code point, whatever the collation of its column.

    :param always: on PostgreSQL, too, where texts that are equal are so by code point in the default collation; there
        a ``COLLATE`` keeps indexes in another collation from being used.
    """

    __visit_name__ = "archie_keys_exact"
    _traverse_internals = [  # noqa: RUF012
        ("element", InternalTraversal.dp_clauseelement),
        ("always", InternalTraversal.dp_boolean),
    ]

    def __init__(self, element: ColumnElement[Any], always: bool) -> None:
        self.element = element
        self.always = always
        self.type = element.type

    @property
    def _from_objects(self) -> list[FromClause]:
        return self.element._from_objects


@compiles(Exact)
def _exact(element: Exact, compiler: Any, **kw: Any) -> str:
    if compiler.dialect.name != "default":  # which is for looking at a statement only
        raise CompileError(
            f"row filters on text are known to be exact on SQLite and PostgreSQL only, not on {compiler.dialect.name}"
        )
    return str(compiler.process(element.element, **kw))


@compiles(Exact, "sqlite")
def _exact_sqlite(element: Exact, compiler: Any, **kw: Any) -> str:
    return f"{compiler.process(element.element, **kw)} COLLATE BINARY"


@compiles(Exact, "postgresql")
def _exact_postgresql(element: Exact, compiler: Any, **kw: Any) -> str:
    text: str = compiler.process(element.element, **kw)
    return f'{text} COLLATE "C"' if element.always else text


Place = Callable[[str, "Column[Any]"], "ColumnElement[Any]"]


class Condition:
    """Writes bound filters on one model as SQL.

    :param place: what stands in the statement for a column of the model's table, by the attribute that holds it.
    :param related: the rules of the related models, by the path of the relationship.
    """

    def __init__(self, schema: ModelSchema, place: Place, related: Mapping[tuple[str, ...], RowRule | None]) -> None:
        self.schema = schema
        self.place = place
        self.related = related

    def any_of(self, bounds: tuple[Bound, ...]) -> ColumnElement[bool]:
        """What a row must be like for one of the filters to let it through."""
        return or_(*[self.node(bound.tree) for bound in bounds])

    def node(self, node: Node) -> ColumnElement[bool]:
        """A part of a filter."""
        if isinstance(node, And):
            return and_(*[self.node(part) for part in node.parts])
        if isinstance(node, Or):
            return or_(*[self.node(part) for part in node.parts])
        if isinstance(node, Not):
            return not_(self.node(node.part))
        targets = [self.schema.target(operand.path) for operand in operands(node) if isinstance(operand, Field)]
        farthest = max(targets, key=lambda target: len(target.hops))
        if not farthest.hops:
            return _leaf(node, self.schema, lambda target: self.place(target.key, target.column))
        return self._of_related(node, farthest.hops)

    def _of_related(self, leaf: Leaf, hops: tuple[Hop, ...]) -> ColumnElement[bool]:
        """A comparison within a scalar sub-query: unknown where the related row is not there, or hidden by its rule.

        The related tables stand in it as Core aliases, so that no criteria of the session's are added to them.
        """
        places, aliases = [self.place], list[FromClause]()
        conditions: list[ColumnElement[bool]] = []
        path: tuple[str, ...] = ()
        for hop in hops:
            alias = hop.table.alias()
            aliases.append(alias)
            places.append(columns_of(alias))
            pairs = zip(hop.keys, hop.pairs, strict=True)
            joined = [places[-1](theirs, other) == places[-2](ours, own) for (ours, theirs), (own, other) in pairs]
            path = (*path, hop.key)
            rule = self.related[path]
            if rule is not None and not rule.everything:
                joined.append(rule.condition(alias))
            conditions.append(and_(*joined))
        source: FromClause = aliases[0]
        for further, condition in zip(aliases[1:], conditions[1:], strict=True):
            source = source.join(further, condition)
        compared = _leaf(leaf, self.schema, lambda at: places[-1 if at.hops else 0](at.key, at.column))
        statement = select(compared).select_from(source).where(conditions[0]).correlate_except(*aliases)
        # as an ORM statement it would compile its columns as they were before an alias was put in their place
        return statement._set_propagate_attrs({}).scalar_subquery()


def columns_of(source: FromClause) -> Place:
    """The columns of a table, alias or sub-query, by the columns of the mapped table that they stand for."""

    def place(key: str, column: Column[Any]) -> ColumnElement[Any]:
        found = source.corresponding_column(column)
        if found is None:
            raise LookupError(f"{source} has no column that stands for {column}")
        return found

    return place


def _leaf(leaf: Leaf, schema: ModelSchema, place: Callable[[Target], ColumnElement[Any]]) -> ColumnElement[bool]:
    ordered = isinstance(leaf, Between) or (isinstance(leaf, Comparison) and leaf.operator not in ("=", "!="))
    compared = next(schema.target(each.path).compared for each in operands(leaf) if isinstance(each, Field))

    def side(operand: Operand) -> ColumnElement[Any]:
        if isinstance(operand, Value):
            value = compared.to_bind(operand.value)
            return bindparam(None, value, type_=compared.value_type, unique=True)
        assert isinstance(operand, Field)  # noqa: S101 - for the type checker
        target = schema.target(operand.path)
        column = place(target)
        return Exact(column, ordered or target.compared.collated) if target.compared.text else column

    if isinstance(leaf, Comparison):
        return _binary(side(leaf.left), side(leaf.right), *_OPERATORS[leaf.operator])
    if isinstance(leaf, In):
        values = [compared.to_bind(item.value) for item in leaf.items if isinstance(item, Value)]
        items: BindParameter[Any] = bindparam(None, values, type_=compared.value_type, unique=True, expanding=True)
        signs = (operators.in_op, operators.not_in_op)
        items.expand_op = signs[leaf.negated]  # type: ignore[assignment]
        return _binary(side(leaf.operand), items, *(signs[::-1] if leaf.negated else signs))
    if isinstance(leaf, Between):
        low = _binary(side(leaf.operand), side(leaf.low), *_OPERATORS[">="])
        inside = and_(low, _binary(side(leaf.operand), side(leaf.high), *_OPERATORS["<="]))
        return not_(inside) if leaf.negated else inside
    signs = (operators.is_, operators.is_not)
    return _binary(side(leaf.operand), null(), *(signs[::-1] if leaf.negated else signs))


def _binary(left: ColumnElement[Any], right: ColumnElement[Any], sign: Any, opposite: Any) -> ColumnElement[bool]:
    """A comparison past the column's own operators, which a host may have given other meanings."""
    return BinaryExpression(left, right, sign, type_=_BOOLEAN, negate=opposite)
