"""A typed client of the management API, synchronous and asynchronous, on httpx.

It mirrors the services: ``client.keys.create``, ``client.roles.save``, ``client.audit.find``. Requests are made and
answers read by plain functions that do no input or output; the two clients only send, wait and receive.
"""

from __future__ import annotations

try:
    import httpx  # noqa: F401 - to say what is missing before anything else fails
except ImportError:
    raise ImportError("flask_archie_keys.client needs httpx: pip install 'flask-archie-keys[client]'") from None

from .auth import ArchieKeyAuth
from .clients import ArchieKeysClient, AsyncArchieKeysClient
from .errors import BadAnswer, NoAnswer, RateLimited
from .records import Explanation, Me, RoleGrant

__all__ = [
    "ArchieKeyAuth",
    "ArchieKeysClient",
    "AsyncArchieKeysClient",
    "BadAnswer",
    "Explanation",
    "Me",
    "NoAnswer",
    "RateLimited",
    "RoleGrant",
]
