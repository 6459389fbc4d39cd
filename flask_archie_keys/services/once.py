"""Requests that are made again and must not be done again."""

from __future__ import annotations

import re
from datetime import timedelta

from sqlalchemy import Connection

from ..errors import BadRequest, Replayed
from ..store.idempotency import IdempotencyStore

REMEMBERED = timedelta(hours=24)
_VALUE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,253}[\x21-\x7e])?")
_MICROSECOND = timedelta(microseconds=1)


def checked(value: object) -> str:
    """An idempotency key that can be one.

    :raises BadRequest: if it is not 1 to 255 visible ASCII characters.
    """
    if not isinstance(value, str) or _VALUE.fullmatch(value) is None:
        raise BadRequest("Idempotency-Key must be 1 to 255 visible ASCII characters")
    return value


class Once:
    """One request that makes a key, by the idempotency key that its caller gave it, if any.

    :param actor: whoever makes the request; others may use the same value for theirs.
    :raises BadRequest: if the value is not 1 to 255 visible ASCII characters.
    """

    def __init__(self, store: IdempotencyStore, actor: str, value: str | None) -> None:
        self._store = store
        self._actor = actor
        self._value = None if value is None else checked(value)

    def check(self, connection: Connection) -> None:
        """:raises Replayed: if it has made a key already."""
        if self._value is not None:
            key_id = self._store.find(connection, self._actor, self._value)
            if key_id is not None:
                raise self._replayed(key_id)

    def take(self, connection: Connection, key_id: str, now: int) -> None:
        """Note that it makes a key, in the transaction that makes it.

        :param now: microseconds since the epoch.
        :raises Replayed: if the same request, made twice at the same time, was first.
        """
        if self._value is None:
            return
        self._store.remove_before(connection, now - REMEMBERED // _MICROSECOND)
        if not self._store.add(connection, self._actor, self._value, key_id, now):
            raise self._replayed(self._store.find(connection, self._actor, self._value) or "")

    def _replayed(self, key_id: str) -> Replayed:
        return Replayed(f"this request was made before, and made the key {key_id}", key_id=key_id)
