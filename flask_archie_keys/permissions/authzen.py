"""A remote decision point, asked over the OpenID AuthZEN Authorization API 1.0.

One evaluation (section 6) for each decision, over its HTTPS binding (section 10.1). What comes back is believed only
if it is exactly what was agreed; anything else is no answer, and no answer is 503.
"""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import SplitResult, urlsplit

from .._version import __version__
from ..audit.event import Request, bounded
from ..domain.filters import parse
from ..domain.ids import new_event_id
from ..domain.keytext import redact
from ..domain.permissions import Action, Allowed, Denied, scope_of
from ..domain.principals import Principal
from ..errors import ConfigurationError, PermissionsUnavailable

if TYPE_CHECKING:
    from .wire import Answer, Endpoint

ENDPOINT: Final = "/access/v1/evaluation"
TIMEOUT_MIN: Final = timedelta(milliseconds=10)
TIMEOUT_MAX: Final = timedelta(minutes=1)
BODY_MAX: Final = 64 * 1024
FILTERS_MAX: Final = 20
WHY_MAX: Final = 256
#: The type of a subject, by the kind of a principal.
SUBJECTS: Final[Mapping[str, str]] = {"key": "api_key", "user": "user"}
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # b64token, RFC 6750 section 2.1
_LIKE_FILTER = re.compile(r"(row)?[-_]?filters?", re.IGNORECASE)
_WHY = ("reason_admin", "reason", "reason_user")


class AuthZenPermissions:
    """Asks a policy decision point. See :doc:`/decision_point`.

    Decisions are not kept: each call is one question. One object serves all threads, and the processes that are forked
    from it.

    :param url: where the decision point is, without ``/access/v1/evaluation``.
    :param timeout: for a question as a whole, from the look-up of the address to the last byte of the answer; 10
        milliseconds to one minute.
    :param token: sent as ``Authorization: Bearer …``.
    :param ssl_context: for an authority of your own or a client certificate. The default trusts what OpenSSL does,
        ``SSL_CERT_FILE`` included.
    :raises ConfigurationError: if one of these is wrong, or httpcore is not installed.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: timedelta = timedelta(seconds=2),
        token: str | None = None,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        parts = _parts(url)
        if not isinstance(timeout, timedelta) or not TIMEOUT_MIN <= timeout <= TIMEOUT_MAX:
            raise ConfigurationError(
                f"AuthZenPermissions: timeout must be a timedelta from 10 milliseconds to one minute, not {timeout!r}"
            )
        if token is not None and (not isinstance(token, str) or _TOKEN.fullmatch(token) is None):  # never shown
            raise ConfigurationError("AuthZenPermissions: token must be a bearer token (RFC 6750 section 2.1) or None")
        self._token = token
        self._headers = _headers(parts, token)
        self._endpoint = _endpoint(parts, timeout, ssl_context)

    def decide(
        self, principal: Principal, resource: str, action: Action, request: Request | None = None
    ) -> Allowed | Denied:
        """Ask, and believe only a whole and right answer; see
        :meth:`.PermissionsService.decide`.

        The system and whatever else is neither a key nor a user is denied unasked.

        :raises PermissionsUnavailable: if there is no such answer in time. Its cause is for the log.
        """
        scope = scope_of(resource, action)
        subject = _subject(principal)
        if subject is None:
            return Denied("missing_grant", scope=scope, why="the decision point is asked about keys and users only")
        question = {
            "subject": subject,
            "action": {"name": action},
            "resource": {"type": resource, "id": "*"},  # the id is required; a grant is on the table
            "context": _context(principal, request),
        }
        try:
            document = self._ask(question)
            why = self._why(document)
            if document["decision"]:
                return Allowed(_filters(document), why)
        except (OSError, ValueError) as error:
            raise PermissionsUnavailable("the permissions service cannot be used") from NoAnswer(self._without(error))
        return Denied("missing_grant", scope=scope, why=why)

    def close(self) -> None:
        """Close the connections that are kept. A later question opens one again."""
        self._endpoint.close()

    def _ask(self, question: Mapping[str, object]) -> dict[str, Any]:
        body = json.dumps(question, separators=(",", ":"), allow_nan=False).encode()
        number = new_event_id().encode()
        answer = self._endpoint.post([*self._headers, (b"X-Request-ID", number)], body)
        return _document(answer, number)

    def _why(self, document: Mapping[str, Any]) -> str | None:
        return _line(self._without(text) for text in _reasons(document["context"]))

    def _without(self, text: object) -> str:
        """The text, should the other side have put our token in it."""
        return redact(str(text) if self._token is None else str(text).replace(self._token, "…"))


class NoAnswer(Exception):
    """Why there is no decision, as the cause of :class:`~flask_archie_keys.PermissionsUnavailable`. Without secrets."""


# -- the set-up


def _parts(url: str) -> SplitResult:
    """The URL, of which nothing is shown: a password or a token in it is what may be wrong with it."""
    try:
        if not isinstance(url, str) or not url.isascii() or not url.isprintable() or " " in url:
            raise ValueError
        parts = urlsplit(url)
        (parts.hostname or "").encode("idna")
        has_port = parts.port != 0
    except ValueError:
        raise ConfigurationError('AuthZenPermissions: url must be one such as "https://pdp.example"') from None
    if parts.scheme not in ("https", "http"):
        raise ConfigurationError("AuthZenPermissions: url must begin with https:// or http://")
    if "@" in parts.netloc:
        raise ConfigurationError("AuthZenPermissions: url must not hold credentials; give token= instead")
    if "?" in url or "#" in url:
        raise ConfigurationError("AuthZenPermissions: url must have neither a query nor a fragment")
    if parts.path.rstrip("/").endswith(ENDPOINT):
        raise ConfigurationError(f"AuthZenPermissions: url must be given without {ENDPOINT}, which is added to it")
    if not parts.hostname or not has_port:
        raise ConfigurationError("AuthZenPermissions: url must name a host, and a port from 1 to 65535 if any")
    return parts


def _headers(parts: SplitResult, token: str | None) -> list[tuple[bytes, bytes]]:
    headers = {
        "Host": parts.netloc,
        "Content-Type": "application/json",
        "Accept": "application/json",
        "Accept-Encoding": "identity",
        "User-Agent": f"flask-archie-keys/{__version__}",
    }
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    return [(name.encode(), value.encode()) for name, value in headers.items()]


def _endpoint(parts: SplitResult, timeout: timedelta, ssl_context: ssl.SSLContext | None) -> Endpoint:
    try:
        import httpcore
    except ModuleNotFoundError as error:
        if error.name != "httpcore":
            raise
        raise ConfigurationError(
            "AuthZenPermissions needs httpcore: pip install 'flask-archie-keys[authzen]'"
        ) from error
    from .wire import Endpoint

    url = httpcore.URL(
        scheme=parts.scheme.encode(),
        host=(parts.hostname or "").encode(),
        port=parts.port,
        target=(parts.path.rstrip("/") + ENDPOINT).encode(),
    )
    return Endpoint(url, timeout=timeout.total_seconds(), longest=BODY_MAX, ssl_context=ssl_context)


# -- the question


def _subject(principal: Principal) -> dict[str, object] | None:
    if principal.kind not in SUBJECTS:
        return None
    properties = {"roles": principal.roles, "context": dict(principal.context), "owner": principal.owner}
    return {"type": SUBJECTS[principal.kind], "id": principal.id, "properties": properties}


def _context(principal: Principal, request: Request | None) -> dict[str, object]:
    context: dict[str, object] = {"project": principal.project, "environment": principal.environment}
    if request is not None:
        facts = bounded(request)  # a path may have a key in it
        names = {
            "method": facts.method,
            "route": facts.route,
            "path": facts.path,
            "remoteAddress": facts.remote_address,
            "requestId": facts.request_id,
        }
        context["request"] = {name: fact for name, fact in names.items() if fact is not None}
    return context


# -- the answer


def _document(answer: Answer, number: bytes) -> dict[str, Any]:
    """The document of an answer, with ``decision`` and ``context`` in it.

    :raises ValueError: if it is not the right answer to this question.
    """
    if answer.status != 200:
        raise ValueError(f"the answer has status {answer.status}")
    types = [value.partition(b";")[0].strip().lower() for value in answer.values(b"content-type")]
    if types != [b"application/json"]:
        raise ValueError("the answer is not application/json")
    if any(value != number for value in answer.values(b"x-request-id")):
        raise ValueError("the answer is to another question: its X-Request-ID is not the one that was sent")
    document = _loaded(answer.body)
    if not isinstance(document, dict):
        raise ValueError("the answer is not an object")
    if type(document.get("decision")) is not bool:
        raise ValueError("decision is neither true nor false")
    if not isinstance(document.setdefault("context", {}), dict):
        raise ValueError("context is not an object")
    return document


def _loaded(body: bytes) -> object:
    """JSON in which every reader finds the same."""
    try:
        return json.loads(body.decode(), object_pairs_hook=_once, parse_constant=_no_number)
    except RecursionError:
        raise ValueError("the answer is nested too deeply") from None


def _once(members: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(members)
    if len(found) != len(members):
        raise ValueError("a member of the answer stands twice")
    return found


def _no_number(name: str) -> object:
    raise ValueError(f"{name} is no JSON")


def _filters(document: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The row filters of an answer; ``None`` only where it says nothing about rows.

    :raises ValueError: if it says something else than one filter or some.
    """
    context = document["context"]
    for name in (*document, *(name for name in context if name != "filter")):
        if _LIKE_FILTER.fullmatch(name):
            raise ValueError(f"the row filter must be context.filter, not {name}")
    if "filter" not in context:
        return None
    filters = [context["filter"]] if isinstance(context["filter"], str) else context["filter"]
    if not isinstance(filters, list) or not filters or not all(isinstance(text, str) for text in filters):
        raise ValueError("context.filter is neither a filter nor a list of some")
    if len(filters) > FILTERS_MAX:
        raise ValueError(f"context.filter has more than {FILTERS_MAX} filters")
    for text in filters:
        parse(text)
    return tuple(dict.fromkeys(filters))


def _reasons(context: Mapping[str, Any]) -> list[str]:
    """The first reason that is given: a text, or texts by language or status. It is advice, so its form may be any."""
    for name in _WHY:
        reason = context.get(name)
        texts = [reason] if isinstance(reason, str) else list(reason.values()) if isinstance(reason, dict) else []
        if texts and all(isinstance(text, str) for text in texts):
            return texts
    return []


def _line(texts: Iterable[str]) -> str | None:
    """One line of printable characters, for the audit log."""
    text = "; ".join(texts)
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:WHY_MAX] or None
