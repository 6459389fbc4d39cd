"""Changes that meet between the read and the write of another one, on SQLite files and on PostgreSQL."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from flask_archie_keys import Conflict, key_deleted, key_disabled
from flask_archie_keys.domain.clock import utcnow
from flask_archie_keys.services.keys import KeyService

from ..conftest import Host

_LONG = 30  # seconds; nothing here takes as long


class Meeting:
    """One job held between its read and its write while another one runs, or waits for it."""

    def __init__(self, service: KeyService) -> None:
        self._store = service._store
        self._change = service._store.change
        self._first: threading.Thread | None = None
        self._reached, self._go = threading.Event(), threading.Event()
        self.results: dict[str, Any] = {}

    def _held(self, *arguments: Any) -> bool:
        if threading.current_thread() is self._first:
            self._reached.set()
            assert self._go.wait(_LONG)
        return self._change(*arguments)

    def _run(self, name: str, job: Callable[[], Any]) -> threading.Thread:
        def run() -> None:
            try:
                self.results[name] = job()
            except Exception as error:
                self.results[name] = error

        return threading.Thread(target=run)

    def run(self, first: Callable[[], Any], second: Callable[[], Any]) -> None:
        """Let ``first`` read, give ``second`` half a second to get in between, then let ``first`` write."""
        self._store.change = self._held  # type: ignore[method-assign]
        self._first, other = self._run("first", first), self._run("second", second)
        self._first.start()
        assert self._reached.wait(_LONG)
        other.start()
        other.join(0.5)
        self._go.set()
        for thread in (self._first, other):
            thread.join(_LONG)
            assert not thread.is_alive()


def kinds(host: Host, key_id: str) -> list[str]:
    return [row[0] for row in host.sql(f"SELECT kind FROM archie_audit_events WHERE key_id = '{key_id}' ORDER BY id")]


def test_an_update_that_races_a_rotation_does_not_revive_the_old_key(host: Host, service: KeyService) -> None:
    old = service.create(name="x", roles=["viewer"], expires_at=utcnow() + timedelta(days=1))
    meeting = Meeting(service)
    meeting.run(
        lambda: service.update(old.key.id, expires_at=utcnow() + timedelta(days=30)),
        lambda: service.rotate(old.key.id, overlap=timedelta(0)),
    )
    key = service.get(old.key.id)
    assert (key.status, key.replaced_by) == ("expired", meeting.results["second"].key.id)
    assert host.get("/viewer", old.secret).status_code == 401
    assert host.get("/viewer", meeting.results["second"].secret).status_code == 200


def test_an_update_that_comes_after_a_racing_rotation_is_refused(host: Host, service: KeyService) -> None:
    old = service.create(name="x", roles=["viewer"])
    meeting = Meeting(service)
    meeting.run(
        lambda: service.rotate(old.key.id, overlap=timedelta(hours=1)),
        lambda: service.update(old.key.id, expires_at=utcnow() + timedelta(days=30)),
    )
    assert isinstance(meeting.results["second"], Conflict), meeting.results
    ends = service.get(old.key.id).expires_at
    assert ends is not None and ends - utcnow() <= timedelta(hours=1)


@pytest.mark.parametrize(
    ("verb", "signal", "kind"),
    [("delete", key_deleted, "key.deleted"), ("disable", key_disabled, "key.disabled")],
)
def test_one_change_of_two_at_once_has_one_event_and_one_signal(
    host: Host, service: KeyService, verb: str, signal: Any, kind: str
) -> None:
    key_id = service.create(name="x").key.id
    sent: list[str] = []

    def receive(sender: Any, key: Any, actor: str) -> None:
        sent.append(key.id)

    signal.connect(receive, host.app)
    meeting = Meeting(service)
    job = getattr(service, verb)
    meeting.run(lambda: job(key_id), lambda: job(key_id))
    assert meeting.results["first"] == meeting.results["second"], "both are told how the key is now"
    assert kinds(host, key_id) == ["key.created", kind]
    assert sent == [key_id]


def test_of_many_deletions_at_once_one_is_recorded(host: Host, service: KeyService) -> None:
    key_id = service.create(name="x").key.id
    sent: list[str] = []

    def receive(sender: Any, key: Any, actor: str) -> None:
        sent.append(key.id)

    key_deleted.connect(receive, host.app)
    barrier = threading.Barrier(8)
    errors: list[Exception] = []

    def delete() -> None:
        barrier.wait()
        try:
            service.delete(key_id)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=delete) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert kinds(host, key_id) == ["key.created", "key.deleted"] and sent == [key_id]
