"""How a key is stored: HMAC-SHA256 under a key derived from the pepper, the project and the environment.

A slow password hash protects secrets that can be guessed. A key has 190 random bits: nothing is guessed, and a slow
hash would only be paid at every request. What the pepper adds: a copied database opens nothing elsewhere, a digest
moved to another row opens nothing, and whoever can only write rows cannot make a key.

The scheme is a handler in a passlib :class:`~passlib.context.CryptContext` (installed as libpass), which is what lets
digests of other systems be verified once and replaced. Foreign schemes are off unless named, because a foreign hash
does not depend on the pepper.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from typing import Any, ClassVar

from passlib.context import CryptContext
from passlib.ifc import PasswordHash

from ..errors import ConfigurationError

IDENT = "$archie-hmac-sha256$"
_PEPPER_ID_LENGTH = 8
_DIGEST_AT = len(IDENT) + _PEPPER_ID_LENGTH + 1
_DIGEST_LENGTH = _DIGEST_AT + 64


def _hmac(key: bytes, message: str) -> hmac.HMAC:
    return hmac.new(key, message.encode(), hashlib.sha256)


def pepper_id(pepper: str) -> str:
    """Eight hexadecimal digits that name a pepper in a digest and do not give it away."""
    return _hmac(pepper.encode(), "flask_archie_keys pepper id").hexdigest()[:_PEPPER_ID_LENGTH]


class ArchieHmacSha256(PasswordHash):  # type: ignore[misc]
    """The scheme as a passlib handler: ``$archie-hmac-sha256$<pepper id>$<hex digest>``.

    It needs the context keyword ``key_id``: the digest is of ``key_id NUL text``.
    """

    name: ClassVar[str] = "archie_hmac_sha256"
    setting_kwds: ClassVar[tuple[str, ...]] = ()
    context_kwds: ClassVar[tuple[str, ...]] = ("key_id",)
    keys: ClassVar[dict[str, hmac.HMAC]] = {}
    newest: ClassVar[str] = ""

    @classmethod
    def for_peppers(cls, peppers: Sequence[str], project: str, environment: str) -> type[ArchieHmacSha256]:
        """A handler for one project and environment. The last pepper makes digests, all of them verify."""
        scope = f"flask_archie_keys digest\0{project}\0{environment}"
        keys = {pepper_id(p): _hmac(_hmac(p.encode(), scope).digest(), "") for p in peppers}
        return type(cls.__name__, (cls,), {"keys": keys, "newest": pepper_id(peppers[-1])})

    @classmethod
    def identify(cls, hash: str | bytes) -> bool:
        """Whether ``hash`` is a digest of this scheme."""
        text = hash.decode("ascii", "replace") if isinstance(hash, bytes) else hash
        return text.startswith(IDENT)

    @classmethod
    def hash(cls, secret: str | bytes, **kwds: Any) -> str:
        """The digest of ``secret`` for the record ``key_id``."""
        return f"{IDENT}{cls.newest}${cls._hexdigest(cls.newest, secret, kwds['key_id'])}"

    @classmethod
    def verify(cls, secret: str | bytes, hash: str | bytes, **kwds: Any) -> bool:
        """Whether ``secret`` is the one of this digest. A digest under a pepper that is not known is refused."""
        digest = hash.decode("ascii", "replace") if isinstance(hash, bytes) else hash
        pepper = digest[len(IDENT) : len(IDENT) + _PEPPER_ID_LENGTH]
        if pepper not in cls.keys or len(digest) != _DIGEST_LENGTH or not cls.identify(digest):
            return False
        expected = cls._hexdigest(pepper, secret, kwds["key_id"])
        return hmac.compare_digest(expected.encode(), digest[_DIGEST_AT:].encode())

    @classmethod
    def needs_update(cls, hash: str, secret: str | bytes | None = None) -> bool:
        """Whether the digest was made under an older pepper."""
        return not hash.startswith(f"{IDENT}{cls.newest}$")

    @classmethod
    def using(cls, relaxed: bool = False, **kwds: Any) -> type[ArchieHmacSha256]:
        """No settings; a subclass, as passlib wants one for each context."""
        return type(cls.__name__, (cls,), {})

    @classmethod
    def genconfig(cls, **kwds: Any) -> None:
        """Not a scheme with settings in the hash (legacy part of the passlib interface)."""
        return

    @classmethod
    def genhash(cls, secret: str | bytes, config: str, **kwds: Any) -> str:
        """As :meth:`hash` (legacy part of the passlib interface)."""
        return cls.hash(secret, **kwds)

    @classmethod
    def _hexdigest(cls, pepper: str, secret: str | bytes, key_id: str) -> str:
        mac = cls.keys[pepper].copy()
        mac.update(f"{key_id}\0{secret.decode() if isinstance(secret, bytes) else secret}".encode())
        return mac.hexdigest()


class Hasher:
    """Makes and verifies the digests of one project and environment.

    :param peppers: oldest first; the last one makes new digests. Without any, digests are bound to project and
        environment only. An empty string stands for "no pepper": list it first to go from none to one.
    :param import_schemes: names of passlib schemes that are accepted until first use.
    """

    def __init__(
        self, peppers: Sequence[str], project: str, environment: str, import_schemes: Sequence[str] = ()
    ) -> None:
        self._handler = ArchieHmacSha256.for_peppers(list(peppers) or [""], project, environment)
        self._newest = f"{IDENT}{self._handler.newest}$"
        self._keys = {f"{IDENT}{pepper}$": key for pepper, key in self._handler.keys.items()}
        try:
            self._context = CryptContext(schemes=[self._handler, *import_schemes], deprecated="auto")
            for scheme in import_schemes:  # a scheme whose backend is not installed fails here, not at a request
                self._context.handler(scheme).hash(secrets.token_urlsafe(8))
        except Exception as error:
            raise ConfigurationError(f"ARCHIE_KEYS_IMPORT_SCHEMES: {error}") from error

    def digest(self, key_id: str, text: str) -> str:
        """The digest to store for the key text ``text`` in the record ``key_id``."""
        return self._handler.hash(text, key_id=key_id)

    def verify(self, key_id: str, text: str, digest: str) -> bool:
        """Whether ``text`` is the key of this record; False for a digest of a scheme that is not accepted."""
        key = self._keys.get(digest[:_DIGEST_AT])
        if key is None:
            return self._verify_foreign(key_id, text, digest)
        mac = key.copy()  # a third of the time through the context
        mac.update(f"{key_id}\0{text}".encode())
        return hmac.compare_digest(mac.hexdigest().encode(), digest[_DIGEST_AT:].encode())

    def _verify_foreign(self, key_id: str, text: str, digest: str) -> bool:
        try:
            return self._context.identify(digest) is not None and bool(
                self._context.verify(text, digest, key_id=key_id)
            )
        except (ValueError, TypeError):  # not a digest of the scheme that it names
            return False

    def needs_update(self, digest: str) -> bool:
        """Whether the digest should be made anew: an older pepper, or a foreign scheme."""
        return not digest.startswith(self._newest)
