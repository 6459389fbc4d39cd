"""When a request is sent again, and what comes of it: all of that but the sending."""

from __future__ import annotations

import random
from collections.abc import Generator
from typing import TypeVar

import httpx

from ..domain.keytext import redact
from ..errors import ArchieKeysError, NotFound, Replayed
from .answers import error_of, retry_after
from .calls import Call
from .errors import BadAnswer, NoAnswer

T = TypeVar("T")
Outcome = httpx.Response | httpx.RequestError
#: The longest wait before a request is sent again, in seconds; a server that asks for more is not asked again.
WAIT_MAX = 30.0
_BACKOFF = 0.2
_BUSY = (429, 503)
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)
_NOT_HTTP = (httpx.DecodingError, httpx.ProtocolError)


def attempts(call: Call[T], retries: int) -> Generator[float, Outcome, httpx.Response]:
    """Yields the seconds to wait before the request is sent, takes what came of it, returns the good answer at last.

    What raises is the generator, outside of any handler: errors of httpx hold the request, and that holds the key.

    :param retries: how often it may be sent again.
    """
    lost, wait = False, 0.0
    for sent in range(retries + 1):
        outcome = yield wait
        again = call.repeatable and sent < retries
        if isinstance(outcome, httpx.RequestError):
            lost = lost or not isinstance(outcome, _NOT_SENT)
            if not again:
                raise no_answer(call, outcome, lost=lost)
            wait = _BACKOFF * 2**sent * random.uniform(0.5, 1.0)
            continue
        if outcome.is_success:
            return outcome
        wait = _asked_to_wait(outcome)
        if not again or not 0 <= wait <= WAIT_MAX:
            if lost and _is_gone(call, outcome):
                return httpx.Response(204, request=outcome.request)
            raise _refusal(call, outcome, lost)
    raise AssertionError("the last attempt ends the loop")  # pragma: no cover


def _asked_to_wait(response: httpx.Response) -> float:
    """The seconds after which a server says that it can be asked again; negative if it does not."""
    if response.status_code not in _BUSY or "Retry-After" not in response.headers:
        return -1
    return retry_after(response)


def _is_gone(call: Call[T], response: httpx.Response) -> bool:
    """Whether the lost answer must have been that it is gone now."""
    return call.gone_is_done and isinstance(error_of(response, call.missing), NotFound)


def _refusal(call: Call[T], response: httpx.Response, lost: bool) -> ArchieKeysError:
    error = error_of(response, call.missing)
    if lost and isinstance(error, Replayed):
        return Replayed(
            f"the key {error.key_id} was made, and the answer with its secret was lost: rotate it, or delete it",
            key_id=error.key_id,
        )
    return error


def no_answer(call: Call[T], error: httpx.RequestError, *, lost: bool) -> NoAnswer | BadAnswer:
    """The error of ours for one of httpx, which is not to be seen: it holds the request, and that the key.

    :param lost: the request may have been received.
    """
    what = f"{call.method} {call.path}: {type(error).__name__}" + (f": {error}" if str(error) else "")
    if isinstance(error, _NOT_HTTP) and not isinstance(error, httpx.RemoteProtocolError):
        return BadAnswer(what, status=None)
    return NoAnswer(redact(what), maybe_done=lost, idempotency_key=call.idempotency_key)
