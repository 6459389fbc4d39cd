"""Guarding views: :func:`require_api_key` for one, :func:`guard` for a whole blueprint; and the end of a request, which
completes its audit event.
"""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar, cast, overload

from flask import Flask, Request, Response, current_app, request

from .audit.flood import Refused
from .context import (
    AppState,
    Environment,
    RequestState,
    app_state,
    get_request_state,
    request_facts,
    set_request_state,
)
from .domain.permissions import Action, Denied, Requirement, as_action, is_resource_name, is_role_name
from .errors import BadRequest, Forbidden, ServiceError, Unauthorized, Unavailable
from .guarded_views import REQUIREMENT, applications, check_order, remember
from .permissions.access import forbidden

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

P = ParamSpec("P")
R = TypeVar("R")
Match = Literal["any", "all"]


# Bare: `@require_api_key`
@overload
def require_api_key(view: Callable[P, R], /) -> Callable[P, R]: ...


# With arguments: `@require_api_key(roles=["viewer"])`, `@require_api_key(resource="orders", action="read")`
@overload
def require_api_key(
    *,
    roles: Collection[str] | None = None,
    match: Match = "any",
    optional: bool = False,
    resource: str | None = None,
    action: Action | None = None,
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...


def require_api_key(
    view: Callable[..., Any] | None = None,
    /,
    *,
    roles: Collection[str] | None = None,
    match: Match = "any",
    optional: bool = False,
    resource: str | None = None,
    action: Action | None = None,
) -> Any:
    """Let only requests with a good API key into a view.

    Stands below ``@app.route``; works on functions, coroutines, generators, ``functools.partial`` and in
    ``MethodView.decorators``. Above ``@app.route`` it would protect nothing: the application then refuses to serve.

    :param roles: names of roles that the key must have; any good key when left out.
    :param match: ``"any"`` of the roles, or ``"all"``.
    :param optional: let a request without one of our keys pass, with ``current_api_key`` unset. A bad key of ours is
        refused all the same.
    :param resource: a resource that one of the key's roles must grant the action on, besides the ``roles`` asked for.
    :param action: ``"read"``, ``"write"``, ``"update"`` or ``"delete"``; when left out, what the HTTP method does: GET
        and HEAD read, POST writes, PUT and PATCH update, DELETE deletes.
    :raises TypeError: when decorating, if ``roles`` is a string or not of strings, or on a class.
    :raises ValueError: when decorating, if ``roles`` is empty, a name is not snake_case, ``match`` or ``action`` is
        unknown, or there is an action without a resource.
    """
    requirement = _requirement(roles, match, optional, resource, action)
    if view is None:
        return functools.partial(_protect, requirement)
    return _protect(requirement, view)


def _requirement(
    roles: Collection[str] | None, match: str, optional: bool, resource: str | None, action: str | None
) -> Requirement:
    if match not in ("any", "all"):
        raise ValueError(f"match must be 'any' or 'all', not {match!r}")
    if resource is not None and (not isinstance(resource, str) or not is_resource_name(resource)):
        raise ValueError(f"{resource!r} is not a resource name: snake_case, at most 63 characters")
    if resource is None and action is not None:
        raise ValueError("an action needs a resource: resource='orders', action='read'")
    granted = (resource, None if action is None else as_action(action))
    if roles is None:
        return Requirement(None, "any", optional, *granted)
    if isinstance(roles, (str, bytes)) or not all(isinstance(role, str) for role in roles):
        raise TypeError(f"roles must be a list of role names, not {roles!r}")
    if not roles:
        raise ValueError("roles must not be empty; leave it out to let any good key in")
    for role in roles:
        if not is_role_name(role):
            raise ValueError(f"{role!r} is not a role name: snake_case, at most 63 characters")
    return Requirement(tuple(roles), cast(Match, match), optional, *granted)


def _protect(requirement: Requirement, view: Callable[..., Any]) -> Callable[..., Any]:
    if isinstance(view, type):
        raise TypeError(f"{view.__name__} is a class; put the decorator in its `decorators = [require_api_key]`")
    if not callable(view):
        raise TypeError(f"require_api_key takes a view, or keyword arguments; not {view!r}")

    is_async = inspect.iscoroutinefunction(view)

    @functools.wraps(view)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        refusal = enforce(requirement)
        if refusal is not None:
            return refusal
        return (current_app.ensure_sync(view) if is_async else view)(*args, **kwargs)

    if isinstance(view, functools.partial):
        guarded.__name__ = getattr(view.func, "__name__", "guarded")
    setattr(guarded, REQUIREMENT, requirement)
    remember(view, guarded)
    return guarded


def guard(
    *,
    roles: Collection[str] | None = None,
    match: Match = "any",
    optional: bool = False,
    resource: str | None = None,
    action: Action | None = None,
) -> Callable[[], Response | None]:
    """The same check as a function for ``before_request`` of a blueprint or an application.

    Flask's automatic answers to OPTIONS pass: they run no view, and a browser's preflight carries no credentials.
    """
    requirement = _requirement(roles, match, optional, resource, action)

    def check() -> Response | None:
        automatic = getattr(request.url_rule, "provide_automatic_options", False)
        return None if automatic and request.method == "OPTIONS" else enforce(requirement)

    setattr(check, REQUIREMENT, requirement)
    return check


# -- the check


def enforce(requirement: Requirement) -> Response | None:
    """Check the current request: ``None`` to go on, or the response that turns it away.

    The first check of a request authenticates it and writes its audit event, before the view runs; further ones (a
    blueprint's guard, then a view's decorator) check their requirement only.
    """
    req: Request = request._get_current_object()  # type: ignore[attr-defined]
    state = app_state()
    started = time.time_ns()
    checked = get_request_state(req)
    try:
        if checked is None:
            return _first_check(req, state, requirement, started)
        decision = checked.check(requirement, req)
        if isinstance(decision, Denied):
            checked.outcome, checked.reason = "denied", decision.reason
            raise forbidden(decision, checked.principal)
        return None
    except ServiceError as error:
        config = state.configs[state.default] if checked is None else checked.environment.config
        return state.respond(error, config)


def _first_check(req: Request, state: AppState, requirement: Requirement, started: int) -> Response | None:
    environ = req.environ
    try:
        environment = state.of_request(req)
    except BadRequest as error:
        return _turn_away(req, state, state.environment(state.default), error, started)
    checked = None
    try:
        principal = environment.authenticator.authenticate(
            environ.get("HTTP_AUTHORIZATION"), environ.get("REMOTE_ADDR"), optional=requirement.optional
        )
        if principal is None:
            return None
        checked = RequestState(environment, principal, started)
        decision = checked.check(requirement, req)
        if isinstance(decision, Denied):
            raise forbidden(decision, principal)
    except (BadRequest, Unauthorized, Forbidden, Unavailable) as error:
        return _turn_away(req, state, environment, error, started, checked)
    if environment.config.audit.enabled:
        details = None
        if checked.access is not None:
            details, checked.told = checked.decisions(), checked.access.decided
        checked.event_id = environment.audit.received(started, request_facts(req), principal.id, details=details)
        environ.get(state.key, []).append(checked)  # there is no list where the application is not called by WSGI
    set_request_state(req, checked)
    return None


def _turn_away(
    req: Request,
    state: AppState,
    environment: Environment,
    error: BadRequest | Unauthorized | Forbidden | Unavailable,
    started: int,
    checked: RequestState | None = None,
) -> Response:
    """Answer a request that is not let through, once its audit event is written.

    :param checked: what is known of the good key that it came with; ``None`` if there was none.
    """
    if environment.config.audit.enabled:
        key_id = error.key_id if isinstance(error, (Unauthorized, Forbidden)) else None
        environment.audit.refused(
            Refused(
                request_facts(req),
                key_id if checked is None else checked.principal.id,
                "denied" if isinstance(error, Forbidden) else "refused",
                "unavailable" if isinstance(error, Unavailable) else error.reason,
                error.status,
                started,
                None if checked is None else checked.decisions(),
            )
        )
    return state.respond(error, environment.config)


# -- the end of a request


def install(app: Flask, state: AppState) -> None:
    """Check the order of decorators before the first request, and note how each checked request ends.

    Around ``app.wsgi_app``, which sees the status that the client gets whatever hooks and error handlers do, and sees
    each request once.
    """
    app.before_request_funcs.setdefault(None, []).insert(0, check_order)
    applications.add(app)
    if any(config.audit.enabled for config in state.configs.values()):
        app.wsgi_app = _completing(app.wsgi_app, state.key)  # type: ignore[assignment, method-assign]


def _completing(wsgi_app: WSGIApplication, key: str) -> WSGIApplication:
    def completing(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        status: str | None = None
        headers: Collection[tuple[str, str]] = ()

        def start(status_: str, headers_: list[tuple[str, str]], *exc_info: Any) -> Any:
            nonlocal status, headers
            status, headers = status_, headers_
            return start_response(status_, headers_, *exc_info)

        let_through: list[RequestState] = []  # a list, as middleware inside may hand on a copy of the environment
        environ[key] = let_through
        try:
            iterable = wsgi_app(environ, start)
        except BaseException:  # goes on to the server, which answers 500
            for checked in let_through:
                _complete(checked, environ, "500", ())
            raise
        for checked in let_through:
            _complete(checked, environ, status, headers)
        return iterable

    completing.__wrapped__ = wsgi_app  # type: ignore[attr-defined]
    return completing


def _complete(
    checked: RequestState, environ: WSGIEnvironment, status: str | None, headers: Collection[tuple[str, str]]
) -> None:
    """Write how a request ended that was let through. The status of middleware that answers later is not known."""
    code = None if status is None else int(status[:3])
    streamed = bool(headers) and environ["REQUEST_METHOD"] != "HEAD" and code not in (204, 304)
    for name, _ in headers:
        if name == "Content-Length":  # as Werkzeug spells it
            streamed = False
            break
    details = None
    if checked.access is not None:
        if code == Forbidden.status and checked.outcome is None and checked.access.denied is not None:
            checked.outcome, checked.reason = (
                "denied",
                checked.access.denied.reason,
            )  # in the view, by the guard of rows
        if checked.access.decided > checked.told:
            details = checked.decisions()
    checked.environment.audit.completed(
        checked.event_id,
        code,
        checked.started,
        outcome=checked.outcome,
        reason=checked.reason,
        streamed=streamed,
        details=details,
    )
