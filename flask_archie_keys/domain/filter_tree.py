"""The trees that filters are read into, and their canonical text."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal as OneOf

from .kinds import Kind

Path = tuple[str, ...]
Operator = OneOf["=", "!=", "<", "<=", ">", ">="]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the resource, or by a dotted path a column of a related row."""

    path: Path
    position: int = field(default=0, compare=False)

    def __str__(self) -> str:
        return ".".join(self.path)


@dataclass(frozen=True, slots=True)
class Literal:
    """A string, integer, decimal or boolean as written."""

    value: str | int | Decimal | bool
    position: int = field(default=0, compare=False)
    type: type = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "type", type(self.value))  # without it 1 and true would be equal

    def __str__(self) -> str:
        return _written(self.value)


@dataclass(frozen=True, slots=True)
class Variable:
    """``userId``, ``now``, ``context.region``, …; the text has a ``$`` before it."""

    name: str
    position: int = field(default=0, compare=False)

    def __str__(self) -> str:
        return f"${self.name}"


@dataclass(frozen=True, slots=True)
class Field:
    """A column in a bound tree, with its kind."""

    path: Path
    kind: Kind

    def __str__(self) -> str:
        return ".".join(self.path)


@dataclass(frozen=True, slots=True)
class Value:
    """The comparable form of a literal or variable in a bound tree."""

    value: Hashable
    kind: Kind

    def __str__(self) -> str:
        plain = isinstance(self.value, (bool, int, Decimal))
        return _written(self.value) if plain else _written(str(self.value))  # type: ignore[arg-type]


Operand = Column | Literal | Variable | Field | Value


@dataclass(frozen=True, slots=True)
class Comparison:
    """``left operator right``."""

    operator: Operator
    left: Operand
    right: Operand
    position: int = field(default=0, compare=False)

    def __str__(self) -> str:
        return f"{self.left} {self.operator} {self.right}"


@dataclass(frozen=True, slots=True)
class In:
    """``operand [NOT] IN (items)``."""

    operand: Operand
    items: tuple[Operand, ...]
    negated: bool = False
    position: int = field(default=0, compare=False)

    def __str__(self) -> str:
        return f"{self.operand}{_not(self.negated)} IN ({', '.join(map(str, self.items))})"


@dataclass(frozen=True, slots=True)
class Between:
    """``operand [NOT] BETWEEN low AND high``, both ends included."""

    operand: Operand
    low: Operand
    high: Operand
    negated: bool = False
    position: int = field(default=0, compare=False)

    def __str__(self) -> str:
        return f"{self.operand}{_not(self.negated)} BETWEEN {self.low} AND {self.high}"


@dataclass(frozen=True, slots=True)
class IsNull:
    """``operand IS [NOT] NULL``."""

    operand: Operand
    negated: bool = False
    position: int = field(default=0, compare=False)

    def __str__(self) -> str:
        return f"{self.operand} IS{_not(self.negated)} NULL"


@dataclass(frozen=True, slots=True)
class Not:
    """``NOT part``."""

    part: Node

    def __str__(self) -> str:
        return f"NOT {_within(self.part, And, Or)}"


@dataclass(frozen=True, slots=True)
class And:
    """All of the parts; two or more."""

    parts: tuple[Node, ...]

    def __str__(self) -> str:
        return " AND ".join(_within(part, And, Or) for part in self.parts)


@dataclass(frozen=True, slots=True)
class Or:
    """Any of the parts; two or more."""

    parts: tuple[Node, ...]

    def __str__(self) -> str:
        return " OR ".join(_within(part, Or) for part in self.parts)


Leaf = Comparison | In | Between | IsNull
Node = Leaf | Not | And | Or


def _written(value: str | int | Decimal | bool) -> str:
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    if isinstance(value, bool):
        return "true" if value else "false"
    return format(value, "f") if isinstance(value, Decimal) else str(value)


def _not(negated: bool) -> str:
    return " NOT" if negated else ""


def _within(part: Node, *in_brackets: type) -> str:
    return f"({part})" if isinstance(part, in_brackets) else str(part)


def operands(leaf: Leaf) -> tuple[Operand, ...]:
    """What is compared, from left to right."""
    if isinstance(leaf, Comparison):
        return (leaf.left, leaf.right)
    if isinstance(leaf, In):
        return (leaf.operand, *leaf.items)
    if isinstance(leaf, Between):
        return (leaf.operand, leaf.low, leaf.high)
    return (leaf.operand,)


def leaves(node: Node) -> Iterator[Leaf]:
    """The comparisons of a tree, from left to right."""
    if isinstance(node, Not):
        yield from leaves(node.part)
    elif isinstance(node, (And, Or)):
        for part in node.parts:
            yield from leaves(part)
    else:
        yield node
