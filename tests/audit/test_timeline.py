"""One event by its id, and counts by time: exact where there are few, estimated at a bounded cost where many."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from flask_archie_keys.audit import timeline
from flask_archie_keys.domain.clock import from_micros, to_micros
from flask_archie_keys.domain.ids import new_event_id
from flask_archie_keys.domain.permissions import Grant
from flask_archie_keys.errors import BadRequest, Forbidden, NotFound
from flask_archie_keys.store.audit import insert_event
from flask_archie_keys.store.models import events

from ..conftest import Host, MakeHost

NOON = datetime(2030, 5, 1, 12, tzinfo=UTC)


@pytest.fixture
def host(make_host: MakeHost, url: str) -> Host:
    return make_host(url)


def add(host: Host, *moments: datetime, environment: str = "master", **values: Any) -> list[str]:
    """Put events into the database, in the order of their times."""
    ids = []
    row = {column.name: None for column in events.c}
    row |= {"project": "default", "environment": environment, "kind": "request", "outcome": "allowed"}
    row |= {"count": 1, "truncated": False, "streamed": False, **values}
    with host.app.app_context(), host.keys.for_environment("master").database.write() as connection:
        for moment in moments:
            micros = to_micros(moment)
            ids.append(new_event_id(micros * 1000))
            insert_event(connection, {**row, "id": ids[-1], "occurred_at": micros})
    return ids


def counted(host: Host, **filters: Any) -> dict[str, dict[str, int]]:
    """The intervals that are not empty, by the time that they begin."""
    with host.app.app_context():
        found = host.keys.audit.timeline(**filters)
    return {interval.start.isoformat()[:16]: dict(interval.counts) for interval in found.intervals if interval.total}


def test_counts_by_interval_and_outcome(host: Host) -> None:
    add(host, NOON, NOON + timedelta(minutes=1), NOON + timedelta(minutes=61))
    add(host, NOON + timedelta(minutes=62), outcome="refused", count=40)
    add(host, NOON, environment="staging")
    found = counted(host, since=NOON, until=NOON + timedelta(hours=2), parts=3)
    assert found == {"2030-05-01T12:00": {"allowed": 2}, "2030-05-01T13:00": {"allowed": 1, "refused": 40}}


def test_all_intervals_of_the_range_are_there_and_none_beyond_it(host: Host) -> None:
    add(host, NOON - timedelta(seconds=1), NOON, NOON + timedelta(minutes=10))
    with host.app.app_context():
        found = host.keys.audit.timeline(since=NOON, until=NOON + timedelta(minutes=10), parts=11)
    assert [interval.start for interval in found.intervals] == [NOON + timedelta(minutes=n) for n in range(10)]
    assert [interval.total for interval in found.intervals] == [1] + [0] * 9
    assert found.exact and found.counts == {"allowed": 1}


def test_the_filters_are_those_of_the_list(host: Host) -> None:
    add(host, NOON, method="GET", route="/orders", status=200, key_id="aaaaaaaaaaaa")
    add(host, NOON, method="POST", route="/orders", status=403, outcome="denied", reason="missing_grant")
    for filters in ({"method": "POST"}, {"outcome": "denied"}, {"reason": "missing_grant"}, {"status": 403}):
        assert counted(host, until=NOON + timedelta(1), **filters) == {"2030-05-01T12:00": {"denied": 1}}
    assert counted(host, until=NOON + timedelta(1), key="aaaaaaaaaaaa") == {"2030-05-01T12:00": {"allowed": 1}}
    assert counted(host, until=NOON + timedelta(1), route="/elsewhere") == {}


def test_the_lineage_of_a_key_is_counted_together(host: Host) -> None:
    old = host.create()
    with host.app.app_context():
        new = host.keys.service.rotate(old.key.id)
    add(host, NOON, key_id=old.key.id)
    add(host, NOON, key_id=new.key.id)
    range_ = {"since": NOON, "until": NOON + timedelta(hours=1)}
    assert list(counted(host, key=new.key.id, **range_).values()) == [{"allowed": 1}]
    assert list(counted(host, key=new.key.id, lineage=True, **range_).values()) == [{"allowed": 2}]


def test_an_open_range_begins_with_the_oldest_event(host: Host) -> None:
    past = datetime(2020, 1, 1, 8, 30, tzinfo=UTC)
    add(host, past)
    with host.app.app_context():
        found = host.keys.audit.timeline(parts=24)
    assert found.intervals[0].start <= past < found.intervals[0].end
    assert found.intervals[-1].end >= datetime.now(UTC)
    assert len(found.intervals) <= 24


def test_an_empty_log_and_an_empty_range_have_no_intervals(host: Host) -> None:
    with host.app.app_context():
        log = host.keys.for_environment("master").audit
        assert log.timeline().intervals == ()
        assert log.timeline(since=NOON, until=NOON).intervals == ()
        with pytest.raises(BadRequest, match="outcome must be"):
            log.timeline(outcome="lost")


def test_many_events_are_estimated_from_the_newest_of_each_interval(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interval with few events stays exact; totals are counted, of which the sample gives the shares."""
    for name, value in (("EXACT_MAX", 50), ("SAMPLE", 20), ("FILTERED_SAMPLE", 30), ("COUNTED_MAX", 1000)):
        monkeypatch.setattr(timeline, name, value)
    add(host, *(NOON + timedelta(seconds=n) for n in range(0, 90, 2)))
    add(host, *(NOON + timedelta(seconds=n) for n in range(1, 90, 2)), outcome="denied")
    add(host, *(NOON + timedelta(hours=1, seconds=n) for n in range(3)), outcome="refused")
    with host.app.app_context():
        found = host.keys.audit.timeline(since=NOON, until=NOON + timedelta(hours=2), parts=3)
    assert not found.exact
    assert [dict(interval.counts) for interval in found.intervals] == [{"allowed": 45, "denied": 45}, {"refused": 3}]
    filtered = counted(host, since=NOON, until=NOON + timedelta(hours=2), parts=3, outcome="denied")
    assert filtered == {"2030-05-01T12:00": {"denied": 45}}


def test_the_counts_of_events_that_are_known_to_be_all(host: Host) -> None:
    add(host, NOON, NOON + timedelta(minutes=1), outcome="denied")
    add(host, NOON + timedelta(minutes=90), outcome="refused", count=9)
    with host.app.app_context():
        found = host.keys.audit.timeline(since=NOON, until=NOON + timedelta(hours=2), parts=3, route="/none")
        assert found.counts == {}
        events = host.keys.audit.find(since=NOON, until=NOON + timedelta(hours=2))
    assert [dict(interval.counts) for interval in found.of(events).intervals] == [{"denied": 2}, {"refused": 9}]


def test_what_is_not_even_counted_is_taken_to_come_as_fast(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("EXACT_MAX", 10), ("SAMPLE", 10), ("COUNTED_MAX", 30)):
        monkeypatch.setattr(timeline, name, value)
    add(host, *(NOON + timedelta(seconds=n) for n in range(60)))
    found = counted(host, since=NOON, until=NOON + timedelta(minutes=1), parts=2)
    assert found == {"2030-05-01T12:00": {"allowed": 60}}


def test_the_widest_range_that_there_can_be(host: Host) -> None:
    add(host, NOON)
    with host.app.app_context():
        found = host.keys.audit.timeline(since=datetime.min.replace(tzinfo=UTC), until=datetime.max.replace(tzinfo=UTC))
    assert found.counts == {"allowed": 1} and 2 <= len(found.intervals) <= 60


@pytest.mark.parametrize(
    ("span", "parts", "seconds"),
    [
        (timedelta(minutes=1), 61, 1),
        (timedelta(hours=1), 60, 120),
        (timedelta(hours=24), 60, 1800),
        (timedelta(days=365), 60, 7 * 86400),
        (timedelta(days=1), 1, 86400),
    ],
)
def test_intervals_are_such_as_people_count_in(span: timedelta, parts: int, seconds: int) -> None:
    micros = span // timedelta(microseconds=1)
    width = timeline.width_of(0, micros, parts)
    assert from_micros(width) - from_micros(0) == timedelta(seconds=seconds)


# -- one event


def test_an_event_by_its_id(host: Host) -> None:
    (event_id,) = add(host, NOON, route="/orders/<id>", details='{"permissions": []}')
    with host.app.app_context():
        found = host.keys.audit.get(event_id)
    assert (found.id, found.occurred_at, found.route) == (event_id, NOON, "/orders/<id>")
    assert found.details == {"permissions": []}


@pytest.mark.parametrize("event_id", ["", "0" * 32, "x" * 32, "0" * 31, "%", "é" * 32])
def test_an_event_that_is_not_there(host: Host, event_id: str) -> None:
    with host.app.app_context(), pytest.raises(NotFound, match="there is no audit event"):
        host.keys.audit.get(event_id)


def test_an_event_of_another_environment_is_not_there(host: Host) -> None:
    (event_id,) = add(host, NOON, environment="staging")
    with host.app.app_context(), pytest.raises(NotFound):
        host.keys.audit.get(event_id)


def test_who_may_read_some_events_sees_and_counts_those(host: Host) -> None:
    (mine,) = add(host, NOON, route="/mine")
    (other,) = add(host, NOON, route="/other")
    host.save("clerk", Grant("audit_events", read=True, filter="route = '/mine'"))
    with host.acting(host.create("clerk", ("clerk",)).key):
        assert host.keys.audit.get(mine).route == "/mine"
        with pytest.raises(NotFound):
            host.keys.audit.get(other)
        assert host.keys.audit.timeline(since=NOON, until=NOON + timedelta(1)).counts == {"allowed": 1}


def test_without_a_grant_there_is_neither(host: Host) -> None:
    (event_id,) = add(host, NOON)
    with host.acting(host.create().key):
        with pytest.raises(Forbidden):
            host.keys.audit.get(event_id)
        with pytest.raises(Forbidden):
            host.keys.audit.timeline()
