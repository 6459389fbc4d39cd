"""Python, SQLite and PostgreSQL say the same of every row, for generated filters, values and rows."""

from __future__ import annotations

import enum
import random
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sqlalchemy import (
    BigInteger,
    DateTime,
    Engine,
    Enum,
    ForeignKey,
    Integer,
    Numeric,
    SmallInteger,
    String,
    Text,
    TypeDecorator,
    Uuid,
    create_engine,
    event,
    select,
)
from sqlalchemy.exc import NotSupportedError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship, selectinload

from flask_archie_keys.domain.filters import FilterError, check, parse
from flask_archie_keys.store.scope import ModelSchema, RowRule, row_rule

from ..support.postgres import PostgresServer

# SQLite keeps decimals as floating point numbers, and SQLAlchemy says so
pytestmark = pytest.mark.filterwarnings("ignore:Dialect sqlite.pysqlite does .not. support Decimal")


class Base(DeclarativeBase):
    pass


class Size(enum.Enum):
    SMALL = "s"
    LARGE = "l"


class Lower(TypeDecorator[str]):
    """Texts that are stored in lower case."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: object) -> str | None:
        return None if value is None else value.lower()


class Team(Base):
    __tablename__ = "teams"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str | None]


class Owner(Base):
    __tablename__ = "owners"
    id: Mapped[int] = mapped_column(primary_key=True)
    region: Mapped[str | None]
    rank: Mapped[int | None]
    team_id: Mapped[int | None] = mapped_column(ForeignKey("teams.id"))
    team: Mapped[Team | None] = relationship()


class Thing(Base):
    __tablename__ = "things"
    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str | None] = mapped_column(Text, index=True)
    code: Mapped[str | None] = mapped_column(String(20))
    folded: Mapped[str | None] = mapped_column(Text(collation="loose"))
    lower: Mapped[str | None] = mapped_column(Lower)
    number: Mapped[int | None] = mapped_column(Integer)
    other: Mapped[int | None] = mapped_column(Integer)
    small: Mapped[int | None] = mapped_column(SmallInteger)
    big: Mapped[int | None] = mapped_column(BigInteger)
    price: Mapped[Decimal | None] = mapped_column(Numeric(12, 2))
    ratio: Mapped[Decimal | None] = mapped_column(Numeric(15, 9))  # more digits do not come back from SQLite
    flag: Mapped[bool | None]
    day: Mapped[date | None]
    at: Mapped[time | None]
    seen: Mapped[datetime | None]
    zoned: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    token: Mapped[UUID | None]
    plain_token: Mapped[str | None] = mapped_column(Uuid(as_uuid=False, native_uuid=False))
    size: Mapped[Size | None]
    state: Mapped[str | None] = mapped_column(Enum("open", "held", "Open", native_enum=False))
    owner_id: Mapped[int | None]  # no foreign key: the row may be gone
    owner: Mapped[Owner | None] = relationship(primaryjoin="foreign(Thing.owner_id) == Owner.id")


TEXTS = ["", " ", "a", "A", "a ", " a", "ab", "b", "Z", "z", "_", "%", "o'clock", "\\", "null", "true", "1", "01", "\t"]
TEXTS += ["\u00e1", "a\u0301", "ß", "ss", "SS", "İ", "i̇", "\u212a", "k", "K", "\uffe6", "\ue000", "\ufffd", "🚀", "🚀 "]
NUMBERS = [0, 1, -1, 5, 7, 32767, -32768, 2**31 - 1, -(2**31)]
BIG = [*NUMBERS, 32768, 2**31, -(2**31) - 1, 2**53, 2**53 + 1, 2**63 - 1, -(2**63)]
PRICES = [Decimal(text) for text in ("0", "0.1", "0.10", "-0.01", "0.3", "5", "5.01", "1234567.89", "9999999999.99")]
RATIOS = [*PRICES[:7], Decimal("0.123456789"), Decimal("-0.0000001"), Decimal("123456.789")]
DAYS = [date(2026, 1, 31), date(2026, 2, 1), date(1, 1, 1), date(9999, 12, 31), date(2024, 2, 29)]
TIMES = [time(0, 0), time(14, 30), time(14, 30, 0, 1), time(23, 59, 59, 999_999)]
MOMENTS = [datetime(2026, 1, 31, 14, 30), datetime(2026, 1, 31, 14, 30, 0, 1), datetime(2026, 1, 31)]
MOMENTS += [datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 999_999), datetime(2026, 2, 1, 0, 30)]
ZONED = [moment.replace(tzinfo=UTC) for moment in MOMENTS[:3]] + [datetime(2026, 2, 1, tzinfo=UTC)]
TOKENS = [UUID(int=0), UUID(int=1), UUID("0b7a9c1e-3f52-4e0a-8d5f-2f6f0c9a1b3d")]
STATES = ["open", "held", "Open"]
EAST, WEST = timezone(timedelta(hours=5, minutes=30)), timezone(timedelta(hours=-8))


def things() -> Iterator[Thing]:
    """Each value of each column, in company that varies, and NULLs among them."""
    pick = random.Random(20260131)

    def one(values: list[Any]) -> Any:
        return pick.choice([*values, None]) if pick.random() < 0.9 else None

    for number in range(150):
        yield Thing(
            id=number,
            text=TEXTS[number % len(TEXTS)] if number < 3 * len(TEXTS) else None,
            code=one(TEXTS),
            folded=one(TEXTS),
            lower=one(TEXTS),
            number=one(NUMBERS),
            other=one(NUMBERS),
            small=one(NUMBERS[:7]),
            big=one(BIG),
            price=one(PRICES),
            ratio=one(RATIOS),
            flag=one([True, False]),
            day=one(DAYS),
            at=one(TIMES),
            seen=one(MOMENTS),
            zoned=one(ZONED),
            token=one(TOKENS),
            plain_token=one([str(token) for token in TOKENS]),
            size=one(list(Size)),
            state=one(STATES),
            owner_id=one([1, 2, 3, 4, 5, 99]),
        )


def related_rows() -> Iterator[Base]:
    yield from [Team(id=1, name="a"), Team(id=2, name="A"), Team(id=3, name=None)]
    for number, (region, rank, team) in enumerate(
        [("a", 1, 1), ("A", 2, 2), (None, None, 3), ("a ", 2**31 - 1, None), ("\u00e1", -1, 1)], 1
    ):
        yield Owner(id=number, region=region, rank=rank, team_id=team)


@dataclass
class Stored:
    """A database with all rows, and the rows as they were read from it."""

    engine: Engine
    session: Session
    rows: list[Thing] = field(repr=False)


def loose_collation(engine: Engine) -> None:
    """A collation that takes case and accents for the same, where the server was built with one."""
    try:
        with engine.begin() as connection:
            connection.exec_driver_sql(
                "CREATE COLLATION loose (provider = icu, locale = 'und-u-ks-level1', deterministic = false)"
            )
    except NotSupportedError:
        with engine.begin() as connection:
            connection.exec_driver_sql("CREATE COLLATION loose (provider = builtin, locale = 'C.UTF-8')")


def compare_loosely(one: str, other: str) -> int:
    return (one.lower() > other.lower()) - (one.lower() < other.lower())


def stored(url: str) -> Stored:
    if url.startswith("postgresql"):
        engine = create_engine(url, connect_args={"options": "-c timezone=UTC-05:30"})  # half past, east of Greenwich
        loose_collation(engine)
    else:
        engine = create_engine(url)
        event.listen(engine, "connect", lambda dbapi, record: dbapi.create_collation("loose", compare_loosely))
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add_all(related_rows())
        session.add_all(things())
        session.commit()
    session = Session(engine)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rows = session.scalars(select(Thing).options(selectinload(Thing.owner).selectinload(Owner.team))).all()
    return Stored(engine, session, list(rows))


@pytest.fixture(scope="module")
def databases(postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Stored]]:
    folder: Path = tmp_path_factory.mktemp("agrees")
    found = [stored(f"sqlite:///{folder / 'things.sqlite'}"), stored(postgres_server.new_database())]
    yield found
    for each in found:
        each.session.close()
        each.engine.dispose()


# filters


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def dotted(number: object) -> str:
    return format(number, "f") if isinstance(number, Decimal) else str(number)


@dataclass(frozen=True)
class Sort:
    """What filters may compare a column with: literals, and values of variables."""

    literals: list[str]
    values: list[object]
    ordered: bool = True
    fellow: str | None = None


PRINTABLE = [text for text in TEXTS if text.isprintable()]
TEXT = Sort([quoted(text) for text in PRINTABLE], [*TEXTS, "\u2028", "x" * 5000], fellow="code")
WHOLE = Sort([str(number) for number in BIG], [*BIG], fellow="other")
EXACT = Sort(
    [*map(dotted, RATIOS), "5", "-7", "100000000000000000000"], [*RATIOS[:4], 0.1, 0.3, 5, 1e300, 5e-100, -0.0]
)
MOMENT_TEXTS = ["2026-01-31T14:30:00Z", "2026-01-31 14:30", "2026-01-31T14:30:00.000001", "2026-01-31", "0001-01-01"]
MOMENT_TEXTS += ["9999-12-31T23:59:59.999999Z", "2026-01-31T20:00:00+05:30", "2026-01-31T06:30:00-08:00"]
MOMENT = Sort(list(map(quoted, MOMENT_TEXTS)), [*MOMENT_TEXTS])
TOKEN_TEXTS = [*map(str, TOKENS), TOKENS[2].hex.upper()]
SORTS = {
    "text": TEXT,
    "code": Sort(TEXT.literals, TEXT.values, fellow="text"),
    "folded": Sort(TEXT.literals, TEXT.values, fellow="text"),
    "lower": Sort(TEXT.literals, TEXT.values),
    "number": WHOLE,
    "other": WHOLE,
    "small": Sort(WHOLE.literals, WHOLE.values, fellow="number"),
    "big": Sort(WHOLE.literals, WHOLE.values, fellow="number"),
    "id": Sort(WHOLE.literals, WHOLE.values, fellow="owner_id"),
    "owner_id": Sort(WHOLE.literals, WHOLE.values, fellow="number"),
    "price": Sort(EXACT.literals, EXACT.values, fellow="ratio"),
    "ratio": Sort(EXACT.literals, EXACT.values, fellow="price"),
    "flag": Sort(["true", "false"], [True, False], ordered=False, fellow="flag"),
    "day": Sort([quoted(day.isoformat()) for day in DAYS], [day.isoformat() for day in DAYS], fellow="day"),
    "at": Sort([quoted(at.isoformat()) for at in TIMES], [at.isoformat() for at in TIMES], fellow="at"),
    "seen": Sort(MOMENT.literals, MOMENT.values, fellow="seen"),
    "zoned": Sort(MOMENT.literals, MOMENT.values, fellow="zoned"),
    "token": Sort(list(map(quoted, TOKEN_TEXTS)), [*TOKEN_TEXTS], ordered=False, fellow="token"),
    "plain_token": Sort(list(map(quoted, TOKEN_TEXTS)), [*TOKEN_TEXTS], ordered=False),
    "size": Sort(["'SMALL'", "'LARGE'"], ["SMALL", "LARGE"], ordered=False, fellow="size"),
    "state": Sort(list(map(quoted, STATES)), [*STATES], ordered=False, fellow="state"),
    "owner.region": Sort(TEXT.literals, TEXT.values, fellow="text"),
    "owner.rank": Sort(WHOLE.literals, WHOLE.values, fellow="number"),
    "owner.team.name": Sort(TEXT.literals, TEXT.values, fellow="code"),
}
SIGNS = ["=", "=", "!=", "<", "<=", ">", ">=", "IN", "NOT IN", "BETWEEN", "NOT BETWEEN", "IS"]
WRONG: list[object] = [None, [], [None], {}, b"a", "a\0", "\ud800", 2**63, float("nan"), object()]


@dataclass(frozen=True)
class Case:
    text: str
    context: dict[str, object]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """A filter of the language, and a context in which each of its variables has a value that fits."""
    context: dict[str, object] = {}

    def variable(value: object) -> str:
        name = f"v{len(context)}"
        context[name] = value
        return f"$context.{name}"

    def value(sort: Sort) -> str:
        if draw(st.booleans()):
            return draw(st.sampled_from(sort.literals))
        return variable(draw(st.sampled_from(sort.values)))

    def leaf() -> str:
        column = draw(st.sampled_from(list(SORTS)))
        sort = SORTS[column]
        form = draw(
            st.sampled_from(["=", "=", "!=", "<", "<=", ">", ">=", "IN", "NOT IN", "BETWEEN", "NOT BETWEEN", "IS"])
        )
        if form == "IS":
            return f"{column} IS {draw(st.sampled_from(['', 'NOT ']))}NULL"
        if form in ("IN", "NOT IN"):
            if draw(st.booleans()):
                return (
                    f"{column} {form} {variable(draw(st.lists(st.sampled_from(sort.values), min_size=1, max_size=4)))}"
                )
            return f"{column} {form} ({', '.join(value(sort) for _ in range(draw(st.integers(1, 4))))})"
        if form.endswith("BETWEEN"):
            if not sort.ordered:
                return f"{column} = {value(sort)}"
            return f"{column} {form} {value(sort)} AND {value(sort)}"
        if form not in ("=", "!=") and not sort.ordered:
            form = "!="
        sides = [column, sort.fellow if sort.fellow and draw(st.integers(0, 4)) == 0 else value(sort)]
        if draw(st.booleans()):
            sides.reverse()
        return f"{sides[0]} {form} {sides[1]}"

    def node(depth: int) -> str:
        form = draw(st.sampled_from(["leaf", "AND", "OR", "NOT"])) if depth else "leaf"
        if form == "leaf":
            return leaf()
        if form == "NOT":
            return f"NOT ({node(depth - 1)})"
        return "(" + f" {form} ".join(node(depth - 1) for _ in range(draw(st.integers(2, 3)))) + ")"

    return Case(node(draw(st.integers(0, 3))), context)


OWNER_RULES = [None, "all", "none", "region != 'a'", "rank > 0 OR team.name = 'a'"]


def related(choice: str | None) -> Callable[[type], RowRule | None]:
    def find(model: type) -> RowRule | None:
        if model is not Owner or choice is None:
            return None
        filters = None if choice == "all" else () if choice == "none" else (parse(choice),)
        return row_rule(Owner, "owners", filters, {}, lambda model: None)

    return find


def rule_of(case: Case, owners: str | None = None) -> RowRule:
    values = {f"context.{name}": value for name, value in case.context.items()}
    return row_rule(Thing, "things", (parse(case.text),), values, related(owners))


SEARCH = settings(max_examples=500, derandomize=True, deadline=None, database=None)


@SEARCH
@given(cases(), st.sampled_from(OWNER_RULES))
@example(Case("NOT owner.region = 'a'", {}), None)
@example(Case("NOT owner.region IS NULL", {}), "region != 'a'")
@example(Case("folded = 'a' OR folded IN ('SS')", {}), None)
@example(Case("folded = text AND text = folded", {}), None)
@example(Case("zoned BETWEEN '2026-02-01' AND '2026-01-01'", {}), None)
@example(Case("big = 9007199254740993 OR number < 9223372036854775807", {}), None)
@example(Case("lower = 'A' OR lower IN ('SS', 'İ')", {}), None)
def test_all_say_the_same_of_every_row(databases: list[Stored], case: Case, owners: str | None) -> None:
    rule = rule_of(case, owners)
    assert rule.dropped == ()
    answers = []
    for database in databases:
        statement = select(Thing.id).where(rule.condition()).order_by(Thing.id)
        answers.append(list(database.session.scalars(statement)))
        answers.append(sorted(row.id for row in database.rows if rule.allows(row)))
    assert answers == [answers[0]] * 4


@SEARCH
@given(cases(), st.data())
def test_a_variable_without_a_fitting_value_lets_no_row_through(
    databases: list[Stored], case: Case, data: st.DataObject
) -> None:
    """Whatever the filter, and whichever of its variables it is."""
    if not case.context:
        return
    name = data.draw(st.sampled_from(sorted(case.context)))
    spoilt = {**case.context, name: data.draw(st.sampled_from(WRONG))}
    if data.draw(st.booleans()):
        del spoilt[name]
    rule = rule_of(Case(case.text, spoilt))
    assert rule.bounds == ()
    for database in databases:
        assert list(database.session.scalars(select(Thing.id).where(rule.condition()))) == []
        assert not any(rule.allows(row) for row in database.rows[:5])


ANY = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=6),
    st.sampled_from([value for sort in SORTS.values() for value in sort.values]),
    st.lists(st.one_of(st.integers(), st.text(max_size=3), st.none()), max_size=3),
)


@SEARCH
@given(st.sampled_from(sorted(SORTS)), st.sampled_from(["=", "!=", "<", ">=", "IN", "NOT IN"]), ANY)
def test_no_value_of_a_context_makes_a_statement_fail(
    databases: list[Stored], column: str, sign: str, value: object
) -> None:
    case = Case(f"{column} {sign} $context.a", {"a": value})
    try:
        check(parse(case.text), ModelSchema(Thing))
    except FilterError:
        return  # an order where there is none
    rule = rule_of(case)
    answers = [list(each.session.scalars(select(Thing.id).where(rule.condition()))) for each in databases]
    assert sorted(answers[0]) == sorted(answers[1])


def test_every_value_of_every_column_is_somewhere(databases: list[Stored]) -> None:
    """The rows are as varied as they claim."""
    for database in databases:
        for key, values in [("text", TEXTS), ("big", BIG), ("price", PRICES), ("seen", MOMENTS), ("size", list(Size))]:
            assert {getattr(row, key) for row in database.rows} == {*values, None}, key
        assert {row.owner_id for row in database.rows if row.owner is None} == {None, 99}
