"""Row filters: read from text, checked against a schema, bound to values, evaluated for a row.

``region = $context.region AND (status IN ('open', 'held') OR owner_id = $userId)``. A filter never widens: where a
variable has no value that fits, the whole filter is dropped, and with it the grant.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Protocol

from .filter_logic import ABSENT, truth
from .filter_parser import DEPTH_MAX, LENGTH_MAX, TERMS_MAX, VARIABLES, FilterError, read
from .filter_tree import (
    And,
    Between,
    Column,
    Comparison,
    Field,
    In,
    IsNull,
    Leaf,
    Literal,
    Node,
    Not,
    Operand,
    Or,
    Path,
    Value,
    Variable,
    leaves,
    operands,
)
from .kinds import Every, Kind, Numbered, Unfit

__all__ = [
    "ABSENT",
    "DEPTH_MAX",
    "LENGTH_MAX",
    "TERMS_MAX",
    "VARIABLES",
    "And",
    "Bound",
    "Filter",
    "FilterError",
    "Node",
    "Not",
    "Or",
    "Schema",
    "Unbound",
    "UnknownColumn",
    "bind",
    "check",
    "evaluate",
    "parse",
    "variable_kinds",
]

#: The most items that a variable may bring to a list.
ITEMS_MAX = 100
_TEXT_KINDS = frozenset({"string", "enum"})
#: The kinds that a variable can be compared with; of a context's values the type is not known before they are bound.
_FITS = {
    "userId": frozenset({"string", "integer", "uuid"}),
    "keyId": _TEXT_KINDS,
    "project": _TEXT_KINDS,
    "environment": _TEXT_KINDS,
    "now": frozenset({"datetime", "date"}),
}


class UnknownColumn(LookupError):
    """There is no such column, or it cannot be filtered.

    :ivar message: one sentence for whoever writes the filter.
    """

    def __init__(self, message: str) -> None:
        self.message = message
        super().__init__(message)


class Unbound(ValueError):
    """A variable has no value that fits, so the filter lets no row through.

    :ivar variable: its name without ``$``: ``context.region``.
    :ivar why: the predicate of a sentence: ``has no value``, ``must be an integer``. It does not hold the value.
    """

    def __init__(self, variable: str, why: str) -> None:
        self.variable = variable
        self.why = why
        super().__init__(f"${variable} {why}")


class Schema(Protocol):
    """The columns that a filter may name."""

    def kind(self, path: tuple[str, ...]) -> Kind:
        """The kind of a column.

        :param path: its name, after the names of the relationships that lead to it.
        :raises UnknownColumn: if there is none, or it cannot be filtered.
        """


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter that was read.

    :ivar text: as it was written.
    :ivar variables: the names of its variables: ``userId``, ``context.region``.
    :ivar columns: the paths of its columns: ``("region",)``, ``("customer", "region")``.
    """

    text: str
    tree: Node = field(compare=False)
    variables: frozenset[str] = field(compare=False, repr=False)
    columns: frozenset[Path] = field(compare=False, repr=False)

    def __str__(self) -> str:
        """The canonical text, which reads into the same tree."""
        text = str(self.tree)
        return text if len(text) <= LENGTH_MAX else self.text


@dataclass(frozen=True, slots=True)
class Bound:
    """A filter in which all is values: what one principal may reach.

    :ivar columns: the paths of its columns.
    :ivar size: how many comparisons and values it holds.
    """

    tree: Node
    columns: frozenset[Path] = field(compare=False, repr=False)
    size: int = field(compare=False, repr=False)

    def __str__(self) -> str:
        """The filter with its values in it, for people."""
        return str(self.tree)


def parse(text: str) -> Filter:
    """Read a filter. What was read is remembered.

    :raises FilterError: if it is not one; with the position.
    """
    if len(text) > LENGTH_MAX:
        read(text)  # raises, and nothing so long is remembered
    return _parse(text)


@lru_cache(maxsize=2048)
def _parse(text: str) -> Filter:
    tree = read(text)
    every = [operand for leaf in leaves(tree) for operand in operands(leaf)]
    variables = frozenset(operand.name for operand in every if isinstance(operand, Variable))
    return Filter(text, tree, variables, frozenset(o.path for o in every if isinstance(o, Column)))


def check(filter: Filter, schema: Schema) -> None:
    """See that a filter's columns exist and that what they are compared with fits them.

    :raises FilterError: at the first mistake; with the position.
    """
    for leaf in leaves(filter.tree):
        column, kind = _compared(leaf, schema)
        if not kind.ordered and (isinstance(leaf, Between) or getattr(leaf, "operator", "=") not in ("=", "!=")):
            raise FilterError(f"{column} has no order; write =, != or IN", leaf.position)
        for operand in operands(leaf):
            if isinstance(operand, Literal):
                _literal(operand, column, kind)
            elif isinstance(operand, Variable) and not _may_fit(operand.name, kind):
                raise FilterError(f"{operand} cannot be compared with {column}", operand.position)


def variable_kinds(filter: Filter, schema: Schema) -> dict[str, tuple[Kind, bool]]:
    """For each variable the kind that its value must fit, and whether a list of such values is taken as well.

    :raises FilterError: if the filter does not pass :func:`check`.
    """
    found: dict[str, list[tuple[Kind, bool]]] = {}
    for leaf in leaves(filter.tree):
        for operand in operands(leaf):
            if isinstance(operand, Variable):
                use = (_taken(operand.name, _compared(leaf, schema)[1]), isinstance(leaf, In))
                found.setdefault(operand.name, []).append(use)
    return {name: (_every([kind for kind, _ in uses]), all(many for _, many in uses)) for name, uses in found.items()}


def bind(filter: Filter, schema: Schema, variables: Mapping[str, object]) -> Bound:
    """Put values in the place of variables.

    :param filter: one that passes :func:`check` with this schema.
    :param variables: values by name: ``{"userId": "42", "context.region": "eu"}``; ``None`` is no value.
    :raises Unbound: if a variable, be it in one branch of an ``OR``, has no value or one that does not fit.
    """
    binding = _Binding(schema, variables)
    return Bound(binding.node(filter.tree), filter.columns, binding.size)


def evaluate(bound: Bound, read: Callable[[tuple[str, ...]], object]) -> bool | None:
    """What the database would say of a row, by the three-valued logic of SQL.

    :param read: gives the row's value of a column by its path: ``None`` for NULL, :data:`ABSENT` where the related
        row is not there or hidden.
    :returns: ``None`` for unknown, which lets no row through.
    """
    return truth(bound.tree, read)


def _compared(leaf: Leaf, schema: Schema) -> tuple[Column, Kind]:
    """The first column of a comparison and its kind, which is that of all of its columns."""
    found: tuple[Column, Kind] | None = None
    for operand in operands(leaf):
        if not isinstance(operand, Column):
            continue
        try:
            kind = schema.kind(operand.path)
        except UnknownColumn as unknown:
            raise FilterError(unknown.message, operand.position) from None
        if found is None:
            found = (operand, kind)
        elif kind != found[1]:
            raise FilterError(f"{found[0]} and {operand} are not of the same type", operand.position)
    assert found is not None  # noqa: S101 - the parser refuses comparisons without a column
    return found


def _may_fit(variable: str, kind: Kind) -> bool:
    return variable not in _FITS or kind.name in _FITS[variable]


def _taken(variable: str, kind: Kind) -> Kind:
    """What a variable's value must fit to be compared with a column of a kind."""
    return Numbered(kind.tag) if variable == "userId" and kind.name == "integer" else kind


def _every(kinds: Sequence[Kind]) -> Kind:
    different = tuple(dict.fromkeys(kinds))
    return different[0] if len(different) == 1 else Every(kinds=different)


def _literal(literal: Literal, column: Column, kind: Kind) -> Hashable:
    try:
        return kind.coerce(literal.value)
    except Unfit as unfit:
        said = f"{_short(literal)} {unfit.why} to be compared with {column}"
        raise FilterError(said, literal.position) from None


def _short(literal: Literal) -> str:
    text = str(literal)
    return text if len(text) <= 50 else f"{text[:50]}…"


class _Binding:
    """Puts values in the place of variables, in one tree."""

    def __init__(self, schema: Schema, variables: Mapping[str, object]) -> None:
        self.schema = schema
        self.variables = variables
        self.size = 0

    def node(self, node: Node) -> Node:
        if isinstance(node, And):
            return And(tuple([self.node(part) for part in node.parts]))
        if isinstance(node, Or):
            return Or(tuple([self.node(part) for part in node.parts]))
        if isinstance(node, Not):
            return Not(self.node(node.part))
        self.size += 1
        column, kind = _compared(node, self.schema)
        if isinstance(node, Comparison):
            left = self.operand(node.left, column, kind)
            return Comparison(node.operator, left, self.operand(node.right, column, kind))
        if isinstance(node, In):
            items = [item for each in node.items for item in self.spread(each, column, kind)]
            return In(self.operand(node.operand, column, kind), tuple(dict.fromkeys(items)), node.negated)
        if isinstance(node, Between):
            value, low, high = [self.operand(each, column, kind) for each in operands(node)]
            return Between(value, low, high, node.negated)
        return IsNull(self.operand(node.operand, column, kind), node.negated)

    def operand(self, operand: Operand, column: Column, kind: Kind) -> Operand:
        if isinstance(operand, Column):
            return Field(operand.path, kind)
        if isinstance(operand, Variable):
            return self.value(operand.name, self.variables.get(operand.name), kind)
        assert isinstance(operand, Literal)  # noqa: S101 - for the type checker
        self.size += 1
        return Value(_literal(operand, column, kind), kind)

    def spread(self, item: Operand, column: Column, kind: Kind) -> Sequence[Operand]:
        """The items that one item of a list stands for."""
        value = self.variables.get(item.name) if isinstance(item, Variable) else None
        if not isinstance(item, Variable) or not isinstance(value, (list, tuple)):
            return [self.operand(item, column, kind)]
        if not value:
            raise Unbound(item.name, "is an empty list")
        if len(value) > ITEMS_MAX:
            raise Unbound(item.name, f"must have at most {ITEMS_MAX} items")
        return [self.value(item.name, each, kind) for each in value]

    def value(self, name: str, value: object, kind: Kind) -> Value:
        if value is None:
            raise Unbound(name, "has no value")
        self.size += 1
        try:
            return Value(_taken(name, kind).coerce(value), kind)
        except Unfit as unfit:
            raise Unbound(name, unfit.why) from None
