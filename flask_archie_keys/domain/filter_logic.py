"""What a bound filter says of a row, by the three-valued logic of SQL: true, false or, as ``None``, unknown."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, Final

from .filter_tree import And, Between, Comparison, Field, In, IsNull, Node, Not, Operand, Or, Path, Value
from .kinds import Unfit

Read = Callable[[Path], object]
_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class _Absent:
    def __repr__(self) -> str:
        return "ABSENT"


#: What a row says of a column whose related row is not there, or hidden: every comparison with it is unknown.
ABSENT: Final = _Absent()


def truth(node: Node, read: Read) -> bool | None:
    """Evaluate a bound tree.

    :param read: gives the row's value of a column: ``None`` for NULL, or :data:`ABSENT`.
    """
    if isinstance(node, And):
        return _all([truth(part, read) for part in node.parts])
    if isinstance(node, Or):
        return _negate(_all([_negate(truth(part, read)) for part in node.parts]))
    if isinstance(node, Not):
        return _negate(truth(node.part, read))
    if isinstance(node, Comparison):
        return _compare(node.operator, _value(node.left, read), _value(node.right, read))
    if isinstance(node, In):
        return _is_in(node, _value(node.operand, read))
    if isinstance(node, Between):
        return _is_between(node, read)
    return _is_null(node, read)


def _value(operand: Operand, read: Read) -> object:
    """The comparable form; ``None`` where a comparison is unknown: NULL, no row, or a value that has no such form."""
    if isinstance(operand, Value):
        return operand.value
    assert isinstance(operand, Field)  # noqa: S101 - for the type checker
    raw = read(operand.path)
    if raw is None or raw is ABSENT:
        return None
    try:
        return operand.kind.normal(raw)
    except Unfit:
        return None


def _compare(sign: str, left: object, right: object) -> bool | None:
    return None if left is None or right is None else _OPERATORS[sign](left, right)


def _is_in(node: In, value: object) -> bool | None:
    if value is None:
        return None
    found = any(isinstance(item, Value) and item.value == value for item in node.items)
    return found is not node.negated


def _is_between(node: Between, read: Read) -> bool | None:
    value = _value(node.operand, read)
    inside = _all([_compare(">=", value, _value(node.low, read)), _compare("<=", value, _value(node.high, read))])
    return _negate(inside) if node.negated else inside


def _is_null(node: IsNull, read: Read) -> bool | None:
    assert isinstance(node.operand, Field)  # noqa: S101 - for the type checker
    raw = read(node.operand.path)
    return None if raw is ABSENT else (raw is None) is not node.negated


def _negate(known: bool | None) -> bool | None:
    return None if known is None else not known


def _all(truths: list[bool | None]) -> bool | None:
    if False in truths:
        return False
    return None if None in truths else True
