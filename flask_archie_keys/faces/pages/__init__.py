"""The console: pages under ``ARCHIE_KEYS_URL_PREFIX`` on which people look after keys, roles and the audit log."""

from __future__ import annotations

from flask import Blueprint, Flask, Response, current_app, request

from ...config import Config
from ...context import note_denied
from ...errors import RowNotFound, ServiceError, Unavailable
from . import access, audit, keys, rendering, roles, rotation

NAME = "archie_keys"
CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
        "form-action 'self'",
    )
)
_PARTS = (keys, rotation, roles, audit)


def register(app: Flask, config: Config) -> None:
    """Put the pages into an application."""
    blueprint = Blueprint(
        NAME, __name__, template_folder="templates", static_folder="static", static_url_path="/archie-keys"
    )
    vars(blueprint)["enable_openapi"] = False  # APIFlask asks it of every blueprint with a hook, and fails without it
    blueprint.before_request(access.admit)
    blueprint.after_request(_strict)
    blueprint.context_processor(rendering.names)
    blueprint.register_error_handler(ServiceError, _refused)
    for part in _PARTS:
        part.add_to(blueprint)
    app.register_blueprint(blueprint, url_prefix=config.url_prefix)


def _strict(response: Response) -> Response:
    """What keeps browsers strict: nothing but our own files, no frames, no copies."""
    headers = response.headers
    headers.setdefault("Content-Security-Policy", CONTENT_SECURITY_POLICY)
    headers.setdefault("X-Content-Type-Options", "nosniff")
    headers.setdefault("X-Frame-Options", "DENY")
    headers.setdefault("Referrer-Policy", "same-origin")
    if request.endpoint != f"{NAME}.static":
        headers["Cache-Control"] = "no-store"
    return response


def _refused(error: ServiceError) -> tuple[str, int, dict[str, str]]:
    """A refusal as a page."""
    note_denied(error)
    if isinstance(error, Unavailable):
        current_app.logger.error("%s answered: %s: %s", error.status, error, error.cause)
    hidden = rendering.translate("There is nothing here, or nothing that you may see.")
    detail = hidden if isinstance(error, RowNotFound) else rendering.translate(error.detail)
    headers = {"Retry-After": str(error.retry_after)} if isinstance(error, Unavailable) else {}
    return rendering.page("error.html", title=rendering.translate(error.title), detail=detail), error.status, headers
