"""Which requests have made a key before, by the Idempotency-Key that their caller gave them."""

from __future__ import annotations

from sqlalchemy import Connection, and_, delete, select

from .inserts import insert_unless_there
from .models import idempotency_keys


class IdempotencyStore:
    """The requests of one project and environment."""

    def __init__(self, project: str, environment: str) -> None:
        self._values = {"project": project, "environment": environment}
        self._scope = and_(idempotency_keys.c.project == project, idempotency_keys.c.environment == environment)

    def find(self, connection: Connection, actor: str, value: str) -> str | None:
        """The id of the key that a request has made; ``None`` if there was none.

        :param actor: whoever made the request: what others call theirs is no concern of it.
        """
        statement = select(idempotency_keys.c.key_id).where(
            self._scope, idempotency_keys.c.actor == actor, idempotency_keys.c.value == value
        )
        return connection.execute(statement).scalar()

    def add(self, connection: Connection, actor: str, value: str, key_id: str, now: int) -> bool:
        """Note that a request makes a key; False if another one has noted it first, which is waited for."""
        row = {**self._values, "actor": actor, "value": value, "key_id": key_id, "created_at": now}
        return insert_unless_there(connection, idempotency_keys, row)

    def remove_before(self, connection: Connection, moment: int) -> None:
        """Forget the requests before ``moment``, in microseconds since the epoch."""
        connection.execute(delete(idempotency_keys).where(self._scope, idempotency_keys.c.created_at < moment))
