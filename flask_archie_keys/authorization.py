"""Guarding views: :func:`require_api_key` for one, :func:`guard` for a whole blueprint; and the end of a request, which
completes its audit event.
"""

from __future__ import annotations

import functools
import inspect
import time
import weakref
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar, cast, overload

from flask import Flask, Request, Response, current_app, request
from flask.views import MethodView

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
from .domain.permissions import Denied, Requirement, is_role_name
from .errors import BadRequest, ConfigurationError, Forbidden, ServiceError, StoreUnavailable, Unauthorized

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

P = ParamSpec("P")
R = TypeVar("R")
Match = Literal["any", "all"]
_REQUIREMENT = "__archie_keys__"


# Bare: `@require_api_key`
@overload
def require_api_key(view: Callable[P, R], /) -> Callable[P, R]: ...


# With arguments: `@require_api_key(roles=["viewer"])`
@overload
def require_api_key(
    *, roles: Collection[str] | None = None, match: Match = "any", optional: bool = False
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...


def require_api_key(
    view: Callable[..., Any] | None = None,
    /,
    *,
    roles: Collection[str] | None = None,
    match: Match = "any",
    optional: bool = False,
) -> Any:
    """Let only requests with a good API key into a view.

    Stands below ``@app.route``; works on functions, coroutines, generators, ``functools.partial`` and in
    ``MethodView.decorators``. Above ``@app.route`` it would protect nothing: the application then refuses to serve.

    :param roles: names of roles that the key must have; any good key when left out.
    :param match: ``"any"`` of the roles, or ``"all"``.
    :param optional: let a request without one of our keys pass, with ``current_api_key`` unset. A bad key of ours is
        refused all the same.
    :raises TypeError: when decorating, if ``roles`` is a string or not of strings, or on a class.
    :raises ValueError: when decorating, if ``roles`` is empty, a name is not snake_case or ``match`` is unknown.
    """
    requirement = _requirement(roles, match, optional)
    if view is None:
        return functools.partial(_protect, requirement)
    return _protect(requirement, view)


def _requirement(roles: Collection[str] | None, match: str, optional: bool) -> Requirement:
    if match not in ("any", "all"):
        raise ValueError(f"match must be 'any' or 'all', not {match!r}")
    if roles is None:
        return Requirement(None, "any", optional)
    if isinstance(roles, (str, bytes)) or not all(isinstance(role, str) for role in roles):
        raise TypeError(f"roles must be a list of role names, not {roles!r}")
    if not roles:
        raise ValueError("roles must not be empty; leave it out to let any good key in")
    for role in roles:
        if not is_role_name(role):
            raise ValueError(f"{role!r} is not a role name: snake_case, at most 63 characters")
    return Requirement(tuple(roles), cast(Match, match), optional)


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
    setattr(guarded, _REQUIREMENT, requirement)
    _remember(view, guarded)
    return guarded


def guard(
    *, roles: Collection[str] | None = None, match: Match = "any", optional: bool = False
) -> Callable[[], Response | None]:
    """The same check as a function for ``before_request`` of a blueprint or an application.

    Flask's automatic answers to OPTIONS pass: they run no view, and a browser's preflight carries no credentials.
    """
    requirement = _requirement(roles, match, optional)

    def check() -> Response | None:
        automatic = getattr(request.url_rule, "provide_automatic_options", False)
        return None if automatic and request.method == "OPTIONS" else enforce(requirement)

    setattr(check, _REQUIREMENT, requirement)
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
        decision = requirement.check(checked.principal)
        if isinstance(decision, Denied):
            checked.outcome, checked.reason = "denied", decision.reason
            raise _forbidden(decision, checked.principal.id)
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
    try:
        principal = environment.authenticator.authenticate(
            environ.get("HTTP_AUTHORIZATION"), environ.get("REMOTE_ADDR"), optional=requirement.optional
        )
        if principal is None:
            return None
        decision = requirement.check(principal)
        if isinstance(decision, Denied):
            raise _forbidden(decision, principal.id)
    except (BadRequest, Unauthorized, Forbidden, StoreUnavailable) as error:
        return _turn_away(req, state, environment, error, started)
    event_id = ""
    if environment.config.audit.enabled:
        event_id = environment.audit.received(started, request_facts(req), principal.id)
    checked = RequestState(environment, principal, started, event_id)
    set_request_state(req, checked)
    if event_id:
        environ.get(state.key, []).append(checked)  # there is no list where the application is not called by WSGI
    return None


def _turn_away(
    req: Request,
    state: AppState,
    environment: Environment,
    error: BadRequest | Unauthorized | Forbidden | StoreUnavailable,
    started: int,
) -> Response:
    if environment.config.audit.enabled:
        environment.audit.refused(
            Refused(
                request_facts(req),
                error.key_id if isinstance(error, (Unauthorized, Forbidden)) else None,
                "denied" if isinstance(error, Forbidden) else "refused",
                error.reason,
                error.status,
                started,
            )
        )
    return state.respond(error, environment.config)


def _forbidden(decision: Denied, key_id: str) -> Forbidden:
    return Forbidden(
        "the API key lacks a role that this needs", reason=decision.reason, scope=decision.scope, key_id=key_id
    )


# -- the end of a request


def install(app: Flask, state: AppState) -> None:
    """Check the order of decorators before the first request, and note how each checked request ends.

    Around ``app.wsgi_app``, which sees the status that the client gets whatever hooks and error handlers do, and sees
    each request once.
    """
    app.before_request_funcs.setdefault(None, []).insert(0, _check_order)
    _applications.add(app)
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
    checked.environment.audit.completed(
        checked.event_id, code, checked.started, outcome=checked.outcome, reason=checked.reason, streamed=streamed
    )


# -- what the application's views ask for

_wrapped: weakref.WeakKeyDictionary[Any, weakref.WeakSet[Any]] = weakref.WeakKeyDictionary()
_applications: weakref.WeakSet[Flask] = weakref.WeakSet()


def _remember(view: Callable[..., Any], guarded: Callable[..., Any]) -> None:
    """Keep, without keeping alive, which functions a guard was put around; see :func:`misplaced`."""
    for inner in _chain(view):
        try:
            _wrapped.setdefault(inner, weakref.WeakSet()).add(guarded)
        except TypeError:  # not hashable, or it cannot be referred to weakly
            continue


def _chain(view: Any) -> Iterator[Any]:
    """A function and those that it wraps, outermost first."""
    seen = set()
    while view is not None and id(view) not in seen:
        seen.add(id(view))
        yield view
        view = getattr(view, "__wrapped__", None) or (view.func if isinstance(view, functools.partial) else None)


def misplaced(app: Flask) -> list[str]:
    """The endpoints whose decorator stands above ``@app.route``: registered is the bare view, not the guarded one.

    That another endpoint has the guarded one makes no difference. That another application has it does: one function
    may be open in one application and guarded in another.
    """
    here = _registered(app)
    elsewhere = {part for other in list(_applications) if other is not app for part in _registered(other)} - here
    return sorted(
        endpoint
        for endpoint, view in app.view_functions.items()
        if not any(hasattr(part, _REQUIREMENT) for part in _chain(view))
        and any(id(guarded) not in elsewhere for guarded in _guards_of(view))
    )


def _registered(app: Flask) -> set[int]:
    return {id(part) for view in app.view_functions.values() for part in _chain(view)}


def _guards_of(view: Any) -> list[Any]:
    """The guards that were put around a function; one that is gone by now was registered nowhere."""
    try:
        return list(_wrapped[view]) or [None] if view in _wrapped else []
    except TypeError:
        return []


def _check_order() -> None:
    """Before the first request: refuse to serve an application with a view that only looks guarded."""
    app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
    wrong = misplaced(app)
    if wrong:
        raise ConfigurationError(
            f"@require_api_key stands above @app.route on {', '.join(wrong)}, so these views are not protected; "
            "put it below, next to the function"
        )
    # a new list: Flask is walking the old one
    app.before_request_funcs[None] = [hook for hook in app.before_request_funcs[None] if hook is not _check_order]


def requirements(app: Flask) -> dict[str, list[Requirement]]:
    """What each endpoint asks for: by its decorators, by those of its class's methods and by its blueprint's guards."""
    found: dict[str, list[Requirement]] = {}
    for endpoint, view in app.view_functions.items():
        methods = [part for method in _methods_of(view).values() for part in _chain(method)]
        parts = [*_chain(view), *methods, *_guards_before(app, endpoint)]
        found[endpoint] = [getattr(part, _REQUIREMENT) for part in parts if hasattr(part, _REQUIREMENT)]
    return found


def unguarded_methods(app: Flask, endpoint: str) -> list[str]:
    """The HTTP methods of a view that no guard stands before: ``["any"]`` for a function, none if all are guarded."""
    view = app.view_functions[endpoint]
    if any(hasattr(part, _REQUIREMENT) for part in [*_chain(view), *_guards_before(app, endpoint)]):
        return []
    methods = _methods_of(view) or {"any": None}
    return [name for name, method in methods.items() if not any(hasattr(p, _REQUIREMENT) for p in _chain(method))]


def _methods_of(view: Any) -> dict[str, Any]:
    """The functions of a class's view by HTTP method; empty for other views."""
    for part in _chain(view):
        class_ = getattr(part, "view_class", None)
        if class_ is not None and issubclass(class_, MethodView):
            return {name: getattr(class_, name.lower(), None) for name in class_.methods or ()}
    return {}


def _guards_before(app: Flask, endpoint: str) -> Iterator[Any]:
    names: list[str | None] = [None]
    while "." in endpoint:
        endpoint = endpoint.rpartition(".")[0]
        names.append(endpoint)
    for name in names:
        for function in app.before_request_funcs.get(name, ()):
            yield from _chain(function)


def roles_of_views(app: Flask) -> set[str]:
    """The roles that the application's views name."""
    return {role for asked in requirements(app).values() for requirement in asked for role in requirement.roles or ()}
