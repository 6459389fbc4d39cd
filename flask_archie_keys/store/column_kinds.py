"""From column types to the kinds of filters. What a database would compare otherwise than Python does is refused."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import types
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.types import TypeDecorator, TypeEngine

from ..domain import kinds
from ..domain.kinds import Kind, Unfit

#: By visit name, since what other modules derive from String (CITEXT, for one) may compare in ways of its own.
_TEXTS = frozenset({"string", "text", "unicode", "unicode_text", "VARCHAR", "NVARCHAR", "TEXT"})
_INEXACT = "holds floating point numbers, which are not exact"
_DIALECTS = (sqlite.dialect(), postgresql.dialect())  # type: ignore[no-untyped-call]
_SIZES: tuple[tuple[type[TypeEngine[Any]], int], ...] = (
    (types.BigInteger, 2**63),
    (types.SmallInteger, 2**15),
    (types.Integer, 2**31),
)


class Unfilterable(Exception):
    """Columns of a type cannot be filtered.

    :ivar why: the predicate of a sentence: ``holds JSON``.
    """

    def __init__(self, why: str) -> None:
        self.why = why
        super().__init__(why)


@dataclass(frozen=True, slots=True, eq=False)
class ColumnKind:
    """How the values of a column are compared.

    :ivar value_type: the type that values are bound with; it may be wider than the column's.
    :ivar to_bind: makes the value that is bound from the comparable form.
    :ivar text: whether the collation of the column may change what is equal or in order.
    :ivar collated: the type declares a collation.
    """

    kind: Kind
    value_type: TypeEngine[Any]
    to_bind: Callable[[Any], Any]
    text: bool = False
    collated: bool = False


@dataclass(frozen=True, slots=True)
class Stored:
    """A value of a type decorator: what the database gets, which is compared, and what that was made of."""

    stored: Any
    given: Any = field(compare=False)

    def __str__(self) -> str:
        return str(self.given)

    def __lt__(self, other: Stored) -> bool:
        return bool(self.stored < other.stored)

    def __le__(self, other: Stored) -> bool:
        return bool(self.stored <= other.stored)

    def __gt__(self, other: Stored) -> bool:
        return bool(self.stored > other.stored)

    def __ge__(self, other: Stored) -> bool:
        return bool(self.stored >= other.stored)


@dataclass(frozen=True, slots=True)
class Decorated(Kind):
    """Values of a type decorator, compared as the database gets them.

    :ivar inner: the kind of what the database gets.
    """

    inner: Kind = field(default_factory=Kind)
    decorator: Any = None

    @property
    def name(self) -> str:  # type: ignore[override]
        return self.inner.name

    @property
    def ordered(self) -> bool:  # type: ignore[override]
        return self.inner.ordered

    def coerce(self, value: object) -> Stored:
        return self._stored(self.inner.coerce(value), self.inner.coerce)

    def normal(self, value: object) -> Stored:
        return self._stored(value, self.inner.normal)

    def _stored(self, given: object, comparable: Callable[[object], Hashable]) -> Stored:
        """What the decorator makes of a value on each database. It is the host's code and may raise anything."""
        try:
            made = [comparable(_process(self.decorator, given, dialect)) for dialect in _DIALECTS]
        except Unfit:
            raise
        except Exception:
            raise Unfit("is refused by the column's type") from None
        size = _size(self.decorator)
        if size is not None and any(isinstance(value, int) and not -size <= value < size for value in made):
            raise Unfit("is out of the column's range")  # the database would refuse the statement
        return Stored(made[0], given)


def column_kind(type_: TypeEngine[Any]) -> ColumnKind:
    """How columns of a type are compared.

    :raises Unfilterable: if they cannot be filtered.
    """
    found = _column_kind(type_)
    for variant in _variants(type_):
        if _column_kind(variant).kind != found.kind:
            raise Unfilterable("is of different kinds on different databases")
    return found


def _column_kind(type_: TypeEngine[Any]) -> ColumnKind:
    if isinstance(type_, TypeDecorator):
        return _decorated(type_)
    if type_._has_bind_expression or type_._has_column_expression:
        raise Unfilterable("passes through SQL of its type's own")
    if isinstance(type_, types.Enum):
        tag = f"{type_.schema or ''}.{type_.name}" if type_.native_enum else ""
        enumeration = kinds.Enumeration(tag, tuple((label, type_._object_lookup[label]) for label in type_.enums))
        return ColumnKind(enumeration, type_, enumeration.member)
    if isinstance(type_, types.Uuid):
        as_uuid = bool(type_.as_uuid)
        tag = "" if type_.native_uuid else "text"
        return ColumnKind(kinds.Uuid(tag), type_, _same if as_uuid else str)
    if isinstance(type_, types.String):
        return ColumnKind(_string(type_), types.String(), _same, True, _collated(type_))
    if isinstance(type_, types.DateTime):
        _plain_storage(type_)
        zone = bool(type_.timezone)
        kind = kinds.Datetime("zone" if zone else "")
        return ColumnKind(kind, types.DateTime(timezone=zone), _same if zone else _naive)
    for sort, kind_of in _PLAIN:
        if isinstance(type_, sort):
            return kind_of(type_)
    raise Unfilterable(f"is of the type {type(type_).__name__}, which filters do not know")


def _string(type_: types.String) -> Kind:
    if type_.__visit_name__ not in _TEXTS:
        raise Unfilterable(f"is of the type {type(type_).__name__}, which compares in a way of its own")
    return kinds.String()


def _collated(type_: types.String) -> bool:
    return any(getattr(each, "collation", None) is not None for each in (type_, *_variants(type_)))


def _number(type_: types.Numeric[Any]) -> ColumnKind:
    if not type_.asdecimal:
        raise Unfilterable(_INEXACT)
    return ColumnKind(kinds.Number(), types.Numeric(), _same)


def _time(type_: types.Time) -> ColumnKind:
    if type_.timezone:
        raise Unfilterable("holds times of day with a zone")
    _plain_storage(type_)
    return ColumnKind(kinds.Time(), types.Time(), _same)


def _date(type_: types.Date) -> ColumnKind:
    _plain_storage(type_)
    return ColumnKind(kinds.Date(), types.Date(), _same)


def _plain_storage(type_: TypeEngine[Any]) -> None:
    """SQLite keeps times as text, which has their order only in the form that is the default."""
    if "_storage_format" in vars(type_):
        raise Unfilterable("is stored in a form of its own on SQLite")


def _refused(why: str) -> Callable[[Any], ColumnKind]:
    def refuse(type_: object) -> ColumnKind:
        raise Unfilterable(why)

    return refuse


_PLAIN: tuple[tuple[type[TypeEngine[Any]], Callable[[Any], ColumnKind]], ...] = (
    (types.Integer, lambda type_: ColumnKind(kinds.Integer(), types.BigInteger(), _same)),
    (types.Float, _refused(_INEXACT)),  # before Numeric, which it derives from in SQLAlchemy 2.0
    (types.Numeric, _number),
    (types.Boolean, lambda type_: ColumnKind(kinds.Boolean(), types.Boolean(), _same)),
    (types.Date, _date),
    (types.Time, _time),
    (types.JSON, _refused("holds JSON")),
    (types.ARRAY, _refused("holds lists")),
    (types.LargeBinary, _refused("holds bytes")),
)


def _decorated(type_: TypeDecorator[Any]) -> ColumnKind:
    name = type(type_).__name__
    if isinstance(type_, (types.Interval, types.PickleType)):
        raise Unfilterable(f"is of the type {name}, which filters do not know")
    if type(type_).load_dialect_impl is not TypeDecorator.load_dialect_impl:
        raise Unfilterable(f"is of the type {name}, which differs between databases")
    if type_._has_bind_expression or type_._has_column_expression:
        raise Unfilterable("passes through SQL of its type's own")
    if type_.cache_ok is not True:
        raise Unfilterable(f"is of the type {name}, which does not say cache_ok = True")
    inner = column_kind(type_.impl_instance)
    return ColumnKind(Decorated(inner=inner.kind, decorator=type_), type_, _given, inner.text, inner.collated)


def _process(type_: TypeEngine[Any], value: object, dialect: Any) -> object:
    while isinstance(type_, TypeDecorator):
        if type(type_).process_bind_param is not TypeDecorator.process_bind_param:
            value = type_.process_bind_param(value, dialect)
        type_ = type_.impl_instance
    return value


def _size(type_: TypeEngine[Any]) -> int | None:
    """The bound of the integers of a type; the statement of a decorator's value is cast to that."""
    while isinstance(type_, TypeDecorator):
        type_ = type_.impl_instance
    return next((size for sort, size in _SIZES if isinstance(type_, sort)), None)


def _variants(type_: TypeEngine[Any]) -> tuple[TypeEngine[Any], ...]:
    return tuple(type_._variant_mapping.values())


def _same(value: Any) -> Any:
    return value


def _naive(value: datetime) -> datetime:
    return value.astimezone(UTC).replace(tzinfo=None)


def _given(value: Stored) -> Any:
    return value.given
