"""Filters as conditions of PostgreSQL's row security policies, and what a transaction is told to fill them in.

A policy knows the filters of all roles; which of them hold, and with what values, a transaction is told in the setting
``archie.grants``: ``{"orders:read": {"<filter id>": {"context.region": "eu"}}, "customers:read": true}``. Values are
texts of what the binder made of them, so PostgreSQL casts what is known to fit and judges nothing.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from datetime import date, time
from decimal import Decimal
from functools import lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import Table
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import TypeDecorator, TypeEngine

from ..domain.filter_tree import (
    And,
    Between,
    Column,
    Comparison,
    In,
    IsNull,
    Leaf,
    Literal,
    Node,
    Not,
    Operand,
    Or,
    Value,
    Variable,
    leaves,
    operands,
)
from ..domain.filters import Filter, Unbound, bind, check, parse
from ..domain.permissions import Action, scope_of
from .column_kinds import ColumnKind
from .schema import ModelSchema, Target

#: The setting of a transaction that holds what who acts may do.
SETTING = "archie.grants"
_GRANTS = f"NULLIF(current_setting('{SETTING}', true), '')::jsonb"
_DIALECT: Any = postgresql.dialect(paramstyle="named")  # type: ignore[no-untyped-call]  # others double percent signs
_PLAIN = re.compile(r"[ -&(-\[\]-~]*")  # ASCII that a literal holds as it is
_CASTS = {
    "string": "text",
    "integer": "bigint",
    "decimal": "numeric",
    "boolean": "boolean",
    "date": "date",
    "time": "time without time zone",
}
Given = dict[str, str | list[str]]


# -- names and literals


def quoted(name: str) -> str:
    """An identifier."""
    return str(_DIALECT.identifier_preparer.quote(name))


def table_name(table: Table) -> str:
    """The name of a table, with its schema where it has one."""
    return str(_DIALECT.identifier_preparer.format_table(table))


def literal(text: str) -> str:
    """A text as a literal in ASCII, whatever ``standard_conforming_strings`` and the client's encoding are."""
    if _PLAIN.fullmatch(text):
        return f"'{text}'"
    return "E'" + "".join(c if _PLAIN.fullmatch(c) else _escape(c) for c in text) + "'"


def _escape(character: str) -> str:
    code = ord(character)
    if character in "'\\":
        return character * 2
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


# -- types and values


def cast_of(compared: ColumnKind) -> str:
    """The database type in which a column's values are compared.

    Wide ones, as a cast to ``varchar(10)`` or ``integer`` would cut a value or refuse it.
    """
    type_ = _plain(compared.value_type)
    name = compared.kind.name
    if name == "datetime":
        return f"timestamp {'with' if getattr(type_, 'timezone', False) else 'without'} time zone"
    if name == "uuid":
        return "uuid" if getattr(type_, "native_uuid", False) else "text"
    if name == "enum":
        return type_.compile(dialect=_DIALECT) if getattr(type_, "native_enum", False) else "text"
    return _CASTS[name]


def _plain(type_: TypeEngine[Any]) -> TypeEngine[Any]:
    while isinstance(type_, TypeDecorator):
        type_ = type_.impl_instance
    return type_


def _text(compared: ColumnKind, comparable: object) -> str:
    """What PostgreSQL casts to the value that SQLAlchemy would bind."""
    value = compared.to_bind(comparable)
    processor = compared.value_type.dialect_impl(_DIALECT).bind_processor(_DIALECT)
    if processor is not None:
        value = processor(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        value = Decimal(repr(value))
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, (date, time)):
        return value.isoformat()
    if isinstance(value, (str, int, UUID)):
        return str(value)
    raise TypeError(f"a {type(value).__name__} has no text for PostgreSQL")


# -- one filter


@dataclass(frozen=True, slots=True)
class Slot:
    """A place for the value of a variable.

    :ivar key: its name in the setting: that of the variable, numbered where one has several forms.
    :ivar many: a list of values.
    :ivar probe: a comparison of the variable with its column, which :func:`bind` turns into its values.
    """

    key: str
    compared: ColumnKind
    many: bool
    probe: Filter

    def values(self, schema: ModelSchema, variables: Mapping[str, object]) -> str | list[str]:
        """:raises Unbound: if the variable has no value that fits."""
        bound = bind(self.probe, schema, variables)
        values = [v for leaf in leaves(bound.tree) for v in operands(leaf) if isinstance(v, Value)]
        texts = [_text(self.compared, each.value) for each in values]
        return texts if self.many else texts[0]


class Template:
    """A filter on a resource, with places for values.

    :ivar id: its name in policies and settings: a short hash of the resource, the filter and the types of its values.
    :ivar tables: the tables that it reads besides its own.
    """

    def __init__(self, model: type, resource: str, filter: Filter) -> None:
        self.schema = ModelSchema(model)
        check(filter, self.schema)
        self.filter = filter
        self.resource = resource
        self.variables = tuple(sorted(filter.variables))
        self.tables = tuple(
            dict.fromkeys(hop.table for path in sorted(filter.columns) for hop in self.schema.target(path).hops)
        )
        self._slots: dict[tuple[object, ...], Slot] = {}
        for leaf in leaves(filter.tree):
            for operand in operands(leaf):
                if isinstance(operand, Variable):
                    self._add(leaf, operand)
        types = [f"{slot.key} {cast_of(slot.compared)} {slot.many}" for slot in self.slots]
        made_of = "\n".join([resource, str(filter), *types])
        self.id = hashlib.sha256(made_of.encode()).hexdigest()[:12]

    @property
    def slots(self) -> list[Slot]:
        """The places for values."""
        return list(self._slots.values())

    def _add(self, leaf: Leaf, variable: Variable) -> None:
        identity = self._identity(leaf, variable)
        if identity in self._slots:
            return
        number = 1 + sum(one[0] == variable.name for one in self._slots)
        key = variable.name if number == 1 else f"{variable.name}#{number}"
        column = next(each for each in operands(leaf) if isinstance(each, Column))
        many = isinstance(leaf, In)
        tree: Leaf = In(column, (variable,)) if many else Comparison("=", column, variable)
        probe = Filter(str(tree), tree, frozenset([variable.name]), frozenset([column.path]))
        self._slots[identity] = Slot(key, self.compared(leaf), many, probe)

    def _identity(self, leaf: Leaf, variable: Variable) -> tuple[object, ...]:
        compared = self.compared(leaf)
        return (variable.name, compared.kind, cast_of(compared), isinstance(leaf, In))

    def slot(self, leaf: Leaf, variable: Variable) -> Slot:
        """The place of a variable's value in a comparison."""
        return self._slots[self._identity(leaf, variable)]

    def compared(self, leaf: Leaf) -> ColumnKind:
        """How a comparison compares."""
        return next(self.schema.target(each.path).compared for each in operands(leaf) if isinstance(each, Column))

    def given(self, variables: Mapping[str, object]) -> Given | None:
        """The values for the setting; ``None`` if a variable has none that fits."""
        values = tuple([_known(variables.get(name)) for name in self.variables])
        types = tuple([(*map(type, value),) if type(value) is tuple else type(value) for value in values])
        try:
            return (_fill if "now" in self.variables else _filled)(self, values, types)
        except Unbound:
            return None


def _known(value: object) -> Hashable:
    """The value, as a part of a cache's key; ``None`` for one that cannot be, and fits nothing."""
    found = tuple(value) if isinstance(value, (list, tuple)) else value
    try:
        hash(found)
    except TypeError:
        return None
    return found


def _fill(template: Template, values: tuple[object, ...], types: object) -> Given:
    """:param types: of the values, so that what is remembered for ``1`` is not taken for ``true``."""
    variables = dict(zip(template.variables, values, strict=True))
    return {slot.key: slot.values(template.schema, variables) for slot in template.slots}


_filled = lru_cache(maxsize=4096)(_fill)


def template(model: type[Any], resource: str, text: str) -> Template:
    """The template of a filter. It is remembered.

    :raises FilterError: if the text is no filter, or does not fit the model.
    """
    return _remembered(model, resource, text)  # type: ignore[no-any-return]


_remembered: Any = lru_cache(maxsize=1024)(lambda model, resource, text: Template(model, resource, parse(text)))


# -- the condition of a policy


def is_whole(resource: str, action: Action) -> str:
    """The condition that all rows are granted. A scalar sub-query is answered once for each statement."""
    whole = [literal(f'{{"{name}": true}}') for name in ("*", scope_of(resource, action))]
    return f"(SELECT {_GRANTS} @> ANY (ARRAY[{', '.join(whole)}]::jsonb[]))"


def condition(template: Template, action: Action, prefix: str) -> str:
    """The condition that a filter is granted and lets a row through.

    :param prefix: what stands before the names of the row's columns: the table, or an alias of it.
    """
    writer = _Writer(template, action, prefix)
    return f"({writer.is_given()} AND {writer.node(template.filter.tree)})"


class _Writer:
    """Writes one filter as SQL that means what :func:`~flask_archie_keys.domain.filters.evaluate` does."""

    def __init__(self, template: Template, action: Action, prefix: str) -> None:
        self.template = template
        self.prefix = prefix
        scope, id = literal(scope_of(template.resource, action)), literal(template.id)
        self.grant = f"{_GRANTS} -> {scope} -> {id}"

    def is_given(self) -> str:
        return f"(SELECT jsonb_typeof({self.grant}) = 'object')"

    def node(self, node: Node) -> str:
        if isinstance(node, And):
            return f"({' AND '.join(map(self.node, node.parts))})"
        if isinstance(node, Or):
            return f"({' OR '.join(map(self.node, node.parts))})"
        if isinstance(node, Not):
            return f"(NOT {self.node(node.part)})"
        columns = [self.template.schema.target(each.path) for each in operands(node) if isinstance(each, Column)]
        farthest = max(columns, key=lambda target: len(target.hops))
        return self._of_related(node, farthest) if farthest.hops else f"({self._leaf(node, [self.prefix])})"

    def _of_related(self, leaf: Leaf, target: Target) -> str:
        """A comparison in a scalar sub-query: unknown where the related row is not there, or hidden by its policy."""
        prefixes, sources, joins = [self.prefix], list[str](), list[str]()
        for number, hop in enumerate(target.hops, 1):
            alias = f"archie_{number}"
            sources.append(f"{table_name(hop.table)} AS {alias}")
            joins += [f"{alias}.{quoted(other.name)} = {prefixes[-1]}.{quoted(own.name)}" for own, other in hop.pairs]
            prefixes.append(alias)
        return f"(SELECT {self._leaf(leaf, prefixes)} FROM {', '.join(sources)} WHERE {' AND '.join(joins)})"

    def _leaf(self, leaf: Leaf, prefixes: list[str]) -> str:
        ordered = isinstance(leaf, Between) or (isinstance(leaf, Comparison) and leaf.operator not in ("=", "!="))

        def side(operand: Operand) -> str:
            if isinstance(operand, Column):
                target = self.template.schema.target(operand.path)
                name = f"{prefixes[-1 if target.hops else 0]}.{quoted(target.column.name)}"
                exact = target.compared.text and (ordered or target.compared.collated)
                return f'{name} COLLATE "C"' if exact else name
            return self._scalar(leaf, operand)

        if isinstance(leaf, Comparison):
            operator = "<>" if leaf.operator == "!=" else leaf.operator
            return f"{side(leaf.left)} {operator} {side(leaf.right)}"
        if isinstance(leaf, In):
            return self._within(leaf, side(leaf.operand))
        if isinstance(leaf, Between):
            value = side(leaf.operand)
            inside = f"({value} >= {side(leaf.low)} AND {value} <= {side(leaf.high)})"
            return f"NOT {inside}" if leaf.negated else inside
        assert isinstance(leaf, IsNull)  # noqa: S101 - for the type checker
        return f"{side(leaf.operand)} IS {'NOT ' if leaf.negated else ''}NULL"

    def _within(self, leaf: In, value: str) -> str:
        literals = dict.fromkeys(self._scalar(leaf, item) for item in leaf.items if isinstance(item, Literal))
        parts = [f"{value} {'NOT IN' if leaf.negated else 'IN'} ({', '.join(literals)})"] if literals else []
        sign = "<> ALL" if leaf.negated else "= ANY"
        for variable in dict.fromkeys(item for item in leaf.items if isinstance(item, Variable)):
            slot = self.template.slot(leaf, variable)
            items = f"jsonb_array_elements_text({self.grant} -> {literal(slot.key)})"
            cast = f"{cast_of(slot.compared)}[]"
            # an array without items must be unknown, as NULL is: NOT IN would let every row through
            array = f"(SELECT NULLIF(ARRAY(SELECT {items}), '{{}}')::{cast})::{cast}"
            parts.append(f"{value} {sign} ({array})")
        return f"({(' AND ' if leaf.negated else ' OR ').join(parts)})"

    def _scalar(self, leaf: Leaf, operand: Operand) -> str:
        compared = self.template.compared(leaf)
        if isinstance(operand, Literal):
            return f"CAST({literal(_text(compared, compared.kind.coerce(operand.value)))} AS {cast_of(compared)})"
        assert isinstance(operand, Variable)  # noqa: S101 - for the type checker
        slot = self.template.slot(leaf, operand)
        return f"(SELECT CAST({self.grant} ->> {literal(slot.key)} AS {cast_of(slot.compared)}))"
