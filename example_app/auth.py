"""Logging in and out.

The session names the administrator and the version of the password that it was opened with.
"""

from __future__ import annotations

import re
from functools import cache

from flask import Blueprint, Flask, flash, g, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue
from flask_wtf import FlaskForm
from sqlalchemy import select
from werkzeug.security import check_password_hash, generate_password_hash
from wtforms import HiddenField, PasswordField, StringField
from wtforms.validators import InputRequired, Length

from example_app.extensions import db
from example_app.models import Administrator

_SESSION_KEY = "administrator"
_LOCAL_PATH = re.compile(r"/(?![/\\])[!-~]*")

auth = Blueprint("auth", __name__)


class LoginForm(FlaskForm):  # type: ignore[misc]
    """Name and password of an administrator."""

    username = StringField("User name", [InputRequired(), Length(max=64)])
    password = PasswordField("Password", [InputRequired(), Length(max=256)])
    next = HiddenField()


def init_app(app: Flask) -> None:
    """Add the login pages."""
    app.register_blueprint(auth)


def current_administrator() -> Administrator | None:
    """The administrator who is logged in, read fresh once for each request."""
    if "administrator" not in g:
        g.administrator = _from_session()
    found: Administrator | None = g.administrator
    return found


def require_login() -> ResponseReturnValue | None:
    """Send a visitor who is not logged in to the login page and back; for ``before_request``."""
    if current_administrator() is not None:
        return None
    wanted = request.full_path.rstrip("?") if request.method in ("GET", "HEAD") else None
    return redirect(url_for("auth.login", next=wanted))


def log_in(administrator: Administrator) -> None:
    """Open a session, throwing away all that an earlier one held."""
    session.clear()
    session.permanent = True
    session[_SESSION_KEY] = [administrator.id, administrator.password_version]
    g.administrator = administrator


@auth.route("/login", methods=["GET", "POST"])
def login() -> ResponseReturnValue:
    """The login page."""
    if request.method == "GET" and current_administrator() is not None:
        return redirect(url_for("pages.dashboard"))
    form = LoginForm(next=request.args.get("next", ""))
    if form.validate_on_submit():
        administrator = _check(form.username.data, form.password.data)
        if administrator is not None:
            log_in(administrator)
            return redirect(_local(form.next.data) or url_for("pages.dashboard"))
        form.password.errors = ["The user name or the password is wrong."]
    return render_template("login.html", form=form), 422 if form.is_submitted() else 200


@auth.post("/logout")
def logout() -> ResponseReturnValue:
    """End the session."""
    session.clear()
    flash("You are logged out.")
    return redirect(url_for("auth.login"))


def _from_session() -> Administrator | None:
    match session.get(_SESSION_KEY):
        case [int(number), int(version)]:
            administrator = db.session.get(Administrator, number)
            if administrator is not None and administrator.password_version == version:
                return administrator
    return None


def _check(username: str, password: str) -> Administrator | None:
    if "\x00" in username:
        return None
    query = select(Administrator).where(Administrator.username == username)
    administrator = db.session.scalars(query).one_or_none()
    if administrator is None:
        # so that the answer takes as long as for a name that exists
        check_password_hash(_nobodys_password(), password)
        return None
    return administrator if administrator.has_password(password) else None


@cache
def _nobodys_password() -> str:
    return generate_password_hash("nobody")


def _local(target: str | None) -> str | None:
    """The page to go to after the login, if it is a path on this site."""
    return target if target and _LOCAL_PATH.fullmatch(target) else None
