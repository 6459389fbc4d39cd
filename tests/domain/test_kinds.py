from __future__ import annotations

import enum
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from time import tzset
from typing import Any
from uuid import UUID

import pytest

from flask_archie_keys.domain.kinds import (
    Boolean,
    Date,
    Datetime,
    Enumeration,
    Every,
    Integer,
    Kind,
    Number,
    Numbered,
    String,
    Time,
    Unfit,
    Uuid,
)

TOKEN = UUID("0b7a9c1e-3f52-4e0a-8d5f-2f6f0c9a1b3d")


class Size(enum.Enum):
    SMALL = 1
    LARGE = 2


class Tone(enum.StrEnum):
    SOFT = "LOUD"
    LOUD = "SOFT"


ORDERED: tuple[Kind, ...] = (String(), Integer(), Number(), Date(), Time(), Datetime())
SIZES = Enumeration(labels=(("SMALL", Size.SMALL), ("LARGE", Size.LARGE)))
TONES = Enumeration(labels=(("SOFT", Tone.SOFT), ("LOUD", Tone.LOUD)))
STATES = Enumeration(labels=(("open", "open"), ("held", "held")))
UNORDERED: tuple[Kind, ...] = (Boolean(), Uuid(), SIZES, STATES)
EAST = timezone(timedelta(hours=2))


@pytest.mark.parametrize(
    ("kind", "value", "comparable"),
    [
        (String(), "", ""),
        (String(), " eu ", " eu "),
        (String(), "\u0061\u0301", "\u0061\u0301"),
        (String(), "🚀", "🚀"),
        (String(), Tone.SOFT, "LOUD"),
        (Integer(), 2**63 - 1, 2**63 - 1),
        (Integer(), -(2**63), -(2**63)),
        (Numbered(), "42", 42),
        (Numbered(), "-42", -42),
        (Numbered(), "0", 0),
        (Numbered(), 42, 42),
        (Number(), 5, Decimal(5)),
        (Number(), 0.1, Decimal("0.1")),
        (Number(), Decimal("0.10"), Decimal("0.1")),
        (Number(), 123456789012345, Decimal(123456789012345)),
        (Number(), 10**20, Decimal(10**20)),
        (Number(), Decimal("0E-5000"), Decimal(0)),
        (Number(), -0.0, Decimal(0)),
        (Boolean(), True, True),
        (Date(), "2026-01-31", date(2026, 1, 31)),
        (Date(), date(2026, 1, 31), date(2026, 1, 31)),
        (Date(), datetime(2026, 1, 31, 23, 30, tzinfo=timezone(timedelta(hours=-2))), date(2026, 2, 1)),
        (Time(), "14:30", time(14, 30)),
        (Time(), "14:30:05.25", time(14, 30, 5, 250_000)),
        (Datetime(), "2026-01-31T14:30:00Z", datetime(2026, 1, 31, 14, 30, tzinfo=UTC)),
        (Datetime(), "2026-01-31 14:30", datetime(2026, 1, 31, 14, 30, tzinfo=UTC)),
        (Datetime(), "2026-01-31T14:30:00.000001+02:00", datetime(2026, 1, 31, 12, 30, 0, 1, tzinfo=UTC)),
        (Datetime(), "2026-01-31", datetime(2026, 1, 31, tzinfo=UTC)),
        (Datetime(), datetime(2026, 1, 31, 14, 30, tzinfo=EAST), datetime(2026, 1, 31, 12, 30, tzinfo=UTC)),
        (Uuid(), str(TOKEN), TOKEN),
        (Uuid(), TOKEN.hex.upper(), TOKEN),
        (Uuid(), TOKEN, TOKEN),
        (SIZES, "SMALL", "SMALL"),
        (STATES, "held", "held"),
    ],
)
def test_what_fits(kind: Kind, value: object, comparable: object) -> None:
    made = kind.coerce(value)
    assert made == comparable
    assert type(made) is type(comparable)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        *[
            (kind, None)
            for kind in (String(), Integer(), Number(), Boolean(), Date(), Time(), Datetime(), Uuid(), SIZES)
        ],
        *[
            (kind, [1])
            for kind in (String(), Integer(), Number(), Boolean(), Date(), Time(), Datetime(), Uuid(), SIZES)
        ],
        (String(), 5),
        (String(), True),
        (String(), b"eu"),
        (String(), "a\0b"),
        (String(), "\ud800"),
        (Integer(), True),
        (Integer(), 5.0),
        (Integer(), "5"),
        (Integer(), Decimal(5)),
        (Integer(), 2**63),
        (Integer(), -(2**63) - 1),
        (Numbered(), "042"),
        (Numbered(), "+42"),
        (Numbered(), "-0"),
        (Numbered(), " 42"),
        (Numbered(), "4_2"),
        (Numbered(), "٤٢"),
        (Numbered(), "9999999999999999999"),
        (Numbered(), True),
        (Number(), True),
        (Number(), "0.1"),
        (Number(), float("nan")),
        (Number(), float("inf")),
        (Number(), Decimal("NaN")),
        (Number(), Decimal("sNaN")),
        (Number(), 0.1 + 0.2),
        (Number(), 1234567890123456),
        (Number(), Decimal("1E-400")),
        (Number(), Decimal("1E+301")),
        (Boolean(), 1),
        (Boolean(), "true"),
        (Date(), "2026-02-30"),
        (Date(), "20260131"),
        (Date(), "2026-W05-6"),
        (Date(), "2026-01-31T00:00:00"),
        (Date(), "２０２６-01-31"),
        (Date(), 20260131),
        (Time(), "24:00"),
        (Time(), "14:30Z"),
        (Time(), "14"),
        (Time(), time(14, 30, tzinfo=UTC)),
        (Datetime(), "yesterday"),
        (Datetime(), "2026-01-31T25:00"),
        (Datetime(), "2026-01-31T14:30:00+25:00"),
        (Datetime(), "2026-01-31T14:30:60"),
        (Datetime(), "0001-01-01T00:00:00+01:00"),
        (Datetime(), "9999-12-31T23:59:59-01:00"),
        (Datetime(), date(2026, 1, 31)),
        (Datetime(), 1769869800),
        (Uuid(), "not-a-uuid"),
        (Uuid(), f"{{{TOKEN}}}"),
        (Uuid(), TOKEN.int),
        (SIZES, "small"),
        (SIZES, 1),
        (SIZES, Size.SMALL),
        (STATES, "closed"),
    ],
)
def test_what_does_not_fit(kind: Kind, value: object) -> None:
    with pytest.raises(Unfit) as caught:
        kind.coerce(value)
    assert caught.value.why.startswith("must ")


@pytest.mark.parametrize(
    ("kind", "value", "comparable"),
    [
        (String(), "a\0b", "a\0b"),
        (String(), Tone.SOFT, "LOUD"),
        (Number(), Decimal("12345678901234567890.12345"), Decimal("12345678901234567890.12345")),
        (Number(), Decimal("Infinity"), Decimal("Infinity")),
        (Number(), 5, Decimal(5)),
        (Datetime(), datetime(2026, 1, 31, 14, 30), datetime(2026, 1, 31, 14, 30, tzinfo=UTC)),
        (Uuid(), TOKEN.hex, TOKEN),
        (SIZES, Size.LARGE, "LARGE"),
        (TONES, Tone.SOFT, "SOFT"),
        (TONES, "LOUD", "SOFT"),
        (SIZES, "LARGE", "LARGE"),
        (STATES, "open", "open"),
    ],
)
def test_the_comparable_form_of_a_rows_value(kind: Kind, value: object, comparable: object) -> None:
    assert kind.normal(value) == comparable


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (String(), 5),
        (Integer(), True),
        (Integer(), "5"),
        (Number(), Decimal("NaN")),
        (Date(), datetime(2026, 1, 31)),
        (Datetime(), datetime.min.replace(tzinfo=EAST)),
        (SIZES, 1),
        (SIZES, object()),
    ],
)
def test_a_rows_value_that_is_none_of_the_kind(kind: Kind, value: object) -> None:
    with pytest.raises(Unfit):
        kind.normal(value)


def test_a_moment_without_a_zone_is_in_utc_wherever_the_machine_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    tzset()
    try:
        assert Datetime().coerce("2026-01-31T14:30:00") == datetime(2026, 1, 31, 14, 30, tzinfo=UTC)
    finally:
        monkeypatch.undo()
        tzset()


def test_kinds_are_equal_by_what_they_compare() -> None:
    assert String() == String()
    assert hash(Integer()) == hash(Integer())
    assert String() != Integer()
    assert Datetime("zone") != Datetime()
    assert Enumeration("a", STATES.labels) != Enumeration("b", STATES.labels)


def test_which_kinds_have_an_order() -> None:
    assert all(kind.ordered for kind in ORDERED)
    assert not any(kind.ordered for kind in UNORDERED)


def test_several_kinds_at_once_take_what_fits_them_all() -> None:
    both: Any = Every(kinds=(String(), Numbered()))
    both.coerce("42")
    with pytest.raises(Unfit):
        both.coerce("eu")
    with pytest.raises(Unfit):
        both.coerce(42)


def test_a_long_list_of_labels_is_cut_in_the_message() -> None:
    many = Enumeration(labels=tuple((f"l{n}", f"l{n}") for n in range(40)))
    with pytest.raises(Unfit, match=r"must be one of 'l0', .*'l9', …$"):
        many.coerce("x")
