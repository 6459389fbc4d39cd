"""``python -m benchmarks.rows``: what roles, grants and row filters cost.

A guarded SELECT of 50 rows through a session, beside the same SELECT on a table of the same shape that is not
protected, with the filter written by hand, round-robin: the bar is the ratio of the two. Then the pieces by themselves:
the check of a view's role and grant, and a filter made into SQL. A SELECT that does not give the 50 rows that it
should ends the run with an error.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import String, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from flask_archie_keys import ArchieKeys, Grant
from flask_archie_keys.domain.filters import parse
from flask_archie_keys.domain.permissions import Requirement
from flask_archie_keys.permissions.access import Access, variables_of
from flask_archie_keys.store import scope

from ._measure import Figures, WrongAnswer, figures, round_robin
from ._report import Bar, as_json, describe_run, request_table, write_json

ROWS = 50
OTHERS = 450
FILTER = "region = $context.region AND status IN ('open', 'held')"
PLAIN = "select of 50, filter by hand"
GUARDED = "select of 50, guarded"
BY_KEY_PLAIN = "get() of one row, not guarded"
BY_KEY = "get() of one row, guarded"
CHECK = "role and grant check"
REQUEST = "the same with its row rule, as a request does"
COMPILE = "filter to SQL, each time anew"
CACHED = "filter to SQL, remembered"


class Contender:
    """One piece of work with its name."""

    def __init__(self, name: str, work: Callable[[], Any]) -> None:
        self.name = name
        self._work = work

    def __call__(self) -> None:
        """Do it once."""
        self._work()


class Orders:
    """An application with two tables of the same rows, one of them protected, and a key that may read some."""

    def __init__(self, folder: Path) -> None:
        class Base(DeclarativeBase):
            pass

        class Columns:
            id: Mapped[int] = mapped_column(primary_key=True)
            region: Mapped[str] = mapped_column(String(16), index=True)
            status: Mapped[str] = mapped_column(String(16))
            amount: Mapped[int]
            note: Mapped[str] = mapped_column(String(200))

        class Plain(Columns, Base):
            __tablename__ = "plain_orders"

        class Guarded(Columns, Base):
            __tablename__ = "guarded_orders"

        self.plain, self.guarded = Plain, Guarded
        self.app = Flask("benchmark", instance_path=str(folder))
        self.app.config["SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{folder / 'rows.sqlite'}"
        self.app.config["ARCHIE_KEYS_PEPPERS"] = ["a pepper for benchmarks"]
        self.db = SQLAlchemy(model_class=Base)
        self.db.init_app(self.app)
        self.keys = ArchieKeys(self.app, self.db)
        with self.app.app_context():
            self.db.create_all()
            self._fill()
            self.keys.protect(Guarded, resource="orders")
            self.keys.roles.save("clerk", grants=[Grant("orders", read=True, filter=FILTER)])
            secret = self.keys.service.create(name="benchmark", roles=["clerk"], context={"region": "eu"}).secret
            environment = self.keys.for_environment("master")
            found = environment.authenticator.authenticate(f"Bearer {secret}", None)
            if found is None:
                raise WrongAnswer("the key was not taken")
            self.principal = found
            self.engine = self.db.engine
            self.access = Access(self.principal, environment.permissions)

    def _fill(self) -> None:
        for model in (self.plain, self.guarded):
            regions = ["eu"] * ROWS + ["us"] * OTHERS
            self.db.session.add_all(
                [
                    model(id=n, region=region, status="open", amount=n, note="as always")
                    for n, region in enumerate(regions, 1)
                ]
            )
        self.db.session.commit()

    def select_plain(self) -> list[Any]:
        """The rows, by a filter that is written by hand."""
        with Session(self.engine) as session:
            model = self.plain
            wanted = select(model).where(model.region == "eu", model.status.in_(["open", "held"]))
            return list(session.scalars(wanted.order_by(model.id)))

    def select_guarded(self) -> list[Any]:
        """The rows, by the key's filter."""
        with Session(self.engine) as session:
            return list(session.scalars(select(self.guarded).order_by(self.guarded.id)))

    def get_plain(self) -> Any:
        """One row."""
        with Session(self.engine) as session:
            return session.get(self.plain, 7)

    def get_guarded(self) -> Any:
        """One row, if the key may read it."""
        with Session(self.engine) as session:
            return session.get(self.guarded, 7)

    def check(self) -> None:
        """See that both give the same rows.

        :raises WrongAnswer: if they do not.
        """
        mine, theirs = ([row.id for row in find()] for find in (self.select_guarded, self.select_plain))
        with Session(self.engine) as session:
            hidden = session.get(self.guarded, ROWS + 1)
        if mine != theirs or len(mine) != ROWS or hidden is not None or self.get_guarded() is None:
            raise WrongAnswer(f"the guarded select gave {len(mine)} rows, the other one {len(theirs)}")


def selects(orders: Orders) -> list[Contender]:
    """Statements beside their peers."""
    return [
        Contender(PLAIN, orders.select_plain),
        Contender(GUARDED, orders.select_guarded),
        Contender(BY_KEY_PLAIN, orders.get_plain),
        Contender(BY_KEY, orders.get_guarded),
    ]


def pieces(orders: Orders) -> list[Contender]:
    """What the check of a view and of a statement is made of."""
    requirement = Requirement(("clerk",), resource="orders")
    whole = Requirement(("clerk",))
    permissions = orders.keys.for_environment("master").permissions
    principal = orders.principal
    filters = (parse(FILTER),)
    values = variables_of(principal)

    def checked() -> None:
        if not whole.check(principal) or not permissions.decide(principal, "orders", "read"):
            raise WrongAnswer("the check refused the key")

    def compiled() -> None:
        scope._made.cache_clear()
        scope.row_rule(orders.guarded, "orders", filters, values, lambda model: None).condition()

    def remembered() -> None:
        scope.row_rule(orders.guarded, "orders", filters, values, lambda model: None).condition()

    def in_request() -> None:
        access = Access(principal, permissions)
        if not access.grant(requirement, "GET"):
            raise WrongAnswer("the check refused the key")
        access.rule("orders", "read")

    return [
        Contender(CHECK, checked),
        Contender(REQUEST, in_request),
        Contender(COMPILE, compiled),
        Contender(CACHED, remembered),
    ]


def bars(of_selects: dict[str, Figures], of_pieces: dict[str, Figures]) -> dict[str, Bar]:
    """The goals. Those in microseconds are of a machine whose bare Flask request takes 46 µs."""
    return {
        GUARDED: Bar("≤ 1.3 x the same without the guard", of_selects[GUARDED].ratio, 1.3),
        CHECK: Bar("≤ 2 µs", of_pieces[CHECK].median_us, 2.0),
        COMPILE: Bar("≤ 50 µs", of_pieces[COMPILE].median_us, 50.0),
    }


def main(argv: list[str] | None = None) -> int:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rows", description=__doc__)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--requests", type=int, default=60, help="calls of each contender in a round")
    parser.add_argument("--json", type=Path, help="write everything that was measured to this file")
    given = parser.parse_args(argv)
    describe_run()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        orders = Orders(Path(folder))
        stack.callback(orders.keys.close, orders.app)
        stack.enter_context(orders.app.app_context())
        stack.callback(orders.engine.dispose)
        stack.enter_context(orders.keys.act_as(orders.principal))
        orders.check()
        of_selects = figures(round_robin(selects(orders), rounds=given.rounds, requests=given.requests), PLAIN)
        by_key = figures(round_robin(selects(orders)[2:], rounds=given.rounds, requests=given.requests), BY_KEY_PLAIN)
        of_selects.update(by_key)
        of_pieces = figures(round_robin(pieces(orders), rounds=given.rounds, requests=given.requests), CHECK)
        orders.check()
    verdicts = bars(of_selects, of_pieces)
    print(request_table(of_selects, verdicts, "statement in a session of its own", "x peer"))
    print()
    print(request_table(of_pieces, verdicts, "piece", "x check"))
    write_json(given.json, {"statements": as_json(of_selects), "pieces": as_json(of_pieces)}, verdicts)
    return 0


if __name__ == "__main__":
    sys.exit(main())
