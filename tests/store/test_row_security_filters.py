"""Policies let exactly those rows through that the filters' evaluation in Python does."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Enum,
    ForeignKey,
    Integer,
    MetaData,
    Numeric,
    SmallInteger,
    String,
    Table,
    Text,
    Time,
    Uuid,
    select,
)
from sqlalchemy.orm import Session, joinedload, registry, relationship
from sqlalchemy.types import TypeDecorator

from flask_archie_keys.domain.filters import parse
from flask_archie_keys.domain.permissions import Grant
from flask_archie_keys.errors import ConfigurationError
from flask_archie_keys.store.protection import protect, protections
from flask_archie_keys.store.row_security import row_security
from flask_archie_keys.store.row_security_ddl import Policies, script, statements
from flask_archie_keys.store.row_security_sql import literal
from flask_archie_keys.store.scope import row_rule

from ..support.postgres import PostgresServer
from ..support.row_security import PAST, World, acting, isolated, role


class Colour(enum.Enum):
    RED = "r"
    BLUE = "b'\\lue"


class Cents(TypeDecorator[Decimal]):
    """Decimals that the database has as whole numbers."""

    impl = Integer
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        return None if value is None else int(value * 100)

    def process_result_value(self, value: Any, dialect: Any) -> Any:
        return None if value is None else Decimal(value) / 100


class Lower(TypeDecorator[str]):
    """Texts in lower case; longer ones than the column takes are not cut."""

    impl = String(4)
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        return None if value is None else value.lower()


EAST = timezone(timedelta(hours=5, minutes=30))
IDS = ["0b5c8d4e-5a0e-4c59-9b7d-2f4f3f1f2a01", "0b5c8d4e-5a0e-4c59-9b7d-2f4f3f1f2a02"]
TEXTS = ["", "a", "A", "a ", "é", "e\u0301", "it's", "back\\slash", "\U0001f600", "b", "_", "%s", ":x"]
#: For each column: its type, values of rows, texts of literals, values of variables.
COLUMNS: dict[str, tuple[Any, list[Any], list[str], list[Any]]] = {
    "plain": (Text(), TEXTS, ["'" + text.replace("'", "''") + "'" for text in TEXTS], TEXTS),
    "collated": (String(20, collation="ucs_basic"), TEXTS, ["'a'", "'B'", "'é'"], TEXTS),
    "small": (SmallInteger(), [-5, 0, 1, 2], ["1", "-5", "99999999999"], [0, 1, 2, 2**40]),
    "big": (BigInteger(), [-(2**63), 0, 1, 2**63 - 1], ["0", "9223372036854775807"], [0, 1, -(2**63)]),
    "amount": (Numeric(9, 2), [Decimal("1.50"), Decimal(0), Decimal(-3)], ["1.5", "0", "-3"], [1.5, 0, -3, 1]),
    "flag": (Boolean(), [True, False], ["true", "false"], [True, False]),
    "day": (Date(), [date(2026, 1, 31), date(1, 1, 1)], ["'2026-01-31'"], ["2026-01-31", "9999-12-31"]),
    "clock": (Time(), [time(14, 30), time(0, 0, 0, 1)], ["'14:30'"], ["14:30:00", "00:00:00.000001"]),
    "naive": (
        DateTime(),
        [datetime(2026, 1, 31, 14, 30), datetime(1999, 12, 31)],
        ["'2026-01-31T14:30:00Z'"],
        ["2026-01-31T20:00:00+05:30", "1999-12-31"],
    ),
    "moment": (
        DateTime(timezone=True),
        [datetime(2026, 1, 31, 20, 0, tzinfo=EAST), datetime(1999, 12, 31, tzinfo=UTC)],
        ["'2026-01-31T14:30:00Z'"],
        ["2026-01-31T14:30:00", "1999-12-31T00:00:00Z"],
    ),
    "uid": (Uuid(), [UUID(text) for text in IDS], [f"'{IDS[0].upper()}'"], [IDS[1].replace("-", "")]),
    "texted": (Uuid(native_uuid=False), [UUID(text) for text in IDS], [f"'{IDS[0]}'"], [IDS[1]]),
    "worded": (Uuid(as_uuid=False), IDS, [f"'{IDS[0]}'"], IDS),
    "colour": (Enum(Colour, name='co"lour'), list(Colour), ["'RED'"], ["BLUE", "RED"]),
    "label": (Enum("r", "b'\\lue", native_enum=False), ["r", "b'\\lue"], ["'r'"], ["b'\\lue"]),
    "cents": (Cents(), [Decimal("1.5"), Decimal(0)], ["1", "0"], [0, 1]),
    "lower": (Lower(), ["abcd", "abc", ""], ["'ABC'", "'abcdE'"], ["ABCD", "abcdE", ""]),
}
UNORDERED = {"flag", "uid", "texted", "worded", "colour", "label"}


def models() -> tuple[MetaData, type, type]:
    mapper = registry()
    one = Table("rs_parents", mapper.metadata, Column("id", Integer, primary_key=True), Column("plain", Text))
    columns = [Column(name, kind) for name, (kind, *_) in COLUMNS.items()]
    columns += [Column('Odd "na%me', Text, key="odd"), Column("parent_id", ForeignKey(one.c.id))]
    two = Table("rs Things", mapper.metadata, Column("id", Integer, primary_key=True), *columns)

    class Parent:
        pass

    class Thing:
        pass

    mapper.map_imperatively(Parent, one)
    mapper.map_imperatively(Thing, two, properties={"parent": relationship(Parent)})
    return mapper.metadata, Thing, Parent


class Things:
    """The database, its rows as Python sees them, and who acts."""

    def __init__(self, world: World, thing: Any, parent: Any) -> None:
        self.world, self.thing, self.parent = world, thing, parent
        with world.owner.begin() as connection:
            texts = [None, *TEXTS]
            parents = [{"id": n, "plain": text} for n, text in enumerate(texts)]
            connection.execute(parent.__table__.insert(), parents)
            rows = []
            for n in range(26):
                values = {name: values[n % len(values)] for name, (_, values, *_) in COLUMNS.items() if n % 7}
                rows.append({"id": n, "odd": "x", "parent_id": n if n < len(texts) else None, **values})
            for row in rows:
                connection.execute(thing.__table__.insert(), row)
        with Session(world.owner) as session:
            self.rows = list(session.scalars(select(thing).order_by(thing.id).options(joinedload(thing.parent))))

    def python(self, filter: str, variables: dict[str, object], of_parents: str | None) -> list[int]:
        hidden = None if of_parents is None else (parse(of_parents),)
        parents = row_rule(self.parent, "rs_parents", hidden, variables, lambda model: None)
        rule = row_rule(self.thing, "rs_things", (parse(filter),), variables, lambda model: parents)
        return [row.id for row in self.rows if rule.allows(row)]

    def postgresql(self, filter: str, variables: dict[str, object], of_parents: str | None) -> list[int]:
        grants = [Grant("rs_things", read=True, filter=filter), Grant("rs_parents", read=True, filter=of_parents)]
        self.world.who = acting(grants, variables)
        with Session(self.world.engine) as session:
            statement = select(self.thing.__table__.c.id).order_by("id")
            return list(session.connection().execute(statement, execution_options=PAST).scalars())


@pytest.fixture(scope="module")
def things(postgres_server: PostgresServer) -> Iterator[Things]:
    with isolated() as patch:
        metadata, thing, parent = models()
        world = World(postgres_server, metadata)
        made = Things(world, thing, parent)
        protect(thing, "rs_things")
        protect(parent, "rs_parents")
        row_security.listen()
        patch.setattr(row_security, "current", lambda: world.who)
        yield made
        world.close()


def leaf(draw: Any) -> str:
    name = draw(st.sampled_from([*COLUMNS, "parent.plain"]))
    path, name = name, name.rpartition(".")[2]
    value = st.sampled_from([*COLUMNS[name][2], f"$context.{name}"])
    signs = ["=", "!="] if name in UNORDERED else ["=", "!=", "<", "<=", ">", ">="]
    forms = ["sign", "in", "variable", "null", *([] if name in UNORDERED else ["between"])]
    form = draw(st.sampled_from(forms))
    negation = draw(st.sampled_from(["", "NOT "]))
    if form == "sign" and name == "plain" and draw(st.booleans()):
        return f"parent.plain {draw(st.sampled_from(signs))} plain"
    if form == "sign":
        sides = draw(st.permutations([path, draw(value)]))
        return f"{sides[0]} {draw(st.sampled_from(signs))} {sides[1]}"
    if form == "in":
        items = draw(st.lists(st.one_of(value, st.just(f"$context.{name}_list")), min_size=1, max_size=4))
        return f"{path} {negation}IN ({', '.join(items)})"
    if form == "variable":
        return f"{path} {negation}IN $context.{name}_list"
    if form == "between":
        return f"{path} {negation}BETWEEN {draw(value)} AND {draw(value)}"
    return f"{path} IS {negation}NULL"


@st.composite
def filters(draw: Any, depth: int = 2) -> str:
    if depth == 0 or draw(st.booleans()):
        return leaf(draw)
    parts = draw(st.lists(filters(depth - 1), min_size=2, max_size=3))
    joined = f"({draw(st.sampled_from([' AND ', ' OR '])).join(parts)})"
    return draw(st.sampled_from(["", "NOT "])) + joined


@st.composite
def contexts(draw: Any) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, (_, _, _, values) in COLUMNS.items():
        one = st.sampled_from(values)
        found[f"context.{name}"] = draw(st.one_of(one, one, one, st.none()))
        found[f"context.{name}_list"] = draw(st.one_of(one, st.lists(one, max_size=4)))
    return found


@settings(max_examples=12, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(
    written=st.lists(filters(), min_size=15, max_size=15, unique=True),
    variables=contexts(),
    of_parents=st.sampled_from([None, "plain IS NOT NULL", "plain > 'a' OR plain IN $context.plain_list"]),
)
def test_policies_are_equal_to_the_evaluation_in_python(
    things: Things, written: list[str], variables: dict[str, object], of_parents: str | None
) -> None:
    grants = [Grant("rs_things", read=True, filter=filter) for filter in written]
    things.world.secure(*grants, Grant("rs_parents", read=True, filter=of_parents))
    for filter in written:
        assert things.postgresql(filter, variables, of_parents) == things.python(filter, variables, of_parents), filter


# -- what is told


def told(things: Things, filter: str, **variables: object) -> Any:
    """What the setting holds of one filter; ``None`` if it is not there at all."""
    grants: Any = acting([Grant("rs_things", read=True, filter=filter)], variables).grants()
    if not grants:
        return None
    (values,) = grants["rs_things:read"].values()
    assert values is not None
    return values


def test_values_are_texts_of_what_the_binder_made_of_them(things: Things) -> None:
    context = {"context.n": 1.5, "context.c": "RED", "context.many": ["2026-01-31T20:00:00+05:30", "1999-12-31"]}
    filter = "amount = $context.n AND colour = $context.c AND naive NOT IN $context.many AND lower = $context.l"
    assert told(things, filter, **context, **{"context.l": "ABC"}) == {
        "context.n": "1.5",
        "context.c": "RED",
        "context.many": ["2026-01-31T14:30:00", "1999-12-31T00:00:00"],
        "context.l": "abc",
    }
    assert told(things, "amount = 1") == {}


@pytest.mark.parametrize("value", [None, [], "1", True, 1.0, 2**63, [1], {"a": 1}, [1, None], [[1]], list(range(101))])
def test_a_value_that_does_not_fit_opens_nothing(things: Things, value: object) -> None:
    form = "IN" if isinstance(value, list) and value != [1] else "="
    assert told(things, f"big {form} $context.n", **{"context.n": value}) is None
    assert told(things, f"plain = 'a' OR big {form} $context.n", **{"context.n": value}) is None
    assert told(things, f"big {form} $context.n") is None


def test_one_variable_in_several_forms(things: Things) -> None:
    now = datetime(2026, 1, 31, 23, 0, tzinfo=UTC)
    filter = "moment < $now AND day = $now AND naive < $now AND moment != $now AND day IN ($now)"
    assert told(things, filter, now=now) == {
        "now": "2026-01-31T23:00:00+00:00",
        "now#2": "2026-01-31",
        "now#3": "2026-01-31T23:00:00",
        "now#4": ["2026-01-31"],
    }
    things.world.secure(Grant("rs_things", read=True, filter=filter), Grant("rs_parents", read=True))
    assert things.postgresql(filter, {"now": now}, None) == things.python(filter, {"now": now}, None)


@pytest.mark.parametrize("filter", ["odd = 'x'", "odd = $context.v", "odd > 'a' AND parent.plain = odd", "odd IS NULL"])
def test_names_that_must_be_quoted(things: Things, filter: str) -> None:
    things.world.secure(Grant("rs_things", read=True, filter=filter), Grant("rs_parents", read=True))
    variables = {"context.v": "x"}
    assert things.postgresql(filter, variables, None) == things.python(filter, variables, None)


def test_the_users_id_may_be_a_number(things: Things) -> None:
    assert told(things, "big = $userId", userId="17") == {"userId": "17"}
    assert told(things, "plain = $userId", userId="17") == {"userId": "17"}
    assert told(things, "big = $userId", userId="017") is None


def test_what_is_remembered_for_one_type_is_not_taken_for_another(things: Things) -> None:
    assert told(things, "big = $context.v", **{"context.v": 1}) == {"context.v": "1"}
    assert told(things, "big = $context.v", **{"context.v": True}) is None
    assert told(things, "flag = $context.v", **{"context.v": True}) == {"context.v": "true"}
    assert told(things, "flag = $context.v", **{"context.v": 1}) is None


def test_a_filter_that_does_not_fit_the_columns_opens_nothing_and_is_left_out(things: Things) -> None:
    for filter in ("colr = 'RED'", "colour = 'GREEN'", "big LIKE 1"):
        assert told(things, filter) is None
        policies = Policies(protections(), [role(Grant("rs_things", read=True, filter=filter))])
        assert [(each.resource, each.filter) for each in policies.lacking] == [("rs_things", filter)]
        assert all(not policy.filters for policy in policies.all())


# -- what is written


@pytest.mark.parametrize("strings", ["on", "off"])
@pytest.mark.parametrize("given", ["plain", "it's", "a\\b", "\\'; DROP TABLE x; --", "é\u202e\U0001f600", "%s :x", ""])
def test_literals_are_what_they_were_and_ascii(things: Things, given: str, strings: str) -> None:
    written = literal(given)
    assert written.isascii()
    with things.world.engine.connect() as connection:
        cursor = connection.connection.cursor()
        cursor.execute(f"SET standard_conforming_strings = {strings}")
        cursor.execute("SET escape_string_warning = off")
        assert cursor.execute(f"SELECT {written}").fetchone() == (given,)


def test_the_text_is_the_same_for_the_same_filters(things: Things) -> None:
    one = [
        Grant("rs_things", read=True, filter="plain='a'"),
        Grant("rs_things", read=True, filter="big IN ($context.v,1)"),
    ]
    two = [
        Grant("rs_things", read=True, filter="big in($context.v, 1)"),
        Grant("rs_things", read=True, filter="plain  = 'a'"),
    ]
    texts = [script(Policies(protections(), [role(*grants, name=name)])) for grants, name in ((one, "b"), (two, "a"))]
    assert texts[0] == texts[1]
    assert texts[0].isascii()
    assert "-- filter" in texts[0] and "of rs_things: plain = 'a'" in texts[0]
    assert texts[0].count("CREATE POLICY") == texts[0].count("DROP POLICY IF EXISTS") == 8
    assert list(statements(Policies(protections(), []))) != list(statements(Policies(protections(), [role(*one)])))


def test_grants_of_an_action_have_their_filters_in_its_policy_only(things: Things) -> None:
    grants = [Grant("rs_things", update=True, filter="big = 1"), Grant("rs_things", read=True)]
    made = {(p.resource, p.action): list(p.filters.values()) for p in Policies(protections(), [role(*grants)]).all()}
    assert [key for key, filters in made.items() if filters] == [("rs_things", "update")]


def circular() -> tuple[type, type]:
    mapper = registry()
    ones = Table(
        "ones", mapper.metadata, Column("id", Integer, primary_key=True), Column("two_id", ForeignKey("twos.id"))
    )
    ones.append_column(Column("up_id", ForeignKey("ones.id")))
    twos = Table(
        "twos", mapper.metadata, Column("id", Integer, primary_key=True), Column("one_id", ForeignKey("ones.id"))
    )

    class One:
        pass

    class Two:
        pass

    up = relationship(One, foreign_keys=[ones.c.up_id], remote_side=[ones.c.id])
    two = relationship(Two, foreign_keys=[ones.c.two_id])
    mapper.map_imperatively(One, ones, properties={"up": up, "two": two})
    mapper.map_imperatively(Two, twos, properties={"one": relationship(One, foreign_keys=[twos.c.one_id])})
    return One, Two


def test_filters_in_a_circle_are_refused() -> None:
    with isolated():
        one, two = circular()
        protect(one, "ones")
        protect(two, "twos")
        forth = Grant("ones", update=True, filter="two.id = 1")
        back = Grant("twos", read=True, filter="one.id = 1")
        Policies(protections(), [role(forth), role(Grant("twos", delete=True, filter="one.id = 1"))])
        with pytest.raises(ConfigurationError, match=r"ones -> twos -> ones .* in a circle.*one.id = 1"):
            Policies(protections(), [role(forth), role(back)])
        with pytest.raises(ConfigurationError, match=r"ones -> ones .* in a circle.*ones:write: up.id = 1"):
            Policies(protections(), [role(Grant("ones", write=True, filter="up.id = 1"))])


def test_an_inheritance_by_more_than_equal_keys_is_refused() -> None:
    with isolated():
        mapper = registry()
        base = Table("bases", mapper.metadata, Column("id", Integer, primary_key=True), Column("n", Integer))
        derived = Table("deriveds", mapper.metadata, Column("id", ForeignKey("bases.id"), primary_key=True))

        class Base:
            pass

        class Derived(Base):
            pass

        mapper.map_imperatively(Base, base)
        join = (derived.c.id == base.c.id) & (base.c.n > 1)
        mapper.map_imperatively(Derived, derived, inherits=Base, inherit_condition=join)
        protect(Base, "bases")
        with pytest.raises(ConfigurationError, match="Derived is joined to its base by more than equal keys"):
            list(Policies(protections(), []).all())
