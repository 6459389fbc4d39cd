"""Saving, reading, copying and deleting roles, on SQLite files and on PostgreSQL."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from flask_archie_keys import (
    BadRequest,
    Conflict,
    Forbidden,
    Grant,
    Principal,
    Role,
    RoleInUse,
    RoleNotFound,
    StoreUnavailable,
    ValidationFailed,
    VersionMismatch,
    require_api_key,
    role_deleted,
    role_saved,
)
from flask_archie_keys.services.keys import KeyService
from flask_archie_keys.services.roles import RoleService

from ..conftest import Host, MakeHost
from ..support.sales import SALES

READ = Grant(SALES, read=True)
REGION = Grant(SALES, read=True, update=True, filter="region = $context.region")
KEYS = Grant("api_keys", read=True, write=True)


#: Where the database makes no difference.
on_sqlite = pytest.mark.parametrize("url", ["sqlite"], indirect=True)


@pytest.fixture
def roles(host: Host) -> RoleService:
    with host.app.app_context():
        return host.keys.roles


def epoch(host: Host) -> int:
    found = host.sql("SELECT epoch FROM archie_policy_epochs")
    return int(found[0][0]) if found else -1


# -- saving


def test_a_role_is_saved_whole(host: Host, roles: RoleService) -> None:
    saved = roles.save("clerk", description=" Sells ", grants=[REGION, {"resource": "api_keys", "read": True}])
    assert (saved.name, saved.description, saved.source, saved.version) == ("clerk", "Sells", "saved", 1)
    assert saved.grants == (REGION, Grant("api_keys", read=True))
    assert (saved.project, saved.environment) == ("default", "master")
    assert saved.created_at == saved.updated_at and saved.created_at is not None
    assert roles.get("clerk") == saved

    again = roles.save("clerk", grants=[READ])
    assert (again.version, again.grants, again.description) == (2, (READ,), "")
    assert again.created_at == saved.created_at and again.updated_at is not None and saved.updated_at is not None
    assert again.updated_at > saved.updated_at
    assert roles.get("clerk") == again
    assert host.sql("SELECT count(*) FROM archie_grants")[0][0] == 1


def test_a_role_that_stays_as_it_is_changes_nothing(host: Host, roles: RoleService) -> None:
    saved = roles.save("clerk", description="Sells", grants=[REGION, READ])
    before = epoch(host)
    sent: list[Any] = []
    with role_saved.connected_to(lambda app, **arguments: sent.append(arguments)):
        assert roles.save("clerk", description="Sells", grants=[REGION, READ]) == saved
    assert epoch(host) == before and sent == []
    assert [e.kind for e in host.changes()] == ["role.saved"]
    assert roles.save("clerk", description="Sells", grants=[READ, REGION]).version == 2  # their order is kept


def test_each_change_moves_the_epoch(host: Host, roles: RoleService) -> None:
    moments = [epoch(host)]
    for change in (
        lambda: roles.save("clerk", grants=[READ]),
        lambda: roles.save("clerk", grants=[REGION]),
        lambda: roles.delete("clerk"),
    ):
        change()
        moments.append(epoch(host))
    assert moments == sorted(set(moments))


@on_sqlite
def test_the_epoch_grows_where_the_clock_does_not(host: Host, roles: RoleService) -> None:
    roles.save("clerk")
    host.sql("UPDATE archie_policy_epochs SET epoch = 9000000000000000000")
    roles.save("clerk", grants=[READ])
    assert epoch(host) == 9000000000000000001


@on_sqlite
def test_events_and_signals_of_roles(host: Host, roles: RoleService) -> None:
    sent: list[tuple[str, Any]] = []

    def saved(app: Any, role: Role, actor: str) -> None:
        sent.append((actor, role))

    def deleted(app: Any, name: str, actor: str) -> None:
        sent.append((actor, name))

    with role_saved.connected_to(saved, host.app), role_deleted.connected_to(deleted, host.app):
        role = roles.save("clerk", grants=[REGION])
        roles.delete("clerk")
    assert sent == [("system", role), ("system", "clerk")]
    made, gone = host.changes()
    assert (made.kind, made.key_id, made.actor, made.outcome) == ("role.saved", None, "system", "allowed")
    assert made.details == {
        "name": "clerk",
        "grants": [{"resource": "sales", "actions": ["read", "update"], "filter": "region = $context.region"}],
    }
    assert (gone.kind, gone.details) == ("role.deleted", {"name": "clerk", "takenFrom": []})


@on_sqlite
def test_a_version_that_was_overtaken_is_refused(host: Host, roles: RoleService) -> None:
    with pytest.raises(VersionMismatch):
        roles.save("clerk", version=1)
    assert roles.save("clerk", version=0).version == 1
    with pytest.raises(VersionMismatch, match="the role 'clerk' has another version by now than 0"):
        roles.save("clerk", grants=[READ], version=0)
    assert roles.save("clerk", grants=[READ], version=1).version == 2
    with pytest.raises(VersionMismatch):
        roles.save("clerk", version=1)
    assert roles.get("clerk").grants == (READ,)


@on_sqlite
def test_a_role_that_is_wrong_is_refused_with_all_places(host: Host, roles: RoleService) -> None:
    with pytest.raises(ValidationFailed) as caught:
        roles.save("Clerk", description=7, grants=[{"resource": "sales"}, {"resource": "sales", "read": 1}])  # type: ignore[arg-type]
    assert [(error.field, error.rule) for error in caught.value.errors] == [
        ("name", "pattern"),
        ("description", "type"),
        ("grants[0]", "required"),
        ("grants[1].read", "type"),
        ("grants[1]", "required"),
    ]
    with pytest.raises(ValidationFailed) as caught:
        roles.save("clerk", grants=[Grant("sale", read=True), Grant(SALES, read=True, filter="open = 1 OR a = 2")])
    assert [(error.field, error.message) for error in caught.value.errors] == [
        ("grants[0].resource", "there is no resource 'sale'; did you mean 'sales'?"),
        ("grants[1].filter", "1 must be true or false to be compared with open (at character 8)"),
    ]
    assert epoch(host) == -1 and host.changes() == []


@on_sqlite
def test_resources_are_ours_those_that_are_protected_and_those_that_views_ask_for(
    host: Host, roles: RoleService
) -> None:
    host.app.add_url_rule("/r", "r", require_api_key(resource="reports")(lambda: "r"))
    names = ["api_keys", "roles", "audit_events", SALES, "reports"]
    assert [g.resource for g in roles.save("all", grants=[Grant(n, read=True) for n in names]).grants] == names


@on_sqlite
def test_a_filter_of_our_own_resources_names_some_of_their_columns(roles: RoleService) -> None:
    saved = roles.save(
        "manager",
        grants=[
            Grant("api_keys", read=True, filter="owner = $userId AND prefix = 'archie'"),
            Grant("roles", read=True, filter="name IN ('clerk', 'viewer')"),
            Grant("audit_events", read=True, filter="key_id = $keyId OR status >= 500"),
        ],
    )
    assert len(saved.grants) == 3


# -- who is locked out


def test_saving_says_which_keys_it_locks_out(host: Host, roles: RoleService) -> None:
    roles.save("clerk", grants=[READ])
    good = host.create("good", ("clerk",), context={"region": "eu"}).key.id
    lacks = host.create("lacks", ("clerk",)).key.id
    number = host.create("number", ("clerk",), context={"region": 7}).key.id
    gone = host.create("gone", ("clerk",)).key.id
    host.create("other", ("viewer",))
    with host.app.app_context():
        host.keys.service.delete(gone)
    saved = roles.save("clerk", grants=[REGION])
    assert saved.locked_out == (lacks, number) and good not in saved.locked_out
    assert roles.check("clerk", grants=[REGION]).locked_out == (lacks, number)
    assert roles.save("clerk", grants=[REGION]).locked_out == (lacks, number)  # said again, though nothing changes
    assert roles.check("clerk", grants=[READ]).locked_out == ()
    assert roles.get("clerk").locked_out == ()


@on_sqlite
def test_check_says_what_save_would_and_saves_nothing(host: Host, roles: RoleService) -> None:
    checked = roles.check("clerk", description="Sells", grants=[REGION])
    assert (checked.name, checked.description, checked.grants) == ("clerk", "Sells", (REGION,))
    with pytest.raises(RoleNotFound):
        roles.get("clerk")
    assert epoch(host) == -1 and host.changes() == []
    with pytest.raises(Conflict):
        roles.check("viewer")
    with pytest.raises(ValidationFailed):
        roles.check("clerk", grants=[Grant("nothing", read=True)])


# -- reading


@on_sqlite
def test_all_roles_are_found_by_name_wherever_they_come_from(host: Host, roles: RoleService) -> None:
    host.app.add_url_rule("/s", "s", require_api_key(roles=["sweeper", "clerk"])(lambda: "s"))
    roles.save("clerk", grants=[READ])
    found = {role.name: (role.source, role.version, role.grants) for role in roles.find()}
    assert list(found) == ["clerk", "editor", "sweeper", "viewer"]
    assert found["clerk"] == ("saved", 1, (READ,))
    assert found["sweeper"] == ("views", 0, ())
    assert found["viewer"] == ("settings", 0, ())
    assert roles.get("sweeper").environment == "master"
    with pytest.raises(RoleNotFound, match="there is no role 'nobody' in master"):
        roles.get("nobody")


@on_sqlite
def test_a_role_of_the_settings_is_shown_and_not_changed(make_host: MakeHost, url: str) -> None:
    declared = {"clerk": {"description": "Declared", "grants": [{"resource": "sales", "read": True}]}}
    host = make_host(url, ARCHIE_KEYS_ROLES=declared)
    with host.app.app_context():
        role = host.keys.roles.get("clerk")
        assert (role.source, role.description, role.grants) == ("settings", "Declared", (READ,))
        for change in (
            lambda: host.keys.roles.save("clerk", grants=[READ]),
            lambda: host.keys.roles.delete("clerk"),
            lambda: host.keys.roles.delete("clerk", take_from_keys=True),
        ):
            with pytest.raises(Conflict, match="the role 'clerk' is declared in ARCHIE_KEYS_ROLES; change it there"):
                change()
    assert host.changes() == []


def test_the_settings_win_over_a_role_that_was_saved_before(make_host: MakeHost, url: str) -> None:
    before = make_host(url, ARCHIE_KEYS_ROLES={})
    before.save("clerk", READ, Grant("api_keys", write=True))
    after = make_host(url, ARCHIE_KEYS_ROLES={"clerk": {"grants": [{"resource": "roles", "read": True}]}})
    key = after.create("k", ("clerk",)).key
    with after.acting(key):
        assert after.keys.roles.get("clerk").grants == (Grant("roles", read=True),)
        with pytest.raises(Forbidden):
            after.keys.service.create(name="more")


@on_sqlite
def test_a_role_that_only_views_name_can_be_saved_and_then_deleted(host: Host, roles: RoleService) -> None:
    host.app.add_url_rule("/s", "s", require_api_key(roles=["sweeper"])(lambda: "s"))
    with pytest.raises(Conflict, match="the role 'sweeper' is only named by views; there is nothing saved"):
        roles.delete("sweeper")
    assert roles.save("sweeper", grants=[READ], version=0).version == 1
    assert roles.get("sweeper").source == "saved"
    roles.delete("sweeper")
    assert (roles.get("sweeper").source, roles.get("sweeper").grants) == ("views", ())


@on_sqlite
def test_the_roles_that_do_not_fit_any_more_are_named(host: Host, roles: RoleService) -> None:
    roles.save("clerk", grants=[READ, REGION])
    roles.save("fine", grants=[READ])
    host.sql("UPDATE archie_grants SET resource = 'gone' WHERE position = 0 AND role = 'clerk'")
    host.sql("UPDATE archie_grants SET filter = 'no_such = 1' WHERE position = 1")
    ((name, wrong),) = roles.wrong().items()
    assert (name, [error.field for error in wrong]) == ("clerk", ["grants[0].resource", "grants[1].filter"])


# -- keys and unknown roles


@on_sqlite
def test_a_key_cannot_be_given_a_role_that_there_is_not(host: Host, service: KeyService, roles: RoleService) -> None:
    roles.save("clerk", grants=[READ])
    key = host.create(roles=("clerk",)).key
    for change in (
        lambda: service.create(name="x", roles=["clerc"]),
        lambda: service.update(key.id, roles=["clerk", "clerc"]),
    ):
        with pytest.raises(ValidationFailed) as caught:
            change()
        assert caught.value.errors == (("roles", "unknown", "there is no role 'clerc'; did you mean 'clerk'?"),)
    assert service.get(key.id).version == 1


# -- deleting


def test_a_role_that_keys_have_is_not_deleted(host: Host, roles: RoleService, service: KeyService) -> None:
    roles.save("clerk", grants=[READ])
    key_ids = [host.create(f"k{n}", ("viewer", "clerk")).key.id for n in range(6)]
    before = epoch(host)
    with pytest.raises(RoleInUse) as caught:
        roles.delete("clerk")
    assert str(caught.value) == f"6 keys have the role 'clerk': {', '.join(key_ids[:5])}, …"
    assert epoch(host) == before and roles.get("clerk").grants == (READ,)
    for key_id in key_ids[1:]:
        service.delete(key_id)
    with pytest.raises(RoleInUse, match=f"^1 key has the role 'clerk': {key_ids[0]}$"):
        roles.delete("clerk")
    service.update(key_ids[0], roles=["viewer"])
    roles.delete("clerk")
    with pytest.raises(RoleNotFound):
        roles.delete("clerk")


def test_a_role_can_be_taken_from_the_keys_that_have_it(host: Host, roles: RoleService, service: KeyService) -> None:
    roles.save("clerk", grants=[READ])
    roles.save("clerk_too", grants=[READ])
    one = host.create("one", ("viewer", "clerk", "editor")).key
    two = host.create("two", ("clerk",)).key
    other = host.create("other", ("clerk_too",)).key
    roles.delete("clerk", take_from_keys=True)
    assert [service.get(k.id).roles for k in (one, two, other)] == [("viewer", "editor"), (), ("clerk_too",)]
    assert [service.get(k.id).version for k in (one, two, other)] == [2, 2, 1]
    *_, first, second, last = host.changes()
    assert (first.kind, first.key_id, second.key_id) == ("key.updated", one.id, two.id)
    assert first.details == {"changed": {"roles": [["viewer", "clerk", "editor"], ["viewer", "editor"]]}}
    assert (last.kind, last.details) == ("role.deleted", {"name": "clerk", "takenFrom": [one.id, two.id]})


@on_sqlite
def test_a_role_that_is_made_again_is_not_given_back(host: Host, roles: RoleService, service: KeyService) -> None:
    roles.save("clerk", grants=[READ])
    key = host.create("one", ("clerk",)).key
    roles.delete("clerk", take_from_keys=True)
    roles.save("clerk", grants=[READ])
    assert service.get(key.id).roles == ()


def test_whoever_may_not_see_keys_is_not_told_which_have_a_role(host: Host, roles: RoleService) -> None:
    roles.save("clerk", grants=[READ])
    mine = host.create("mine", ("clerk",), owner="42").key
    host.create("hidden", ("clerk",), owner="43")
    roles.save("janitor", grants=[Grant("roles", read=True, update=True, delete=True), READ])
    roles.save("looker", grants=[Grant("api_keys", read=True, filter="owner = $userId")])
    with host.acting(here("42", "janitor")), pytest.raises(RoleInUse) as caught:
        roles.delete("clerk")
    assert str(caught.value) == "2 keys have the role 'clerk'"
    with host.acting(here("42", "janitor", "looker")), pytest.raises(RoleInUse) as caught:
        roles.delete("clerk")
    assert str(caught.value) == f"2 keys have the role 'clerk': {mine.id}"
    need = Grant(SALES, read=True, filter="level = $context.level")
    with host.acting(here("42", "janitor")), pytest.raises(Forbidden):
        roles.save("clerk", grants=[Grant(SALES, write=True)])
    with host.acting(here("42", "janitor")):
        assert roles.check("clerk", grants=[need]).locked_out == ()
    with host.acting(here("42", "janitor", "looker")):
        assert roles.check("clerk", grants=[need]).locked_out == (mine.id,)


def test_a_role_is_taken_from_keys_by_those_who_may_change_them(
    host: Host, roles: RoleService, service: KeyService
) -> None:
    roles.save("clerk", grants=[READ])
    roles.save("janitor", grants=[Grant("roles", delete=True)])
    roles.save("changer", grants=[Grant("api_keys", update=True, filter="owner = $userId")])
    mine = host.create("mine", ("clerk", "janitor", "changer"), owner="42").key
    other = host.create("other", ("clerk",), owner="43").key
    with host.acting(here("42", "janitor")), pytest.raises(Forbidden) as caught:
        roles.delete("clerk", take_from_keys=True)
    assert caught.value.scope == "api_keys:update"
    with host.acting(here("42", "janitor", "changer")), pytest.raises(Forbidden, match="does not let this through"):
        roles.delete("clerk", take_from_keys=True)
    assert [service.get(key.id).roles for key in (mine, other)] == [mine.roles, other.roles]
    service.delete(other.id)
    with host.acting(mine), pytest.raises(Forbidden, match="a key does not change itself"):
        roles.delete("clerk", take_from_keys=True)
    with host.acting(here("42", "janitor", "changer")):
        roles.delete("clerk", take_from_keys=True)
    assert service.get(mine.id).roles == ("janitor", "changer")


def here(id: str, *names: str, **kwargs: Any) -> Principal:
    """A user of the application."""
    return Principal.user(id, roles=names, project="default", environment="master", **kwargs)


# -- environments


@on_sqlite
def test_a_role_is_copied_to_another_environment_and_keys_are_not(make_host: MakeHost, url: str) -> None:
    host = make_host(url, ARCHIE_KEYS_ENVIRONMENTS={"master": {}, "staging": {}})
    host.save("clerk", REGION, description="Sells")
    host.create("k", ("clerk",), context={"region": "eu"})
    with host.app.app_context():
        with pytest.raises(RoleNotFound):
            host.keys.for_environment("staging").roles.get("clerk")
        copied = host.keys.roles.copy("clerk", "staging")
        assert (copied.environment, copied.version, copied.grants, copied.description) == (
            "staging",
            1,
            (REGION,),
            "Sells",
        )
        assert host.keys.for_environment("staging").roles.get("clerk") == copied
        assert len(host.keys.for_environment("staging").service.find().items) == 0
        assert [e.details["name"] for e in host.keys.for_environment("staging").audit.find()] == ["clerk"]
        with pytest.raises(BadRequest, match="the role 'clerk' is of master already"):
            host.keys.roles.copy("clerk", "master")
        with pytest.raises(BadRequest, match="there is no such environment"):
            host.keys.roles.copy("clerk", "nowhere")
        with pytest.raises(RoleNotFound):
            host.keys.roles.copy("nobody", "staging")
        host.keys.for_environment("staging").roles.delete("clerk")
        assert host.keys.roles.get("clerk").version == 1


def test_a_role_of_one_environment_says_nothing_in_another(make_host: MakeHost, url: str) -> None:
    host = make_host(url, ARCHIE_KEYS_ENVIRONMENTS={"master": {}, "staging": {}}, ARCHIE_KEYS_ROLES={})
    host.save("clerk", KEYS)
    with host.app.app_context():
        staging = host.keys.for_environment("staging")
        with pytest.raises(ValidationFailed, match="there is no role 'clerk'"):
            staging.service.create(name="x", roles=["clerk"])
        staging.roles.save("clerk", grants=[READ])
        key = staging.service.create(name="x", roles=["clerk"]).key
        host.keys.roles.delete("clerk")
        assert staging.roles.get("clerk").version == 1
    with host.acting(key), pytest.raises(Forbidden):
        staging.service.create(name="y")


# -- at the same time


def at_once(jobs: list[Callable[[], Any]]) -> list[Any]:
    """Run jobs at the same time: what each gave or raised."""
    barrier = threading.Barrier(len(jobs))
    results: list[Any] = [None] * len(jobs)

    def run(number: int, job: Callable[[], Any]) -> None:
        barrier.wait()
        try:
            results[number] = job()
        except Exception as error:
            results[number] = error

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    return results


def held(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> tuple[threading.Event, threading.Event]:
    """Make the first call of a method wait: the events are of its arrival, and to let it go."""
    reached, go, original = threading.Event(), threading.Event(), getattr(owner, name)

    def waiting(*args: Any, **kwargs: Any) -> Any:
        if not reached.is_set():
            reached.set()
            assert go.wait(30)
        return original(*args, **kwargs)

    monkeypatch.setattr(owner, name, waiting)
    return reached, go


def in_turn(
    monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, first: Callable[[], Any], second: Callable[[], Any]
) -> list[Any]:
    """Hold ``first`` at a method, give ``second`` time to pass it or to wait for it, then let it go."""
    reached, go = held(monkeypatch, owner, name)
    results: list[Any] = [None, None]

    def run(number: int, job: Callable[[], Any]) -> None:
        try:
            results[number] = job()
        except Exception as error:
            results[number] = error

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate((first, second))]
    threads[0].start()
    assert reached.wait(30)
    threads[1].start()
    threads[1].join(0.3)
    go.set()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    return results


def test_of_two_that_save_over_the_same_version_one_is_refused(
    host: Host, roles: RoleService, monkeypatch: pytest.MonkeyPatch
) -> None:
    roles.save("clerk")
    results = in_turn(
        monkeypatch,
        roles._store,
        "save",
        lambda: roles.save("clerk", grants=[READ], version=1),
        lambda: roles.save("clerk", grants=[REGION], version=1),
    )
    assert isinstance(results[0], Role) and isinstance(results[1], VersionMismatch)
    assert (roles.get("clerk").version, roles.get("clerk").grants) == (2, (READ,))


def test_of_two_that_save_a_new_role_both_are_heard(
    host: Host, roles: RoleService, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = in_turn(
        monkeypatch,
        roles._store,
        "save",
        lambda: roles.save("clerk", grants=[READ]),
        lambda: roles.save("clerk", grants=[REGION]),
    )
    assert [role.version for role in results] == [1, 2]
    assert roles.get("clerk").grants == (REGION,)


@pytest.mark.parametrize("change", ["create", "update"])
def test_no_key_gets_a_role_that_is_being_deleted(
    host: Host, roles: RoleService, service: KeyService, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    roles.save("clerk", grants=[READ])
    key = host.create("k", ()).key
    give = {
        "create": lambda: service.create(name="new", roles=["clerk"]).key,
        "update": lambda: service.update(key.id, roles=["clerk"]),
    }[change]
    first, second = in_turn(monkeypatch, roles._store, "remove", lambda: roles.delete("clerk"), give)
    assert first is None and isinstance(second, ValidationFailed)
    assert all(k.roles == () for k in service.find())


@pytest.mark.parametrize("change", ["create", "update"])
def test_no_role_is_deleted_that_a_key_is_being_given(
    host: Host, roles: RoleService, service: KeyService, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    roles.save("clerk", grants=[READ])
    key = host.create("k", ()).key
    give, at = {
        "create": (lambda: service.create(name="new", roles=["clerk"]).key, "add"),
        "update": (lambda: service.update(key.id, roles=["clerk"]), "change"),
    }[change]
    given, deleted = in_turn(monkeypatch, service._store, at, give, lambda: roles.delete("clerk"))
    assert given.roles == ("clerk",) and isinstance(deleted, RoleInUse)


def test_keys_and_roles_are_locked_in_one_order(host: Host, roles: RoleService, service: KeyService) -> None:
    """Taking a role from keys while these are changed: they wait for each other, and not in a circle."""
    keys = [host.create(f"k{n}", ()).key for n in range(3)]
    for round_ in range(6):
        roles.save("clerk", grants=[READ])
        for key in keys:
            service.update(key.id, roles=["clerk"])
        jobs: list[Callable[[], Any]] = [lambda: roles.delete("clerk", take_from_keys=True)]
        for key in keys:
            jobs.append(lambda key=key, n=round_: service.update(key.id, name=f"renamed {n}"))
            jobs.append(lambda key=key: service.enable(key.id))
        results = at_once(jobs)
        assert not [result for result in results if isinstance(result, StoreUnavailable)]
        assert all(service.get(key.id).roles == () for key in keys)


def test_the_first_role_waits_for_keys_that_are_being_made(
    host: Host, roles: RoleService, service: KeyService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there is no epoch yet that could be locked. What is saved must fit the keys that have it."""
    host.app.add_url_rule("/s", "s", require_api_key(roles=["sweeper"])(lambda: "s"))
    made, saved = in_turn(
        monkeypatch,
        service._store,
        "add",
        lambda: service.create(name="new", roles=["sweeper"]).key,
        lambda: roles.save("sweeper", grants=[REGION]),
    )
    assert saved.locked_out == (made.id,)
