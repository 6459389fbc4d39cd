"""The two clients: they send, wait and receive. What and when is said by the plain functions beside this."""

from __future__ import annotations

import time
from collections.abc import Mapping
from http.cookiejar import CookieJar, DefaultCookiePolicy
from types import TracebackType
from typing import Any, Self, TypeVar

import anyio
import httpx

from .._version import __version__
from ..errors import ConfigurationError
from . import calls, methods
from .answers import read
from .attempts import Outcome, attempts
from .auth import ArchieKeyAuth, checked_url
from .calls import Call
from .methods import AsyncPart, Part

T = TypeVar("T")
TIMEOUT = 10.0
RETRIES = 2


def _options(base_url: str, key: str, headers: Mapping[str, str] | None, allow_http: bool) -> dict[str, Any]:
    """The options of httpx that both clients have."""
    url = checked_url(base_url, allow_http=allow_http)
    sent = {"User-Agent": f"flask-archie-keys/{__version__}", **(headers or {})}
    if any(name.lower() in ("authorization", "cookie") for name in sent):
        raise ConfigurationError("headers: the key is sent as the only credential; Authorization and Cookie are not")
    return {
        "base_url": url,
        "auth": ArchieKeyAuth(key, origin=str(url), allow_http=allow_http),
        "headers": sent,
        "follow_redirects": False,  # nor cookies kept: a request has a key or a user's session
        "cookies": CookieJar(DefaultCookiePolicy(allowed_domains=[])),
    }


def _built(http: httpx.Client | httpx.AsyncClient, call: Call[Any]) -> httpx.Request:
    headers = {"Accept": call.accept, **call.headers}
    return http.build_request(call.method, call.path, params=call.query, content=call.body, headers=headers)


# -- synchronous


class Keys(Part):
    """Keys: ``client.keys``."""

    find = methods.one(calls.find_keys)
    each = methods.each(calls.find_keys)
    get = methods.one(calls.get_key)
    create = methods.one(calls.create_key)
    update = methods.one(calls.update_key)
    rotate = methods.one(calls.rotate_key)
    disable = methods.one(calls.disable_key)
    enable = methods.one(calls.enable_key)
    delete = methods.one(calls.delete_key)
    traffic = methods.one(calls.traffic_of_key)


class Roles(Part):
    """Roles: ``client.roles``."""

    find = methods.one(calls.find_roles)
    get = methods.one(calls.get_role)
    create = methods.one(calls.create_role)
    save = methods.one(calls.save_role)
    delete = methods.one(calls.delete_role)


class Audit(Part):
    """The audit log: ``client.audit``."""

    find = methods.one(calls.find_events)
    each = methods.each(calls.find_events)
    stream = methods.stream(calls.stream_events)


class ArchieKeysClient(Part):
    """A client of the management API. It may be used by many threads; close it, or use it in a ``with`` block.

    :param base_url: the address of the API with its prefix: ``https://shop.example/archie/v1``.
    :param key: the secret of the key that acts. It goes to this address only, and is shown nowhere.
    :param timeout: seconds that connecting and each read or write may take, or an ``httpx.Timeout``.
    :param transport: of httpx: ``HTTPTransport`` for certificates of your own, ``WSGITransport`` in tests.
    :param retries: how often what is safe to repeat is sent again.
    :param headers: sent with each request, such as the one that picks the environment.
    :param allow_http: send the key over plain HTTP to hosts other than this one, too.
    :raises ConfigurationError: if one of these is wrong.
    """

    def __init__(
        self,
        base_url: str,
        key: str,
        *,
        timeout: float | httpx.Timeout = TIMEOUT,
        transport: httpx.BaseTransport | None = None,
        retries: int = RETRIES,
        headers: Mapping[str, str] | None = None,
        allow_http: bool = False,
    ) -> None:
        super().__init__(self)
        options = _options(base_url, key, headers, allow_http)
        self._http = httpx.Client(timeout=timeout, transport=transport, **options)
        self._retries = retries
        self.keys = Keys(self)
        self.roles = Roles(self)
        self.audit = Audit(self)

    me = methods.one(calls.me)
    explain = methods.one(calls.explain)

    def __repr__(self) -> str:
        return f"<ArchieKeysClient {self._http.base_url}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def run(self, call: Call[T]) -> T:
        """Send a call, as often as it takes and may be, and read its answer."""
        return read(self._answer(call), call.read, call.missing)

    def open(self, call: Call[Any]) -> httpx.Response:
        """Send a call, and leave its answer to be read as it comes."""
        return self._answer(call, as_it_comes=True)

    def _answer(self, call: Call[Any], *, as_it_comes: bool = False) -> httpx.Response:
        flow = attempts(call, self._retries)
        wait = next(flow)
        while True:
            time.sleep(wait)
            outcome = self._outcome(call, as_it_comes)
            try:
                wait = flow.send(outcome)
            except StopIteration as done:
                response: httpx.Response = done.value
                return response

    def _outcome(self, call: Call[Any], as_it_comes: bool) -> Outcome:
        try:
            response = self._http.send(_built(self._http, call), stream=as_it_comes)
            if not response.is_success:
                response.read()
            return response
        except httpx.RequestError as error:
            return error


# -- asynchronous


class AsyncKeys(AsyncPart):
    """Keys: ``client.keys``."""

    find = methods.async_one(calls.find_keys)
    each = methods.async_each(calls.find_keys)
    get = methods.async_one(calls.get_key)
    create = methods.async_one(calls.create_key)
    update = methods.async_one(calls.update_key)
    rotate = methods.async_one(calls.rotate_key)
    disable = methods.async_one(calls.disable_key)
    enable = methods.async_one(calls.enable_key)
    delete = methods.async_one(calls.delete_key)
    traffic = methods.async_one(calls.traffic_of_key)


class AsyncRoles(AsyncPart):
    """Roles: ``client.roles``."""

    find = methods.async_one(calls.find_roles)
    get = methods.async_one(calls.get_role)
    create = methods.async_one(calls.create_role)
    save = methods.async_one(calls.save_role)
    delete = methods.async_one(calls.delete_role)


class AsyncAudit(AsyncPart):
    """The audit log: ``client.audit``."""

    find = methods.async_one(calls.find_events)
    each = methods.async_each(calls.find_events)
    stream = methods.async_stream(calls.stream_events)


class AsyncArchieKeysClient(AsyncPart):
    """A client of the management API for asyncio and trio. Its methods are those of :class:`ArchieKeysClient`, to be
    awaited; close it, or use it in an ``async with`` block.

    The parameters are the same; ``transport`` is an asynchronous one.
    """

    def __init__(
        self,
        base_url: str,
        key: str,
        *,
        timeout: float | httpx.Timeout = TIMEOUT,
        transport: httpx.AsyncBaseTransport | None = None,
        retries: int = RETRIES,
        headers: Mapping[str, str] | None = None,
        allow_http: bool = False,
    ) -> None:
        super().__init__(self)
        options = _options(base_url, key, headers, allow_http)
        self._http = httpx.AsyncClient(timeout=timeout, transport=transport, **options)
        self._retries = retries
        self.keys = AsyncKeys(self)
        self.roles = AsyncRoles(self)
        self.audit = AsyncAudit(self)

    me = methods.async_one(calls.me)
    explain = methods.async_one(calls.explain)

    def __repr__(self) -> str:
        return f"<AsyncArchieKeysClient {self._http.base_url}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def run(self, call: Call[T]) -> T:
        """Send a call, as often as it takes and may be, and read its answer."""
        return read(await self._answer(call), call.read, call.missing)

    async def open(self, call: Call[Any]) -> httpx.Response:
        """Send a call, and leave its answer to be read as it comes."""
        return await self._answer(call, as_it_comes=True)

    async def _answer(self, call: Call[Any], *, as_it_comes: bool = False) -> httpx.Response:
        flow = attempts(call, self._retries)
        wait = next(flow)
        while True:
            await anyio.sleep(wait)
            outcome = await self._outcome(call, as_it_comes)
            try:
                wait = flow.send(outcome)
            except StopIteration as done:
                response: httpx.Response = done.value
                return response

    async def _outcome(self, call: Call[Any], as_it_comes: bool) -> Outcome:
        try:
            response = await self._http.send(_built(self._http, call), stream=as_it_comes)
            if not response.is_success:
                await response.aread()
            return response
        except httpx.RequestError as error:
            return error
