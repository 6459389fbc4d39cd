"""Identifiers: key ids from the system's random source, event ids that sort by time."""

from __future__ import annotations

import os
import random
import secrets
import struct
import time

BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
KEY_ID_LENGTH = 12


def random_base62(length: int) -> str:
    """``length`` random base62 characters (5.95 bits each) from :mod:`secrets`."""
    return "".join([secrets.choice(BASE62) for _ in range(length)])


def new_key_id() -> str:
    """A new public key id: 12 base62 characters, 71 random bits."""
    return random_base62(KEY_ID_LENGTH)


# Event ids need to be unique, not secret. Our own generator, because an application may seed the shared one
# (`random.seed(1)` in two processes would make them collide).
_random = random.Random()
_random.seed(os.urandom(32))
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: _random.seed(os.urandom(32)))


_PACK = struct.Struct(">QQ").pack


def new_event_id(now_ns: int | None = None) -> str:
    """A UUIDv7 (RFC 9562 section 5.7, method 3) as 32 hexadecimal digits.

    Its first 60 bits are the time to a quarter of a microsecond, so ids sort by time, also within a millisecond.

    :param now_ns: the event's time in nanoseconds since the epoch; the current time when left out.
    """
    ns = time.time_ns() if now_ns is None else now_ns
    millis, rest = divmod(ns, 1_000_000)
    high = millis << 16 | 0x7000 | rest * 4096 // 1_000_000
    return _PACK(high, 0x2 << 62 | _random.getrandbits(62)).hex()


def first_event_id(micros: int) -> str:
    """The smallest event id that an event at ``micros`` (since the epoch) or later can have."""
    millis, rest = divmod(max(micros, 0), 1000)
    number = millis << 80 | 0x7 << 76 | (rest * 4096 // 1000) << 64 | 0x2 << 62
    return f"{number:032x}"[-32:]


def is_event_id(text: str) -> bool:
    """Whether ``text`` has the form of an event id: 32 hexadecimal digits, in lower case."""
    return len(text) == 32 and set(text) <= set("0123456789abcdef")
