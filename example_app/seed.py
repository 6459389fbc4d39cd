"""Sample data: the same companies, projects and orders at every run, with recent dates."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

from sqlalchemy import func, select

from example_app.extensions import db, keys
from example_app.models import Customer, Order, OrderCounter, Project, utcnow

FIRST_NUMBER = 10001

#: Two customers that keys are made for where a start or the demo shows keys that see different orders.
CUSTOMERS = ("Northwind Tools", "Blue Fir Outfitters")
_COMPANIES = (
    ("Northwind Tools", "eu"),
    ("Harbour Lane Ceramics", "eu"),
    ("Blue Fir Outfitters", "us"),
    ("Saltmarsh Bakery Supply", "eu"),
    ("Cedar & Slate Interiors", "us"),
    ("Kestrel Cycle Works", "eu"),
    ("Lantern Street Books", "us"),
    ("Pacific Rope Company", "apac"),
    ("Green Delta Irrigation", "apac"),
    ("Quarry Hill Stoneware", "eu"),
    ("Coral Bay Catering", "apac"),
    ("Ironbridge Fasteners", "us"),
)
_PROJECTS = (
    "Spring catalogue",
    "Warehouse refit",
    "New shop fittings",
    "Service contract",
    "Export packaging",
    "Trade fair stand",
    "Office move",
    "Winter stock",
)
_NOTES = (
    "",
    "",
    "",
    "Deliver to the rear entrance.",
    "Invoice at the end of the month.",
    "Part delivery accepted.",
    "Call before delivery.",
)


class Volume(NamedTuple):
    """How much sample data an environment gets."""

    customers: int
    projects: int
    orders: int


VOLUMES = {"master": Volume(12, 30, 240), "staging": Volume(4, 8, 60)}


def seed() -> int:
    """Fill an empty database.

    :returns: how many orders were added; 0 when there is data already, which is then left alone.
    """
    with keys.unrestricted("sample data for an empty database"):
        if db.session.scalar(select(func.count()).select_from(Customer)):
            return 0
        now = utcnow().replace(microsecond=0)
        for environment, volume in VOLUMES.items():
            _fill(environment, volume, now)
        db.session.commit()
    return sum(volume.orders for volume in VOLUMES.values())


def _fill(environment: str, volume: Volume, now: datetime) -> None:
    chance = random.Random(f"order desk {environment}")
    customers = [
        Customer(environment=environment, name=name, region=region) for name, region in _COMPANIES[: volume.customers]
    ]
    projects = [
        _project(environment, customers[i % len(customers)], i // len(customers), now, chance)
        for i in range(volume.projects)
    ]
    db.session.add_all([*customers, *projects])
    db.session.flush()
    ages = sorted((chance.uniform(0.02, 120) for _ in range(volume.orders)), reverse=True)
    orders = [
        _order(environment, FIRST_NUMBER + i, chance.choice(projects), age, now, chance) for i, age in enumerate(ages)
    ]
    counter = OrderCounter(environment=environment, last_number=FIRST_NUMBER + volume.orders - 1)
    db.session.add_all([*orders, counter])


def _project(environment: str, customer: Customer, turn: int, now: datetime, chance: random.Random) -> Project:
    started_at = now - timedelta(days=chance.uniform(125, 400))
    old = turn == 2 and chance.random() < 0.4
    return Project(
        environment=environment,
        customer=customer,
        name=_PROJECTS[(len(customer.name) + 3 * turn) % len(_PROJECTS)],
        started_at=started_at,
        archived_at=now - timedelta(days=chance.uniform(1, 30)) if old else None,
    )


def _order(
    environment: str,
    number: int,
    project: Project,
    age: float,
    now: datetime,
    chance: random.Random,
) -> Order:
    placed_at = now - timedelta(seconds=round(age * 86400))
    status = _status(age, chance)
    return Order(
        environment=environment,
        number=f"ORD-{number}",
        customer_id=project.customer_id,
        project_id=project.id,
        region=project.customer.region,
        status=status,
        amount=Decimal(chance.randint(1_500, 850_000)) / 100,
        note=chance.choice(_NOTES),
        placed_by="import",
        placed_at=placed_at,
        changed_at=placed_at,
        archived_at=placed_at + timedelta(days=60) if _is_old(status, age) else None,
    )


def _status(age: float, chance: random.Random) -> str:
    """Recent orders are mostly open, old ones mostly delivered."""
    if age < 10:
        return chance.choices(("open", "held", "shipped"), (70, 15, 15))[0]
    if age < 30:
        return chance.choices(("open", "held", "shipped", "cancelled"), (25, 10, 55, 10))[0]
    return chance.choices(("held", "delivered", "cancelled"), (3, 88, 9))[0]


def _is_old(status: str, age: float) -> bool:
    return age > 75 and status in ("delivered", "cancelled")
