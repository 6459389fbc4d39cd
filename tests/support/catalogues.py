"""The catalogues of the console's texts: ``python -m tests.support.catalogues`` brings them up to date.

What is new gets an empty translation, what nobody uses any more leaves, and the rest stays as it was translated.
"""

from __future__ import annotations

import ast
import io
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

from flask_archie_keys import errors
from flask_archie_keys.domain import rules
from flask_archie_keys.domain.permissions import ACTIONS, RoleSource
from flask_archie_keys.domain.records import STATUSES
from flask_archie_keys.faces.pages import access, forms, rotation

PAGES = Path(forms.__file__).parent
FOLDER = PAGES / "translations"
LANGUAGES = ("de", "en")
KEYWORDS: dict[str, Any] = {"t": None, "translate": None, "n_": (1, 2), "ngettext": (1, 2)}
METHODS = [("**.py", "python"), ("templates/**.html", "jinja2.ext:babel_extract")]
OUTCOMES = ("allowed", "denied", "refused")

#: Of the catalogues, so that they differ only where their texts do.
HEAD: dict[str, Any] = {
    "project": "flask_archie_keys",
    "version": "0",
    "msgid_bugs_address": "-",
    "last_translator": "-",
    "language_team": "-",
    "creation_date": datetime(2026, 1, 1, tzinfo=UTC),
    "revision_date": datetime(2026, 1, 1, tzinfo=UTC),
}

Text = str | tuple[str, ...]


def texts() -> set[Text]:
    """All texts of the pages; those with a plural as pairs."""
    found: set[Text] = set()
    for _file, _line, message, _comments, _context in extract_from_dir(PAGES, METHODS, {}, KEYWORDS):
        found.add(message if isinstance(message, str) else tuple(message))
    return found | set(words())


def words() -> Iterator[str]:
    """What the pages translate and do not name: words of the domain, titles of errors, what is wrong with fields."""
    yield from (each.capitalize() for each in ACTIONS)
    yield from (*STATUSES, *ACTIONS, *get_args(RoleSource), *OUTCOMES, *rotation.OVERLAPS.values(), access.FORGED)
    kinds = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, errors.ServiceError)]
    yield from (kind.title for kind in kinds)
    for module in (rules, forms):
        yield from _messages(Path(str(module.__file__)))


def _messages(path: Path) -> Iterator[str]:
    """The texts of refused fields, where nothing is filled into them."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in ("one", "FieldError"):
            message = node.args[2] if len(node.args) == 3 else None
            if isinstance(message, ast.Constant):
                yield str(message.value)


def path_of(language: str) -> Path:
    """The catalogue that people edit."""
    return FOLDER / language / "LC_MESSAGES" / "archie_keys.po"


def read(language: str) -> Catalog:
    """The catalogue of a language."""
    with path_of(language).open("rb") as file:
        return read_po(file, locale=language)


def compiled(catalog: Catalog) -> bytes:
    """What programs read."""
    buffer = io.BytesIO()
    write_mo(buffer, catalog)
    return buffer.getvalue()


def write(language: str, catalog: Catalog) -> None:
    """Both files of a catalogue."""
    path = path_of(language)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        write_po(file, catalog, width=118)
    path.with_suffix(".mo").write_bytes(compiled(read(language)))


def update(language: str) -> list[Text]:
    """Write a catalogue anew; what it lacks."""
    old = read(language) if path_of(language).exists() else Catalog(locale=language)
    new = Catalog(locale=language, header_comment="# Texts of the console.", fuzzy=False, **HEAD)
    for text in sorted(texts(), key=str):
        known = old.get(text if isinstance(text, str) else text[0])
        same = text if language == "en" else "" if isinstance(text, str) else ("", "")
        new.add(text, known.string if known is not None and language != "en" else same)
    write(language, new)
    return [message.id for message in new if message.id and not all(strings(message.string))]


def strings(string: Any) -> tuple[str, ...]:
    """A translation with its plurals."""
    return (string,) if isinstance(string, str) else tuple(string)


if __name__ == "__main__":
    for name in LANGUAGES:
        sys.stdout.write(f"{name} lacks {update(name)}\n")
