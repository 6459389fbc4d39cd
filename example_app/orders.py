"""What can be done with orders; pages and API call this, and nothing else changes an order.

No query here asks who is calling: of protected tables each caller gets the rows that its roles grant.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from sqlalchemy import Row, Select, func, select, update
from sqlalchemy.orm import joinedload
from sqlalchemy.orm.exc import StaleDataError
from werkzeug.exceptions import Conflict

from example_app.extensions import db, keys
from example_app.models import Order, OrderCounter, Project, utcnow

_EXPORT_CHUNK = 200
_NUMBER = re.compile(r"ORD-[0-9]{1,12}")


@dataclass(frozen=True)
class OrderFilter:
    """Which orders to show.

    :param statuses: any of these; all when empty.
    :param project_id: of this project only.
    :param archived: the archived ones instead of the current ones; ``None`` for both.
    """

    statuses: Sequence[str] = ()
    project_id: int | None = None
    archived: bool | None = False

    def select(self, environment: str) -> Select[Any]:
        """The query for these orders, without an order of its own."""
        query = select(Order).where(Order.environment == environment)
        if self.statuses:
            query = query.where(Order.status.in_(self.statuses))
        if self.project_id is not None:
            query = query.where(Order.project_id == self.project_id)
        if self.archived is not None:
            is_archived = Order.archived_at.is_not(None)
            query = query.where(is_archived if self.archived else ~is_archived)
        return query.options(joinedload(Order.customer), joinedload(Order.project))


def newest_first(query: Select[Any]) -> Select[Any]:
    """Sort orders by the time they were placed, the latest on top."""
    return query.order_by(Order.placed_at.desc(), Order.id.desc())


def totals(environment: str) -> Sequence[Row[tuple[str, int, Decimal]]]:
    """How many current orders there are of each status, and what they are worth; added up by the database."""
    orders = Order.__table__.c
    query = (
        select(orders.status, func.count().label("orders"), func.sum(orders.amount).label("amount"))
        .where(orders.environment == environment, orders.archived_at.is_(None))
        .group_by(orders.status)
    )
    return db.session.execute(keys.scope(query)).all()  # Core is not filtered by itself, but refused


def find_order(environment: str, number: str) -> Order | None:
    """The order with this number, if there is one."""
    if not _NUMBER.fullmatch(number):
        return None
    query = OrderFilter(archived=None).select(environment).where(Order.number == number)
    return db.session.scalars(query).one_or_none()


def find_project(environment: str, project_id: int) -> Project | None:
    """The project with this id, if there is one."""
    query = (
        select(Project)
        .where(Project.environment == environment, Project.id == project_id)
        .options(joinedload(Project.customer))
    )
    return db.session.scalars(query).one_or_none()


def all_orders(environment: str, which: OrderFilter) -> Iterator[Order]:
    """Go through all orders, oldest first, a few hundred at a time.

    No transaction stays open in between, so that a client that reads slowly holds up nobody.
    """
    query = which.select(environment).order_by(Order.id).limit(_EXPORT_CHUNK)
    last_id = 0
    while True:
        chunk = db.session.scalars(query.where(Order.id > last_id)).all()
        yield from chunk
        if len(chunk) < _EXPORT_CHUNK:
            return
        last_id = chunk[-1].id
        db.session.rollback()


def place_order(project: Project, *, amount: Decimal, note: str, placed_by: str) -> Order:
    """Add an order to a project and commit it.

    :raises Conflict: the project is archived.
    """
    if project.archived_at is not None:
        raise Conflict(f"The project {project.name} is archived and takes no orders.")
    order = Order(
        environment=project.environment,
        number=f"ORD-{_next_number(project.environment)}",
        customer=project.customer,
        project=project,
        region=project.customer.region,
        status="open",
        amount=amount,
        note=note,
        placed_by=placed_by,
    )
    db.session.add(order)
    db.session.commit()
    return order


def change_order(
    order: Order,
    *,
    status: str | None = None,
    amount: Decimal | None = None,
    note: str | None = None,
    archived: bool | None = None,
) -> None:
    """Change what is given and commit it.

    :raises Conflict: the order's status does not allow the change, or somebody else changed the
        order meanwhile.
    """
    if amount is not None and amount != order.amount:
        _require(order.status in ("open", "held"), order, "its amount can no longer be changed")
        order.amount = amount
    if status is not None and status != order.status:
        _require(status in order.next_statuses, order, f"it cannot become {status}")
        order.status = status
    if note is not None:
        order.note = note
    if archived is not None:
        _archive(order, archived)
    try:
        db.session.commit()
    except StaleDataError as error:
        db.session.rollback()
        raise Conflict("Somebody else changed this order at the same time. Try again.") from error


def _archive(order: Order, archived: bool) -> None:
    if archived and order.archived_at is None:
        _require(not order.next_statuses, order, "it cannot be archived yet")
        order.archived_at = utcnow()
    elif not archived:
        order.archived_at = None


def _require(allowed: bool, order: Order, consequence: str) -> None:
    if not allowed:
        refusal = Conflict(f"{order.number} is {order.status}: {consequence}.")
        db.session.rollback()
        raise refusal


def _next_number(environment: str) -> int:
    """Draw the next order number; one statement, so that two callers never get the same."""
    step = (
        update(OrderCounter)
        .where(OrderCounter.environment == environment)
        .values(last_number=OrderCounter.last_number + 1)
        .returning(OrderCounter.last_number)
        .execution_options(synchronize_session=False)
    )
    return db.session.scalars(step).one()
