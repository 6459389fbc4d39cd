"""What is asked of the audit log on its page, and what becomes of it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from typing import Any

from werkzeug.datastructures import MultiDict

from ...domain.clock import utcnow
from .rendering import translate

OUTCOMES = ("allowed", "denied", "refused")
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
#: What the log is searched for most; other texts can be typed.
KINDS = (
    "request", "key.created", "key.updated", "key.rotated", "key.disabled", "key.enabled", "key.deleted", "key.purged",
    "key.rehashed", "key.rotation_undone", "role.saved", "role.deleted", "unrestricted",
)  # fmt: skip
REASONS = (
    "unknown", "bad_checksum", "no_credentials", "wrong_secret", "wrong_environment", "expired", "disabled", "deleted",
    "network", "missing_role", "missing_grant", "rate_limited",
)  # fmt: skip
_KEY_ID = re.compile(r"(?:.*_)?([0-9A-Za-z]{12})(?:_.*)?", re.DOTALL)
_TIMES = ("since", "until")


@dataclass(slots=True)
class EventForm:
    """The filters as they were typed; mistakes stay beside their fields.

    :ivar key: a key id; what is pasted of a key text is cut down to it, for a secret is not to be shown again.
    :ivar since: in UTC, as ``datetime-local`` has it; ``until`` is exclusive.
    """

    key: str = ""
    lineage: str = ""
    kind: str = ""
    outcome: str = ""
    reason: str = ""
    status: str = ""
    method: str = ""
    route: str = ""
    since: str = ""
    until: str = ""
    errors: dict[str, list[str]] = field(default_factory=dict)

    @classmethod
    def asked(cls, args: MultiDict[str, str]) -> EventForm:
        """What was asked for."""
        form = cls()
        for name in _NAMES:
            setattr(form, name, args.get(name, "").strip())
        form.key = id_in(form.key)
        return form

    def filters(self) -> dict[str, Any]:
        """The filters for the audit log; what cannot be read is left out, and has a mistake beside it."""
        found: dict[str, Any] = {
            name: getattr(self, name) or None for name in ("key", "kind", "outcome", "reason", "method", "route")
        }
        found["lineage"] = bool(self.lineage and self.key)
        found["status"] = self._status()
        return found | {name: self._time(name) for name in _TIMES}

    @property
    def values(self) -> dict[str, str]:
        """What stands in addresses: all that is not empty."""
        return {name: getattr(self, name) for name in _NAMES if getattr(self, name)}

    def within(self, since: str, until: str = "") -> dict[str, str]:
        """The same for another range of time."""
        values = {**self.values, "since": since, "until": until}
        return {name: value for name, value in values.items() if value}

    def _status(self) -> int | None:
        if not self.status:
            return None
        if self.status.isascii() and self.status.isdigit() and len(self.status) == 3:
            return int(self.status)
        self.errors["status"] = [translate("must be an HTTP status, such as 403")]
        return None

    def _time(self, name: str) -> datetime | None:
        text = getattr(self, name)
        if not text:
            return None
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            self.errors[name] = [translate("must be a date and a time")]
            return None
        return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


_NAMES = tuple(each.name for each in fields(EventForm) if each.name != "errors")


def id_in(text: str) -> str:
    """The key id in what somebody has typed or pasted: an id, a hint or, by mistake, a whole key."""
    found = _KEY_ID.fullmatch(text.strip())
    return text.strip() if found is None else found[1]


def as_typed(moment: datetime) -> str:
    """A time for ``datetime-local``: in UTC, to the second."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S")


def ranges() -> list[tuple[str, str]]:
    """The usual ranges: what they are called, and since when."""
    now = utcnow()
    spans = (
        (translate("Last hour"), timedelta(hours=1)),
        (translate("24 hours"), timedelta(days=1)),
        (translate("7 days"), timedelta(days=7)),
        (translate("30 days"), timedelta(days=30)),
    )
    return [(label, as_typed(now - span)) for label, span in spans]
