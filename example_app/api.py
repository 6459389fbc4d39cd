"""The JSON API: projects and orders, for programs that hold an API key.

Each view asks for a grant; the action is that of the HTTP method. Which rows a key sees, the filters of its roles
say: see :mod:`example_app.roles`. An order that it may not see is answered like one that is not there.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from flask import (
    Blueprint,
    Flask,
    Response,
    jsonify,
    request,
    stream_with_context,
    url_for,
)
from flask.typing import ResponseReturnValue
from sqlalchemy import select
from sqlalchemy.orm import joinedload
from werkzeug.exceptions import NotFound

from example_app.errors import InvalidInput, Problem
from example_app.extensions import csrf, db, keys
from example_app.inputs import Query, json_fields, order_filter, page_number, whole_number
from example_app.models import Customer, Order, Project
from example_app.orders import (
    all_orders,
    change_order,
    find_order,
    find_project,
    newest_first,
    place_order,
    totals,
)
from flask_archie_keys import current_api_key, require_api_key

api = Blueprint("api", __name__, url_prefix="/api")
exports = Blueprint("exports", __name__, url_prefix="/api")
exports.before_request(keys.guard(resource="orders"))


def init_app(app: Flask) -> None:
    """Serve the API.

    It needs no CSRF protection: browsers never send its credentials on their own.
    """
    for blueprint in (api, exports):
        csrf.exempt(blueprint)
        app.register_blueprint(blueprint)


@api.get("/projects")
@require_api_key(resource="projects")
def list_projects() -> ResponseReturnValue:
    """The projects, page by page."""
    query = Query(request.args)
    page, per_page = page_number(query)
    query.finish()
    projects = (
        select(Project)
        .where(Project.environment == current_api_key.environment)
        .options(joinedload(Project.customer))
        .order_by(Project.id)
    )
    found = db.paginate(projects, page=page, per_page=per_page, error_out=False)
    return jsonify(projects=[project_as_dict(p) for p in found], pagination=_pagination(found))


@api.get("/projects/<project_id>")
@require_api_key(resource="projects")
def get_project(project_id: str) -> ResponseReturnValue:
    """One project."""
    number = whole_number(project_id)
    project = find_project(current_api_key.environment, number) if number else None
    if project is None:
        raise NotFound("There is no such project.")
    return jsonify(project=project_as_dict(project))


@api.get("/orders")
@require_api_key(resource="orders")
def list_orders() -> ResponseReturnValue:
    """The orders, newest first, page by page; archived ones only when asked for."""
    query = Query(request.args)
    which = order_filter(query)
    page, per_page = page_number(query)
    query.finish()
    orders = newest_first(which.select(current_api_key.environment))
    found = db.paginate(orders, page=page, per_page=per_page, error_out=False)
    return jsonify(orders=[order_as_dict(o) for o in found], pagination=_pagination(found))


@api.get("/orders/<number>")
@require_api_key(resource="orders")
def get_order(number: str) -> ResponseReturnValue:
    """One order."""
    return jsonify(order=order_as_dict(_order_or_404(number)))


@api.post("/orders")
@require_api_key(resource="orders")
def create_order() -> ResponseReturnValue:
    """Place an order for a project."""
    fields = json_fields(request, required=["project", "amount"], optional=["note"])
    project = find_project(current_api_key.environment, fields["project"])
    if project is None or project.customer is None:  # a key may see a project and not whose it is
        raise InvalidInput([Problem("project", "must be the id of a project")])
    order = place_order(
        project,
        amount=fields["amount"],
        note=fields.get("note", ""),
        placed_by=f"key {current_api_key.id}",
    )
    location = {"Location": url_for("api.get_order", number=order.number)}
    return jsonify(order=order_as_dict(order)), 201, location


@api.patch("/orders/<number>")
@require_api_key(resource="orders")
def update_order(number: str) -> ResponseReturnValue:
    """Change the status, amount or note of an order, or archive it."""
    order = _order_or_404(number)
    fields = json_fields(request, optional=["status", "amount", "note", "archived"])
    change_order(order, **fields)
    return jsonify(order=order_as_dict(order))


@api.get("/orders/totals")
@require_api_key(resource="orders")
def total_orders() -> ResponseReturnValue:
    """How many current orders there are of each status, and what they are worth."""
    Query(request.args).finish()
    found = totals(current_api_key.environment)
    return jsonify(totals={row.status: {"orders": row.orders, "amount": str(row.amount)} for row in found})


@exports.get("/orders.csv")
def export_orders() -> Response:
    """All orders as CSV, oldest first, sent while they are read."""
    query = Query(request.args)
    which = order_filter(query)
    query.finish()
    environment = current_api_key.environment
    rows = (_csv_row(order) for order in all_orders(environment, which))
    response = Response(stream_with_context(_csv_lines(rows)), mimetype="text/csv")
    response.headers.set("Content-Disposition", "attachment", filename=f"orders-{environment}.csv")
    return response


def project_as_dict(project: Project) -> dict[str, Any]:
    """A project as the API shows it."""
    return {
        "id": project.id,
        "name": project.name,
        "customer": _customer(project),
        "started_at": _timestamp(project.started_at),
        "archived_at": _timestamp(project.archived_at),
    }


def order_as_dict(order: Order) -> dict[str, Any]:
    """An order as the API shows it; the amount is text, so that no program rounds it."""
    return {
        "number": order.number,
        "status": order.status,
        "amount": str(order.amount),
        "region": order.region,
        "customer": _customer(order),
        "project": _project(order),
        "note": order.note,
        "placed_by": order.placed_by,
        "placed_at": _timestamp(order.placed_at),
        "changed_at": _timestamp(order.changed_at),
        "archived_at": _timestamp(order.archived_at),
    }


def _customer(owner: Project | Order) -> dict[str, Any] | None:
    """Whose it is; nothing where the key may not see that customer."""
    customer: Customer | None = owner.customer
    return {"id": customer.id, "name": customer.name, "region": customer.region} if customer else None


def _project(order: Order) -> dict[str, Any] | None:
    project: Project | None = order.project
    return {"id": project.id, "name": project.name} if project else None


def _timestamp(time: datetime | None) -> str | None:
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z") if time else None


def _pagination(found: Any) -> dict[str, int]:
    return {
        "page": found.page,
        "per_page": found.per_page,
        "pages": found.pages,
        "total": found.total,
    }


def _order_or_404(number: str) -> Order:
    order = find_order(current_api_key.environment, number)
    if order is None:
        raise NotFound("There is no such order.")
    return order


_CSV_HEADER = ("number", "status", "customer", "region", "project", "amount", "placed_at", "note")


def _csv_row(order: Order) -> tuple[str, ...]:
    return (
        order.number,
        order.status,
        order.customer.name if order.customer else "",
        order.region,
        order.project.name if order.project else "",
        str(order.amount),
        _timestamp(order.placed_at) or "",
        order.note,
    )


def _csv_lines(rows: Iterable[Iterable[str]]) -> Iterator[str]:
    yield _csv_line(_CSV_HEADER)
    for row in rows:
        yield _csv_line(_harmless(cell) for cell in row)


def _csv_line(cells: Iterable[str]) -> str:
    line = io.StringIO()
    csv.writer(line).writerow(cells)
    return line.getvalue()


def _harmless(cell: str) -> str:
    """Keep spreadsheets from running text as a formula (CWE-1236)."""
    return f"'{cell}" if cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell
