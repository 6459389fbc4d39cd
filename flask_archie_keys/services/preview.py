"""Which rows a key would see, for whoever edits its roles: no row that they may not read themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Column, Connection, LargeBinary, Select, inspect, literal, select
from sqlalchemy.exc import SQLAlchemyError

from ..audit.event import Request
from ..config import Config
from ..domain.permissions import OWN_RESOURCES, Action, Allowed, Denied, Role, scope_of, union
from ..domain.principals import Principal
from ..domain.records import Key
from ..errors import NotFound, StoreUnavailable
from ..permissions.access import Access, joined
from ..permissions.roles import DatabasePermissions
from ..store.database import Database
from ..store.models import events, keys, roles
from ..store.protection import Protection, protection_of
from ..store.schema import ModelSchema
from ..store.scope import RowRule
from .explain import principal_of
from .keys import KeyService

ROWS = 20
#: Rows are counted up to here: the count of a large table would take as long as reading it.
COUNT_MAX = 1000
CELL_MAX = 120
#: Parts of the names of columns whose values are nobody's to look at.
_NEVER = ("password", "passwd", "secret", "token", "digest", "hash", "salt", "private_key", "api_key")
_OWN_COLUMNS: Mapping[str, tuple[Column[Any], ...]] = {
    "api_keys": (keys.c.id, keys.c.name, keys.c.prefix, keys.c.owner, keys.c.created_by),
    "roles": (roles.c.name, roles.c.description),
    "audit_events": (events.c.id, events.c.kind, events.c.key_id, events.c.outcome, events.c.method, events.c.route),
}
_OWN_TABLES = {"api_keys": keys, "roles": roles, "audit_events": events}


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What a key would see of one resource, as far as whoever asks may see it.

    :ivar holds: whether the key has the role that is tried; else it is shown as if it had.
    :ivar filter: the filter with the key's values in it; ``None`` for all rows.
    :ivar why: why it sees nothing at all, if so.
    :ivar rows: the first ones, as texts; ``None`` in a cell for NULL.
    :ivar count: how many rows there are; ``more`` says that there are more than that.
    """

    key: Key
    resource: str
    holds: bool
    filter: str | None = None
    why: str | None = None
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str | None, ...], ...] = ()
    count: int = 0
    more: bool = False


class Previews:
    """Previews in one environment.

    :param access: the permissions of who asks; ``None`` for the system, which may read everything.
    :param protection: gives what is protected as a resource in this application; ``None`` if nothing is.
    :param reading: gives a connection to the database of a protected class.
    :param remote: a remote service decides, so that roles say nothing.
    """

    def __init__(
        self,
        config: Config,
        service: KeyService,
        permissions: DatabasePermissions,
        database: Database,
        *,
        access: Callable[[], Access | None],
        protection: Callable[[str], Protection | None],
        reading: Callable[[Protection], AbstractContextManager[Connection]],
        remote: bool,
    ) -> None:
        self._config = config
        self._service = service
        self._permissions = permissions
        self._database = database
        self._access = access
        self._protection = protection
        self._reading = reading
        self._remote = remote

    def offers(self, resource: str) -> bool:
        """Whether who asks can have previews of a resource: its rows are known here, and they may read some."""
        access = self._access()
        return access is not None and self._knows(resource) and access.may(resource, "read") is not None

    def _knows(self, resource: str) -> bool:
        return not self._remote and (resource in OWN_RESOURCES or self._protection(resource) is not None)

    def show(self, key_id: str, resource: str, role: Role | None = None) -> Preview:
        """The rows of a resource that a key would see.

        :param role: a role as it would be saved; the key is taken to have it.
        :raises KeyNotFound: if there is no such key, or none that who asks may see.
        :raises Forbidden: if who asks may not read the resource.
        :raises NotFound: if there is no such resource, or its rows are not known here.
        """
        access = self._access()
        if access is None or not self._knows(resource):
            raise NotFound(f"there is no preview of {resource[:100]!r}")
        access.rule(resource, "read")
        key = self._service.get(key_id)
        holds = role is None or role.name in key.roles
        trying = self._trying(key, role)
        decision = trying.decide(resource, "read")
        empty = Preview(key=key, resource=resource, holds=holds)
        if isinstance(decision, Denied):
            return replace(empty, why=decision.why or f"no role of the key grants {scope_of(resource, 'read')}")
        protection = self._protection(resource)
        if protection is None:
            return self._own(empty, access.rule(resource, "read"), trying.rule(resource, "read"))
        return self._protected(empty, protection, access, trying)

    def _trying(self, key: Key, role: Role | None) -> Access:
        """What the key may do with the role as it would be."""
        with self._database.read() as connection:
            known = self._permissions.known(connection)
        principal = principal_of(key)
        if role is not None:
            known[role.name] = role
            principal = replace(principal, roles=tuple(dict.fromkeys((*principal.roles, role.name))))
        return Access(principal, _Trial(known))

    def _own(self, empty: Preview, mine: RowRule, its: RowRule) -> Preview:
        table = _OWN_TABLES[empty.resource]
        here = (table.c.project == self._config.project, table.c.environment == self._config.environment)
        columns = _OWN_COLUMNS[empty.resource]
        statement = select(*columns).where(*here, *(rule.condition(table) for rule in (mine, its)))
        with self._database.read() as connection:
            return _read(connection, statement.order_by(*table.primary_key), columns, empty, its)

    def _protected(self, empty: Preview, protection: Protection, access: Access, trying: Access) -> Preview:
        from ..store.guarding.scoping import scoped

        its = trying.rule(empty.resource, "read", protection.model)
        if _looks_at_secrets(protection, its):
            return replace(empty, why="the filters look at columns that are shown to nobody")
        mine = [access.rule(empty.resource, "read", protection.model), *_of_related(access, protection, its)]
        columns = tuple(_columns(protection))
        statement: Select[Any] = select(*columns).order_by(*protection.table.primary_key)
        for rule in (*mine, its):
            # all of them are conditions on what whoever asks reads: theirs, and the key's besides
            statement = scoped(statement, "read", access, lambda *_, rule=rule: rule)
        try:
            with self._reading(protection) as connection:
                return _read(connection, statement, columns, empty, its)
        except SQLAlchemyError as error:
            raise StoreUnavailable(f"the rows of {empty.resource} cannot be read") from error


class _Trial:
    """Decides by some roles as they would be."""

    def __init__(self, known: Mapping[str, Role]) -> None:
        self._known = known

    def decide(
        self, principal: Principal, resource: str, action: Action, request: Request | None = None
    ) -> Allowed | Denied:
        grants = (grant for name in principal.roles if name in self._known for grant in self._known[name].grants)
        return union(grants, resource, action) or Denied("missing_grant", scope_of(resource, action))


class _Instead:
    """Decides as somebody's permissions do, but by another filter for one resource."""

    def __init__(self, access: Access, resource: str, text: str) -> None:
        self._access = access
        self._resource = resource
        self._text = text

    def decide(
        self, principal: Principal, resource: str, action: Action, request: Request | None = None
    ) -> Allowed | Denied:
        if resource == self._resource:
            return Allowed((self._text,))
        return self._access.decide(resource, action)


def _of_related(access: Access, protection: Protection, its: RowRule) -> Iterator[RowRule]:
    """That the related rows which the key's filters look at are such as who asks may read, too.

    Else a filter that is tried would tell, by the rows that it lets through, what stands in rows that they may not see.
    """
    schema = ModelSchema(protection.model)
    wanted: dict[str, None] = {}
    for bound in its.bounds:
        for path in bound.columns:
            for at, hop in enumerate(schema.target(path).hops):
                if protection_of(hop.model) is not None:
                    before, there = path[:at], path[: at + 1]
                    own, other = hop.keys[0]
                    text = f"({'.'.join((*before, own))} IS NULL OR {'.'.join((*there, other))} IS NOT NULL)"
                    wanted[text] = None
    if wanted:
        instead = _Instead(access, protection.resource, " AND ".join(wanted))
        yield Access(access.principal, instead).rule(protection.resource, "read", protection.model)


def _looks_at_secrets(protection: Protection, its: RowRule) -> bool:
    """Whether a rule reads columns that are not shown: what it lets through would tell their values bit by bit."""
    schema = ModelSchema(protection.model)
    return any(_is_secret(schema.target(path).column) for bound in its.bounds for path in bound.columns)


def _is_secret(column: Column[Any]) -> bool:
    return any(part in column.name.lower() for part in _NEVER)


def _columns(protection: Protection) -> Iterator[Column[Any]]:
    """The columns that may be shown: none that are loaded only when asked for, and no secrets by their names."""
    attributes = inspect(protection.model).column_attrs
    deferred = {column for attribute in attributes if attribute.deferred for column in attribute.columns}
    for column in protection.table.columns:
        if column not in deferred and not isinstance(column.type, LargeBinary) and not _is_secret(column):
            yield column


def _read(
    connection: Connection, statement: Select[Any], columns: Sequence[Column[Any]], empty: Preview, its: RowRule
) -> Preview:
    found = [tuple(map(_text, row)) for row in connection.execute(statement.limit(ROWS + 1))]
    count = len(found)
    if count > ROWS:
        some = statement.with_only_columns(literal(1)).order_by(None).limit(COUNT_MAX + 1)
        count = len(connection.execute(some).all())
    return replace(
        empty,
        filter=None if its.everything else joined(tuple(str(bound) for bound in its.bounds)),
        columns=tuple(column.name for column in columns),
        rows=tuple(found[:ROWS]),
        count=min(count, COUNT_MAX),
        more=count > COUNT_MAX,
    )


def _text(value: object) -> str | None:
    if value is None:
        return None
    text = str(value)
    return text if len(text) <= CELL_MAX else f"{text[:CELL_MAX]}…"
