"""The pages for administrators: overview, orders, projects and settings."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

import werkzeug.exceptions
from flask import (
    Blueprint,
    Flask,
    Response,
    abort,
    current_app,
    flash,
    g,
    redirect,
    render_template,
    request,
    session,
    url_for,
)
from flask.typing import ResponseReturnValue
from flask_wtf import FlaskForm
from sqlalchemy import func, select
from sqlalchemy.orm import joinedload
from wtforms import PasswordField
from wtforms.validators import EqualTo, InputRequired, Length

from example_app.auth import current_administrator, log_in, require_login
from example_app.errors import show
from example_app.extensions import db, keys
from example_app.inputs import Query, order_filter
from example_app.models import STATUSES, Order, Project
from example_app.orders import OrderFilter, change_order, find_order, newest_first, totals
from flask_archie_keys import Forbidden, Principal

PER_PAGE = 25

#: The pages of the Settings area, in the order of its menu: endpoint and label.
SETTINGS_MENU = [("pages.settings", "General"), ("pages.account", "Account")]

#: The console of flask_archie_keys picks its environment itself.
CONSOLE = "archie_keys"

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'self'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "object-src 'none'",
    )
)

pages = Blueprint("pages", __name__)
pages.before_request(require_login)


class PasswordForm(FlaskForm):  # type: ignore[misc]
    """A new password, confirmed by the present one."""

    present = PasswordField("Present password", [InputRequired(), Length(max=256)])
    new = PasswordField("New password", [InputRequired(), Length(min=12, max=256)])
    again = PasswordField("New password again", [EqualTo("new", "The two are not the same.")])


def init_app(app: Flask) -> None:
    """Add the pages, what their templates use and the headers that keep browsers strict."""
    app.register_blueprint(pages)
    app.context_processor(_template_names)
    app.add_template_filter(money)
    app.add_template_filter(moment)
    app.after_request(_strict)


def current_environment() -> str:
    """The environment whose data the administrator looks at."""
    default: str = current_app.config["ARCHIE_KEYS_ENVIRONMENT"]
    chosen: str = session.get("environment", default)
    return chosen if chosen in _environments() else default


@keys.user_loader
def acting_administrator() -> Principal | None:
    """Who acts on the pages: an administrator, who has all roles and so can give all of them to keys.

    The rows are those of the environment that is shown. In the console that is what its switch says.
    """
    administrator = current_administrator()
    if administrator is None:
        return None
    here = "" if request.blueprint == CONSOLE else current_environment()
    roles = keys.for_environment(here).roles if here else keys.roles
    return Principal.user(
        administrator.id,
        name=administrator.username,
        roles=[role.name for role in roles.find()],
        environment=here,
    )


@pages.errorhandler(Forbidden)
def refused(_error: Forbidden) -> ResponseReturnValue:
    """A change that the administrator's role does not grant, told on a page; the API tells it in JSON."""
    return show(werkzeug.exceptions.Forbidden("You may not do that."))


@pages.get("/")
def dashboard() -> str:
    """The overview: what is going on, and the latest orders."""
    environment = current_environment()
    recent = newest_first(OrderFilter().select(environment)).limit(8)
    found = {row.status: row for row in totals(environment)}
    return render_template(
        "dashboard.html",
        counts={status: found[status].orders if status in found else 0 for status in STATUSES},
        projects=_count_projects(environment),
        open_amount=sum((found[status].amount for status in ("open", "held") if status in found), Decimal()),
        recent=db.session.scalars(recent).all(),
    )


@pages.get("/orders")
def orders() -> str:
    """The list of orders."""
    query = Query(request.args)
    which = order_filter(query)
    page = query.number("page", 1, highest=100_000)
    query.finish()
    found = db.paginate(
        newest_first(which.select(current_environment())),
        page=page,
        per_page=PER_PAGE,
        error_out=False,
    )
    return render_template("orders.html", found=found, which=which)


@pages.get("/orders/<number>")
def order(number: str) -> str:
    """One order, with the steps it can take next."""
    return render_template("order.html", order=_order_or_404(number))


@pages.post("/orders/<number>")
def move_order(number: str) -> ResponseReturnValue:
    """Move an order to its next status."""
    status = request.form.get("status")
    if status not in STATUSES:
        abort(400, "There is no such status.")
    moved = _order_or_404(number)
    change_order(moved, status=status)
    flash(f"{moved.number} is now {moved.status}.")
    return redirect(url_for("pages.order", number=moved.number))


@pages.get("/projects")
def projects() -> str:
    """The list of projects with what was ordered for them."""
    placed = (
        select(Order.project_id, func.count().label("orders"), func.sum(Order.amount).label("total"))
        .group_by(Order.project_id)
        .subquery()
    )
    query = (
        select(Project, placed.c.orders, placed.c.total)
        .join(placed, placed.c.project_id == Project.id, isouter=True)
        .where(Project.environment == current_environment())
        .options(joinedload(Project.customer))
        .order_by(Project.archived_at.is_not(None), Project.name, Project.id)
    )
    return render_template("projects.html", rows=db.session.execute(query).all())


@pages.get("/settings")
def settings() -> str:
    """The first page of the Settings area."""
    return render_template("settings.html")


@pages.route("/settings/account", methods=["GET", "POST"])
def account() -> ResponseReturnValue:
    """The administrator's own password."""
    form = PasswordForm()
    administrator = current_administrator()
    assert administrator is not None
    if form.validate_on_submit():
        if administrator.has_password(form.present.data):
            administrator.set_password(form.new.data)
            db.session.commit()
            log_in(administrator)
            flash("The password is changed. All other sessions are logged out.")
            return redirect(url_for("pages.account"))
        form.present.errors = ["That is not your present password."]
    page = render_template("account.html", form=form, administrator=administrator)
    return page, 422 if form.is_submitted() else 200


@pages.post("/environment")
def choose_environment() -> ResponseReturnValue:
    """Look at the data of another environment."""
    chosen = request.form.get("environment", "")
    if chosen not in _environments():
        abort(400, "There is no such environment.")
    session["environment"] = chosen
    return redirect(url_for("pages.dashboard"))


def money(amount: Decimal | None) -> str:
    """An amount for people: ``1,234.50``."""
    return f"{amount or Decimal():,.2f}"


def moment(time: datetime) -> str:
    """A time for people, in UTC."""
    return time.strftime("%d %b %Y, %H:%M")


def _environments() -> list[str]:
    return list(current_app.config["ARCHIE_KEYS_ENVIRONMENTS"])


def _count_projects(environment: str) -> int:
    query = select(func.count(Project.id)).where(Project.environment == environment, Project.archived_at.is_(None))
    return db.session.scalar(query) or 0


def _order_or_404(number: str) -> Order:
    found = find_order(current_environment(), number)
    if found is None:
        abort(404, "There is no such order.")
    return found


def _template_names() -> dict[str, Any]:
    return {
        "allows": keys.allows,
        "current_administrator": current_administrator,
        "current_environment": current_environment,
        "environments": _environments,
        "settings_menu": SETTINGS_MENU,
        "statuses": STATUSES,
    }


def _strict(response: Response) -> Response:
    response.headers.setdefault("Content-Security-Policy", CONTENT_SECURITY_POLICY)
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    response.headers.setdefault("Referrer-Policy", "same-origin")
    if "administrator" in g:
        response.headers.setdefault("Cache-Control", "no-store")
    return response
