"""Saving, copying and deleting roles. Every change is one transaction with its audit event, then a signal."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from sqlalchemy import Connection, RowMapping

from .. import signals
from ..audit.management import record
from ..config import Config
from ..domain import role_rules, rules
from ..domain.clock import now_micros
from ..domain.filters import Schema
from ..domain.permissions import OWN_RESOURCES, Grant, Role
from ..domain.records import Key, Page
from ..errors import BadRequest, Conflict, FieldError, RoleInUse, RoleNotFound, ValidationFailed, VersionMismatch
from ..permissions.ceiling import ensure_holders_within, ensure_role_within
from ..store.database import Database
from ..store.keys import KeyStore, dump, load_context, load_list, to_key
from ..store.models import keys as key_table
from ..store.roles import RoleStore
from .authority import Authority, Permit
from .fits import misfits, wrong_grants
from .sender import Sender


class _Draft(NamedTuple):
    """A role as it would be saved."""

    name: str
    description: str
    grants: tuple[Grant, ...]


class RoleService:
    """The roles of one project and environment: saved ones, those of the settings and those that views name.

    :param schema_of: the columns of a resource; ``None`` for one that is not protected.
    :param resources: gives the names of the host's resources.
    :param changed: called after the commit of each change.
    """

    def __init__(
        self,
        config: Config,
        database: Database,
        authority: Authority,
        sender: Sender,
        *,
        schema_of: Callable[[str], Schema | None],
        resources: Callable[[], Collection[str]],
        changed: Callable[[], None],
        of_environment: Callable[[str], RoleService],
    ) -> None:
        self._config = config
        self._database = database
        self._authority = authority
        self._sender = sender
        self._schema_of = schema_of
        self._resources = resources
        self._changed = changed
        self._of_environment = of_environment
        self._store = RoleStore(config.project, config.environment)
        self._keys = KeyStore(config.project, config.environment)

    # -- reading

    def get(self, name: str) -> Role:
        """A role.

        :raises RoleNotFound: if there is none of that name in this project and environment.
        :raises StoreUnavailable: if the database cannot be read.
        """
        permit = self._authority.permit("roles", "read")
        with self._database.read() as connection:
            role = self._authority.permissions.known(connection).get(name)
        if role is None or not _visible(permit, role):
            raise self._not_found(name)
        return role

    def find(self) -> Page[Role]:
        """All roles, by name."""
        permit = self._authority.permit("roles", "read")
        with self._database.read() as connection:
            known = self._authority.permissions.known(connection)
        return Page(tuple(known[name] for name in sorted(known) if _visible(permit, known[name])))

    def resources(self) -> list[str]:
        """The names of what grants can be for: the host's by name, then ours."""
        return [*sorted({*self._resources()} - {*OWN_RESOURCES}), *OWN_RESOURCES]

    def holders(self) -> dict[str, int]:
        """How many keys have each role, deleted ones left out, as far as who acts may see them.

        :raises Forbidden: if who acts has no grant to read ``api_keys``.
        """
        permit = self._authority.permit("api_keys", "read")
        found: dict[str, int] = {}
        with self._database.read() as connection:
            for roles, number in self._keys.count_by_roles(connection, *permit.conditions(key_table)):
                for role in roles:
                    found[role] = found.get(role, 0) + number
        return found

    def keys_with(self, name: str, *, limit: int = 50) -> list[Key]:
        """The newest keys that have a role, deleted ones left out, of those that who acts may see.

        :raises Forbidden: if who acts has no grant to read ``api_keys``.
        """
        rules.limit(limit)
        permit = self._authority.permit("api_keys", "read")
        with self._database.read() as connection:
            rows = self._keys.with_role(connection, name, *permit.conditions(key_table), limit=limit)
        now = now_micros()
        return [to_key(row, now) for row in rows]

    def wrong(self) -> dict[str, tuple[FieldError, ...]]:
        """What is wrong by now with saved roles and those of the settings, by name.

        A grant on a column that is gone, for instance, lets nothing through.
        """
        found = {role.name: wrong_grants(role.grants, self._schema_of, self._resources()) for role in self.find()}
        return {name: tuple(wrong) for name, wrong in found.items() if wrong}

    # -- changing

    def save(
        self,
        name: str,
        *,
        description: str = "",
        grants: Iterable[Grant | Mapping[str, object]] = (),
        version: int | None = None,
    ) -> Role:
        """Save a whole role: what it granted before and is not among ``grants`` it grants no more.

        It holds at the very next request of every key that has it.

        :param name: snake_case, at most 63 characters.
        :param grants: :class:`Grant` or mappings with its members.
        :param version: the version that the caller has seen (0: there is none yet); another one is refused.
        :returns: the role; its ``locked_out`` names the keys that have it and whose context does not fit its filters.
        :raises ValidationFailed: naming each refused field; a filter's mistake with its position.
        :raises Conflict: if the role is declared in the settings.
        :raises VersionMismatch: if the role was changed since ``version``.
        :raises Forbidden: if it would grant more than whoever saves it has.
        """
        draft = self._checked(name, description, grants)
        with self._database.write() as connection:
            self._store.lock(connection)
            old = self._prepare(connection, draft, version)
            changed = old is None or (old.description, old.grants) != (draft.description, draft.grants)
            if changed:
                now = now_micros()
                self._store.move(connection, now)
                self._store.save(connection, draft.name, draft.description, draft.grants, now, old)
                details = {"name": draft.name, "grants": [_shown(grant) for grant in draft.grants]}
                record(connection, self._config, self._authority.acting(), "role.saved", None, details)
            role = self._store.get(connection, draft.name)
            locked_out = self._locked_out(connection, draft)
        if role is None:  # it was written in this transaction
            raise self._not_found(name)
        saved = replace(role, locked_out=locked_out)
        if changed:
            self._changed()
            self._sender.send(signals.role_saved, role=saved)
        return saved

    def check(self, name: str, *, description: str = "", grants: Iterable[Grant | Mapping[str, object]] = ()) -> Role:
        """What :meth:`save` would answer, without saving anything."""
        draft = self._checked(name, description, grants)
        with self._database.read() as connection:
            self._prepare(connection, draft, None)
            return Role(
                name=draft.name,
                description=draft.description,
                grants=draft.grants,
                project=self._config.project,
                environment=self._config.environment,
                locked_out=self._locked_out(connection, draft),
            )

    def delete(self, name: str, *, take_from_keys: bool = False) -> None:
        """Delete a saved role.

        :param take_from_keys: take it from the keys that have it; else a role that keys have is not deleted. That
            changes them, so whoever does it must be granted that, and have none of its own roles deleted.
        :raises RoleNotFound: if there is no such role.
        :raises RoleInUse: if keys have it.
        :raises Conflict: if it is not a saved one.
        """
        permit = self._authority.permit("roles", "delete")
        taking = self._authority.permit("api_keys", "update") if take_from_keys else Permit()
        with self._database.write() as connection:
            self._store.lock(connection)  # from here on no key is made with the role
            role = self._authority.permissions.known(connection).get(name)
            if role is None or not _visible(permit, role):
                raise self._not_found(name)
            if role.source != "saved":
                raise Conflict(self._why_fixed(role))
            holders = self._keys.with_role(connection, name)
            if holders and not take_from_keys:
                raise RoleInUse(self._why_in_use(name, holders))
            for row in holders:
                taking.require_other(row["id"])
                taking.require(dict(row))
                self._take(connection, row["id"], row["roles"], name)
            self._store.move(connection, now_micros())
            self._store.remove(connection, name)
            details = {"name": name, "takenFrom": [row["id"] for row in holders]}
            record(connection, self._config, self._authority.acting(), "role.deleted", None, details)
        self._changed()
        self._sender.send(signals.role_deleted, name=name)

    def copy(self, name: str, environment: str) -> Role:
        """Save a role of this environment in another one, as it is here. Keys are never copied.

        :raises BadRequest: if there is no such environment.
        :raises Forbidden: for keys and users, whose grants are of this environment.
        """
        role = self.get(name)
        target = self._of_environment(environment)
        if target._config.environment == self._config.environment:
            raise BadRequest(f"the role {name!r} is of {environment} already")
        return target.save(name, description=role.description, grants=role.grants)

    # -- parts

    def _checked(self, name: object, description: object, grants: object) -> _Draft:
        problems = rules.Problems()
        values = [
            problems.take(role_rules.name, name),
            problems.take(role_rules.description, description),
            problems.take(role_rules.grants, grants),
        ]
        problems.check()
        draft = _Draft(*values)  # type: ignore[arg-type]
        wrong = wrong_grants(draft.grants, self._schema_of, self._resources())
        if wrong:
            raise ValidationFailed(wrong)
        return draft

    def _prepare(self, connection: Connection, draft: _Draft, version: int | None) -> Role | None:
        """The saved role that there is by now, if who acts may save this one over it."""
        known = self._authority.permissions.known(connection)
        old = known.get(draft.name)
        permit = self._authority.permit("roles", "update" if old is not None and old.source == "saved" else "write")
        if permit.actor is not None:
            permit.require({"name": draft.name, "description": draft.description})
            actor, _ = self._authority.by_now(connection, permit.actor)
            ensure_role_within(actor, known, draft.grants)
            holders = self._keys.with_role(connection, draft.name)
            others = [row for row in holders if (actor.kind, actor.id) != ("key", row["id"])]
            # many keys are alike in what counts here
            for context, owner, held in dict.fromkeys((row["context"], row["owner"], row["roles"]) for row in others):
                ensure_holders_within(actor, known, draft.grants, load_context(context), owner, load_list(held) or ())
        if old is not None and old.source == "settings":
            raise Conflict(self._why_fixed(old))
        if old is not None and old.source != "saved":
            old = None
        if version is not None and version != (0 if old is None else old.version):
            raise VersionMismatch(f"the role {draft.name!r} has another version by now than {version}")
        return old

    def _locked_out(self, connection: Connection, draft: _Draft) -> tuple[str, ...]:
        role = Role(name=draft.name, grants=draft.grants)
        holders = self._authority.seen("api_keys", self._keys.with_role(connection, draft.name))
        fits: dict[tuple[str, str | None], bool] = {}  # many keys are alike in what counts here
        locked_out = []
        for row in holders:
            like = row["context"], row["owner"]
            if like not in fits:
                fits[like] = not misfits([role], row, self._schema_of)
            if not fits[like]:
                locked_out.append(row["id"])
        return tuple(locked_out)

    def _take(self, connection: Connection, key_id: str, roles: str, name: str) -> None:
        left = [role for role in load_list(roles) or () if role != name]
        self._keys.change(connection, key_id, {"roles": dump(left)}, key_table.c.deleted_at.is_(None))
        details = {"changed": {"roles": [list(load_list(roles) or ()), left]}}
        record(connection, self._config, self._authority.acting(), "key.updated", key_id, details)

    def _not_found(self, name: object) -> RoleNotFound:
        return RoleNotFound(f"there is no role {str(name)[:100]!r} in {self._config.environment}")

    def _why_in_use(self, name: str, holders: Sequence[RowMapping]) -> str:
        ids = [row["id"] for row in self._authority.seen("api_keys", holders)]
        shown = f": {', '.join(ids[:5])}{', …' if len(ids) > 5 else ''}" if ids else ""
        return f"{len(holders)} {'keys have' if len(holders) > 1 else 'key has'} the role {name!r}{shown}"

    @staticmethod
    def _why_fixed(role: Role) -> str:
        if role.source == "settings":
            return f"the role {role.name!r} is declared in ARCHIE_KEYS_ROLES; change it there"
        return f"the role {role.name!r} is only named by views; there is nothing saved"


def _visible(permit: Permit, role: Role) -> bool:
    if permit.rule is None:
        return True
    return permit.rule.allows(role)


def _shown(grant: Grant) -> dict[str, object]:
    shown: dict[str, object] = {"resource": grant.resource, "actions": list(grant.actions)}
    return shown if grant.filter is None else {**shown, "filter": grant.filter}
