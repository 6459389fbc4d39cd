from __future__ import annotations

import threading

import pytest

from flask_archie_keys.audit import flood
from flask_archie_keys.audit.event import Request
from flask_archie_keys.audit.flood import FloodGate, Refused

from ..conftest import Host, MakeHost


def refused(reason: str = "unknown", address: str = "192.0.2.1", key_id: str | None = None) -> Refused:
    return Refused(Request("GET", None, "/x", address, None, None), key_id, "refused", reason, 401, 1)


class Clock:
    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(flood, "time", clock)
    return clock


def test_the_first_of_a_second_have_events_of_their_own_and_the_rest_are_counted(clock: Clock) -> None:
    written: list[tuple[Refused, int]] = []
    gate = FloodGate(3, lambda refused, count: written.append((refused, count)))
    assert [gate.admit(refused()) for _ in range(10)] == [True] * 3 + [False] * 7
    assert written == []
    clock.now += 1
    assert gate.admit(refused()) is True
    assert written == [(refused(), 7)]


def test_reasons_keys_and_addresses_are_counted_apart(clock: Clock) -> None:
    written: list[tuple[Refused, int]] = []
    gate = FloodGate(1, lambda refused, count: written.append((refused, count)))
    gate.admit(refused())
    kinds = [refused("expired"), refused(address="192.0.2.2"), refused(key_id="k" * 12)]
    for kind in kinds:
        for _ in range(2):
            gate.admit(kind)
    gate.flush()
    gate.flush()
    assert written == [(kind, 2) for kind in kinds]


def test_the_number_of_groups_is_bounded_and_the_counts_stay_right(clock: Clock) -> None:
    written: list[tuple[Refused, int]] = []
    gate = FloodGate(1, lambda refused, count: written.append((refused, count)))
    for n in range(1000):
        gate.admit(refused(address=f"2001:db8::{n:x}", key_id="k" * 12))
    gate.flush()
    assert len(written) == 65
    assert sum(count for _, count in written) == 999
    rest = written[-1][0]
    assert rest.request == Request(None, None, None, None, None, None) and rest.key_id is None


def test_no_refusal_is_lost_between_threads() -> None:
    counted: list[int] = []
    gate = FloodGate(10, lambda refused, count: counted.append(count))
    admitted: list[int] = []

    def run() -> None:
        admitted.append(sum(gate.admit(refused()) for _ in range(2000)))

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    gate.flush()
    assert sum(admitted) + sum(counted) == 8000


def test_a_flood_of_bad_keys_stays_bounded_with_right_counts(make_host: MakeHost) -> None:
    host: Host = make_host(ARCHIE_KEYS_AUDIT={"refused_per_second": 5})
    for n in range(500):
        host.get("/me", "archie_000000000000_" + "0" * 38, environ_overrides={"REMOTE_ADDR": f"192.0.2.{n % 4}"})
    events = host.events(reason="bad_checksum")
    assert sum(event.count for event in events) == 500
    assert len(events) < 100
    assert {event.status for event in events} == {401}
    assert host.events(outcome="allowed") == []


def test_a_good_key_that_may_not_do_this_has_an_event_for_each_request(make_host: MakeHost) -> None:
    """It was authenticated: the log names the key each time, whatever the bound for bad keys is."""
    host = make_host(ARCHIE_KEYS_AUDIT={"refused_per_second": 1})
    created = host.create(roles=["viewer"])
    for _ in range(30):
        host.get("/editor", created.secret)
    events = host.events(outcome="denied")
    assert [(event.key_id, event.count) for event in events] == [(created.key.id, 1)] * 30


def test_a_flood_does_not_touch_the_events_of_good_keys(make_host: MakeHost) -> None:
    host = make_host(ARCHIE_KEYS_AUDIT={"refused_per_second": 1})
    secret = host.create().secret
    for _ in range(50):
        host.get("/me")
        host.get("/me", secret)
    assert len(host.events(outcome="allowed")) == 50
    assert sum(event.count for event in host.events(outcome="refused")) == 50
