"""Decisions by the roles in the database: what they grant, when they are read again, what is unknown to them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, event
from werkzeug.datastructures import ImmutableDict

from flask_archie_keys import Allowed, Denied, Grant, Principal, Role, StoreUnavailable
from flask_archie_keys.config import Config
from flask_archie_keys.domain.permissions import ACTIONS
from flask_archie_keys.permissions import roles as permissions_of_roles
from flask_archie_keys.permissions.roles import DatabasePermissions
from flask_archie_keys.store.database import Database, create_tables
from flask_archie_keys.store.models import grants as grants_table
from flask_archie_keys.store.roles import RoleStore

EU, US = "region = 'eu'", "region = 'us'"
NOT_GRANTED = Denied("missing_grant", "orders:read")


class World:
    """A database with roles, and how often the roles were read."""

    def __init__(self, url: str) -> None:
        self.engine = create_engine(url)
        create_tables(self.engine)
        self.database = Database(lambda: self.engine)
        self.read = 0
        event.listen(self.engine, "before_cursor_execute", self._count)

    def _count(self, connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        self.read += statement.startswith("SELECT") and grants_table.name in statement

    def save(self, name: str, *grants: Grant, environment: str = "master", now: int = 1) -> int:
        """Save a role; the epoch."""
        store = RoleStore("default", environment)
        with self.database.write() as connection:
            store.lock(connection)
            store.move(connection, now)
            store.save(connection, name, "", grants, now, store.get(connection, name))
            return store.epoch(connection)

    def permissions(self, **roles: Role) -> DatabasePermissions:
        return DatabasePermissions(Config(roles=ImmutableDict(roles)), self.database, lambda: ["named"])


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(f"sqlite:///{tmp_path / 'roles.sqlite'}")
    yield world
    world.engine.dispose()


def key(*roles: str, epoch: int | None = None) -> Principal:
    return Principal("key", "7f3Kq2Zt9bXa", "key", "default", "master", roles=roles, policy_epoch=epoch)


def test_the_roles_of_a_key_are_joined(world: World) -> None:
    world.save("eu", Grant("orders", read=True, update=True, filter=EU))
    world.save("us", Grant("orders", read=True, filter=US), Grant("orders", read=True, filter=EU))
    world.save("all", Grant("orders", read=True), Grant("orders", delete=True, filter=US))
    permissions = world.permissions()
    assert permissions.decide(key("eu"), "orders", "read") == Allowed((EU,))
    assert permissions.decide(key("eu", "us"), "orders", "read") == Allowed((EU, US))
    assert permissions.decide(key("us", "eu"), "orders", "update") == Allowed((EU,))
    assert permissions.decide(key("eu", "all", "us"), "orders", "read") == Allowed(None)
    assert permissions.decide(key("all"), "orders", "delete") == Allowed((US,))


@pytest.mark.parametrize(
    "roles", [(), ("ghost",), ("named",), ("empty",), ("ghost", "other_resource"), ("EU",), ("*",)]
)
@pytest.mark.parametrize("action", ACTIONS)
def test_what_is_not_granted_is_denied(world: World, roles: tuple[str, ...], action: Any) -> None:
    """No roles, an unknown one, one that only views name, one without grants, one for something else."""
    world.save("empty")
    world.save("eu", Grant("orders", read=True))
    world.save("other_resource", Grant("order", **dict.fromkeys(ACTIONS, True)))
    decision = world.permissions().decide(key(*roles), "orders", action)
    assert decision == Denied("missing_grant", f"orders:{action}") and not decision


def test_one_action_is_not_the_other(world: World) -> None:
    for action in ACTIONS:
        world.save(action, Grant("orders", **{action: True}))
    permissions = world.permissions()
    for held in ACTIONS:
        assert [bool(permissions.decide(key(held), "orders", asked)) for asked in ACTIONS] == [
            asked == held for asked in ACTIONS
        ]


def test_the_roles_of_the_settings_win_over_saved_ones(world: World) -> None:
    world.save("clerk", Grant("orders", read=True))
    world.save("saved", Grant("orders", read=True))
    permissions = world.permissions(clerk=Role(name="clerk", grants=(Grant("orders", read=True, filter=EU),)))
    assert permissions.decide(key("clerk"), "orders", "read") == Allowed((EU,))
    assert permissions.decide(key("saved"), "orders", "read") == Allowed(None)


def test_roles_of_another_environment_count_for_nothing(world: World) -> None:
    world.save("clerk", Grant("orders", read=True), environment="staging")
    assert world.permissions().decide(key("clerk"), "orders", "read") == NOT_GRANTED


@pytest.mark.parametrize(
    "where", [{"environment": "staging"}, {"project": "other"}, {"project": "", "environment": ""}]
)
def test_a_principal_of_elsewhere_is_granted_nothing(world: World, where: dict[str, str]) -> None:
    world.save("clerk", Grant("orders", read=True))
    stranger = replace(key("clerk"), **where)  # type: ignore[arg-type]
    decision = world.permissions().decide(stranger, "orders", "read")
    assert decision == replace(NOT_GRANTED, why="the principal is of another environment")


def test_roles_are_read_once_for_each_epoch(world: World) -> None:
    epoch = world.save("clerk", Grant("orders", read=True))
    permissions = world.permissions()
    world.read = 0
    for _ in range(3):
        for resource in ("orders", "other"):
            permissions.decide(key("clerk", epoch=epoch), resource, "read")
    assert world.read == 1

    later = world.save("clerk", Grant("orders", read=True, filter=EU))
    assert later > epoch
    world.read = 0
    assert permissions.decide(key("clerk", epoch=later), "orders", "read") == Allowed((EU,))
    assert permissions.decide(key("clerk", epoch=later), "orders", "read") == Allowed((EU,))
    assert world.read == 1


def test_an_epoch_that_was_read_earlier_gets_the_roles_as_they_are_now(world: World) -> None:
    """A key that was read before a change and decided about after it, as where it may be stale."""
    first = world.save("clerk", Grant("orders", read=True))
    permissions = world.permissions()
    second = world.save("clerk", Grant("orders", read=True, filter=EU))
    assert permissions.decide(key("clerk", epoch=second), "orders", "read") == Allowed((EU,))
    assert permissions.decide(key("clerk", epoch=first), "orders", "read") == Allowed((EU,))
    assert permissions.decide(key("clerk", epoch=second), "orders", "read") == Allowed((EU,))


def test_without_an_epoch_it_is_read_each_time(world: World) -> None:
    """Users of the host, and those whom ``act_as`` names."""
    world.save("clerk", Grant("orders", read=True))
    permissions = world.permissions()
    assert permissions.decide(key("clerk"), "orders", "read") == Allowed(None)
    world.read = 0
    assert permissions.decide(key("clerk"), "orders", "read") == Allowed(None)
    assert world.read == 0
    world.save("clerk")
    assert permissions.decide(key("clerk"), "orders", "read") == NOT_GRANTED


def test_a_database_that_was_put_back_is_read_again(world: World) -> None:
    old = world.save("clerk")
    new = world.save("clerk", Grant("orders", read=True), now=10)
    permissions = world.permissions()
    assert permissions.decide(key("clerk", epoch=new), "orders", "read") == Allowed(None)
    with world.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM archie_grants")
        connection.exec_driver_sql(f"UPDATE archie_policy_epochs SET epoch = {old}")
    assert permissions.decide(key("clerk", epoch=old), "orders", "read") == NOT_GRANTED
    assert world.save("clerk", Grant("orders", read=True), now=11) > new


def test_a_role_that_changes_while_roles_are_read_is_read_at_the_next_request(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.save("clerk")
    permissions = world.permissions()
    read = permissions._store.all
    epochs: list[int] = []

    def between(connection: Any) -> dict[str, Role]:
        if not epochs:
            epochs.append(world.save("clerk", Grant("orders", read=True)))
            epochs.append(world.save("clerk"))
        return read(connection)

    monkeypatch.setattr(permissions._store, "all", between)
    permissions.decide(key("clerk", epoch=1), "orders", "read")
    world.read = 0
    assert permissions.decide(key("clerk", epoch=epochs[-1]), "orders", "read") == NOT_GRANTED
    assert world.read == 1


def test_what_is_remembered_is_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    epoch = world.save("clerk", Grant("orders", read=True))
    monkeypatch.setattr(permissions_of_roles, "_DECISIONS_MAX", 3)
    permissions = world.permissions()
    for n in range(10):
        permissions.decide(key("clerk", f"r{n}", epoch=epoch), "orders", "read")
        assert permissions._known is not None and len(permissions._known.decisions) <= 3


def test_a_decision_is_of_its_roles_resource_and_action(world: World) -> None:
    epoch = world.save("clerk", Grant("orders", read=True), Grant("items", read=True, filter=EU))
    permissions = world.permissions()
    for _ in range(2):
        assert permissions.decide(key("clerk", epoch=epoch), "orders", "read") == Allowed(None)
        assert permissions.decide(key("clerk", epoch=epoch), "items", "read") == Allowed((EU,))
        assert not permissions.decide(key("clerk", epoch=epoch), "orders", "update")
        assert not permissions.decide(key("other", epoch=epoch), "orders", "read")


def test_a_database_that_is_away_is_said_and_grants_nothing(world: World) -> None:
    permissions = world.permissions()
    with world.engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE archie_grants")
    with pytest.raises(StoreUnavailable):
        permissions.decide(key("clerk"), "orders", "read")


def test_all_roles_there_are_for_the_services(world: World) -> None:
    world.save("clerk", Grant("orders", read=True))
    world.save("named", Grant("orders", read=True))
    permissions = world.permissions(viewer=Role(name="viewer", source="settings"))
    with world.database.read() as connection:
        known = permissions.known(connection)
    assert {name: (role.source, role.environment) for name, role in known.items()} == {
        "clerk": ("saved", "master"),
        "named": ("saved", "master"),
        "viewer": ("settings", "master"),
    }
    assert list(permissions.declared) == ["viewer"]
