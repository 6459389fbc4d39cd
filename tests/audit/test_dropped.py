"""What is lost when the spool cannot be written is counted, each request once."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from flask_archie_keys.audit.drain import Drained
from flask_archie_keys.audit.log import AuditLog

from ..conftest import Host, MakeHost

BAD = "archie_000000000000_" + "0" * 38


@pytest.fixture
def make(make_host: MakeHost) -> Callable[[str], Host]:
    def make(on_failure: str) -> Host:
        return make_host(ARCHIE_KEYS_AUDIT={"refused_per_second": 2, "on_failure": on_failure})

    return make


def log_of(host: Host) -> AuditLog:
    with host.app.app_context():
        return host.keys.audit


def block(log: AuditLog) -> Path:
    """Put a file in the place of the spool folder."""
    log.spool.directory.parent.mkdir(parents=True, exist_ok=True)
    log.spool.directory.touch()
    return log.spool.directory


def flood(host: Host, requests: int) -> list[int]:
    return [
        host.get("/me", BAD, environ_overrides={"REMOTE_ADDR": f"192.0.2.{n % 3}"}).status_code for n in range(requests)
    ]


def test_every_request_of_a_flood_that_is_lost_is_counted(make: Callable[[str], Host]) -> None:
    host = make("open")
    log = log_of(host)
    blocked = block(log)
    assert flood(host, 200) == [401] * 200
    assert log.drain() == Drained(), "the counts of the flood cannot be written, and that is no failure of the drain"
    assert log.spool.dropped == 200
    blocked.unlink()
    assert flood(host, 50) == [401] * 50
    assert sum(event.count for event in host.events()) == 50
    assert log.spool.dropped == 200


def test_those_that_are_served_no_answer_are_not_lost_unseen(make: Callable[[str], Host]) -> None:
    """With ``closed`` the first of each second are answered 503; those that are only counted were told 401 before."""
    host = make("closed")
    log = log_of(host)
    blocked = block(log)
    statuses = flood(host, 100)
    assert set(statuses) == {401, 503}
    assert log.drain() == Drained()
    assert log.spool.dropped == statuses.count(401)
    blocked.unlink()
    flood(host, 10)
    assert sum(event.count for event in host.events()) == 10


@pytest.mark.parametrize("on_failure", ["open", "closed"])
def test_closing_does_not_fail_for_what_cannot_be_written(make: Callable[[str], Host], on_failure: str) -> None:
    host = make(on_failure)
    log = log_of(host)
    block(log)
    statuses = flood(host, 20)
    host.keys.close(host.app)
    assert log.spool.dropped == 20 - statuses.count(503)


def test_the_end_of_a_request_that_cannot_be_written_is_counted_once(
    make: Callable[[str], Host], caplog: pytest.LogCaptureFixture
) -> None:
    host = make("closed")
    log = log_of(host)
    secret = host.create().secret

    @host.app.after_request
    def block_the_end(response):  # type: ignore[no-untyped-def]
        log.spool.close()
        log.spool.directory.rename(log.spool.directory.with_name("aside"))
        block(log)
        return response

    with caplog.at_level(logging.ERROR):
        assert host.get("/me", secret).status_code == 200, "the view has run"
    assert log.spool.dropped == 1 and "audit records dropped: 1 so far" in caplog.text
