"""The catalogues: complete, compiled, and used in the reader's language."""

from __future__ import annotations

import gettext
import io
import re

import pytest
from flask import request
from flask_babel import Babel

from ...support.catalogues import LANGUAGES, compiled, path_of, read, strings, texts
from .conftest import Console, MakeConsole, mistakes

HOW = "bring the catalogues up to date with: python -m tests.support.catalogues"
PLACES = re.compile(r"%\(\w+\)s")


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_text_is_in_the_catalogue(language: str) -> None:
    catalog = {message.id: strings(message.string) for message in read(language) if message.id}
    there = {text if isinstance(text, str) else tuple(text) for text in catalog}
    assert there == texts(), HOW
    assert [text for text, found in catalog.items() if not all(found)] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_is_filled_in_is_the_same(language: str) -> None:
    for message in read(language):
        wanted = {tuple(sorted(PLACES.findall(text))) for text in strings(message.id)}
        assert {tuple(sorted(PLACES.findall(text))) for text in strings(message.string)} == wanted, message.id


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_compiled_catalogue_is_that_of_the_texts(language: str) -> None:
    files = (path_of(language).with_suffix(".mo").read_bytes(), compiled(read(language)))
    there, now = (gettext.GNUTranslations(io.BytesIO(file))._catalog for file in files)  # type: ignore[attr-defined]
    assert {text: there[text] for text in there if text} == {text: now[text] for text in now if text}, HOW


@pytest.fixture
def translated(make_console: MakeConsole) -> Console:
    """A host with Flask-Babel that answers in the language of the query."""
    console = make_console()
    Babel(console.host.app, locale_selector=lambda: request.args.get("lang"))
    return console


@pytest.mark.parametrize(
    ("lang", "heading", "html"),
    [
        ("de", "API-Schlüssel", "de"),
        ("de_AT", "API-Schlüssel", "de"),
        ("fr", "API Keys", "en"),
        ("en", "API Keys", "en"),
    ],
)
def test_the_reader_has_a_language(translated: Console, lang: str, heading: str, html: str) -> None:
    page = translated.user().get(f"/api-keys?lang={lang}").text
    assert f"<h1>{heading}</h1>" in page
    assert f'<html lang="{html}">' in page


def test_numbers_and_mistakes_in_german(translated: Console) -> None:
    user = translated.user()
    made = translated.host.create("Benutzt")
    for requests in ("1 Anfrage", "2 Anfragen"):
        translated.host.get("/me", made.secret)
        assert f"{requests} in 24 Stunden" in user.get("/api-keys?lang=de").text
    refused = user.post("/api-keys?lang=de", name="", context_name="n", context_kind="number", context_value="x")
    assert mistakes(refused) == [("context", "n: muss eine Zahl sein")]
    assert "<h1>Nicht gefunden</h1>" in user.get("/api-keys/x?lang=de").text


def test_without_flask_babel_it_is_english(console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANG", "de_DE.UTF-8")
    monkeypatch.setenv("LANGUAGE", "de")
    assert '<html lang="en">' in console.user().get().text
