"""Who may call the management API: a good key, or the host's logged-in user with a token against forgery."""

from __future__ import annotations

from flask import Blueprint, Flask, Response, request

from ...authorization import enforce
from ...context import logged_in_user
from ...domain.permissions import Requirement
from ...errors import BadRequest

_ANY_KEY = Requirement()
_SAFE = frozenset(("GET", "HEAD", "OPTIONS"))
BOTH = "this request has an API key and a user's session; send one of them"
UNPROVEN = "this request is a logged-in user's and changes something: it needs the header X-CSRFToken"


def admit() -> Response | None:
    """Let nobody in but a good key or a logged-in user: ``None``, or the response that turns the request away.

    :raises BadRequest: for both at once, and for a user's change without a good token.
    """
    has_key = "Authorization" in request.headers
    if has_key and not request.cookies:
        return enforce(_ANY_KEY)
    user = logged_in_user()
    if user is None:
        return enforce(_ANY_KEY)
    if has_key:
        raise BadRequest(BOTH)
    if request.method not in _SAFE:
        _require_token()
    return None


def _require_token() -> None:
    """A browser sends a user's cookie along with whatever request another site makes it send."""
    try:
        from flask_wtf.csrf import validate_csrf
    except ImportError:
        raise BadRequest(f"{UNPROVEN}, which takes Flask-WTF on the server") from None
    try:
        validate_csrf(request.headers.get("X-CSRFToken") or request.headers.get("X-CSRF-Token"))
    except ValueError as error:  # wtforms.ValidationError
        raise BadRequest(f"{UNPROVEN}: {error}") from None


def exempt(app: Flask, blueprint: Blueprint) -> None:
    """Keep a ``CSRFProtect`` of the host away from a blueprint, whichever of the two was registered first.

    It would refuse requests with a key, which no browser sends by itself; those of users are checked by :func:`admit`.
    """

    def before() -> None:
        protect = app.extensions.get("csrf")
        if protect is not None:
            protect.exempt(blueprint)
        # once; and in a new list: Flask is walking the old one
        app.before_request_funcs[None] = [hook for hook in app.before_request_funcs[None] if hook is not before]

    app.before_request_funcs.setdefault(None, []).insert(0, before)
