"""Protected models of a shop on PostgreSQL, for tests of row security."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import pytest
from sqlalchemy import ForeignKey, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from flask_archie_keys.domain.permissions import Grant
from flask_archie_keys.store.protection import protect
from flask_archie_keys.store.row_security import row_security

from .postgres import PostgresServer
from .row_security import PAST, World, isolated

REGION = "region = $context.region"
ALL = {"read": True, "write": True, "update": True, "delete": True}
#: What the policies are made for.
GRANTS = (
    Grant("orders", **ALL, filter=REGION),
    Grant("orders", read=True, filter="customer.region = $context.region"),
    Grant("customers", read=True, filter=REGION),
    Grant("customers", read=True),
    Grant("orders", read=True, filter="NOT region IN ($context.x)"),
)
KEEPER = (GRANTS[0], GRANTS[2])
TABLES = ("customers", "orders", "specials", "rates")


class Shop:
    """Orders 1 and 4 are in the region eu, 2 and 3 in us; 3 and 4 are special ones, of the class's own table."""

    def __init__(self, world: World, models: dict[str, Any]) -> None:
        self.world = world
        self.engine = world.engine
        self.Order = models["Order"]
        self.Customer = models["Customer"]
        self.Special = models["Special"]
        self.Rate = models["Rate"]

    def refill(self) -> None:
        self.world.fill(
            "DELETE FROM notes; DELETE FROM specials; DELETE FROM orders; DELETE FROM customers; DELETE FROM rates;"
            "INSERT INTO customers VALUES (1, 'eu'), (2, 'us');"
            "INSERT INTO orders VALUES (1, 'order', 'eu', 1), (2, 'order', 'us', 2), (3, 'special', 'us', 1), "
            "(4, 'special', 'eu', NULL);"
            "SELECT setval('orders_id_seq', 10), setval('rates_id_seq', 10);"
            "INSERT INTO specials VALUES (3, 'x'), (4, 'y');"
            "INSERT INTO rates VALUES (1);"
            "INSERT INTO notes VALUES (1, 2)",
        )
        self.world.become(*KEEPER, region="eu")

    def orders(self) -> list[tuple[int, str]]:
        """All orders, as they are in the end."""
        return self.world.all("SELECT id, region FROM orders ORDER BY id")


def models() -> tuple[Any, dict[str, Any]]:
    class Base(DeclarativeBase):
        pass

    class Customer(Base):
        __tablename__ = "customers"
        id: Mapped[int] = mapped_column(primary_key=True)
        region: Mapped[str | None]

    class Order(Base):
        __tablename__ = "orders"
        id: Mapped[int] = mapped_column(primary_key=True)
        kind: Mapped[str] = mapped_column(default="order")
        region: Mapped[str | None]
        customer_id: Mapped[int | None] = mapped_column(ForeignKey(Customer.id))
        customer: Mapped[Any] = relationship(Customer)
        __mapper_args__: ClassVar = {"polymorphic_on": "kind", "polymorphic_identity": "order"}

    class Special(Order):
        __tablename__ = "specials"
        id: Mapped[int] = mapped_column(ForeignKey(Order.id, ondelete="CASCADE"), primary_key=True)
        extra: Mapped[str | None]
        __mapper_args__: ClassVar = {"polymorphic_identity": "special"}

    class Rate(Base):
        __tablename__ = "rates"
        id: Mapped[int] = mapped_column(primary_key=True)

    class Note(Base):
        __tablename__ = "notes"
        id: Mapped[int] = mapped_column(primary_key=True)
        order_id: Mapped[int] = mapped_column(ForeignKey(Order.id))

    return Base, {"Order": Order, "Customer": Customer, "Special": Special, "Rate": Rate}


@contextmanager
def opened(server: PostgresServer) -> Iterator[Shop]:
    """A shop whose policies are made."""
    with isolated() as patch:
        base, made = models()
        world = World(server, base.metadata)
        try:
            protect(made["Customer"], "customers")
            protect(made["Order"], "orders")
            protect(made["Rate"], "rates", "allow")
            world.secure(*GRANTS)
            row_security.listen()
            patch.setattr(row_security, "current", lambda: world.who)
            yield Shop(world, made)
        finally:
            world.close()


def sql(session: Any, statement: str, **parameters: object) -> Any:
    """A text in a session."""
    return session.execute(text(statement), parameters, execution_options=PAST)


@pytest.fixture(scope="module")
def open_shop(postgres_server: PostgresServer) -> Iterator[Shop]:
    with opened(postgres_server) as shop:
        yield shop


@pytest.fixture
def shop(open_shop: Shop) -> Iterator[Shop]:
    open_shop.refill()
    yield open_shop
