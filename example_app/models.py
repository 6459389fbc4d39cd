"""The tables: customers, projects, orders and the people who administer them.

Every row of business data belongs to one environment (``master``, ``staging``), which every query
names. Customers, projects and orders are protected: whoever acts gets the rows that its roles grant.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    BigInteger,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy.orm import Mapped, mapped_column, relationship
from werkzeug.security import check_password_hash, generate_password_hash

from example_app.extensions import Base, db, keys

if TYPE_CHECKING:
    Model = Base
else:
    Model = db.Model

REGIONS = ("eu", "us", "apac")

#: The statuses that an order can have, each with those that may follow it.
TRANSITIONS: dict[str, tuple[str, ...]] = {
    "open": ("held", "shipped", "cancelled"),
    "held": ("open", "cancelled"),
    "shipped": ("delivered",),
    "delivered": (),
    "cancelled": (),
}
STATUSES = tuple(TRANSITIONS)


def utcnow() -> datetime:
    """The current time, aware, in UTC."""
    return datetime.now(UTC)


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC time on every database, stored without a zone, for SQLite has none."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value.astimezone(UTC).replace(tzinfo=None) if value is not None else None

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        return value.replace(tzinfo=UTC) if value is not None else None


class Money(TypeDecorator[Decimal]):
    """An exact amount with two decimals, stored as a whole number of cents."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> int | None:
        return int(Decimal(value) * 100) if value is not None else None

    def process_result_value(self, value: Any, dialect: Dialect) -> Decimal | None:
        return (Decimal(value) / 100).quantize(Decimal("0.01")) if value is not None else None


@keys.protect(resource="customers")
class Customer(Model):
    """A company that buys from us."""

    __tablename__ = "customers"
    __table_args__ = (UniqueConstraint("environment", "name"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    environment: Mapped[str] = mapped_column(String(64))
    name: Mapped[str] = mapped_column(String(200))
    region: Mapped[str] = mapped_column(String(16))

    projects: Mapped[list[Project]] = relationship(back_populates="customer")


@keys.protect(resource="projects")
class Project(Model):
    """A piece of work for one customer, under which orders are placed."""

    __tablename__ = "projects"
    __table_args__ = (UniqueConstraint("environment", "customer_id", "name"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    environment: Mapped[str] = mapped_column(String(64))
    customer_id: Mapped[int] = mapped_column(ForeignKey("customers.id"), index=True)
    name: Mapped[str] = mapped_column(String(200))
    started_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utcnow)
    archived_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    customer: Mapped[Customer] = relationship(back_populates="projects")
    orders: Mapped[list[Order]] = relationship(back_populates="project")


@keys.protect(resource="orders")
class Order(Model):
    """One order; its region is the customer's at the time it was placed."""

    __tablename__ = "orders"
    __table_args__ = (
        UniqueConstraint("environment", "number"),
        Index("ix_orders_environment_placed_at", "environment", "placed_at", "id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    environment: Mapped[str] = mapped_column(String(64))
    number: Mapped[str] = mapped_column(String(32))
    customer_id: Mapped[int] = mapped_column(ForeignKey("customers.id"), index=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id"), index=True)
    region: Mapped[str] = mapped_column(String(16))
    status: Mapped[str] = mapped_column(String(16), default="open")
    amount: Mapped[Decimal] = mapped_column(Money)
    note: Mapped[str] = mapped_column(Text, default="")
    placed_by: Mapped[str] = mapped_column(String(64))
    placed_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utcnow)
    changed_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utcnow, onupdate=utcnow)
    archived_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    version: Mapped[int] = mapped_column()

    customer: Mapped[Customer] = relationship()
    project: Mapped[Project] = relationship(back_populates="orders")

    __mapper_args__ = {"version_id_col": version}  # noqa: RUF012

    @property
    def next_statuses(self) -> tuple[str, ...]:
        """The statuses that this order may be moved to."""
        return TRANSITIONS[self.status]


class OrderCounter(Model):
    """The last order number that was given out in an environment."""

    __tablename__ = "order_counters"

    environment: Mapped[str] = mapped_column(String(64), primary_key=True)
    last_number: Mapped[int] = mapped_column()


class Administrator(Model):
    """Somebody who may log in to the pages."""

    __tablename__ = "administrators"

    id: Mapped[int] = mapped_column(primary_key=True)
    username: Mapped[str] = mapped_column(String(64), unique=True)
    password_hash: Mapped[str] = mapped_column(String(256))
    password_version: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utcnow)

    def set_password(self, password: str) -> None:
        """Replace the password, which ends every session that was opened with the old one."""
        self.password_hash = generate_password_hash(password)
        self.password_version = (self.password_version or 0) + 1

    def has_password(self, password: str) -> bool:
        """Whether this is the administrator's password."""
        return check_password_hash(self.password_hash, password)
