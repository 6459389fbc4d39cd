"""Who may see the pages, and about which environment they are."""

from __future__ import annotations

from typing import Any

from flask import abort, redirect, request, url_for
from werkzeug.exceptions import HTTPException

from ...context import app_state, choose_environment, current_environment, has_named_environment, logged_in_user
from ...domain.permissions import Action
from ...errors import BadRequest
from ...permissions.access import Access

FORGED = "this form is too old, or not from here; load the page again"


def admit() -> Any:
    """Let nobody in but users of the host, and no change that another site makes a browser send.

    Without a ``user_loader`` there are no pages: 404.

    :raises BadRequest: for a change without a good token.
    """
    if request.endpoint == "archie_keys.static":
        return None
    state = app_state()
    if not state.has_user_loader():
        abort(404)
    wanted = request.values.get("environment")
    if wanted is not None:
        if wanted not in state.configs:
            abort(404)
        choose_environment(wanted)
    if logged_in_user() is None:
        return _log_in()
    if request.method not in ("GET", "HEAD", "OPTIONS"):
        _require_token()
    return None


def user() -> Access:
    """The user and what they may do."""
    found = logged_in_user()
    if found is None:  # admit() has seen to it
        abort(401)
    return found


def may(resource: str, action: Action) -> bool:
    """Whether the user has a grant; what one may not do is not offered."""
    return user().may(resource, action) is not None


def environments() -> list[str]:
    """The environments that the user can look at: all, or the one that the host's loader has named."""
    if has_named_environment():
        return [current_environment().config.environment]
    return list(app_state().configs)


def _log_in() -> Any:
    endpoint = current_environment().config.login_endpoint
    if endpoint is None:
        abort(401)
    wanted = request.full_path.rstrip("?") if request.method in ("GET", "HEAD") else None
    return redirect(url_for(endpoint, next=wanted))


def _require_token() -> None:
    from flask_wtf.csrf import validate_csrf

    try:
        validate_csrf(request.form.get("csrf_token") or request.headers.get("X-CSRFToken"))
    except (ValueError, HTTPException):
        raise BadRequest(FORGED) from None
