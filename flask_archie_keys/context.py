"""What belongs to the current application and the current request. The only code that keeps state with them."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from flask import Flask, Request, Response, current_app, has_request_context, request
from werkzeug.local import LocalProxy

from .audit.event import Request as RequestFacts
from .audit.event import bounded
from .audit.log import AuditLog
from .authentication import Authenticator
from .config import Config
from .domain.principals import Acting, Principal
from .domain.records import Traffic
from .errors import BadRequest, ConfigurationError, ServiceError
from .services.keys import KeyService
from .store.database import Database
from .store.lookup import KeyLookup

EXTENSION = "archie_keys"
_STATE = "_archie_keys"
NO_CURRENT_KEY = "current_api_key is not set: this request was not authenticated by an API key"


@dataclass(frozen=True, slots=True)
class Environment:
    """One environment of an application: its settings, keys and audit log."""

    config: Config
    database: Database
    lookup: KeyLookup
    authenticator: Authenticator
    service: KeyService
    audit: AuditLog

    def traffic(self, key_id: str) -> Traffic:
        """Whether a key is still used; see :meth:`AuditLog.traffic`."""
        return self.audit.traffic(key_id)

    def close(self) -> None:
        """Stop the thread and close the connections that are ours."""
        self.audit.close()
        self.lookup.close()
        self.database.close()


@dataclass(slots=True, weakref_slot=True)
class AppState:
    """What the extension keeps for one application, in ``app.extensions["archie_keys"]``.

    :ivar build: makes an environment when it is first needed.
    :ivar respond: turns an error into a response; shared by all faces.
    :ivar key: the name in a request's WSGI environment of the list of what its end completes.
    """

    configs: dict[str, Config]
    build: Callable[[str], Environment]
    respond: Callable[[ServiceError, Config], Response]
    default: str = ""
    header: str | None = None
    environments: dict[str, Environment] = field(default_factory=dict)
    key: str = field(default_factory=lambda: f"flask_archie_keys.{secrets.token_hex(8)}")

    def environment(self, name: str) -> Environment:
        """The environment ``name``.

        :raises BadRequest: if it is not configured.
        """
        found = self.environments.get(name)
        if found is not None:
            return found
        if name not in self.configs:
            raise BadRequest("there is no such environment")
        return self.environments.setdefault(name, self.build(name))

    def of_request(self, request: Request) -> Environment:
        """The environment that a request asks for: by its header where there is a setting for that."""
        name = self.default if self.header is None else request.headers.get(self.header, self.default)
        return self.environments.get(name) or self.environment(name)


class RequestState:
    """What is known of a request that was checked."""

    __slots__ = ("environment", "event_id", "outcome", "principal", "reason", "started")

    def __init__(self, environment: Environment, principal: Principal, started: int, event_id: str) -> None:
        self.environment = environment
        self.principal = principal
        self.started = started
        self.event_id = event_id
        self.outcome: str | None = None
        self.reason: str | None = None


def app_state(app: Flask | None = None) -> AppState:
    """The extension's state in an application, the current one when left out.

    :raises ConfigurationError: if ``init_app`` was not called for it.
    """
    if app is None:  # once past the proxy: it costs as much as all the rest here
        app = current_app._get_current_object()  # type: ignore[attr-defined]
    try:
        return cast(AppState, app.extensions[EXTENSION])
    except KeyError:
        raise ConfigurationError("this application has no ArchieKeys; call ArchieKeys().init_app(app)") from None


def current_environment() -> Environment:
    """The environment of the current request, or the one that the process serves."""
    state = app_state()
    return state.of_request(request) if has_request_context() else state.environment(state.default)


def get_request_state(of: Request) -> RequestState | None:
    """The state of a request; ``None`` if it was not authenticated."""
    return cast("RequestState | None", of.__dict__.get(_STATE))


def set_request_state(of: Request, state: RequestState) -> None:
    """Keep the state with its request object, which is new for each request and lives as long as its stream.

    Contexts, and ``flask.g`` with them, may be shared by requests in tests; a WSGI environment by applications.
    """
    of.__dict__[_STATE] = state


def current_principal() -> Principal | None:
    """Who acts in the current request; ``None`` if nobody was authenticated."""
    if not has_request_context():
        return None
    state = get_request_state(cast("LocalProxy[Request]", request)._get_current_object())
    return None if state is None else state.principal


def acting() -> Acting:
    """Who makes a change, for its audit event: the current key, or the system on the command line and in scripts."""
    if not has_request_context():
        return Acting("system")
    principal = current_principal()
    facts = bounded(request_facts(request))
    actor = "system" if principal is None else principal.actor
    return Acting(actor, facts.remote_address, facts.user_agent, facts.request_id)


def request_facts(of: Request) -> RequestFacts:
    """What the audit log holds of a request: no query string, no headers but these, no body."""
    environ = of.environ
    rule = of.url_rule
    root = environ.get("SCRIPT_NAME")
    return RequestFacts(
        environ["REQUEST_METHOD"],
        None if rule is None else rule.rule,
        root + of.path if root else of.path,
        environ.get("REMOTE_ADDR"),
        environ.get("HTTP_USER_AGENT"),
        environ.get("HTTP_X_REQUEST_ID"),
    )


def _current_key() -> Principal:
    principal = current_principal()
    if principal is None:
        raise RuntimeError(NO_CURRENT_KEY)
    return principal


if TYPE_CHECKING:
    current_api_key: Principal
else:
    current_api_key = LocalProxy(_current_key, unbound_message=NO_CURRENT_KEY)
"""The key of the current request, read-only: ``id``, ``name``, ``roles``, ``context``, ``environment``, …

False, and a :exc:`RuntimeError` on any use, where the request was not authenticated by a key.
"""
