"""Events of changes to keys and roles: written in the transaction of the change, so that neither is there without the
other.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection

from ..config import Config
from ..domain.ids import new_event_id
from ..domain.principals import Acting
from ..store import audit as store
from ..store.models import events


def record(
    connection: Connection,
    config: Config,
    acting: Acting,
    kind: str,
    key_id: str | None,
    details: Mapping[str, object],
) -> None:
    """Write one event.

    :param kind: what was done, in the past: ``key.created``, ``role.saved``.
    :param key_id: the key that was changed; ``None`` where it was a role.
    :param details: what else there is to know; JSON types.
    """
    now_ns = time.time_ns()
    row: dict[str, Any] = dict.fromkeys(events.c.keys())
    row.update(acting._asdict())
    row.update(
        id=new_event_id(now_ns),
        occurred_at=now_ns // 1000,
        project=config.project,
        environment=config.environment,
        kind=kind,
        key_id=key_id,
        outcome="allowed",
        count=1,
        truncated=False,
        streamed=False,
        details=json.dumps(details, ensure_ascii=False) if details else None,
    )
    store.insert_event(connection, row)
