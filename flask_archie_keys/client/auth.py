"""Sending a key with requests of httpx, and nowhere that it does not belong."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Generator

import httpx

from ..errors import ConfigurationError

_CREDENTIAL = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # b64token, RFC 6750 section 2.1
_PORTS = {"http": 80, "https": 443}


class ArchieKeyAuth(httpx.Auth):
    """Sends an API key as ``Authorization: Bearer …``, on any client of httpx.

    It goes to one origin only: a request to another one is refused before it is sent. httpx takes the key off a
    redirect that leaves the origin.

    :param key: the secret. It is shown by nothing that this object does.
    :param origin: an address at the origin that the key is for, such as ``https://shop.example``; the origin of the
        first request when left out.
    :param allow_http: send it over plain HTTP to hosts other than this one, too; everybody on the way can read it.
    :raises ConfigurationError: if ``key`` cannot be a key or ``origin`` no origin; and from the request, if the key
        must not go where it is sent.
    """

    def __init__(self, key: str, *, origin: str | None = None, allow_http: bool = False) -> None:
        self._header = f"Bearer {checked_key(key)}"
        self._allow_http = allow_http
        self._origin = None if origin is None else origin_of(checked_url(origin, allow_http=allow_http))

    def __repr__(self) -> str:
        return f"<ArchieKeyAuth for {'the first origin' if self._origin is None else _shown(self._origin)}>"

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Add the header."""
        origin = origin_of(request.url)
        require_safe(request.url, allow_http=self._allow_http)
        if self._origin is None:
            self._origin = origin
        if origin != self._origin:
            raise ConfigurationError(f"the key is for {_shown(self._origin)} and was not sent to {_shown(origin)}")
        request.headers["Authorization"] = self._header
        yield request


def checked_key(key: object) -> str:
    """``key``, if it can be sent.

    :raises ConfigurationError: if not; it does not show it.
    """
    if not isinstance(key, str) or _CREDENTIAL.fullmatch(key) is None or len(key) > 256:
        blank = isinstance(key, str) and key != key.strip()
        raise ConfigurationError(
            "the key is no API key" + (": there are blanks or line ends around it" if blank else "")
        )
    return key


def checked_url(url: str, *, allow_http: bool) -> httpx.URL:
    """An address that a key may be sent to.

    :raises ConfigurationError: if it is not.
    """
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, TypeError) as error:
        raise ConfigurationError(f"not an address: {error}") from None
    if parsed.scheme not in _PORTS or not parsed.host:
        raise ConfigurationError("the address must begin with https:// and have a host")
    if parsed.userinfo or parsed.query or parsed.fragment:
        raise ConfigurationError("the address must have no user, no query and no fragment")
    require_safe(parsed, allow_http=allow_http)
    return parsed


def require_safe(url: httpx.URL, *, allow_http: bool) -> None:
    """:raises ConfigurationError: if a key that is sent there could be read on the way."""
    if url.scheme != "https" and not allow_http and not _is_loopback(url.host):
        raise ConfigurationError(
            f"the key was not sent to {_shown(origin_of(url))}: without https everybody on the way could read it; "
            "allow_http=True allows that"
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


Origin = tuple[str, str, int | None]


def origin_of(url: httpx.URL) -> Origin:
    """Scheme, host and port (RFC 6454)."""
    return url.scheme, url.host, url.port or _PORTS.get(url.scheme)


def _shown(origin: Origin) -> str:
    scheme, host, port = origin
    name = f"[{host}]" if ":" in host else host
    return f"{scheme}://{name}" + ("" if port == _PORTS.get(scheme) else f":{port}")
