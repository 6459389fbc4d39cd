from __future__ import annotations

import re
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_archie_keys.domain import keytext
from flask_archie_keys.domain.ids import BASE62

prefixes = st.from_regex(r"[a-z]([a-z0-9_]{0,30}[a-z0-9])?", fullmatch=True)


@given(prefixes)
def test_a_minted_text_is_read_back_and_has_the_published_form(prefix: str) -> None:
    key_id, text = keytext.mint(prefix)
    assert keytext.parse(text) == key_id
    assert re.fullmatch(keytext.PATTERN, text)
    assert text.startswith(f"{prefix}_{key_id}_")
    assert len(text) == len(prefix) + 52 <= keytext.MAX_LENGTH


@st.composite
def key_texts(draw: st.DrawFn) -> str:
    part = lambda size: draw(st.text(st.sampled_from(BASE62), min_size=size, max_size=size))  # noqa: E731
    body = f"{draw(prefixes)}_{part(12)}_{part(32)}"
    return body + keytext.checksum(body)


@given(key_texts(), st.integers(1, 51), st.sampled_from(BASE62))
def test_one_wrong_character_behind_the_prefix_is_refused(text: str, back: int, other: str) -> None:
    wrong = text[:-back] + other + text[len(text) - back + 1 :]
    assert keytext.parse(text) == text.split("_")[-2]
    if wrong != text:
        with pytest.raises(keytext.NotAKey):
            keytext.parse(wrong)


@given(key_texts(), st.integers(2, 38))
def test_two_neighbours_swapped_are_a_bad_checksum(text: str, back: int) -> None:
    at = len(text) - back
    swapped = text[:at] + text[at + 1] + text[at] + text[at + 2 :]
    if swapped != text:
        with pytest.raises(keytext.BadChecksum):
            keytext.parse(swapped)


@given(st.text(max_size=120))
def test_any_text_is_a_key_or_refused(text: str) -> None:
    try:
        key_id = keytext.parse(text)
    except keytext.NotAKey:
        return
    assert re.fullmatch(keytext.PATTERN, text) and key_id in text


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text[:-1],
        lambda text: text + "0",
        lambda text: text.replace("_", "-"),
        lambda text: text.upper(),
        lambda text: text + "\n",
        lambda text: " " + text,
        lambda text: "a" * 28 + text,
        lambda text: "_" + text,
        lambda text: "7" + text,
        lambda text: text[:-3] + "é" + text[-2:],
        lambda text: text[:-3] + "\0" + text[-2:],
        lambda text: "archie" + text[text.index("_") :].replace("_", "__", 1),
    ],
)
def test_texts_of_another_form_are_not_keys(change: object) -> None:
    with pytest.raises(keytext.NotAKey) as caught:
        keytext.parse(change(keytext.mint("archie").text))  # type: ignore[operator]
    assert caught.type is keytext.NotAKey


def test_the_checksum_is_the_crc32_in_six_base62_digits() -> None:
    number = 0
    for character in keytext.checksum("archie_000000000000_x"):
        number = number * 62 + BASE62.index(character)
    assert number == zlib.crc32(b"archie_000000000000_x")
    assert keytext.checksum("") == "000000"


@pytest.mark.parametrize("prefix", ["", "A", "a_", "1a", "_a", "a-b", "a" * 33, "é", "a\n", "a b"])
def test_prefixes_outside_the_grammar_make_no_key(prefix: str) -> None:
    with pytest.raises(ValueError, match="not a key prefix"):
        keytext.mint(prefix)


@given(prefixes, st.text(max_size=40), st.text(max_size=40))
def test_redacting_leaves_no_secret(prefix: str, before: str, after: str) -> None:
    _, text = keytext.mint(prefix)
    assert text[-38:] not in keytext.redact(f"{before} {text} {after}")


def test_ten_thousand_keys_are_all_different() -> None:
    made = [keytext.mint("archie") for _ in range(10_000)]
    assert len({key.key_id for key in made}) == len({key.text for key in made}) == 10_000
    assert {c for key in made for c in key.key_id} == set(BASE62)
