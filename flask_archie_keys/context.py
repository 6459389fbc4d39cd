"""What belongs to the current application and the current request. The only code that keeps state with them."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple, cast

from flask import Flask, Request, Response, current_app, has_request_context, request
from werkzeug.local import LocalProxy

from .audit.event import Request as RequestFacts
from .audit.event import bounded
from .audit.log import AuditLog
from .authentication import Authenticator
from .config import Config
from .domain.permissions import Allowed, Denied, Requirement
from .domain.principals import Acting, Principal
from .domain.records import Traffic
from .errors import BadRequest, ConfigurationError, Forbidden, NobodyActs, ServiceError
from .permissions.access import Access
from .permissions.authzen import AuthZenPermissions
from .permissions.service import PermissionsService
from .services.explain import Explainer
from .services.keys import KeyService
from .services.preview import Previews
from .services.profiles import Profile, Profiles
from .services.roles import RoleService
from .store.database import Database
from .store.lookup import KeyLookup
from .store.protection import Unrestricted

EXTENSION = "archie_keys"
_STATE = "_archie_keys"
_USER = "_archie_keys_user"
_CHOSEN = "_archie_keys_environment"
_NAMED = "_archie_keys_user_environment"
REASON_MAX = 200
NO_CURRENT_KEY = "current_api_key is not set: this request was not authenticated by an API key"


@dataclass(frozen=True, slots=True)
class Environment:
    """One environment of an application: its settings, keys, roles and audit log."""

    config: Config
    database: Database
    lookup: KeyLookup
    authenticator: Authenticator
    permissions: PermissionsService
    service: KeyService
    roles: RoleService
    explainer: Explainer
    audit: AuditLog
    profiles: Profiles
    previews: Previews
    owned_permissions: AuthZenPermissions | None = None

    def traffic(self, key_id: str) -> Traffic:
        """Whether a key is still used; see :meth:`AuditLog.traffic`."""
        return self.audit.traffic(key_id)

    def close(self) -> None:
        """Stop the thread and close the connections that are ours."""
        self.audit.close()
        self.lookup.close()
        if self.owned_permissions is not None:
            self.owned_permissions.close()
        self.database.close()


@dataclass(slots=True, weakref_slot=True)
class AppState:
    """What the extension keeps for one application, in ``app.extensions["archie_keys"]``.

    :ivar build: makes an environment when it is first needed.
    :ivar respond: turns an error into a response; shared by all faces.
    :ivar user_loader: gives the host's logged-in user.
    :ivar has_user_loader: whether the host has said who that is.
    :ivar key: the name in a request's WSGI environment of the list of what its end completes.
    """

    configs: dict[str, Config]
    build: Callable[[str], Environment]
    respond: Callable[[ServiceError, Config], Response]
    default: str = ""
    header: str | None = None
    environments: dict[str, Environment] = field(default_factory=dict)
    key: str = field(default_factory=lambda: f"flask_archie_keys.{secrets.token_hex(8)}")
    user_loader: Callable[[], Principal | None] | None = None
    has_user_loader: Callable[[], bool] = bool

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
        chosen = request.__dict__.get(_CHOSEN)
        if chosen is not None:
            return cast(Environment, chosen)
        name = self.default if self.header is None else request.headers.get(self.header, self.default)
        return self.environments.get(name) or self.environment(name)


class RequestState:
    """What is known of a request that was checked.

    :ivar access: what the principal may do; ``None`` until something asks for more than roles.
    :ivar told: how many of its permission decisions are in the first line of its audit event.
    """

    __slots__ = ("access", "environment", "event_id", "outcome", "principal", "reason", "started", "told")

    def __init__(self, environment: Environment, principal: Principal, started: int) -> None:
        self.environment = environment
        self.principal = principal
        self.started = started
        self.event_id = ""
        self.access: Access | None = None
        self.told = 0
        self.outcome: str | None = None
        self.reason: str | None = None

    def check(self, requirement: Requirement, of: Request) -> Allowed | Denied:
        """Whether a view that asks for this lets the principal in: by its roles, and by its grants."""
        decision = requirement.check(self.principal)
        if requirement.resource is None or isinstance(decision, Denied):
            return decision
        return self.access_for(of).grant(requirement, of.method)

    def access_for(self, of: Request) -> Access:
        """What the principal may do, made when it is first needed."""
        if self.access is None:
            self.access = Access(self.principal, self.environment.permissions, request_facts(of))
        return self.access

    def decisions(self) -> dict[str, object] | None:
        """The permission decisions so far, for the audit event; ``None`` where there are none."""
        made = [] if self.access is None else self.access.decisions()
        return {"permissions": made} if made else None


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


def choose_environment(name: str) -> None:
    """Let the current request be about another environment than its header says, as the pages do.

    :raises BadRequest: if it is not configured.
    """
    cast("LocalProxy[Request]", request)._get_current_object().__dict__[_CHOSEN] = app_state().environment(name)


def get_request_state(of: Request) -> RequestState | None:
    """The state of a request; ``None`` if it was not authenticated."""
    return cast("RequestState | None", of.__dict__.get(_STATE))


def set_request_state(of: Request, state: RequestState) -> None:
    """Keep the state with its request object, which is new for each request and lives as long as its stream.

    Contexts, and ``flask.g`` with them, may be shared by requests in tests; a WSGI environment by applications.
    """
    of.__dict__[_STATE] = state


class _Block(NamedTuple):
    """An ``act_as`` or ``unrestricted`` block, the request that it is in, and who acts there."""

    request: Request | None
    acts: Access | Unrestricted
    principal: Principal | None


_block: ContextVar[_Block | None] = ContextVar("archie_keys_block", default=None)


def note_denied(error: ServiceError) -> None:
    """Note for the audit log that what its view called denied the current request, if the error says so."""
    req = _request()
    checked = None if req is None else get_request_state(req)
    if isinstance(error, Forbidden) and checked is not None and checked.outcome is None:
        checked.outcome, checked.reason = "denied", error.reason


def _request() -> Request | None:
    return cast("LocalProxy[Request]", request)._get_current_object() if has_request_context() else None


def current_access() -> Access | Unrestricted | None:
    """Who acts now, with what permissions: the innermost block, else the request's key, else the host's user.

    A block counts for the request that it is in, or for the code outside of requests: a test client's request inside of
    one is a request like any other. ``None`` if nobody acts, as in a new thread.
    """
    req = _request()
    block = _current_block(req)
    if block is not None:
        return block.acts
    if req is None:
        return None
    state = get_request_state(req)
    return _user_access(req) if state is None else state.access_for(req)


def _current_block(req: Request | None) -> _Block | None:
    block = _block.get()
    return block if block is not None and block.request is req else None


def restricted_access() -> Access | None:
    """The permissions that bind who acts now; ``None`` for the system, and in an ``unrestricted`` block."""
    access = current_access()
    return access if isinstance(access, Access) else None


def _user_access(req: Request) -> Access | None:
    """The permissions of the host's logged-in user; ``None`` if there is none. Asked for until there is one."""
    state = app_state()
    if state.user_loader is None or req.__dict__.get(_USER) is _LOADING:
        return None
    found = req.__dict__.get(_USER)
    if found is not None:
        return cast(Access, found)
    req.__dict__[_USER] = _LOADING
    try:
        user = state.user_loader()
        if user is None:
            return None
        if not isinstance(user, Principal) or user.kind != "user":
            raise TypeError(f"the user loader must give Principal.user(…) or None, not {user!r}")
        req.__dict__[_NAMED] = bool(user.environment)
        environment = state.environment(user.environment) if user.environment else state.of_request(req)
        found = Access(_here(user, environment), environment.permissions, request_facts(req))
        return found
    finally:
        req.__dict__[_USER] = found


_LOADING = object()


def logged_in_user() -> Access | None:
    """The host's logged-in user and what it may do, whether the current request carries a key or not."""
    req = _request()
    return None if req is None else _user_access(req)


def _here(principal: Principal, environment: Environment) -> Principal:
    """A principal with the project and the environment that it does not name itself."""
    config = environment.config
    project, name = principal.project or config.project, principal.environment or config.environment
    return replace(principal, project=project, environment=name)


def current_principal() -> Principal | None:
    """Who acts: a key, a logged-in user of the host, or whom :meth:`~flask_archie_keys.ArchieKeys.act_as` names;
    ``None`` if nobody does.
    """
    req = _request()
    block = _current_block(req)
    if block is not None:
        return block.principal
    if req is None:
        return None
    state = get_request_state(req)
    if state is not None:
        return state.principal
    access = _user_access(req)
    return None if access is None else access.principal


def has_named_environment() -> bool:
    """Whether the host has said of the logged-in user which environment they act in, so that they cannot choose."""
    req = _request()
    return req is not None and req.__dict__.get(_NAMED, False)


def current_profile() -> Profile:
    """Who acts and what they may do, in the environment that they are of.

    :raises NobodyActs: if nobody does.
    """
    principal = current_principal()
    if principal is None:
        raise nobody("this")
    return app_state().environment(principal.environment).profiles.of(principal)


@contextmanager
def act_as(principal: Principal) -> Iterator[None]:
    """Let a principal act in a block of code; see :meth:`~flask_archie_keys.ArchieKeys.act_as`."""
    if not isinstance(principal, Principal) or principal.kind == "system":
        raise TypeError(f"act_as takes the principal of a key or a user, not {principal!r}")
    environment = app_state().environment(principal.environment) if principal.environment else current_environment()
    # the roles are read anew: the principal may have been kept for a while
    principal = replace(_here(principal, environment), policy_epoch=None)
    token = _block.set(_Block(_request(), Access(principal, environment.permissions), principal))
    try:
        yield
    finally:
        _block.reset(token)


@contextmanager
def unrestricted(
    reason: str, enter: Callable[[Access | Unrestricted | None], None], leave: Callable[[Unrestricted, bool], None]
) -> Iterator[None]:
    """Lift the row filters in a block of code; see :meth:`~flask_archie_keys.ArchieKeys.unrestricted`.

    :param enter: called before the block begins, with who acts until then.
    :param leave: called at the end of the block, with whether it failed.
    """
    if not isinstance(reason, str) or not reason.strip() or len(reason) > REASON_MAX:
        raise ValueError(f"unrestricted needs a reason of at most {REASON_MAX} characters")
    principal = current_principal()
    key_id = principal.id if principal is not None and principal.kind == "key" else None
    current_environment().audit.noted("unrestricted", acting(), {"reason": reason}, key_id=key_id)
    block = Unrestricted(reason)
    enter(current_access())
    token = _block.set(_Block(_request(), block, principal))
    try:
        try:
            yield
        except BaseException:
            leave(block, True)
            raise
        leave(block, False)
    finally:
        _block.reset(token)


def acting() -> Acting:
    """Who makes a change, for its audit event: a key, a user, or the system on the command line and in scripts."""
    principal = current_principal()
    actor = "system" if principal is None else principal.actor
    if not has_request_context():
        return Acting(actor)
    facts = bounded(request_facts(request))
    return Acting(actor, facts.remote_address, facts.user_agent, facts.request_id)


def nobody(what: str) -> NobodyActs:
    """The error where somebody must act and nobody does."""
    return NobodyActs(
        f"{what} needs somebody who acts: guard the view with @require_api_key, set a user_loader, or use "
        '`with keys.act_as(principal):` or `with keys.unrestricted("why"):`'
    )


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
    if principal is None or principal.kind != "key":
        raise RuntimeError(NO_CURRENT_KEY)
    return principal


if TYPE_CHECKING:
    current_api_key: Principal
else:
    current_api_key = LocalProxy(_current_key, unbound_message=NO_CURRENT_KEY)
"""The key of the current request, read-only: ``id``, ``name``, ``roles``, ``context``, ``environment``, …

False, and a :exc:`RuntimeError` on any use, where the request was not authenticated by a key.
"""
