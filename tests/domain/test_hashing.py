from __future__ import annotations

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st
from passlib.hash import pbkdf2_sha256, sha256_crypt

from flask_archie_keys import ConfigurationError
from flask_archie_keys.domain.hashing import Hasher, pepper_id
from flask_archie_keys.domain.keytext import mint

OLD, NEW = "old-" + "p" * 28, "new-" + "p" * 28
KEY_ID, TEXT = mint("archie")
names = st.from_regex(r"[A-Za-z0-9_.-]{1,20}", fullmatch=True)


@given(st.lists(st.text("abc", min_size=16, max_size=18), max_size=3, unique=True), names, names)
def test_a_digest_verifies_its_own_text_only(peppers: list[str], project: str, environment: str) -> None:
    hasher = Hasher(peppers, project, environment)
    digest = hasher.digest(KEY_ID, TEXT)
    assert hasher.verify(KEY_ID, TEXT, digest)
    assert not hasher.verify(KEY_ID, mint("archie").text, digest)
    assert not hasher.verify("x" * 12, TEXT, digest), "a digest moved to another row"
    assert not Hasher(peppers, project + "x", environment).verify(KEY_ID, TEXT, digest), "another project"
    assert not Hasher(peppers, project, environment + "x").verify(KEY_ID, TEXT, digest), "another environment"
    assert not hasher.needs_update(digest)


def test_project_and_environment_cannot_be_shifted_into_each_other() -> None:
    digest = Hasher([NEW], "ab", "c").digest(KEY_ID, TEXT)
    assert not Hasher([NEW], "a", "bc").verify(KEY_ID, TEXT, digest)


def test_the_digest_is_the_documented_hmac() -> None:
    scope = b"flask_archie_keys digest\0shop\0master"
    key = hmac.digest(NEW.encode(), scope, "sha256")
    expected = hmac.new(key, f"{KEY_ID}\0{TEXT}".encode(), hashlib.sha256).hexdigest()
    assert Hasher([NEW], "shop", "master").digest(KEY_ID, TEXT) == f"$archie-hmac-sha256${pepper_id(NEW)}${expected}"


def test_an_older_pepper_verifies_and_asks_for_a_new_digest() -> None:
    digest = Hasher([OLD], "p", "e").digest(KEY_ID, TEXT)
    both = Hasher([OLD, NEW], "p", "e")
    assert both.verify(KEY_ID, TEXT, digest) and both.needs_update(digest)
    assert not Hasher([NEW], "p", "e").verify(KEY_ID, TEXT, digest), "a pepper that was taken away ends its keys"


def test_without_the_pepper_a_digest_cannot_be_made() -> None:
    """Whoever can write rows, and knows this code, makes a digest without pepper: it opens nothing."""
    forged = Hasher([], "p", "e").digest(KEY_ID, TEXT)
    assert not Hasher([NEW], "p", "e").verify(KEY_ID, TEXT, forged)
    assert Hasher(["", NEW], "p", "e").verify(KEY_ID, TEXT, forged), "unless the settings say so"


@pytest.mark.parametrize("scheme", [pbkdf2_sha256.using(rounds=10), sha256_crypt.using(rounds=1000)])
def test_foreign_schemes_verify_where_they_are_named(scheme: type) -> None:
    digest = scheme.hash(TEXT)  # type: ignore[attr-defined]
    named = Hasher([NEW], "p", "e", [scheme.name])  # type: ignore[attr-defined]
    assert named.verify(KEY_ID, TEXT, digest) and named.needs_update(digest)
    assert not named.verify(KEY_ID, TEXT + "x", digest)
    assert not Hasher([NEW], "p", "e").verify(KEY_ID, TEXT, digest)


@pytest.mark.parametrize("scheme", ["no_such_scheme", "plaintextt"])
def test_a_scheme_that_there_is_not_is_refused_at_start(scheme: str) -> None:
    with pytest.raises(ConfigurationError, match="ARCHIE_KEYS_IMPORT_SCHEMES"):
        Hasher([NEW], "p", "e", [scheme])


@pytest.mark.parametrize(
    "digest",
    [
        "",
        "x",
        "$archie-hmac-sha256$",
        f"$archie-hmac-sha256${pepper_id(NEW)}$",
        "$archie-hmac-sha256$00000000$" + "0" * 64,
    ],
)
def test_broken_digests_verify_nothing(digest: str) -> None:
    assert not Hasher([NEW], "p", "e").verify(KEY_ID, TEXT, digest)
    good = Hasher([NEW], "p", "e").digest(KEY_ID, TEXT)
    assert not Hasher([NEW], "p", "e").verify(KEY_ID, TEXT, good + "0")
    assert not Hasher([NEW], "p", "e").verify(KEY_ID, TEXT, good[:-1])
    assert not Hasher([NEW], "p", "e").verify(KEY_ID, TEXT, good[:-1] + "é")


def test_a_pepper_id_does_not_give_the_pepper_away() -> None:
    assert len(pepper_id(NEW)) == 8 and pepper_id(NEW) != pepper_id(OLD)
    assert NEW not in Hasher([NEW], "p", "e").digest(KEY_ID, TEXT)
