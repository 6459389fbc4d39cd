"""What only a client meets: no answer, an answer that is none, and too many requests.

The other errors are those of the services, see :mod:`flask_archie_keys.errors`.
"""

from __future__ import annotations

from ..domain.keytext import redact
from ..errors import ArchieKeysError, Unavailable


class NoAnswer(Unavailable):
    """The management API did not answer: it cannot be reached, took too long, or broke off.

    :param maybe_done: the request may have reached it, so that what was asked for may be done.
    :param idempotency_key: what a request that makes a key was sent with; with it, the same can be asked again.
    """

    def __init__(self, detail: str, *, maybe_done: bool, idempotency_key: str | None = None) -> None:
        super().__init__(detail)
        self.maybe_done = maybe_done
        self.idempotency_key = idempotency_key


class RateLimited(Unavailable):
    """Too many requests; ``retry_after`` says in how many seconds there may be another."""

    status = 429
    type = "/errors/rate-limit-exceeded"
    title = "Too Many Requests"


class BadAnswer(ArchieKeysError):
    """What answered is no management API, or not one that this client understands. Nothing of its body is shown.

    :param status: the HTTP status of the answer; ``None`` if it was no HTTP.
    """

    def __init__(self, detail: str, *, status: int | None) -> None:
        super().__init__(redact(detail))
        self.status = status
