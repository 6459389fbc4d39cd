"""Methods of the two clients, made of the functions that make their calls: what the methods share is written once."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

import httpx

from ..domain.records import Page
from .attempts import no_answer
from .calls import Call
from .lines import Lines

P = ParamSpec("P")
T = TypeVar("T")
T_ = TypeVar("T_")


class Client(Protocol):
    """What a method needs of a client."""

    def run(self, call: Call[T_]) -> T_:
        """Send a call and read its answer."""

    def open(self, call: Call[Any]) -> httpx.Response:
        """Send a call and read of its answer no more than that it is good."""


class AsyncClient(Protocol):
    """What a method needs of an asynchronous client."""

    async def run(self, call: Call[T_]) -> T_:
        """Send a call and read its answer."""

    async def open(self, call: Call[Any]) -> httpx.Response:
        """Send a call and read of its answer no more than that it is good."""


class Part:
    """A group of operations of a client."""

    def __init__(self, client: Client) -> None:
        self._client = client


class AsyncPart:
    """A group of operations of an asynchronous client."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client


def _documented(method: Callable[..., Any], made_of: Callable[..., Any], returns: str) -> None:
    """Give a method the documentation and the signature of the function that makes its calls."""
    functools.update_wrapper(method, made_of)
    signature = inspect.signature(made_of)
    answer = str(signature.return_annotation).removeprefix("Call[").removesuffix("]")
    parameters = [inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY), *signature.parameters.values()]
    shown = signature.replace(parameters=parameters, return_annotation=returns.format(answer))
    method.__signature__ = shown  # type: ignore[attr-defined]


def one(make: Callable[P, Call[T]]) -> Callable[Concatenate[Part, P], T]:
    """One request, one answer."""

    def method(self: Part, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._client.run(make(*args, **kwargs))

    _documented(method, make, "{}")
    return method


def async_one(make: Callable[P, Call[T]]) -> Callable[Concatenate[AsyncPart, P], Coroutine[Any, Any, T]]:
    """One request, one answer."""

    async def method(self: AsyncPart, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._client.run(make(*args, **kwargs))

    _documented(method, make, "{}")
    return method


def each(make: Callable[P, Call[Page[T]]]) -> Callable[Concatenate[Part, P], Iterator[T]]:
    """All of a list; the next page is asked for when the last one is used up."""

    def method(self: Part, /, *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        call: Call[Page[T]] | None = make(*args, **kwargs)
        while call is not None:
            page = self._client.run(call)
            yield from page
            call = call.next_to(page)

    _documented(method, make, "Iterator[{}]")
    return method


def async_each(make: Callable[P, Call[Page[T]]]) -> Callable[Concatenate[AsyncPart, P], AsyncIterator[T]]:
    """All of a list; the next page is asked for when the last one is used up."""

    async def method(self: AsyncPart, /, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[T]:
        call: Call[Page[T]] | None = make(*args, **kwargs)
        while call is not None:
            page = await self._client.run(call)
            for item in page:
                yield item
            call = call.next_to(page)

    _documented(method, make, "AsyncIterator[{}]")
    return method


def stream(make: Callable[P, Call[T]]) -> Callable[Concatenate[Part, P], Iterator[T]]:
    """One answer of many lines, read as they come."""

    def method(self: Part, /, *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        call = make(*args, **kwargs)
        response, lines, failed = self._client.open(call), Lines(call.read), None
        try:
            for chunk in response.iter_bytes():
                yield from lines.feed(chunk)
        except httpx.RequestError as error:
            failed = error
        finally:
            response.close()
        if failed is not None:
            raise no_answer(call, failed, lost=False)
        lines.end()

    _documented(method, make, "Iterator[{}]")
    return method


def async_stream(make: Callable[P, Call[T]]) -> Callable[Concatenate[AsyncPart, P], AsyncIterator[T]]:
    """One answer of many lines, read as they come."""

    async def method(self: AsyncPart, /, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[T]:
        call = make(*args, **kwargs)
        response, lines, failed = await self._client.open(call), Lines(call.read), None
        try:
            async for chunk in response.aiter_bytes():
                for item in lines.feed(chunk):
                    yield item
        except httpx.RequestError as error:
            failed = error
        finally:
            await response.aclose()
        if failed is not None:
            raise no_answer(call, failed, lost=False)
        lines.end()

    _documented(method, make, "AsyncIterator[{}]")
    return method
