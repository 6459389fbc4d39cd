"""The kinds of values that filters compare, and what fits each of them.

A kind turns two sorts of values into one comparable form: those of a filter (:meth:`Kind.coerce`, strict) and those of
a row's attributes (:meth:`Kind.normal`). Two comparable forms are equal, or in order, exactly when the database says
the same of the stored values.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import ClassVar
from uuid import UUID

_INT64 = 2**63
#: SQLite keeps decimals as 64-bit floating point numbers: these many digits survive, and keep their order.
DECIMAL_DIGITS = 15
_DECIMAL_EXPONENT = 300
_TIME = r"[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?"
_DATE_TEXT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TIME_TEXT = re.compile(_TIME)
_DATETIME_TEXT = re.compile(rf"[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}([T ]{_TIME}(Z|[+-][0-9]{{2}}:[0-9]{{2}})?)?")
_UUID_TEXT = re.compile(r"[0-9a-fA-F]{8}-?([0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}")
_INTEGER_TEXT = re.compile(r"0|-?[1-9][0-9]{0,18}")  # one text for each number
_LABELS_SHOWN = 10


class Unfit(ValueError):
    """A value cannot be compared with a column.

    :ivar why: the predicate of a sentence: ``must be an integer``. It does not hold the value.
    """

    def __init__(self, why: str) -> None:
        self.why = why
        super().__init__(why)


@dataclass(frozen=True, slots=True)
class Kind:
    """What a column holds. Columns can be compared with each other when their kinds are equal.

    :ivar tag: sets apart columns of one kind that the database cannot compare: two enum types, for one.
    :cvar name: the word for it in messages.
    :cvar ordered: whether ``< <= > >=`` and ``BETWEEN`` make sense.
    """

    tag: str = ""
    name: ClassVar[str] = ""
    ordered: ClassVar[bool] = True

    def coerce(self, value: object) -> Hashable:
        """The comparable form of a literal or a variable.

        :raises Unfit: if the value is of another type, or out of range.
        """
        raise NotImplementedError

    def normal(self, value: object) -> Hashable:
        """The comparable form of a row's value; never called with ``None``.

        :raises Unfit: if there is none, as with an SQL expression that is not computed yet.
        """
        return self.coerce(value)


@dataclass(frozen=True, slots=True)
class String(Kind):
    """Text, compared exactly, by code point: case, blanks and unicode forms count."""

    name: ClassVar[str] = "string"

    def coerce(self, value: object) -> str:
        if not isinstance(value, str):
            raise Unfit("must be a string")
        text = str.__str__(value)
        if "\0" in text or not _is_encodable(text):
            raise Unfit("must be a string without NUL and lone surrogates")
        return text

    def normal(self, value: object) -> str:
        if not isinstance(value, str):
            raise Unfit("must be a string")
        return str.__str__(value)


@dataclass(frozen=True, slots=True)
class Integer(Kind):
    """64-bit integers. ``5.0`` and ``true`` are none."""

    name: ClassVar[str] = "integer"

    def coerce(self, value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise Unfit("must be an integer")
        if not -_INT64 <= value < _INT64:
            raise Unfit("must be a 64-bit integer")
        return int(value)


@dataclass(frozen=True, slots=True)
class Numbered(Integer):
    """Integers, also as a text: the ids of users, which are texts as owners of keys and numbers in many a table."""

    def coerce(self, value: object) -> int:
        if isinstance(value, str) and _INTEGER_TEXT.fullmatch(value):
            value = int(value)
        return Integer.coerce(self, value)


@dataclass(frozen=True, slots=True)
class Number(Kind):
    """Decimals. Values of filters have at most :data:`DECIMAL_DIGITS` significant digits."""

    name: ClassVar[str] = "decimal"

    def coerce(self, value: object) -> Decimal:
        number = _decimal(value)
        if not number.is_finite():
            raise Unfit("must be a finite number")
        if not number:
            return Decimal(0)
        digits = "".join(map(str, number.as_tuple().digits)).strip("0")
        if len(digits) > DECIMAL_DIGITS or abs(number.adjusted()) > _DECIMAL_EXPONENT:
            raise Unfit(f"must be a number of at most {DECIMAL_DIGITS} significant digits")
        return number

    def normal(self, value: object) -> Decimal:
        number = _decimal(value)
        if number.is_nan():
            raise Unfit("must be a number")
        return number


@dataclass(frozen=True, slots=True)
class Boolean(Kind):
    """``true`` and ``false``; 0 and 1 are none."""

    name: ClassVar[str] = "boolean"
    ordered: ClassVar[bool] = False

    def coerce(self, value: object) -> bool:
        if not isinstance(value, bool):
            raise Unfit("must be true or false")
        return value


@dataclass(frozen=True, slots=True)
class Date(Kind):
    """Days, written ``2026-01-31``. The current time fits as the day that it is in UTC."""

    name: ClassVar[str] = "date"

    def coerce(self, value: object) -> date:
        if isinstance(value, datetime):
            return _utc(value).date()
        if isinstance(value, str):
            value = _read(_DATE_TEXT, date.fromisoformat, value)
        return self.normal(value)

    def normal(self, value: object) -> date:
        if not isinstance(value, date) or isinstance(value, datetime):
            raise Unfit("must be a date such as 2026-01-31")
        return value


@dataclass(frozen=True, slots=True)
class Time(Kind):
    """Times of day without a zone, written ``14:30`` or ``14:30:05.25``."""

    name: ClassVar[str] = "time"

    def coerce(self, value: object) -> time:
        if isinstance(value, str):
            value = _read(_TIME_TEXT, time.fromisoformat, value)
        if not isinstance(value, time) or value.tzinfo is not None:
            raise Unfit("must be a time of day such as 14:30:00")
        return value


@dataclass(frozen=True, slots=True)
class Datetime(Kind):
    """Moments, written as in ISO 8601: ``2026-01-31T14:30:00Z``. Without a zone they are in UTC."""

    name: ClassVar[str] = "datetime"

    def coerce(self, value: object) -> datetime:
        if isinstance(value, str):
            value = _read(_DATETIME_TEXT, datetime.fromisoformat, value)
        if not isinstance(value, datetime):
            raise Unfit("must be a date and time such as 2026-01-31T14:30:00Z")
        return _utc(value)


@dataclass(frozen=True, slots=True)
class Uuid(Kind):
    """UUIDs, written as 32 hexadecimal digits in any case, with or without hyphens (RFC 9562)."""

    name: ClassVar[str] = "uuid"
    ordered: ClassVar[bool] = False

    def coerce(self, value: object) -> UUID:
        if isinstance(value, str):
            value = _read(_UUID_TEXT, UUID, value)
        if not isinstance(value, UUID):
            raise Unfit("must be a UUID")
        return value


@dataclass(frozen=True, slots=True)
class Enumeration(Kind):
    """Labels as the database stores them.

    :ivar labels: each label with the Python object that rows hold for it.
    """

    labels: tuple[tuple[str, Hashable], ...] = ()
    name: ClassVar[str] = "enum"
    ordered: ClassVar[bool] = False

    def coerce(self, value: object) -> str:
        for label, _ in self.labels:
            if isinstance(value, str) and label == value:
                return label
        shown = ", ".join(repr(label) for label, _ in self.labels[:_LABELS_SHOWN])
        more = ", …" if len(self.labels) > _LABELS_SHOWN else ""
        raise Unfit(f"must be one of {shown}{more}")

    def normal(self, value: object) -> str:
        for label, member in self.labels:
            if member == value:  # as SQLAlchemy looks them up: by the object first, then as a label
                return label
        return self.coerce(value)

    def member(self, label: object) -> Hashable:
        """The Python object that rows hold for ``label``."""
        return dict(self.labels)[str(label)]


@dataclass(frozen=True, slots=True)
class Every(Kind):
    """Values that fit several kinds at once: those of a variable that is compared with different columns.

    :ivar kinds: the kinds.
    """

    kinds: tuple[Kind, ...] = ()
    name: ClassVar[str] = "value"

    def coerce(self, value: object) -> Hashable:
        return tuple([kind.coerce(value) for kind in self.kinds])


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _decimal(value: object) -> Decimal:
    if isinstance(value, Decimal):
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Unfit("must be a number")
    return Decimal(value) if isinstance(value, int) else Decimal(repr(float(value)))


def _utc(value: datetime) -> datetime:
    if value.utcoffset() is None:
        return value.replace(tzinfo=UTC)
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise Unfit("must be within the years 1 to 9999 in UTC") from None


def _read(pattern: re.Pattern[str], parse: Callable[[str], object], text: str) -> object:
    """What ``parse`` makes of the text; the text itself, which fits nothing, when it is not written as it should."""
    if pattern.fullmatch(text) is None:
        return text
    try:
        return parse(text)
    except ValueError:
        return text
