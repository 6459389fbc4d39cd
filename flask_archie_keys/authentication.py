"""From a request's ``Authorization`` header to a principal.

One order, here only: extract, parse, read, verify, state, network. ``None`` means that the request carries none of our
keys; an error means that it carries a bad one.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from typing import NamedTuple

from .config import Config
from .domain.clock import from_micros, now_micros
from .domain.hashing import Hasher
from .domain.keytext import find_key_id, has_good_checksum
from .domain.principals import Principal
from .errors import BadRequest, Forbidden, Unauthorized
from .store.keys import load_context, load_list
from .store.lookup import KeyLookup, KeyRow, Row

#: RFC 6750 section 2.1: the scheme in any case, one or more spaces, one b64token, nothing else.
_BEARER = re.compile(r"[Bb][Ee][Aa][Rr][Ee][Rr] +([A-Za-z0-9._~+/-]+=*)")
#: The scheme at the beginning, or after a comma: servers join two headers with one.
_IS_BEARER = re.compile(r"(?:\A|,)[ \t]*bearer(?![A-Za-z0-9!#$%&'*+.^_`|~-])", re.IGNORECASE)
_CREDENTIAL_MAX = 256  # bytes
_VERIFIED_MAX = 10_000
NO_KEY = "the request needs an API key: Authorization: Bearer <key>"
BAD_KEY = "the API key is not valid"

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Refusal(NamedTuple):
    """Why a good secret does not open anything: the reason of the audit log."""

    reason: str
    error: type[Unauthorized] | type[Forbidden]


class Verified(NamedTuple):
    """A header that was found to hold the key of a row, and what was made of that row.

    Used again for as long as the row that is read at each request stays the same.

    :ivar conditional: whether something stands against the key, or may in time.
    """

    key_id: str
    row: Row
    principal: Principal
    networks: tuple[Network, ...] | None
    conditional: bool


class Authenticator:
    """Authenticates the requests of one environment.

    :param rehash: called with key id, text and digest after the good use of a digest that should be made anew.
    """

    def __init__(
        self, config: Config, lookup: KeyLookup, hasher: Hasher, rehash: Callable[[str, str, str], None]
    ) -> None:
        self._project = config.project
        self._environment = config.environment
        self._prefix = f"{config.prefix}_"
        self._lookup = lookup
        self._hasher = hasher
        self._rehash = rehash
        self._verified: dict[bytes, Verified] = {}

    def authenticate(
        self, header: str | None, remote_address: str | None, *, optional: bool = False
    ) -> Principal | None:
        """The key's principal.

        :param header: the raw value of ``Authorization``, latin-1 decoded as in WSGI.
        :param remote_address: the peer's IP address, for keys with allowed networks.
        :param optional: answer ``None`` for a credential that does not look like a key of ours.
        :raises BadRequest: if the header is outside the grammar.
        :raises Unauthorized: if there is no key (and it is not optional) or a bad one.
        :raises Forbidden: if the request comes from an address that the key does not allow.
        :raises StoreUnavailable: if the key cannot be read.
        """
        # by its hash: what is remembered must not hold secrets
        mark = blake2b((header or "").encode("utf-8", "surrogatepass"), digest_size=32).digest()
        verified = self._verified.get(mark)
        if verified is None or self._lookup.read(verified.key_id) != verified.row:
            verified = self._verify(mark, header, optional)
            if verified is None:
                return None
        if verified.conditional:
            now = now_micros()
            for refusal in refusals(
                *verified.row[9:12], now=now, networks=verified.networks, remote_address=remote_address
            ):
                raise _error(refusal, verified.key_id)
        if self._hasher.needs_update(verified.row[2]):
            self._rehash(verified.key_id, extract(header) or "", verified.row[2])
        return verified.principal

    def _verify(self, mark: bytes, header: str | None, optional: bool) -> Verified | None:
        """Find the row whose key the header holds; ``None`` for a credential that need not be ours."""
        text = extract(header, optional=optional)
        if text is None:
            if optional:
                return None
            raise Unauthorized(NO_KEY, reason="no_credentials")
        key_id = find_key_id(text)
        if key_id is None:
            if optional and not text.startswith(self._prefix):
                return None
            raise Unauthorized(BAD_KEY, reason="unknown")
        if not has_good_checksum(text):
            raise Unauthorized(BAD_KEY, reason="bad_checksum")
        row = self._lookup.read(key_id)
        if row is None:
            raise Unauthorized(BAD_KEY, reason="unknown")
        self._verify_row(key_id, text, row)
        conditional = row[8:12] != (None, None, None, None)
        verified = Verified(key_id, row, _principal(key_id, row), networks_of(load_list(row[8])), conditional)
        if len(self._verified) >= _VERIFIED_MAX:
            self._verified.clear()
        self._verified[mark] = verified
        return verified

    def _verify_row(self, key_id: str, text: str, row: Row) -> None:
        project, environment, digest = row[:3]
        if project != self._project or environment != self._environment:
            raise Unauthorized(BAD_KEY, reason="wrong_environment", key_id=key_id)
        if digest is None:  # erased with the deletion: the secret cannot be verified any more
            raise Unauthorized(BAD_KEY, reason="deleted", key_id=key_id)
        if not self._hasher.verify(key_id, text, digest):
            raise Unauthorized(BAD_KEY, reason="wrong_secret", key_id=key_id)


def extract(header: str | None, *, optional: bool = False) -> str | None:
    """The bearer credential of an ``Authorization`` header; ``None`` if there is none or another scheme's.

    The raw value is matched whole: ``strip`` and ``split`` take more characters for blanks than RFC 9110 does.

    :param optional: any length will do.
    :raises BadRequest: if it is a bearer credential outside the grammar of RFC 6750, or over 256 bytes.
    """
    if header is None:
        return None
    match = _BEARER.fullmatch(header)
    if match is not None and (optional or len(match[1]) <= _CREDENTIAL_MAX):
        return match[1]  # a longer one may be somebody else's, such as a JWT
    if _IS_BEARER.search(header) is None:
        return None
    raise BadRequest("the Authorization header is not of the form: Bearer <key>")


def refusals(
    expires_at: int | None,
    disabled_at: int | None,
    deleted_at: int | None,
    *,
    now: int,
    networks: tuple[Network, ...] | None,
    remote_address: str | None,
) -> Iterator[Refusal]:
    """All that stands against a key whose secret is right, the first one decisive.

    All times in microseconds since the epoch.
    """
    if deleted_at is not None:
        yield Refusal("deleted", Unauthorized)
    if disabled_at is not None:
        yield Refusal("disabled", Unauthorized)
    if expires_at is not None and expires_at <= now:
        yield Refusal("expired", Unauthorized)
    if networks is not None and not _within(remote_address, networks):
        yield Refusal("network", Forbidden)


def _error(refusal: Refusal, key_id: str) -> Exception:
    if refusal.error is Unauthorized:
        return Unauthorized(BAD_KEY, reason=refusal.reason, key_id=key_id)
    return Forbidden("the API key may not be used from this address", reason=refusal.reason, key_id=key_id)


def _within(remote_address: str | None, networks: tuple[Network, ...]) -> bool:
    """Whether an address is in one of the networks; none, or one that is not an IP address, is in no network."""
    try:
        address = ipaddress.ip_address(remote_address or "")
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped  # how a dual-stack socket shows an IPv4 peer
    return any(address in network for network in networks)


def networks_of(networks: Sequence[str] | None) -> tuple[Network, ...] | None:
    """The networks of their texts; ``None`` for any."""
    return None if networks is None else tuple(ipaddress.ip_network(network) for network in networks)


def _principal(key_id: str, raw: Row) -> Principal:
    row = KeyRow(*raw)
    return Principal(
        "key",
        key_id,
        row.name,
        row.project,
        row.environment,
        prefix=row.prefix,
        roles=load_list(row.roles) or (),
        context=load_context(row.context),
        owner=row.owner,
        expires_at=None if row.expires_at is None else from_micros(row.expires_at),
        policy_epoch=row.policy_epoch or 0,
    )
