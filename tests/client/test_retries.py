"""What is sent again, and what comes of lost answers: on real sockets, with a server that does as it is told."""

from __future__ import annotations

from typing import Any

import pytest

from flask_archie_keys import KeyNotFound, Replayed, RoleNotFound, Unavailable
from flask_archie_keys.client import BadAnswer, NoAnswer, RateLimited, attempts, calls

from ..conftest import Host
from .conftest import Play
from .support import EVENT, Clients, answer, broken_stream, drop, forward, hang, lose, problem

ID = "7f3Kq2Zt9bXa"
ROLE = {
    "name": "clerk",
    "description": "",
    "grants": [],
    "source": "saved",
    "project": "p",
    "environment": "e",
    "createdAt": "2030-01-01T00:00:00.000Z",
    "updatedAt": None,
    "version": 1,
    "lockedOut": [],
}
BUSY = problem(503, "unavailable", headers={"Retry-After": "0"})
GOOD = answer(200, {"data": ROLE})


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "_BACKOFF", 0.0)


@pytest.mark.parametrize("trouble", [drop, BUSY, problem(429, "rate-limit-exceeded", headers={"Retry-After": "0"})])
@pytest.mark.parametrize("asked", [lambda c: c.roles.get("clerk"), lambda c: c.roles.save("clerk")])
def test_what_is_safe_to_repeat_is_sent_again(clients: Clients, play: Play, trouble: Any, asked: Any) -> None:
    server = play(trouble, GOOD)
    assert asked(clients(server.url)).name == "clerk"
    first, second = server.seen
    assert first == second


@pytest.mark.parametrize("trouble", [drop, BUSY])
@pytest.mark.parametrize(
    "asked",
    [
        lambda c: c.roles.create("clerk"),
        lambda c: c.roles.save("clerk", version=1),
        lambda c: c.keys.update(ID, version=1, name="x"),
        lambda c: c.keys.disable(ID),
        lambda c: c.keys.enable(ID),
    ],
)
def test_what_is_not_is_sent_once(clients: Clients, play: Play, trouble: Any, asked: Any) -> None:
    server = play(trouble)
    with pytest.raises(Unavailable):
        asked(clients(server.url))
    assert len(server.seen) == 1


def test_it_is_not_sent_for_ever(clients: Clients, play: Play) -> None:
    server = play(drop)
    with pytest.raises(NoAnswer) as raised:
        clients(server.url, retries=3).me()
    assert len(server.seen) == 4 and raised.value.maybe_done
    server = play(BUSY)
    with pytest.raises(Unavailable) as unavailable:
        clients(server.url, retries=0).me()
    assert len(server.seen) == 1 and unavailable.value.retry_after == 0


def test_a_503_that_does_not_say_when_or_says_too_late_is_not_tried_again(clients: Clients, play: Play) -> None:
    for headers, seconds in (({}, 1), ({"Retry-After": "3600"}, 3600)):
        server = play(problem(503, "unavailable", headers=headers))
        with pytest.raises(Unavailable) as raised:
            clients(server.url).me()
        assert len(server.seen) == 1 and raised.value.retry_after == seconds


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("7", 7),
        ("Thu, 01 Jan 2015 00:00:00 GMT", 0),
        ("soon", 1),
        ("-5", 1),
        ("1.5", 1),
        ("9" * 30, 1),
        ("Thu, 01 Jan 99999 00:00:00 GMT", 1),
    ],
)
def test_the_wait_is_what_the_server_says(clients: Clients, play: Play, said: str, seconds: int) -> None:
    server = play(problem(429, "rate-limit-exceeded", headers={"Retry-After": said}))
    with pytest.raises(RateLimited) as raised:
        clients(server.url, retries=0).me()
    assert (raised.value.retry_after, raised.value.status) == (seconds, 429)


def test_it_waits_before_it_sends_again() -> None:
    import httpx

    flow = attempts.attempts(calls.me(), 2)
    request = httpx.Request("GET", "https://shop.example/archie/v1/me")
    assert next(flow) == 0
    assert flow.send(httpx.Response(503, headers={"Retry-After": "17"}, request=request)) == 17
    with pytest.raises(Unavailable):
        flow.send(httpx.Response(503, headers={"Retry-After": "31"}, request=request))


# -- keys that are made


def test_a_lost_answer_makes_no_second_key(clients: Clients, play: Play, managed: Host) -> None:
    secret = managed.create("administrator", ("administrator",)).secret
    server = play(lose, forward, app=managed.app)
    with pytest.raises(Replayed, match="was made, and the answer with its secret was lost") as raised:
        clients(server.url, secret).keys.create(name="CI")
    assert len({seen.headers["Idempotency-Key"] for seen in server.seen}) == 1
    with managed.app.app_context():
        (made,) = managed.keys.service.find(q="CI")
        assert made.id == raised.value.key_id


def test_a_lost_request_makes_its_key(clients: Clients, play: Play, managed: Host) -> None:
    secret = managed.create("administrator", ("administrator",)).secret
    server = play(drop, forward, app=managed.app)
    created = clients(server.url, secret).keys.create(name="CI")
    assert managed.get("/me", created.secret).status_code == 200


def test_a_lost_rotation_is_told_with_the_new_id_which_can_be_rotated(
    clients: Clients, play: Play, managed: Host
) -> None:
    secret = managed.create("administrator", ("administrator",)).secret
    old = managed.create("CI", ()).key
    server = play(lose, forward, app=managed.app)
    client = clients(server.url, secret)
    with pytest.raises(Replayed) as raised:
        client.keys.rotate(old.id)
    assert client.keys.get(old.id).replaced_by == raised.value.key_id
    assert client.keys.rotate(raised.value.key_id).key.replaces == raised.value.key_id


def test_two_calls_are_two_requests(clients: Clients, play: Play) -> None:
    server = play(problem(409, "conflict"))
    for _ in range(2):
        with pytest.raises(Exception, match="it is so"):
            clients(server.url).keys.create(name="CI")
    assert len({seen.headers["Idempotency-Key"] for seen in server.seen}) == 2


def test_no_answer_at_all_says_with_what_to_ask_again(clients: Clients, play: Play) -> None:
    server = play(drop)
    with pytest.raises(NoAnswer) as raised:
        clients(server.url).keys.create(name="CI")
    assert raised.value.idempotency_key == server.seen[0].headers["Idempotency-Key"]


def test_a_role_whose_deletion_was_lost_is_deleted(clients: Clients, play: Play) -> None:
    server = play(drop, problem(404, "not-found"))
    assert clients(server.url).roles.delete("clerk") is None
    with pytest.raises(RoleNotFound):
        clients(server.url).roles.delete("clerk")
    with pytest.raises(KeyNotFound):
        clients(play(drop, problem(404, "not-found")).url).keys.delete(ID)


# -- no answer


def test_a_slow_server_is_not_waited_for(clients: Clients, play: Play) -> None:
    with pytest.raises(NoAnswer, match="ReadTimeout") as raised:
        clients(play(hang).url, timeout=0.05, retries=0).keys.create(name="CI")
    assert raised.value.maybe_done


def test_where_nobody_listens_nothing_was_done(clients: Clients, play: Play) -> None:
    server = play(drop)
    url = server.url
    server.close()
    with pytest.raises(NoAnswer, match="ConnectError") as raised:
        clients(url, timeout=1).keys.create(name="CI")
    assert not raised.value.maybe_done and isinstance(raised.value, Unavailable)


def test_a_stream_that_breaks_off_is_not_taken_for_all(clients: Clients, play: Play) -> None:
    with pytest.raises(NoAnswer, match="RemoteProtocolError"):
        list(clients(play(broken_stream(EVENT)).url).audit.stream())
    with pytest.raises(BadAnswer, match="within a line"):
        list(clients(play(answer(200, b'{"id":', "application/x-ndjson")).url).audit.stream())


def test_a_stream_is_begun_again_before_it_has_begun(clients: Clients, play: Play) -> None:
    server = play(BUSY, drop, answer(200, b"", "application/x-ndjson"))
    assert list(clients(server.url).audit.stream()) == []
    assert [seen.headers["Accept"] for seen in server.seen] == ["application/x-ndjson"] * 3
