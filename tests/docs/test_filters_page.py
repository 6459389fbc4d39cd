"""What the page about filters says is so: its examples on a database, its tables, its grammar."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from types import ModuleType
from typing import Any, ClassVar

import pytest
from sqlalchemy import ARRAY, CHAR, JSON, Float, Integer, Interval, LargeBinary, Numeric, PickleType, Time, types
from sqlalchemy.dialects.postgresql import CITEXT

from flask_archie_keys import Grant, ValidationFailed
from flask_archie_keys.domain import filter_parser, filters, kinds, role_rules
from flask_archie_keys.domain.filters import FilterError, bind, evaluate, parse
from flask_archie_keys.store import scope
from flask_archie_keys.store.column_kinds import Unfilterable, column_kind

from .blocks import DOCS, blocks_of, first_column
from .samples import Samples, blocks_after, get, made

pytestmark = pytest.mark.usefixtures("rows_can_be_guarded")
PAGE = (DOCS / "filters.rst").read_text(encoding="utf-8")
#: Each example of the page, with the orders that it lets through.
EXAMPLES = {
    "region = $context.region": {1, 4},
    "region IN $context.regions": {1, 2, 4},
    "status IN ('open', 'held')": {1, 2, 3, 5, 6},
    "amount BETWEEN 10 AND 99.50": {1, 2},
    "express = true AND status != 'closed'": {1},
    "owner_id = $userId OR region = 'eu'": {1, 2, 4},
    "archived_at IS NULL": {1, 2, 3, 4, 6},
    "due_on >= $now": {1, 2},
    "placed_at < '2026-01-01'": {1, 5},
    "customer.region = $context.region": {2},
    "NOT (region = 'eu' OR region = 'us')": {5},
}


@pytest.fixture
def shop(samples: Samples) -> ModuleType:
    """The page's application with six orders, each of them for something that the examples tell apart."""
    shop = samples.load("filters", "filters")
    today, status = datetime.now(UTC).date(), shop.Status
    with shop.app.app_context():
        shop.db.create_all()
        with shop.keys.unrestricted("the orders to begin with"):
            shop.db.session.add_all([shop.Customer(id=1, region="eu"), shop.Customer(id=2)])
            shop.db.session.add_all(
                [
                    shop.Order(id=1, region="eu", amount=Decimal(10), express=True, due_on=today, placed_at=at(2025)),
                    shop.Order(id=2, region="us", amount=Decimal("99.50"), owner_id=42, customer_id=1),
                    shop.Order(id=3, status=status.held, amount=Decimal("99.51"), customer_id=2),
                    shop.Order(id=4, region="eu", status=status.closed, express=True, due_on=date(2020, 1, 1)),
                    shop.Order(id=5, region="EU", archived_at=at(2026), placed_at=at(2025), owner_id=43),
                    shop.Order(id=6),
                ]
            )
            for number in (2, 1):
                order = shop.db.session.get(shop.Order, number)
                order.due_on = today + timedelta(days=number - 1)
            shop.db.session.commit()
    return shop


def at(year: int) -> datetime:
    return datetime(year, 6, 1, tzinfo=UTC)


def reads(shop: ModuleType, filter: str) -> Any:
    """The orders that a key of the page reads by a filter."""
    with shop.app.app_context():
        shop.keys.roles.save("reader", grants=[Grant("orders", read=True, filter=filter)])
    context = ("--context", "region=eu", "--context", 'regions:=["eu", "us"]')
    response = get(shop.app, "/api/orders", made(shop.app, "Key", "--role", "reader", "--owner", "42", *context))
    assert response.status_code == 200, response.text
    return set(response.json)


def test_the_examples_are_those_of_the_page() -> None:
    assert first_column("filters", "Examples") == list(EXAMPLES)


SAID = {
    "region != 'eu'": {2, 5},
    "NOT (region = 'eu')": {2, 5},
    "region != 'eu' OR region IS NULL": {2, 3, 5, 6},
    "customer.region IS NULL": {3},
    "customer_id IS NULL": {1, 4, 5, 6},
    "customer.region = region": set(),
    "region = 'EU'": {5},
    "region <> 'eu' AND region NOT IN ('us')": {5},
    "region < 'a'": {5},
}


def test_examples(shop: ModuleType) -> None:
    for filter, read in {**EXAMPLES, **SAID}.items():
        assert reads(shop, filter) == read, filter


def test_a_filter_never_widens(shop: ModuleType) -> None:
    """The key was made while its role asked for nothing."""
    app, keys = shop.app, shop.keys
    with app.app_context():
        keys.roles.save("reader")
    context = ("--context", "empty:=[]", "--context", 'regions:=["eu"]', "--context", "word=eu")
    secret = made(app, "Key", "--role", "reader", "--owner", "042", *context)
    for filter in (
        "region = $context.region",
        "region = $context.region OR status = 'open'",
        "region IN $context.empty",
        "region = $context.regions",
        "owner_id = $context.word",
        "owner_id = $userId",
    ):
        with app.app_context():
            assert keys.roles.save("reader", grants=[Grant("orders", read=True, filter=filter)]).locked_out, filter
        assert get(app, "/api/orders", secret).status_code == 403, filter


def test_errors(shop: ModuleType) -> None:
    part = PAGE.partition("Errors\n------")[2].partition("An empty filter")[0]
    found = re.findall(r"^   \* - ``(.+?)``\n     - ``(.+?)``$", part, re.MULTILINE)
    assert len(found) >= 10
    for filter, message in found:
        with shop.app.app_context(), pytest.raises(ValidationFailed) as refused:
            shop.keys.roles.check("reader", grants=[Grant("orders", read=True, filter=filter)])
        (error,) = refused.value.errors
        assert (error.field, error.message) == ("grants[0].filter", message)


def test_other_refusals(shop: ModuleType) -> None:
    with shop.app.app_context():
        for filter in ("", "Region = 'eu'", "customer.region = customer", "express = 1", "status = $now"):
            with pytest.raises(ValidationFailed):
                shop.keys.roles.check("reader", grants=[Grant("orders", read=True, filter=filter)])


# -- types


def test_the_table_of_types() -> None:
    known = [kind.name for kind in vars(kinds).values() if isinstance(kind, type) and issubclass(kind, kinds.Kind)]
    assert set(first_column("filters", "Types")) >= {name for name in known if name not in ("", "value")}
    table = PAGE.partition("Types\n-----")[2].partition("A value in the context")[0]
    for name, columns in re.findall(r"^   \* - ``(\w+)``\n     - (.+)$", table, re.MULTILINE):
        for column in re.findall(r"``(\w+)``", columns):
            type_ = getattr(types, column)
            made = type_("open") if column == "Enum" else type_()
            assert column_kind(made).kind.name == name


@pytest.mark.parametrize(
    ("kind", "literals"),
    [
        (kinds.Date(), ["'2026-01-31'"]),
        (kinds.Time(), ["'14:30'", "'14:30:05.25'"]),
        (kinds.Datetime(), ["'2026-01-31T14:30:00Z'", "'2026-01-31 14:30:00+01:00'", "'2026-01-31'"]),
        (kinds.Number(), ["99.50", "99"]),
        (kinds.Integer(), ["42", "-1"]),
    ],
    ids=lambda value: value.name if isinstance(value, kinds.Kind) else "",
)
def test_literals(kind: kinds.Kind, literals: list[str]) -> None:
    class Columns:
        def kind(self, path: tuple[str, ...]) -> kinds.Kind:
            return kind

    for literal in literals:
        assert f"``{literal}``" in PAGE
        filters.check(parse(f"a = {literal}"), Columns())


REFUSED: dict[str, Any] = {
    "Float": Float(),
    "Numeric(asdecimal=False)": Numeric(asdecimal=False),
    "JSON": JSON(),
    "ARRAY": ARRAY(Integer),
    "LargeBinary": LargeBinary(),
    "CHAR": CHAR(2),
    "CITEXT": CITEXT(),
    "Time(timezone=True)": Time(timezone=True),
    "Interval": Interval(),
    "PickleType": PickleType(),
}


def test_refused_types() -> None:
    table = PAGE.partition("* - Refused\n")[2].partition("\nNULL\n")[0]
    shown = [
        name for row in re.findall(r"^   \* - (``.*)$", table, re.MULTILINE) for name in re.findall("``(.+?)``", row)
    ]
    assert shown == list(REFUSED)
    for name, type_ in REFUSED.items():
        with pytest.raises(Unfilterable):
            column_kind(type_)
            pytest.fail(name)


# -- variables, limits, logic


def test_the_table_of_variables() -> None:
    table = PAGE.partition("Variables\n---------")[2].partition("An owner is a text")[0]
    rows = re.findall(r"^   \* - ``\$(\w+)``\n     - .*\n     - (.*)$", table, re.MULTILINE)
    shown = {name: frozenset(re.findall(r"``(\w+)``", fits)) for name, fits in rows}
    assert tuple(shown) == filter_parser.VARIABLES
    assert shown == filters._FITS


def test_the_table_of_limits() -> None:
    table = PAGE.partition("\nLimits\n------")[2].partition(".. _filter-errors")[0]
    assert [int(number) for number in re.findall(r"^     - (\d+)$", table, re.MULTILINE)] == [
        filters.LENGTH_MAX,
        filters.TERMS_MAX,
        filters.DEPTH_MAX,
        filters.ITEMS_MAX,
        filter_parser.NAME_MAX,
        filter_parser.PARTS_MAX,
        role_rules.GRANTS_MAX,
        scope.VALUES_MAX,
    ]
    assert f"at most {kinds.DECIMAL_DIGITS} significant digits" in PAGE
    with pytest.raises(FilterError, match="at most 20 brackets"):
        parse("(" * 21 + "a = 1" + ")" * 21)


class Ternary:
    """Two columns that are 1, 0 or NULL."""

    def kind(self, path: tuple[str, ...]) -> kinds.Kind:
        return kinds.Integer()


def test_the_table_of_the_logic() -> None:
    table = PAGE.partition("``NOT a``\n")[2].partition("So ``region")[0]
    cells = re.findall(r"(true|false|unknown)$", table, re.MULTILINE)
    rows = [cells[at : at + 5] for at in range(0, len(cells), 5)]
    assert len({(row[0], row[1]) for row in rows}) == 6
    stored = {"true": 1, "false": 0, "unknown": None}
    said = {True: "true", False: "false", None: "unknown"}
    for a, b, *shown in rows:
        row = {("a",): stored[a], ("b",): stored[b]}
        for text, verdict in zip(("a = 1 AND b = 1", "a = 1 OR b = 1", "NOT a = 1"), shown, strict=True):
            assert said[evaluate(bind(parse(text), Ternary(), {}), row.__getitem__)] == verdict, (text, a, b)


# -- the grammar


def productions() -> dict[str, str]:
    """The grammar of the page, by name."""
    text = "\n".join(block.text for block in blocks_after("filters", "Grammar", "text"))
    found = re.findall(r"^(\w+) += (.*(?:\n +\|.*)*)", text, re.MULTILINE)
    return {name: " ".join(body.split()) for name, body in found}


def test_the_grammar_is_that_of_the_parser() -> None:
    stated = re.findall(r"^    (\w+) += (.*(?:\n +\|.*)*)", filter_parser.__doc__ or "", re.MULTILINE)
    stated = {name: " ".join(body.split()) for name, body in stated}
    assert len(stated) == 8
    assert {name: body for name, body in productions().items() if name in stated} == stated


class Writer:
    """Writes filters by the grammar, whatever comes."""

    #: What the grammar says in words.
    WORDS: ClassVar = {"letter": "aZ", "digit": "07", 'any character but "\'" and control characters': 'x é-"%'}

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.grammar = productions()

    def write(self, name: str, depth: int = 0) -> str:
        if name in self.WORDS:
            return self.random.choice(self.WORDS[name])
        pad = "" if name in ("string", "integer", "decimal", "name", "variable", "column") else " "
        return pad.join(self.body(self.grammar[name], depth + 1, tight=not pad))

    def body(self, text: str, depth: int, *, tight: bool) -> Iterator[str]:
        choices = split(text, "|")
        chosen = choices[-1] if depth > 12 else self.random.choice(choices)
        for part in split(chosen, " "):
            yield from self.part(part, depth, tight=tight)

    def part(self, part: str, depth: int, *, tight: bool) -> Iterator[str]:
        inner = part[1:-1]
        if part[0] == '"':
            yield inner
        elif part[0] == "{":
            for _ in range(0 if depth > 8 else self.random.randrange(3)):
                yield from self.several(inner, depth, tight=tight)
        elif part[0] == "[":
            if self.random.random() < 0.5:
                yield from self.several(inner, depth, tight=tight)
        elif part[0] == "(":
            yield from self.several(inner, depth, tight=tight)
        else:
            yield self.write(part, depth)

    def several(self, text: str, depth: int, *, tight: bool) -> Iterator[str]:
        if any(choice in self.WORDS for choice in split(text, "|")):
            chosen = self.random.choice(split(text, "|"))
            yield self.write(chosen, depth) if chosen in self.WORDS else chosen.strip('"')
        else:
            yield from self.body(text, depth, tight=tight)


def split(text: str, at: str) -> list[str]:
    """The parts between ``at``, outside of quotes and brackets."""
    parts, depth, quoted, part = [], 0, False, ""
    for character in text:
        quoted ^= character == '"'
        depth += 0 if quoted else (character in "{[(") - (character in "}])")
        if character == at and not depth and not quoted:
            parts.append(part.strip())
            part = ""
        else:
            part += character
    return [found for found in [*parts, part.strip()] if found]


#: What the text says besides the grammar.
BESIDES = (
    "a comparison needs a column",
    "columns of two related rows",
    "a path has at most",
    "a filter has at most",
    "brackets and NOTs deep",
    "there is no variable",
)


def test_what_the_grammar_writes_is_read() -> None:
    good = 0
    for seed in range(500):
        text = Writer(seed).write("filter")
        try:
            parse(text)
            good += 1
        except FilterError as error:
            assert error.message.startswith(BESIDES) or error.message.endswith(BESIDES), f"{text!r}: {error}"
    assert good > 100


def test_the_blocks_are_the_sample_and_the_grammar() -> None:
    assert [b.language for b in blocks_of(DOCS / "filters.rst")] == ["python", "text", "text"]
