"""Creating administrators and their passwords."""

from __future__ import annotations

import secrets

from sqlalchemy import func, select

from example_app.extensions import db
from example_app.models import Administrator

FIRST_USERNAME = "admin"


def ensure_administrator() -> str | None:
    """Create the first administrator when there is none.

    :returns: the generated password, the only time that it can be read; ``None`` when there is
        somebody already.
    """
    if db.session.scalar(select(func.count()).select_from(Administrator)):
        return None
    return replace_password(FIRST_USERNAME)


def replace_password(username: str) -> str:
    """Give an administrator a generated password; one who is not there yet is created.

    :returns: the password.
    """
    query = select(Administrator).where(Administrator.username == username)
    administrator = db.session.scalars(query).one_or_none()
    if administrator is None:
        administrator = Administrator(username=username)
        db.session.add(administrator)
    password = secrets.token_urlsafe(12)
    administrator.set_password(password)
    db.session.commit()
    return password
