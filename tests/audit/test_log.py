"""Reading the audit log, on SQLite files and on PostgreSQL."""

from __future__ import annotations

import fcntl
import gc
import os
import threading
import time
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest

from flask_archie_keys import BadRequest, KeyNotFound, require_api_key
from flask_archie_keys.domain.clock import utcnow

from ..conftest import Host, MakeHost


@pytest.fixture
def host(make_host: MakeHost, url: str) -> Host:
    return make_host(url)


def find(host: Host, **filters: Any) -> list[tuple[Any, ...]]:
    with host.app.app_context():
        page = host.keys.audit.find(limit=200, **filters)
    return [(e.outcome, e.status, e.path) for e in page if e.kind == "request"]


def test_what_was_just_done_is_seen_with_all_its_facts(host: Host) -> None:
    created = host.create()
    before = utcnow()
    headers = {"User-Agent": "test/1", "X-Request-ID": "r-1"}
    host.get("/me?token=secret", created.secret, headers=headers, environ_overrides={"REMOTE_ADDR": "192.0.2.9"})
    (event,) = host.events()
    assert len(event.id) == 32 and before <= event.occurred_at <= utcnow()
    assert (event.project, event.environment, event.kind, event.key_id) == (
        "default",
        "master",
        "request",
        created.key.id,
    )
    assert (event.outcome, event.reason, event.status, event.count) == ("allowed", None, 200, 1)
    assert (event.method, event.route, event.path) == ("GET", "/me", "/me")
    assert (event.remote_address, event.user_agent, event.request_id) == ("192.0.2.9", "test/1", "r-1")
    assert event.duration_ms is not None and event.duration_ms > 0
    assert not event.truncated and not event.streamed and event.details == {} and event.actor is None


def test_filters(host: Host) -> None:
    host.app.add_url_rule("/orders/<n>", "orders", require_api_key(lambda n: n), methods=["GET", "DELETE"])
    one, two = host.create(), host.create()
    host.get("/me", one.secret)
    host.get("/editor", two.secret)
    host.get("/me")
    middle = utcnow()
    host.client.delete("/orders/7", headers={"Authorization": f"Bearer {one.secret}"})
    allowed, denied = ("allowed", 200, "/me"), ("denied", 403, "/editor")
    refused, deleted = ("refused", 401, "/me"), ("allowed", 200, "/orders/7")
    assert find(host) == [deleted, refused, denied, allowed]
    assert find(host, key=one.key.id) == [deleted, allowed]
    assert find(host, outcome="denied") == find(host, reason="missing_role") == find(host, status=403) == [denied]
    assert find(host, method="DELETE") == find(host, route="/orders/<n>") == find(host, since=middle) == [deleted]
    assert find(host, kind="key.created") == [] and len(find(host, kind="request")) == 4
    assert find(host, until=middle) == [refused, denied, allowed]
    assert find(host, key=one.key.id, outcome="denied") == find(host, key="x" * 12) == []


@pytest.mark.parametrize(
    "filters",
    [
        {"key": "short"},
        {"key": "\0" * 12},
        {"outcome": "maybe"},
        {"since": datetime(2030, 1, 1)},
        {"until": "2030-01-01"},
        {"limit": 0},
        {"limit": 500},
        {"cursor": "x"},
    ],
)
def test_filters_that_cannot_be(host: Host, filters: dict[str, Any]) -> None:
    with host.app.app_context(), pytest.raises(BadRequest):
        host.keys.audit.find(**filters)


@pytest.mark.parametrize("filters", [{"reason": "\0"}, {"method": "\0"}, {"route": "x\0"}, {"route": "\ud800"}])
def test_texts_that_no_database_takes_are_refused(host: Host, filters: dict[str, Any]) -> None:
    with host.app.app_context(), pytest.raises(BadRequest):
        host.keys.audit.find(**filters)


def test_pages_are_newest_first_and_miss_none(host: Host) -> None:
    created = host.create()
    for _ in range(7):
        host.get("/me", created.secret)
    for filters in ({}, {"key": created.key.id}, {"key": created.key.id, "lineage": True}):
        seen, cursor = [], None
        while True:
            with host.app.app_context():
                page = host.keys.audit.find(limit=3, cursor=cursor, **filters)
            seen += [event.id for event in page]
            cursor = page.next_cursor
            if cursor is None:
                break
        assert len(seen) == 8 and seen == sorted(seen, reverse=True)


def test_lineage_is_the_keys_before_and_after(host: Host) -> None:
    with host.app.app_context():
        service = host.keys.service
        first = service.create(name="x")
        second = service.rotate(first.key.id)
        third = service.rotate(second.key.id)
        other = service.create(name="other")
    for created in (first, second, third, other):
        host.get("/me", created.secret)
    with host.app.app_context():
        for created in (first, second, third):
            page = host.keys.audit.find(key=created.key.id, lineage=True, outcome="allowed")
            used = [event.key_id for event in page if event.kind == "request"]
            assert used == [third.key.id, second.key.id, first.key.id]
        assert [e.key_id for e in host.keys.audit.find(key=second.key.id) if e.kind == "request"] == [second.key.id]


def test_environments_do_not_see_each_others_events(make_host: MakeHost, url: str) -> None:
    host = make_host(
        url, ARCHIE_KEYS_ENVIRONMENTS={"master": {}, "staging": {}}, ARCHIE_KEYS_ENVIRONMENT_HEADER="environment"
    )
    with host.app.app_context():
        created = host.keys.for_environment("staging").service.create(name="x")
    assert host.get("/me", created.secret, headers={"environment": "staging"}).json["environment"] == "staging"
    assert host.get("/me", created.secret).status_code == 401
    assert host.get("/me", created.secret, headers={"environment": "nowhere"}).status_code == 400
    with host.app.app_context():
        staging = [e.status for e in host.keys.for_environment("staging").audit.find() if e.kind == "request"]
    assert staging == [200]
    assert [(e.status, e.reason) for e in host.events()] == [(401, "wrong_environment"), (400, "invalid_request")]


def test_traffic(make_host: MakeHost, url: str) -> None:
    host = make_host(url, ARCHIE_KEYS_QUIET_PERIOD=timedelta(seconds=20))
    created = host.create()
    with host.app.app_context():
        never = host.keys.traffic(created.key.id)
    assert (never.last_used_at, never.safe_to_delete) == (None, False)
    for _ in range(3):
        host.get("/me", created.secret)
    host.get("/editor", created.secret)
    with host.app.app_context():
        traffic = host.keys.traffic(created.key.id)
    assert traffic.last_used_at is not None and utcnow() - traffic.last_used_at < timedelta(seconds=20)
    assert timedelta(0) <= traffic.quiet < timedelta(seconds=20) and not traffic.safe_to_delete
    assert len(traffic.counts) == 24 and sum(count.requests for count in traffic.counts) == 4
    assert traffic.counts[-1].requests + traffic.counts[-2].requests == 4
    assert all(
        b.start - a.start == timedelta(hours=1) for a, b in zip(traffic.counts, traffic.counts[1:], strict=False)
    )
    host.sql("UPDATE archie_api_keys SET last_used_at = last_used_at - 20000000")
    with host.app.app_context():
        assert host.keys.traffic(created.key.id).safe_to_delete
        with pytest.raises(KeyNotFound):
            host.keys.traffic("x" * 12)


def test_nothing_is_safe_to_delete_while_the_spool_cannot_be_looked_at(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another drainer may hold the very requests that would say that the key is in use."""
    key_id = host.create().key.id
    host.get("/me")
    host.events()
    host.sql("UPDATE archie_api_keys SET created_at = 1")
    with host.app.app_context():
        log = host.keys.audit
        assert log.traffic(key_id).safe_to_delete
        other = os.open(log.spool.directory / "drainer.lock", os.O_RDWR)
        fcntl.flock(other, fcntl.LOCK_EX)
        monkeypatch.setattr(log, "drain", partial(log.drain, wait=0.1))
        assert not log.traffic(key_id).safe_to_delete
        os.close(other)
        assert log.traffic(key_id).safe_to_delete


def test_a_key_that_opens_nothing_is_safe_to_delete(host: Host) -> None:
    created = host.create()
    host.get("/me", created.secret)
    host.sql("UPDATE archie_api_keys SET expires_at = created_at + 1")
    with host.app.app_context():
        assert host.keys.traffic(created.key.id).safe_to_delete


def test_the_audit_of_requests_can_be_off_and_changes_are_still_recorded(make_host: MakeHost, url: str) -> None:
    host = make_host(url, ARCHIE_KEYS_AUDIT={"enabled": False})
    created = host.create()
    assert host.get("/me", created.secret).status_code == 200
    assert host.get("/me").status_code == 401
    with host.app.app_context():
        assert [event.kind for event in host.keys.audit.find()] == ["key.created"]
        assert not host.keys.audit.spool.directory.exists()
        host.sql("UPDATE archie_api_keys SET created_at = 1")
        assert not host.keys.traffic(created.key.id).safe_to_delete, "nobody knows"


def test_a_thread_drains_by_itself_and_ends_with_its_application(make_host: MakeHost, url: str) -> None:
    host = make_host(url, ARCHIE_KEYS_AUDIT={"background": True, "interval": timedelta(milliseconds=20)})
    names = lambda: [thread.name for thread in threading.enumerate() if thread.name == "archie-keys-drain"]  # noqa: E731
    assert names() == []
    host.get("/me", host.create().secret)
    assert names() == ["archie-keys-drain"]
    deadline = time.monotonic() + 20
    while not host.sql("SELECT 1 FROM archie_audit_events WHERE status = 200"):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    host.keys.close(host.app)
    assert names() == []
    host.get("/me", host.create().secret)
    assert names() == ["archie-keys-drain"], "it starts again when it is needed"


def test_the_thread_outlives_a_database_that_is_away(
    make_host: MakeHost, sqlite_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    host = make_host(sqlite_url, ARCHIE_KEYS_AUDIT={"background": True, "interval": timedelta(milliseconds=20)})
    secret = host.create().secret
    host.sql("ALTER TABLE archie_audit_events RENAME TO away")
    host.get("/me", secret)
    deadline = time.monotonic() + 20
    while "could not be drained; its records are kept" not in caplog.text:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    host.sql("ALTER TABLE away RENAME TO archie_audit_events")
    while not host.sql("SELECT 1 FROM archie_audit_events WHERE status = 200"):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_an_application_that_is_gone_leaves_no_thread(tmp_path: Any) -> None:
    from flask import Flask

    from flask_archie_keys import ArchieKeys

    def use() -> None:
        app = Flask("gone", instance_path=str(tmp_path))
        app.config["ARCHIE_KEYS_AUDIT"] = {"interval": timedelta(milliseconds=10)}
        keys = ArchieKeys(app)
        app.add_url_rule("/x", "x", require_api_key(lambda: "x"))
        app.test_client().get("/x")
        assert "archie-keys-drain" in [thread.name for thread in threading.enumerate()]
        del keys

    use()
    deadline = time.monotonic() + 20
    while "archie-keys-drain" in [thread.name for thread in threading.enumerate()]:
        gc.collect()
        assert time.monotonic() < deadline
        time.sleep(0.02)
