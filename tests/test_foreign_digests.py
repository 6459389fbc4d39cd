"""Digests of other systems: off unless named, and a broken one is one bad key, never a failure."""

from __future__ import annotations

import pytest

from .conftest import Host, MakeHost

SCHEMES = ["pbkdf2_sha256", "sha256_crypt"]
BROKEN = [
    "",
    "x",
    "$",
    "$pbkdf2-sha256$",
    "$pbkdf2-sha256$10$",
    "$pbkdf2-sha256$ten$c2FsdA$" + "x" * 43,
    "$pbkdf2-sha256$10$\u00e9$" + "x" * 43,
    "$pbkdf2-sha256$99999999999999999999$c2FsdA$" + "x" * 43,
    "$pbkdf2-sha256$10$c2FsdA$short",
    "$5$",
    "$5$rounds=x$salt$" + "x" * 43,
    "$5$rounds=1000$salt",
    "$archie-hmac-sha256$",
    "$archie-hmac-sha256$00000000$" + "0" * 64,
    "$archie-hmac-sha256$" + "z" * 200,
    "$archie-hmac-sha256$\u00e9",
]


@pytest.fixture
def host(make_host: MakeHost) -> Host:
    return make_host(ARCHIE_KEYS_IMPORT_SCHEMES=SCHEMES)


@pytest.mark.parametrize("digest", BROKEN, ids=range(len(BROKEN)))
def test_a_malformed_digest_is_a_key_that_is_not_good(host: Host, digest: str) -> None:
    created = host.create()
    host.sql(f"UPDATE archie_api_keys SET digest = '{digest}'")
    assert host.get("/me", created.secret).status_code == 401
    assert [event.reason for event in host.events()] == ["wrong_secret"]
    assert host.sql("SELECT digest FROM archie_api_keys") == [(digest,)], "nothing is stored over it"


def test_a_foreign_digest_is_not_accepted_unless_its_scheme_is_named(make_host: MakeHost) -> None:
    """Whoever can write rows could make a key of it: it does not depend on the pepper."""
    from passlib.hash import pbkdf2_sha256

    host = make_host()
    created = host.create()
    host.sql(f"UPDATE archie_api_keys SET digest = '{pbkdf2_sha256.using(rounds=10).hash(created.secret)}'")
    assert host.get("/me", created.secret).status_code == 401
    assert [event.reason for event in host.events()] == ["wrong_secret"]
