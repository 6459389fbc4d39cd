"""What the application's views ask for, found by looking at what is registered; and whether they are guarded at all."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Iterator
from typing import Any

from flask import Flask, current_app
from flask.views import MethodView

from .domain.permissions import Requirement
from .errors import ConfigurationError

#: The attribute of a guarded function that holds its :class:`.Requirement`.
REQUIREMENT = "__archie_keys__"
_wrapped: weakref.WeakKeyDictionary[Any, weakref.WeakSet[Any]] = weakref.WeakKeyDictionary()
_KNOWN = "archie_keys_requirements"
applications: weakref.WeakSet[Flask] = weakref.WeakSet()


def remember(view: Callable[..., Any], guarded: Callable[..., Any]) -> None:
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
    elsewhere = {part for other in list(applications) if other is not app for part in _registered(other)} - here
    return sorted(
        endpoint
        for endpoint, view in app.view_functions.items()
        if not any(hasattr(part, REQUIREMENT) for part in _chain(view))
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


def check_order() -> None:
    """Before the first request: refuse to serve an application with a view that only looks guarded."""
    app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
    wrong = misplaced(app)
    if wrong:
        raise ConfigurationError(
            f"@require_api_key stands above @app.route on {', '.join(wrong)}, so these views are not protected; "
            "put it below, next to the function"
        )
    # a new list: Flask is walking the old one
    app.before_request_funcs[None] = [hook for hook in app.before_request_funcs[None] if hook is not check_order]


def requirements(app: Flask) -> dict[str, list[Requirement]]:
    """What each endpoint asks for: by its decorators, by those of its class's methods and by its blueprint's guards."""
    guards = tuple((name, tuple(functions)) for name, functions in app.before_request_funcs.items())
    registered = (tuple(app.view_functions.items()), guards)
    known: tuple[object, dict[str, list[Requirement]]] | None = app.extensions.get(_KNOWN)
    if known is None or known[0] != registered:
        known = app.extensions[_KNOWN] = (registered, _look(app))  # views refer to their application: it must go along
    return known[1]


def _look(app: Flask) -> dict[str, list[Requirement]]:
    found: dict[str, list[Requirement]] = {}
    for endpoint, view in app.view_functions.items():
        methods = [part for method in _methods_of(view).values() for part in _chain(method)]
        parts = [*_chain(view), *methods, *_guards_before(app, endpoint)]
        found[endpoint] = [getattr(part, REQUIREMENT) for part in parts if hasattr(part, REQUIREMENT)]
    return found


#: What a view asks for, and the HTTP method that it is asked with, if that is known.
Asked = tuple[Requirement, str | None]


def requirements_of(app: Flask, view: Any, method: str | None) -> list[Asked]:
    """What is asked for before one view is reached, outermost first.

    :param view: an endpoint, a view or a method of one, or its class. One that is registered under several endpoints
        has what they have in common.
    :param method: for a class's view, with what is asked for by its method of that name.
    :raises LookupError: for an endpoint that there is not.
    """
    method = None if method is None else method.upper()
    if isinstance(view, str):
        if view not in app.view_functions:
            raise LookupError(f"there is no endpoint {view!r}")
        return _asked_at(app, view, method)
    found = [_asked_at(app, *place) for place in _places(app, view, method)]
    if found:
        return [asked for asked in found[0] if all(asked in other for other in found)]
    if isinstance(view, type):
        view = view.as_view(view.__name__)  # type: ignore[attr-defined]
    return _asked([*_chain(view), *_chain(_methods_of(view).get(method or ""))], method)


def _places(app: Flask, view: Any, method: str | None) -> Iterator[tuple[str, str | None]]:
    """Where a view, a class's method or a class is registered: the endpoints, with the HTTP method."""
    for endpoint, registered in app.view_functions.items():
        if any(part is view or getattr(part, "view_class", None) is view for part in _chain(registered)):
            yield endpoint, method
        for name, function in _methods_of(registered).items():
            if any(part is view for part in _chain(function)):
                yield endpoint, name


def _asked_at(app: Flask, endpoint: str, method: str | None) -> list[Asked]:
    view = app.view_functions[endpoint]
    method = method or _only_method(app, endpoint)
    parts = [*_guards_before(app, endpoint), *_chain(view), *_chain(_methods_of(view).get(method or ""))]
    return _asked(parts, method)


def _only_method(app: Flask, endpoint: str) -> str | None:
    """The method of an endpoint that has but one, besides those that Flask adds."""
    methods = {method for rule in app.url_map.iter_rules(endpoint) for method in rule.methods or ()}
    methods -= {"HEAD", "OPTIONS"}
    return methods.pop() if len(methods) == 1 else None


def _asked(parts: list[Any], method: str | None) -> list[Asked]:
    return [(getattr(part, REQUIREMENT), method) for part in parts if hasattr(part, REQUIREMENT)]


def unguarded_methods(app: Flask, endpoint: str) -> list[str]:
    """The HTTP methods of a view that no guard stands before: ``["any"]`` for a function, none if all are guarded."""
    view = app.view_functions[endpoint]
    if any(hasattr(part, REQUIREMENT) for part in [*_chain(view), *_guards_before(app, endpoint)]):
        return []
    methods = _methods_of(view) or {"any": None}
    return [name for name, method in methods.items() if not any(hasattr(p, REQUIREMENT) for p in _chain(method))]


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


def resources_of_views(app: Flask) -> set[str]:
    """The resources that the application's views name."""
    return {asked.resource for found in requirements(app).values() for asked in found if asked.resource is not None}
