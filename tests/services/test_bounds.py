"""What lies at the edge of what a key may be, or beyond it, on SQLite files and on PostgreSQL."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from flask_archie_keys import BadRequest
from flask_archie_keys.domain.clock import utcnow
from flask_archie_keys.services.keys import KeyService

from ..conftest import Host

# -- times


def test_a_key_that_lives_to_the_end_of_the_calendar_can_be_rotated_and_listed(host: Host, service: KeyService) -> None:
    """Its successor would live as long from now on: past the last moment that a datetime can hold."""
    latest = datetime(9999, 1, 1, tzinfo=UTC)
    first = service.create(name="x", roles=["viewer"], expires_at=latest)
    host.sql("UPDATE archie_api_keys SET created_at = created_at - 86400000000 * 365 * 40")
    second = service.rotate(first.key.id, overlap=timedelta(hours=1))
    third = service.rotate(second.key.id, overlap=timedelta(hours=1))
    assert (second.key.expires_at, third.key.expires_at) == (latest, latest)
    assert {key.id for key in service.find()} == {first.key.id, second.key.id, third.key.id}
    assert host.get("/viewer", third.secret).status_code == 200
    listed = host.app.test_cli_runner().invoke(args=["keys", "list"])
    assert (listed.exit_code, len(listed.stdout.splitlines())) == (0, 4), listed.output


def test_the_longest_overlap_ends_before_the_calendar_does(service: KeyService) -> None:
    key_id = service.create(name="x", expires_at=datetime(9999, 1, 1, tzinfo=UTC)).key.id
    service.rotate(key_id, overlap=timedelta(days=36525))
    ends = service.get(key_id).expires_at
    assert ends is not None and ends - utcnow() <= timedelta(days=36525)


# -- searching


def test_a_search_finds_names_that_are_not_ascii_as_they_are_written(service: KeyService) -> None:
    """SQLite folds the case of ASCII only; a search for the very text must find it all the same."""
    made = service.create(name="Äpfel und Ölung").key.id
    service.create(name="apfel")
    for text in ("Äpfel", "Äpfel und Ö", "Ölung", "UND"):
        assert [key.id for key in service.find(q=text)] == [made], text


@pytest.mark.parametrize("name", ["q", "role", "prefix"])
def test_a_search_has_a_length(service: KeyService, name: str) -> None:
    assert service.find(**{name: "x" * 1024}).items == ()  # type: ignore[arg-type]
    with pytest.raises(BadRequest, match=f"{name} must be a text of at most 1024 characters"):
        service.find(**{name: "x" * 1025})  # type: ignore[arg-type]


# -- networks


@pytest.mark.parametrize(
    ("given", "kept", "inside", "outside"),
    [
        ("::ffff:10.0.0.0/104", "10.0.0.0/8", "10.1.2.3", "11.1.2.3"),
        ("::ffff:192.0.2.7", "192.0.2.7/32", "192.0.2.7", "192.0.2.8"),
        ("::ffff:0:0/96", "0.0.0.0/0", "8.8.8.8", "2001:db8::1"),
    ],
)
def test_a_network_of_mapped_addresses_is_the_ipv4_network_that_it_means(
    host: Host, service: KeyService, given: str, kept: str, inside: str, outside: str
) -> None:
    """Peers are compared as IPv4 addresses, so it would let nobody in."""
    created = service.create(name="x", roles=["viewer"], allowed_networks=[given])
    assert created.key.allowed_networks == (kept,)
    mapped = [inside, f"::ffff:{inside}"]
    for address, status in [*((a, 200) for a in mapped), (outside, 403)]:
        answer = host.get("/viewer", created.secret, environ_overrides={"REMOTE_ADDR": address})
        assert answer.status_code == status, address
