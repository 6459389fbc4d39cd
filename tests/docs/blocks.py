"""What is written in the pages: their code blocks, and the lines in those."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.rst"))
README = ROOT / "README.md"
SAMPLE_ID = "7f3Kq2Zt9bXa"


class Block(NamedTuple):
    """A code block: where it stands, its language, its name and its text."""

    path: Path
    line: int
    language: str
    name: str
    text: str


def blocks_of(path: Path) -> list[Block]:
    """The code blocks of a page, in order."""
    return list(_fences(path) if path.suffix == ".md" else _directives(path))


def _fences(path: Path) -> Iterator[Block]:
    text = path.read_text(encoding="utf-8")
    for found in re.finditer(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        yield Block(path, text.count("\n", 0, found.start()) + 1, found[1], "", found[2])


def _directives(path: Path) -> Iterator[Block]:
    lines = path.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines):
        found = re.fullmatch(r"( *)\.\. code-block:: (\w+)", line)
        if found is None:
            continue
        body = []
        for inner in lines[number + 1 :]:
            if inner and not inner.startswith(found[1] + "   "):
                break
            body.append(inner)
        text = textwrap.dedent("\n".join(body)).strip("\n")
        name = re.match(r":name: (\S+)\n\n", text)
        yield Block(path, number + 1, found[2], name[1] if name else "", text[name.end() :] if name else text)


BLOCKS = [block for path in (*PAGES, README) for block in blocks_of(path)]


def in_language(language: str) -> list[Any]:
    """The blocks in one language, as parameters."""
    return [pytest.param(block, id=f"{block.path.name}:{block.line}") for block in BLOCKS if block.language == language]


def text_of(page: str) -> str:
    """The source of a page, with every run of blanks as one."""
    return " ".join((DOCS / f"{page}.rst").read_text(encoding="utf-8").split())


def first_column(page: str, section: str) -> list[str]:
    """The literals in the first column of the table in a section."""
    text = (DOCS / f"{page}.rst").read_text(encoding="utf-8")
    part = re.split(rf"^{section}\n-+\n", text, flags=re.MULTILINE)[1]
    part = re.split(r"^-{3,}$", part, flags=re.MULTILINE)[0]
    return [name for row in re.findall(r"^   \* - (.*)$", part, re.MULTILINE) for name in re.findall(r"``(.+?)``", row)]


def lines_of_flask_keys(block: Block) -> list[list[str]]:
    """The words behind ``flask keys`` in a console block."""
    lines = re.findall(r"^\$ .*?flask(?: --app \w+)? keys (.*?)\)?$", block.text, re.MULTILINE)
    return [words(re.split(r" [|>] ", line)[0]) for line in lines]


def words(line: str) -> list[str]:
    """A line as a shell would split it."""
    return [re.sub(r"^(['\"])(.*)\1$", r"\2", word) for word in re.findall(r"'[^']*'|\"[^\"]*\"|\S+", line)]


CONSOLE = [(block, line) for block in BLOCKS if block.language == "console" for line in lines_of_flask_keys(block)]
