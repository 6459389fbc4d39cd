"""Making, changing and ending keys. Every change is one transaction with its audit event, then a signal."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from datetime import datetime, timedelta
from typing import Any

from blinker import Signal
from sqlalchemy import Connection, RowMapping, case, literal

from .. import signals
from ..audit.log import AuditLog
from ..audit.management import record
from ..config import Config
from ..domain import rules
from ..domain.clock import from_micros, isoformat, now_micros, to_micros
from ..domain.cursors import Cursors
from ..domain.filters import Schema
from ..domain.hashing import Hasher
from ..domain.keytext import is_key_id
from ..domain.permissions import Role
from ..domain.records import STATUSES, CreatedKey, Key, Page, Status
from ..errors import (
    BadRequest,
    Conflict,
    KeyInUse,
    KeyNotFound,
    ServiceError,
    StoreUnavailable,
    ValidationFailed,
    VersionMismatch,
)
from ..store.database import Database
from ..store.idempotency import IdempotencyStore
from ..store.keys import KeyStore, is_alive, load_list, to_key
from ..store.models import keys as table
from ..store.roles import RoleStore
from .authority import Authority, Permit
from .drafts import CHANGEABLE, Drafts, shown
from .fits import misfits
from .once import Once
from .sender import Sender

_MICROSECOND = timedelta(microseconds=1)
logger = logging.getLogger("flask_archie_keys")


class KeyService:
    """The keys of one project and environment.

    :param authority: answers whether who acts may do it.
    :param changed: called with the id of each key that was changed, after the commit.
    :param schema_of: the columns of a resource; ``None`` for one that is not protected.
    """

    def __init__(
        self,
        config: Config,
        database: Database,
        hasher: Hasher,
        audit: AuditLog,
        cursors: Cursors,
        authority: Authority,
        sender: Sender,
        *,
        changed: Callable[[str], None],
        schema_of: Callable[[str], Schema | None],
    ) -> None:
        self._config = config
        self._database = database
        self._hasher = hasher
        self._drafts = Drafts(config, hasher)
        self._audit = audit
        self._cursors = cursors
        self._authority = authority
        self._sender = sender
        self._store = KeyStore(config.project, config.environment)
        self._roles = RoleStore(config.project, config.environment)
        self._requests = IdempotencyStore(config.project, config.environment)
        self._changed = changed
        self._schema_of = schema_of

    # -- reading

    def get(self, key_id: str) -> Key:
        """The record of a key, deleted ones included.

        :raises KeyNotFound: if there is none with that id in this project and environment.
        :raises StoreUnavailable: if the database cannot be read.
        """
        permit = self._authority.permit("api_keys", "read")
        with self._database.read() as connection:
            return to_key(self._row(connection, key_id, permit), now_micros())

    def find(
        self,
        *,
        status: Status | None = None,
        role: str | None = None,
        prefix: str | None = None,
        q: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[Key]:
        """Keys, newest first.

        :param status: only those with it.
        :param role: only those that have it.
        :param prefix: only those whose prefix is it.
        :param q: only those whose name contains it, in any case, or whose id or owner is it.
        :param limit: 1 to 200.
        :raises BadRequest: for a status that there is not, a wrong limit or a cursor of another list.
        """
        rules.limit(limit)
        if status is not None and status not in STATUSES:
            raise BadRequest(f"status must be one of {', '.join(STATUSES)}")
        for name, text in (("role", role), ("prefix", prefix), ("q", q)):
            if text is not None:
                rules.search_text(name, text)
        before = None
        if cursor is not None:
            created, key_id = self._cursors.load("keys", cursor, [int, str])
            before = (int(created), str(key_id))
        now = now_micros()
        conditions = self._authority.permit("api_keys", "read").conditions(table)
        asked: dict[str, Any] = {"status": status, "role": role, "prefix": prefix, "q": q}
        with self._database.read() as connection:
            rows = self._store.find(connection, *conditions, now=now, limit=limit + 1, before=before, **asked)
        items = tuple(to_key(row, now) for row in rows[:limit])
        if len(rows) <= limit:
            return Page(items)
        last = rows[limit - 1]
        return Page(items, self._cursors.dump("keys", [last["created_at"], last["id"]]))

    # -- making

    def create(
        self,
        *,
        name: str,
        roles: Collection[str] = (),
        context: Mapping[str, object] | None = None,
        prefix: str | None = None,
        expires_at: datetime | None = None,
        owner: str | None = None,
        allowed_networks: Collection[str] | None = None,
        idempotency_key: str | None = None,
    ) -> CreatedKey:
        """Make a key. Its secret is in the answer, and nowhere else ever again.

        :param roles: names of known roles.
        :param context: names to strings, numbers, booleans or lists of those; at most 4 096 bytes as JSON.
        :param prefix: what the key text begins with; ``ARCHIE_KEYS_PREFIX`` when left out.
        :param expires_at: aware; ``ARCHIE_KEYS_MAX_AGE`` from now when left out, or never where there is none.
        :param owner: who the key belongs to, in the host's terms.
        :param allowed_networks: CIDR networks that requests must come from; any when left out.
        :param idempotency_key: the caller's own name for this request, 1 to 255 visible ASCII characters: of any number
            of requests with it in 24 hours, one makes a key.
        :raises ValidationFailed: naming each refused field, the rule and why.
        :raises Replayed: if a request with that ``idempotency_key`` has made a key.
        :raises StoreUnavailable: if the database cannot be written; then there is no key.
        """
        permit = self._authority.permit("api_keys", "write")
        given = {"name": name, "roles": roles, "context": context, "expires_at": expires_at, "owner": owner}
        given |= {"allowed_networks": allowed_networks, "prefix": self._config.prefix if prefix is None else prefix}
        once = self._once(idempotency_key)
        with self._database.write() as connection:
            now = now_micros()
            known = self._known_roles(connection)
            once.check(connection)
            if expires_at is None:
                given["expires_at"] = self._default_expiry(permit, now)
            if allowed_networks is None and permit.actor is not None:
                _, given["allowed_networks"] = self._authority.by_now(connection, permit.actor)
            values = self._drafts.checked(given, known_roles=known, now=now, created=now)
            text, row = self._drafts.new(values, now, self._authority.acting().actor)
            self._ensure_fit(known, row)
            self._authority.ensure_within(connection, permit, known, row)
            permit.require(row)
            once.take(connection, row["id"], now)
            self._store.add(connection, row)
            self._record(
                connection, "key.created", row["id"], {"name": row["name"], "roles": shown("roles", row["roles"])}
            )
        key = to_key(row, now)
        self._sender.send(signals.key_created, key=key)
        return CreatedKey(text, key)

    def rotate(
        self, key_id: str, *, overlap: timedelta | None = None, idempotency_key: str | None = None
    ) -> CreatedKey:
        """Make a key with the same name, roles, context, owner and networks; the old one ends after ``overlap``.

        An overlap never lengthens the old key's life. If the old one had an expiry, the new one lives as long from now.

        :param overlap: how long both work; ``ARCHIE_KEYS_ROTATION_OVERLAP`` when left out, zero ends the old one now.
        :param idempotency_key: as in :meth:`create`.
        :raises KeyNotFound: if there is no such key here.
        :raises Replayed: if a request with that ``idempotency_key`` has made a key.
        :raises Conflict: if the key is deleted, disabled or expired, or was rotated before.
        """
        span = rules.overlap(self._config.rotation_overlap if overlap is None else overlap)
        permit = self._authority.permit("api_keys", "write")
        once = self._once(idempotency_key)
        with self._database.write() as connection:
            now = now_micros()  # here, and in the other changes: after the wait for other writers
            end = now + span // _MICROSECOND
            known = self._known_roles(connection)
            old = self._row(connection, key_id, permit, lock=True)
            once.check(connection)
            permit.require_other(key_id)
            text, row = self._drafts.new(self._drafts.inherited(old, now), now, self._authority.acting().actor)
            row["expires_at"] = self._authority.latest(permit, row["expires_at"])
            self._authority.ensure_within(connection, permit, known, row)
            permit.require(row)
            done = self._store.change(
                connection,
                key_id,
                {
                    "replaced_by": row["id"],
                    "expires_at": case(
                        (table.c.expires_at.is_(None), literal(end)),
                        (table.c.expires_at > end, literal(end)),
                        else_=table.c.expires_at,
                    ),
                },
                table.c.replaced_by.is_(None),
                is_alive(now),
            )
            old = self._row(connection, key_id, permit)
            if not done:
                raise Conflict(self._why_not(old, now, "rotated"))
            once.take(connection, row["id"], now)
            self._store.add(connection, row)
            ends = isoformat(from_micros(old["expires_at"]))
            self._record(connection, "key.rotated", key_id, {"replacedBy": row["id"], "expiresAt": ends})
            self._record(connection, "key.created", row["id"], {"name": row["name"], "replaces": key_id})
        self._changed(key_id)
        key = to_key(row, now)
        self._sender.send(signals.key_rotated, key=to_key(old, now_micros()), successor=key)
        return CreatedKey(text, key)

    # -- changing

    def update(self, key_id: str, *, version: int | None = None, **changes: Any) -> Key:
        """Change ``name``, ``roles``, ``context``, ``expires_at``, ``owner`` or ``allowed_networks`` of a key.

        :param version: the version that the caller has seen; nothing is changed if it is another one by now.
        :raises ValidationFailed: for a field that cannot be changed, or a value that is refused.
        :raises VersionMismatch: if the key was changed since ``version``.
        :raises Conflict: if the key is deleted, or expired and its expiry was to be changed.
        """
        fields = [name for name in changes if name not in CHANGEABLE]
        if fields:
            raise ValidationFailed.one(
                fields[0], "read_only", f"cannot be changed{rules.nearest(fields[0], CHANGEABLE)}"
            )
        permit = self._authority.permit("api_keys", "update")
        with self._database.write() as connection:
            now = now_micros()
            known = self._known_roles(connection)
            row = self._row(connection, key_id, permit, lock=True)
            permit.require_other(key_id)
            self._require(row, version)
            values = self._drafts.checked(changes, known_roles=known, now=now, created=row["created_at"])
            if "expires_at" in changes:
                self._check_expiry(row, values["expires_at"], now)
            changed = {name: value for name, value in values.items() if value != row[name]}
            if not changed:
                return to_key(row, now)
            if changed.keys() & {"roles", "context", "owner"}:
                self._ensure_fit(known, {**row, **changed})
            self._authority.ensure_within(connection, permit, known, {**row, **changed})
            permit.require({**row, **changed})
            guards = [] if version is None else [table.c.version == version]
            if not self._store.change(connection, key_id, changed, table.c.deleted_at.is_(None), *guards):
                raise self._changed_meanwhile(connection, key_id, version)
            details = {"changed": {name: [shown(name, row[name]), shown(name, changed[name])] for name in changed}}
            self._record(connection, "key.updated", key_id, details)
            row = self._row(connection, key_id)
        return self._done(signals.key_updated, row)

    def disable(self, key_id: str) -> Key:
        """Stop a key; :meth:`enable` undoes it. Disabling one that is disabled changes nothing.

        :raises Conflict: if the key is deleted.
        """
        return self._switch(key_id, "key.disabled", signals.key_disabled, stop=True)

    def enable(self, key_id: str) -> Key:
        """Let a disabled key work again. Enabling one that is not disabled changes nothing.

        :raises Conflict: if the key is deleted.
        """
        return self._switch(key_id, "key.enabled", signals.key_enabled, stop=False)

    def delete(self, key_id: str, *, only_if_quiet: bool = False) -> Key:
        """End a key for good: its digest is erased, its record stays for the audit log. It never comes back.

        Deleting a deleted key changes nothing.

        :param only_if_quiet: refuse if the key was used within ``ARCHIE_KEYS_QUIET_PERIOD``.
        :raises KeyInUse: if it was.
        """
        permit = self._authority.permit("api_keys", "delete")
        if only_if_quiet:
            with self._database.read() as connection:  # whoever may not see the key must not learn that it is used
                self._row(connection, key_id, permit)
            traffic = self._audit.measure(key_id)
            if not traffic.safe_to_delete and not self._config.audit.enabled:
                raise KeyInUse(f"whether the key {key_id} is used is not known: the audit of requests is off")
            if not traffic.safe_to_delete:
                raise KeyInUse(
                    f"the key {key_id} was {'made' if traffic.last_used_at is None else 'used'} "
                    f"{_seconds(traffic.quiet)} ago; it counts as quiet after {_seconds(self._config.quiet_period)}"
                )
        with self._database.write() as connection:
            now = now_micros()
            row = self._row(connection, key_id, permit, lock=True)
            permit.require_other(key_id)
            if row["deleted_at"] is not None:
                return to_key(row, now)
            self._store.change(connection, key_id, {"deleted_at": now, "digest": None}, table.c.deleted_at.is_(None))
            self._record(connection, "key.deleted", key_id, {"name": row["name"]})
            row = self._row(connection, key_id)
        return self._done(signals.key_deleted, row)

    def take_back(self, created: CreatedKey, replaced: Key | None = None) -> None:
        """Undo the making of a key whose secret could not be handed over, and its rotation where it came from one.

        :param replaced: the key that was rotated, as it was before.
        """
        self._authority.permit("api_keys", "write")
        with self._database.write() as connection:
            new = created.key.id
            self._store.change(connection, new, {"deleted_at": now_micros(), "digest": None})
            self._record(connection, "key.deleted", new, {"name": created.key.name, "secret": "was not handed over"})
            if replaced is not None:
                ends = None if replaced.expires_at is None else to_micros(replaced.expires_at)
                values = {"replaced_by": None, "expires_at": ends}
                if self._store.change(connection, replaced.id, values, table.c.replaced_by == new):
                    self._record(connection, "key.rotation_undone", replaced.id, {"replacedBy": new})
        self._changed(new)
        if replaced is not None:
            self._changed(replaced.id)

    def purge(self, *, older_than: timedelta) -> int:
        """Remove the records of keys that were deleted more than ``older_than`` ago; how many."""
        conditions = self._authority.permit("api_keys", "delete").conditions(table)
        moment = now_micros() - older_than // _MICROSECOND
        with self._database.write() as connection:
            gone = self._store.deleted_before(connection, moment, *conditions)
            for key_id in gone:
                self._store.remove(connection, key_id)
                self._record(connection, "key.purged", key_id, {})
        return len(gone)

    def rehash(self, key_id: str, text: str, digest: str) -> None:
        """Replace a digest of an older pepper or a foreign scheme; the key and its version stay the same.

        Called at the first good use of the key. A failure is logged: the next use tries again.
        """
        try:
            with self._database.write() as connection:
                new = self._hasher.digest(key_id, text)
                if self._store.replace_digest(connection, key_id, digest, new):
                    self._record(connection, "key.rehashed", key_id, {})
        except StoreUnavailable as error:  # the key is good; its request must not fail over housekeeping
            logger.error("the digest of key %s could not be made anew: %s", key_id, error.cause or error)
        self._changed(key_id)

    # -- parts

    def _once(self, value: str | None) -> Once:
        return Once(self._requests, self._authority.acting().actor, value)

    @staticmethod
    def _check_expiry(row: RowMapping, wanted: int | None, now: int) -> None:
        if row["expires_at"] is not None and row["expires_at"] <= now:
            raise Conflict(f"the key {row['id']} has expired; make a new one")
        if row["replaced_by"] is not None and (wanted is None or wanted > row["expires_at"]):
            raise Conflict(f"the key {row['id']} was rotated; its life can only be shortened")

    @staticmethod
    def _require(row: RowMapping, version: int | None) -> None:
        if row["deleted_at"] is not None:
            raise Conflict(f"the key {row['id']} is deleted")
        if version is not None and row["version"] != version:
            raise VersionMismatch(f"the key {row['id']} has version {row['version']} by now, not {version}")

    def _switch(self, key_id: str, kind: str, signal: Signal, *, stop: bool) -> Key:
        permit = self._authority.permit("api_keys", "update")
        with self._database.write() as connection:
            now = now_micros()
            known = {} if stop else self._known_roles(connection)
            row = self._row(connection, key_id, permit, lock=True)
            permit.require_other(key_id)
            self._require(row, None)
            if not stop:
                self._authority.ensure_within(connection, permit, known, row)
            if (row["disabled_at"] is not None) is stop:
                return to_key(row, now)
            values = {"disabled_at": now if stop else None}
            if not self._store.change(connection, key_id, values, table.c.deleted_at.is_(None)):
                raise self._changed_meanwhile(connection, key_id, None)
            self._record(connection, kind, key_id, {})
            row = self._row(connection, key_id)
        return self._done(signal, row)

    def _changed_meanwhile(self, connection: Connection, key_id: str, version: int | None) -> ServiceError:
        try:
            self._require(self._row(connection, key_id), version)
        except (Conflict, VersionMismatch) as error:
            return error
        return Conflict(f"the key {key_id} was changed by somebody else; try again")

    def _row(
        self, connection: Connection, key_id: object, permit: Permit | None = None, *, lock: bool = False
    ) -> RowMapping:
        """The row of a key, for whoever may see it."""
        row = None
        if isinstance(key_id, str) and is_key_id(key_id):
            conditions = [] if permit is None else permit.conditions(table)
            row = self._store.get(connection, key_id, *conditions, lock=lock)
        if row is None:
            raise KeyNotFound(f"there is no key {str(key_id)[:100]!r} in {self._config.environment}")
        return row

    @staticmethod
    def _why_not(row: RowMapping, now: int, verb: str) -> str:
        status = to_key(row, now).status
        if row["replaced_by"] is not None and status not in ("deleted", "disabled"):
            return f"the key {row['id']} was {verb} before, to {row['replaced_by']}"
        return f"the key {row['id']} is {status} and cannot be {verb}"

    def _known_roles(self, connection: Connection) -> Mapping[str, Role]:
        """All roles by name. None of them is changed before the end of the transaction.

        Before any key is locked: whoever changes roles locks them in this order, too.
        """
        epoch = self._roles.epoch(connection, lock=True)
        return self._authority.permissions.known(connection, epoch)

    def _default_expiry(self, permit: Permit, now: int) -> datetime | None:
        longest = self._config.max_age
        end = self._authority.latest(permit, None if longest is None else now + longest // _MICROSECOND)
        return None if end is None else from_micros(end)

    def _ensure_fit(self, known: Mapping[str, Role], row: Mapping[str, Any]) -> None:
        """:raises ValidationFailed: naming the variables of its roles' filters that a key has no fitting value for."""
        roles = [known[name] for name in load_list(row["roles"]) or () if name in known]
        wrong = misfits(roles, row, self._schema_of)
        if wrong:
            raise ValidationFailed(wrong)

    def _record(self, connection: Connection, kind: str, key_id: str, details: Mapping[str, object]) -> None:
        record(connection, self._config, self._authority.acting(), kind, key_id, details)

    def _done(self, signal: Signal, row: RowMapping) -> Key:
        self._changed(row["id"])
        key = to_key(row, now_micros())
        self._sender.send(signal, key=key)
        return key


def _seconds(span: timedelta) -> str:
    return f"{int(span.total_seconds())} s"
