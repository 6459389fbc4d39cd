"""The life of keys, on SQLite files and on PostgreSQL."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from flask_archie_keys import (
    BadRequest,
    Conflict,
    Key,
    KeyInUse,
    KeyNotFound,
    StoreUnavailable,
    ValidationFailed,
    VersionMismatch,
    key_created,
    key_deleted,
    key_disabled,
    key_enabled,
    key_rotated,
    key_updated,
)
from flask_archie_keys.domain.clock import utcnow
from flask_archie_keys.domain.records import STATUSES, status_at
from flask_archie_keys.services.keys import KeyService
from flask_archie_keys.store import database

from ..conftest import Host, MakeHost
from ..support.protected import alone


@pytest.fixture(autouse=True)
def _without_the_protected_models_of_others() -> Iterator[None]:
    with alone():
        yield


def history(host: Host, key_id: str) -> list[str]:
    with host.app.app_context():
        return [event.kind for event in reversed(host.keys.audit.find(key=key_id).items)]


def expire(host: Host, key_id: str) -> None:
    host.sql(f"UPDATE archie_api_keys SET expires_at = created_at + 1 WHERE id = '{key_id}'")


def together(count: int, job: Callable[[], Any]) -> list[Any]:
    """What each of ``count`` threads got or raised, all let go at once."""
    barrier, results = threading.Barrier(count), []

    def run() -> None:
        barrier.wait()
        try:
            results.append(job())
        except Exception as error:
            results.append(error)

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


# -- create


def test_create_gives_the_secret_once_and_stores_a_digest(host: Host, service: KeyService) -> None:
    created = service.create(
        name=" CI ",
        roles=["viewer"],
        context={"region": "eu", "ids": [1, 2]},
        prefix="shop",
        expires_at=datetime(2090, 1, 1, tzinfo=UTC),
        owner="user-7",
        allowed_networks=["10.0.0.0/8"],
    )
    key = created.key
    assert created.secret.startswith(f"shop_{key.id}_") and created.secret not in repr(created)
    assert (key.name, key.prefix, key.hint) == ("CI", "shop", f"shop_{key.id}_…")
    assert (key.project, key.environment, key.status, key.version) == ("default", "master", "active", 1)
    assert (key.roles, key.context, key.owner) == (("viewer",), {"region": "eu", "ids": (1, 2)}, "user-7")
    assert (key.expires_at, key.allowed_networks) == (datetime(2090, 1, 1, tzinfo=UTC), ("10.0.0.0/8",))
    assert (key.created_by, key.last_used_at, key.replaces, key.replaced_by) == ("system", None, None, None)
    assert abs(key.created_at - utcnow()) < timedelta(seconds=30)
    assert service.get(key.id) == key
    rows = str(host.sql("SELECT * FROM archie_api_keys") + host.sql("SELECT * FROM archie_audit_events"))
    assert created.secret[-38:] not in rows
    assert history(host, key.id) == ["key.created"]


def test_every_refused_field_is_named_at_once_and_nothing_is_made(host: Host, service: KeyService) -> None:
    with pytest.raises(ValidationFailed) as caught:
        service.create(
            name="",
            roles=["viewr"],
            context={"a": {}},
            prefix="Bad",
            expires_at=datetime(2020, 1, 1, tzinfo=UTC),
            owner="\0",
            allowed_networks=[],
        )
    assert {(error.field, error.rule) for error in caught.value.errors} == {
        ("name", "required"),
        ("roles", "unknown"),
        ("context.a", "type"),
        ("prefix", "pattern"),
        ("expires_at", "future"),
        ("owner", "characters"),
        ("allowed_networks", "required"),
    }
    assert host.sql("SELECT count(*) FROM archie_api_keys")[0][0] == 0
    assert host.sql("SELECT count(*) FROM archie_audit_events")[0][0] == 0


def test_roles_named_by_views_and_by_the_settings_are_known(make_host: MakeHost, url: str) -> None:
    host = make_host(url, ARCHIE_KEYS_ROLES={"auditor": {"description": "reads"}})
    with host.app.app_context():
        key = host.keys.service.create(name="x", roles=["viewer", "editor", "auditor"]).key
        assert key.roles == ("viewer", "editor", "auditor")
        with pytest.raises(ValidationFailed, match="did you mean 'auditor'"):
            host.keys.service.create(name="x", roles=["auditors"])


def test_max_age_is_the_default_and_the_most(make_host: MakeHost, url: str) -> None:
    host = make_host(url, ARCHIE_KEYS_MAX_AGE=timedelta(days=30))
    with host.app.app_context():
        service = host.keys.service
        key = service.create(name="x").key
        assert key.expires_at == key.created_at + timedelta(days=30)
        shorter = utcnow() + timedelta(days=1)
        assert service.create(name="x", expires_at=shorter).key.expires_at == shorter
        with pytest.raises(ValidationFailed, match="at most 30 days"):
            service.create(name="x", expires_at=utcnow() + timedelta(days=31))
        with pytest.raises(ValidationFailed, match="must be set"):
            service.update(key.id, expires_at=None)
        with pytest.raises(ValidationFailed, match="at most 30 days"):
            service.update(key.id, expires_at=key.created_at + timedelta(days=30, seconds=1))


def test_a_failure_of_the_database_makes_no_key_and_no_event(host: Host, service: KeyService) -> None:
    host.sql("ALTER TABLE archie_audit_events RENAME TO away")
    with pytest.raises(Exception, match="the key store cannot be used"):
        service.create(name="x")
    host.sql("ALTER TABLE away RENAME TO archie_audit_events")
    assert host.sql("SELECT count(*) FROM archie_api_keys")[0][0] == 0, "a change without its event must be impossible"


# -- find


def ids(found: Any) -> list[str]:
    return [key.id for key in found]


def test_find_pages_newest_first_and_misses_none(service: KeyService) -> None:
    made = [service.create(name=f"key {n}").key.id for n in range(7)]
    seen: list[str] = []
    cursor = None
    while True:
        page = service.find(limit=3, cursor=cursor)
        seen += ids(page)
        cursor = page.next_cursor
        if cursor is None:
            break
        service.create(name="made while paging")
    assert seen == made[::-1]


def test_find_filters(host: Host, service: KeyService) -> None:
    one = service.create(name="Déploy_100%", roles=["viewer"], prefix="shop", owner="o-1").key.id
    two = service.create(name="other", roles=["viewer", "editor"]).key.id
    three = service.create(name="third").key.id
    assert ids(service.find(role="editor")) == [two]
    assert ids(service.find(role="viewer")) == [two, one]
    assert ids(service.find(role="view")) == ids(service.find(role="viewer%")) == []
    assert ids(service.find(role="viewer", prefix="shop")) == [one]
    assert ids(service.find(q="oy_100%")) == ids(service.find(q="OY_100")) == [one]
    assert ids(service.find(q="%")) == ids(service.find(q="_")) == [one], "no wild cards"
    assert ids(service.find(q="o-1")) == [one] and ids(service.find(q=three)) == [three]
    assert ids(service.find(q="'; DROP TABLE archie_api_keys; --")) == []


@pytest.mark.parametrize(
    "filters",
    [{"limit": 0}, {"limit": 201}, {"cursor": "x"}, {"status": "dead"}, {"q": "\0"}, {"role": "\ud800"}, {"q": 7}],
)
def test_find_refuses_what_cannot_be(service: KeyService, filters: dict[str, Any]) -> None:
    with pytest.raises(BadRequest):
        service.find(**filters)


def test_the_status_of_a_record_and_of_a_filter_agree(host: Host, service: KeyService) -> None:
    for expires in ("NULL", "1", "9000000000000000"):
        for disabled in ("NULL", "5"):
            for deleted in ("NULL", "5"):
                for replaced in ("NULL", "'abcdefghijkl'"):
                    key_id = service.create(name="x").key.id
                    host.sql(
                        f"UPDATE archie_api_keys SET expires_at = {expires}, disabled_at = {disabled}, "
                        f"deleted_at = {deleted}, replaced_by = {replaced} WHERE id = '{key_id}'"
                    )
    every = service.find(limit=200)
    for status in STATUSES:
        expected = [key.id for key in every if key.status == status]
        assert expected and ids(service.find(status=status, limit=200)) == expected


@pytest.mark.parametrize(
    ("state", "status"),
    [
        ({}, "active"),
        ({"replaced_by": "x"}, "retiring"),
        ({"disabled_at": 5, "replaced_by": "x"}, "disabled"),
        ({"expires_at": 10, "disabled_at": 5}, "expired"),
        ({"expires_at": 11}, "active"),
        ({"expires_at": 10, "deleted_at": 5}, "deleted"),
    ],
)
def test_statuses(state: dict[str, Any], status: str) -> None:
    nothing = dict.fromkeys(("expires_at", "disabled_at", "deleted_at", "replaced_by"))
    assert status_at(10, **{**nothing, **state}) == status


def test_keys_of_other_projects_and_environments_are_not_there(make_host: MakeHost, url: str) -> None:
    config = {"ARCHIE_KEYS_ENVIRONMENTS": {"master": {}, "staging": {}}}
    host, other = make_host(url, **config), make_host(url, ARCHIE_KEYS_PROJECT="other", **config)
    with host.app.app_context():
        key_id = host.keys.service.create(name="x").key.id
    for service in (_service(host, "staging"), _service(other, "master")):
        assert ids(service.find()) == []
        for verb in ("get", "disable", "enable", "delete", "rotate", "update"):
            with pytest.raises(KeyNotFound):
                getattr(service, verb)(key_id)


def _service(host: Host, environment: str) -> KeyService:
    with host.app.app_context():
        return host.keys.for_environment(environment).service


@pytest.mark.parametrize("key_id", ["", "x" * 12, "x" * 500, "\0" * 12, None, 7, "é" * 12, "'; --", ["x"]])
def test_ids_that_there_are_not(service: KeyService, key_id: Any) -> None:
    with pytest.raises(KeyNotFound, match="there is no key"):
        service.get(key_id)


# -- update


def test_update_changes_what_is_given_and_records_both_values(host: Host, service: KeyService) -> None:
    key = service.create(name="old", roles=["viewer"], context={"region": "eu"}).key
    changed = service.update(key.id, name="new", roles=["editor"], context={}, owner="o", version=1)
    assert (changed.name, changed.roles, changed.context, changed.owner) == ("new", ("editor",), {}, "o")
    assert changed.version == 2 and service.get(key.id) == changed
    with host.app.app_context():
        (event, _) = host.keys.audit.find(key=key.id)
    assert event.kind == "key.updated" and event.actor == "system"
    assert event.details["changed"] == {
        "name": ["old", "new"],
        "roles": [["viewer"], ["editor"]],
        "context": [{"region": "eu"}, {}],
        "owner": [None, "o"],
    }


def test_an_update_that_changes_nothing_leaves_no_trace(host: Host, service: KeyService) -> None:
    key = service.create(name="same", roles=["viewer"]).key
    assert service.update(key.id, name="same", roles=["viewer"]).version == 1
    assert history(host, key.id) == ["key.created"]


@pytest.mark.parametrize(
    "field", ["prefix", "id", "digest", "project", "created_at", "replaced_by", "deleted_at", "nam"]
)
def test_fields_that_cannot_be_changed(service: KeyService, field: str) -> None:
    key = service.create(name="x").key
    with pytest.raises(ValidationFailed, match=f"{field}: cannot be changed"):
        service.update(key.id, **{field: "x"})


def test_a_stale_version_changes_nothing(service: KeyService) -> None:
    key = service.create(name="x").key
    service.update(key.id, name="y")
    with pytest.raises(VersionMismatch, match="has version 2 by now, not 1"):
        service.update(key.id, name="z", version=1)
    assert service.get(key.id).name == "y"


def test_of_parallel_updates_of_one_version_one_is_done(service: KeyService) -> None:
    key = service.create(name="x").key
    results = together(8, lambda: service.update(key.id, version=1, name=threading.current_thread().name))
    assert len([r for r in results if isinstance(r, Key)]) == 1
    assert all(isinstance(r, (Key, VersionMismatch)) for r in results), results
    assert service.get(key.id).version == 2


def test_a_rotated_key_can_only_be_shortened(service: KeyService) -> None:
    old = service.create(name="x").key
    service.rotate(old.id, overlap=timedelta(hours=1))
    with pytest.raises(Conflict, match="can only be shortened"):
        service.update(old.id, expires_at=utcnow() + timedelta(hours=2))
    with pytest.raises(Conflict, match="can only be shortened"):
        service.update(old.id, expires_at=None)
    sooner = utcnow() + timedelta(minutes=1)
    assert service.update(old.id, expires_at=sooner).expires_at == sooner


def test_an_expired_key_does_not_come_back(host: Host, service: KeyService) -> None:
    key_id = service.create(name="x").key.id
    expire(host, key_id)
    for expires_at in (None, utcnow() + timedelta(days=1)):
        with pytest.raises(Conflict, match="has expired"):
            service.update(key_id, expires_at=expires_at)
    assert service.enable(key_id).status == "expired"


# -- rotate


def test_rotation_makes_a_successor_with_the_same_powers(host: Host, service: KeyService) -> None:
    old = service.create(
        name="x", roles=["viewer"], context={"a": 1}, prefix="shop", owner="o", allowed_networks=["127.0.0.0/8"]
    )
    new = service.rotate(old.key.id, overlap=timedelta(hours=1))
    for field in ("name", "roles", "context", "prefix", "owner", "allowed_networks", "expires_at"):
        assert getattr(new.key, field) == getattr(old.key, field)
    assert (new.key.replaces, new.key.replaced_by, new.key.status) == (old.key.id, None, "active")
    retiring = service.get(old.key.id)
    assert (retiring.replaced_by, retiring.status, retiring.version) == (new.key.id, "retiring", 2)
    assert retiring.expires_at is not None
    assert timedelta(minutes=59) < retiring.expires_at - utcnow() <= timedelta(hours=1)
    assert host.get("/viewer", old.secret).status_code == host.get("/viewer", new.secret).status_code == 200
    assert history(host, old.key.id)[:2] == ["key.created", "key.rotated"]
    assert history(host, new.key.id)[:1] == ["key.created"]


def test_the_overlap_of_the_settings_and_none_at_all(make_host: MakeHost, url: str) -> None:
    host = make_host(url, ARCHIE_KEYS_ROTATION_OVERLAP=timedelta(hours=5))
    with host.app.app_context():
        service = host.keys.service
        key = service.create(name="x").key
        service.rotate(key.id)
        ends = service.get(key.id).expires_at
        assert ends is not None and timedelta(hours=4) < ends - utcnow() <= timedelta(hours=5)
        created = service.create(name="y")
        service.rotate(created.key.id, overlap=timedelta(0))
        assert service.get(created.key.id).status == "expired"
    assert host.get("/me", created.secret).status_code == 401


def test_an_overlap_never_lengthens_a_life(service: KeyService) -> None:
    ends = utcnow() + timedelta(minutes=5)
    old = service.create(name="x", expires_at=ends).key
    new = service.rotate(old.id, overlap=timedelta(days=1)).key
    assert service.get(old.id).expires_at == ends
    assert new.expires_at is not None
    assert abs(new.expires_at - utcnow() - timedelta(minutes=5)) < timedelta(seconds=30), "the new one lives as long"


def test_max_age_bounds_a_successor(make_host: MakeHost, url: str) -> None:
    unbounded = make_host(url)
    key = unbounded.create().key
    bounded = make_host(url, ARCHIE_KEYS_MAX_AGE=timedelta(days=1))
    with bounded.app.app_context():
        new = bounded.keys.service.rotate(key.id).key
    assert new.expires_at == new.created_at + timedelta(days=1)


@pytest.mark.parametrize("state", ["rotated", "deleted", "disabled", "expired"])
def test_dead_and_rotated_keys_cannot_be_rotated(host: Host, service: KeyService, state: str) -> None:
    key_id = service.create(name="x").key.id
    {
        "rotated": lambda: service.rotate(key_id),
        "deleted": lambda: service.delete(key_id),
        "disabled": lambda: service.disable(key_id),
        "expired": lambda: expire(host, key_id),
    }[state]()
    before = len(service.find(limit=200))
    with pytest.raises(Conflict, match="rotated before" if state == "rotated" else state):
        service.rotate(key_id)
    assert len(service.find(limit=200)) == before


def test_of_32_parallel_rotations_one_makes_a_successor(host: Host, service: KeyService) -> None:
    old = service.create(name="x").key
    results = together(32, lambda: service.rotate(old.id))
    made = [r for r in results if not isinstance(r, Exception)]
    assert len(made) == 1 and all(isinstance(r, Conflict) for r in results if r is not made[0]), results
    assert ids(service.find()) == [made[0].key.id, old.id]
    assert service.get(old.id).replaced_by == made[0].key.id
    assert history(host, old.id).count("key.rotated") == 1


# -- disable, enable, delete


def test_disable_and_enable(host: Host, service: KeyService) -> None:
    created = service.create(name="x", roles=["viewer"])
    assert service.disable(created.key.id).status == "disabled"
    assert service.disable(created.key.id).version == 2, "again changes nothing"
    assert service.enable(created.key.id).status == "active"
    assert service.enable(created.key.id).version == 3
    assert history(host, created.key.id) == ["key.created", "key.disabled", "key.enabled"]


def test_deleting_erases_the_digest_and_keeps_the_record(host: Host, service: KeyService) -> None:
    created = service.create(name="x", roles=["viewer"])
    deleted = service.delete(created.key.id)
    assert deleted.status == "deleted" and deleted.deleted_at is not None
    assert service.get(created.key.id) == deleted
    assert host.sql("SELECT digest FROM archie_api_keys") == [(None,)]
    assert service.delete(created.key.id) == deleted, "again changes nothing"
    assert history(host, created.key.id) == ["key.created", "key.deleted"]


@pytest.mark.parametrize("verb", ["enable", "disable", "rotate", "update"])
def test_a_deleted_key_never_comes_back(host: Host, service: KeyService, verb: str) -> None:
    created = service.create(name="x")
    service.delete(created.key.id)
    with pytest.raises(Conflict, match="deleted"):
        getattr(service, verb)(created.key.id, **({"name": "y"} if verb == "update" else {}))
    assert host.get("/me", created.secret).status_code == 401


def test_parallel_deletion_and_change_leave_a_deleted_key(service: KeyService) -> None:
    keys = [service.create(name="x").key.id for _ in range(5)]
    jobs = [partial(verb, key) for key in keys for verb in (service.delete, service.enable, service.disable)]
    jobs += [partial(service.update, key, name="y") for key in keys]
    results = together(len(jobs), lambda: jobs.pop()())
    assert all(isinstance(r, (Key, Conflict)) for r in results), results
    assert {service.get(key).status for key in keys} == {"deleted"}


def test_only_if_quiet_refuses_a_key_in_use(make_host: MakeHost, url: str) -> None:
    host = make_host(url, ARCHIE_KEYS_QUIET_PERIOD=timedelta(seconds=30))
    created = host.create()
    host.get("/me", created.secret)
    with host.app.app_context():
        service = host.keys.service
        with pytest.raises(KeyInUse, match="was used 0 s ago; it counts as quiet after 30 s"):
            service.delete(created.key.id, only_if_quiet=True)
        assert service.get(created.key.id).status == "active"
        host.sql("UPDATE archie_api_keys SET last_used_at = last_used_at - 31000000")
        assert service.delete(created.key.id, only_if_quiet=True).status == "deleted"


def test_only_if_quiet_needs_the_audit_to_know(make_host: MakeHost, url: str) -> None:
    host = make_host(url, ARCHIE_KEYS_AUDIT={"enabled": False})
    key_id = host.create().key.id
    with host.app.app_context(), pytest.raises(KeyInUse, match="is not known: the audit of requests is off"):
        host.keys.service.delete(key_id, only_if_quiet=True)


@pytest.mark.parametrize("verb", ["get", "delete", "rotate", "disable"])
def test_a_whole_key_in_the_place_of_its_id_is_not_repeated(service: KeyService, verb: str) -> None:
    secret = service.create(name="x", prefix="a" * 32).secret
    with pytest.raises(KeyNotFound) as caught:
        getattr(service, verb)(secret)
    assert secret[-38:-30] not in str(caught.value)


def test_purge_removes_records_deleted_long_ago(host: Host, service: KeyService) -> None:
    old, new, live = (service.create(name=name).key.id for name in ("old", "new", "live"))
    service.delete(old)
    service.delete(new)
    host.sql(f"UPDATE archie_api_keys SET deleted_at = deleted_at - 86400000000 WHERE id = '{old}'")
    assert service.purge(older_than=timedelta(hours=1)) == 1
    assert ids(service.find()) == [live, new]
    assert history(host, old)[-1] == "key.purged"


# -- signals


def test_every_change_sends_its_signal_after_the_commit(host: Host, service: KeyService) -> None:
    got: list[tuple[str, dict[str, Any]]] = []
    signals = {"created": key_created, "updated": key_updated, "rotated": key_rotated}
    signals |= {"disabled": key_disabled, "enabled": key_enabled, "deleted": key_deleted}
    receivers = []
    for name, signal in signals.items():

        def receive(sender: Any, name: str = name, **arguments: Any) -> None:
            assert sender is host.app
            assert service.get(arguments["key"].id) == arguments["key"], "committed"
            got.append((name, arguments))

        receivers.append(receive)
        signal.connect(receive, host.app)
    key = service.create(name="x").key
    service.update(key.id, name="y")
    service.disable(key.id)
    service.enable(key.id)
    new = service.rotate(key.id)
    service.delete(key.id)
    assert [name for name, _ in got] == ["created", "updated", "disabled", "enabled", "rotated", "deleted"]
    assert got[4][1]["successor"] == new.key and got[4][1]["key"].replaced_by == new.key.id
    assert all(arguments["actor"] == "system" for _, arguments in got)
    assert new.secret[-38:] not in repr(got)


def test_a_receiver_that_raises_is_logged_and_the_secret_still_arrives(
    host: Host, service: KeyService, caplog: pytest.LogCaptureFixture
) -> None:
    def receive(sender: Any, **arguments: Any) -> None:
        raise RuntimeError("receiver failed")

    key_created.connect(receive, host.app)
    with caplog.at_level(logging.ERROR):
        created = service.create(name="x", roles=["viewer"])
    assert "receiver failed" in caplog.text
    assert host.get("/viewer", created.secret).status_code == 200


def test_the_key_of_the_request_is_the_actor(make_host: MakeHost, url: str) -> None:
    from flask_archie_keys import require_api_key

    host = make_host(url, ARCHIE_KEYS_ROLES={"maker": {"grants": [{"resource": "api_keys", "write": True}]}})

    @host.app.post("/make")
    @require_api_key
    def make() -> dict[str, str]:
        return {"id": host.keys.service.create(name="made").key.id}

    created = host.create(roles=("maker",))
    headers = {"Authorization": f"Bearer {created.secret}", "X-Request-ID": "r-1", "User-Agent": "test/1"}
    made = host.client.post("/make", headers=headers).get_json()["id"]
    with host.app.app_context():
        assert host.keys.service.get(made).created_by == f"key:{created.key.id}"
        (event,) = host.keys.audit.find(key=made)
    assert event.actor == f"key:{created.key.id}"
    assert (event.request_id, event.user_agent, event.remote_address) == ("r-1", "test/1", "127.0.0.1")


def test_a_change_takes_no_part_in_the_hosts_transaction(host: Host) -> None:
    """Making a key does not commit what the host has pending, and the host's rollback does not unmake it."""
    with host.app.app_context():
        host.db.session.add(host.order(id=1))
        key_id = host.keys.service.create(name="x").key.id
        host.db.session.rollback()
        assert host.db.session.query(host.order).count() == 0
        assert host.keys.service.get(key_id).name == "x"


def test_on_sqlite_a_host_that_is_writing_is_told_at_once(make_host: MakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is one writer at a time: waiting for oneself would take half a minute and then fail."""
    monkeypatch.setattr(database, "SQLITE_WRITE_TIMEOUT", 0.2)
    host = make_host(SQLALCHEMY_ENGINE_OPTIONS={"connect_args": {"timeout": 0.1}})
    host.get("/me")
    with host.app.app_context():
        host.db.session.add(host.order(id=1))
        host.db.session.flush()
        for job in (lambda: host.keys.service.create(name="x"), lambda: host.keys.audit.find()):
            with pytest.raises(StoreUnavailable, match=r"db\.session has changes that are not committed"):
                job()
        host.db.session.commit()
        assert host.keys.service.create(name="x").key.name == "x"
        assert len(host.db.session.query(host.order).all()) == 1
        assert host.keys.service.create(name="reading is no writing").key.version == 1
