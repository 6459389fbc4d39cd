"""The documentation says what is there: it builds, every name has its place, and no page names what is not there."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

import click
import pytest
from click.testing import CliRunner
from flask import Flask
from flask.cli import FlaskGroup
from graphql import print_type

import flask_archie_keys
from flask_archie_keys import ServiceError, key_rotated, signals
from flask_archie_keys._version import __version__
from flask_archie_keys.config import AuditConfig, Config, settings
from flask_archie_keys.domain import role_rules
from flask_archie_keys.faces.cli import keys_command, role_files
from flask_archie_keys.faces.cli.doctor import describe
from flask_archie_keys.faces.graphql import execution
from flask_archie_keys.faces.graphql.resolvers import RESOLVERS

from .docs.blocks import (
    BLOCKS,
    CONSOLE,
    DOCS,
    PAGES,
    README,
    ROOT,
    Block,
    blocks_of,
    in_language,
    text_of,
    words,
)


@pytest.mark.parametrize("block", in_language("python"))
def test_python_compiles(block: Block) -> None:
    compile(block.text, f"{block.path.name}:{block.line}", "exec")


@pytest.mark.parametrize("block", in_language("json"))
def test_json_is_json(block: Block) -> None:
    assert json.loads(block.text)


@pytest.mark.parametrize("block", in_language("toml"))
def test_toml_is_a_file_of_roles(block: Block) -> None:
    """Of the form that ``roles save`` reads, with grants that roles may have."""
    for name, role in role_files.read(block.text, "roles.toml").items():
        assert role_rules.name(name)
        assert role_rules.grants(role["grants"])


def test_the_two_forms_of_a_file_of_roles() -> None:
    (toml,), (json_,) = ([b for b in blocks_of(DOCS / "cli.rst") if b.language == form] for form in ("toml", "json"))
    assert role_files.read(toml.text, "roles.toml") == role_files.read(json_.text, "roles.json")


def test_the_blocks_are_found() -> None:
    """The checks of blocks are worth something only if they see them."""
    assert {block.language for block in BLOCKS} == {
        "console",
        "css",
        "graphql",
        "jinja",
        "json",
        "python",
        "sh",
        "text",
        "toml",
    }
    assert len(in_language("python")) >= 20
    assert not [b for b in BLOCKS if b.language == "python" and not b.text.strip()]


@pytest.mark.parametrize("path", [*PAGES, README], ids=lambda path: path.name)
def test_no_page_names_a_setting_that_is_not_there(path: Path) -> None:
    named = set(re.findall(r"\bARCHIE_KEYS_[A-Z_]*[A-Z]\b", path.read_text(encoding="utf-8")))
    assert named <= {setting.name for setting in settings()}


def test_no_page_names_a_path_of_this_machine() -> None:
    for path in (*PAGES, README, ROOT / "CHANGES.md", *DOCS.glob("**/*.py")):
        assert str(ROOT) not in path.read_text(encoding="utf-8"), path.name


# -- what is built


class Page(HTMLParser):
    """What the checks need of a built page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.verbatim: list[str] = []
        self.text = ""
        self._verbatim = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if "id" in given:
            self.ids.add(given["id"])
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if tag == "link" and given.get("rel") in ("stylesheet", "preload", "icon", "shortcut icon"):
            self.loaded.append(given["href"])
        if tag in ("script", "img", "iframe") and "src" in given:
            self.loaded.append(given["src"])
        if tag == "pre":
            self._verbatim = True
            self.verbatim.append("")

    def handle_endtag(self, tag: str) -> None:
        self._verbatim = self._verbatim and tag != "pre"

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._verbatim:
            self.verbatim[-1] += data


class Site(NamedTuple):
    """The built documentation."""

    folder: Path
    pages: dict[str, Page]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """The pages, built as the README says and without a network; a warning is an error."""
    if importlib.util.find_spec("sphinx") is None and os.environ.get("CI") != "true":
        pytest.skip("pip install -e '.[docs]', for the tests of the built pages")
    folder = tmp_path_factory.mktemp("html")
    environ = {name: value for name, value in os.environ.items() if not name.startswith("ARCHIE_DOCS_")}
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-E", "-d", str(folder / ".doctrees")]
    built = subprocess.run(
        [*command, "-b", "html", str(DOCS), str(folder)], capture_output=True, text=True, cwd=ROOT, env=environ
    )
    assert built.returncode == 0, built.stderr
    found = {path.name: Page(path.read_text(encoding="utf-8")) for path in folder.glob("*.html")}
    return Site(folder, found)


def test_every_page_is_built_and_in_a_table_of_contents(site: Site) -> None:
    wanted = {f"{path.stem}.html" for path in PAGES if path.name != "figures.rst"}
    assert wanted <= set(site.pages)
    assert wanted - {"index.html"} <= set(site.pages["index.html"].links)


def test_links_between_pages_resolve(site: Site) -> None:
    checked = 0
    for name, page in site.pages.items():
        for link in page.links:
            if re.match(r"[a-z]+:", link):
                continue
            target, _, anchor = unquote(link).partition("#")
            other = site.pages.get(target or name)
            assert other is not None or (site.folder / target).is_file(), f"{name}: {link}"
            assert not anchor or other is None or anchor in other.ids, f"{name}: {link}"
            checked += 1
    assert checked > 500


def test_links_of_the_readme_resolve() -> None:
    links = re.findall(r"\]\(([^)]+)\)", README.read_text(encoding="utf-8"))
    assert len(links) >= 10
    for link in links:
        assert (ROOT / link).is_file(), link


def test_pages_load_nothing_from_elsewhere(site: Site) -> None:
    loaded = [link for page in site.pages.values() for link in page.loaded]
    assert loaded
    assert not [link for link in loaded if re.match(r"[a-z]+:|//", link)]
    for sheet in site.folder.glob("_static/**/*.css"):
        assert not re.search(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//", sheet.read_text(encoding="utf-8")), sheet.name


# -- every name has its place


@pytest.mark.parametrize("name", flask_archie_keys.__all__)
def test_public_names_are_documented(site: Site, name: str) -> None:
    assert [page for page in site.pages.values() if f"flask_archie_keys.{name}" in page.ids]


@pytest.mark.parametrize(
    "name",
    [s.name for s in settings()] + [f'ARCHIE_KEYS_AUDIT["{s.name}"]' for s in settings(AuditConfig)],
)
def test_settings_are_documented(site: Site, name: str) -> None:
    page = site.pages["configuration.html"]
    assert f"confval-{name.replace('[', '-').replace(']', '').replace(chr(34), '')}" in page.ids
    member = name.partition('"')[2].rstrip('"]')
    known = {s.name: s.help for s in settings(AuditConfig if member else Config)}
    help = known[member or name].replace("``", "")
    assert " ".join(help.split()) in " ".join(page.text.split())


def test_the_audit_page_says_what_its_settings_are_for() -> None:
    explained = set(re.findall(r':confval:`ARCHIE_KEYS_AUDIT\["(\w+)"\]`', text_of("audit")))
    assert explained == {setting.name for setting in settings(AuditConfig)}


@pytest.mark.parametrize(
    "error",
    [e for e in vars(flask_archie_keys).values() if isinstance(e, type) and issubclass(e, ServiceError)],
)
def test_errors_have_their_row(site: Site, error: type[ServiceError]) -> None:
    text = " ".join(site.pages["errors.html"].text.split())
    assert error is ServiceError or f"{error.status} {error.type} {error.__name__}" in text


def test_the_error_tree_is_the_one_of_the_classes() -> None:
    drawn: dict[str, str] = {}
    above: list[str] = []
    block = next(b for b in blocks_of(DOCS / "errors.rst") if b.language == "text")
    for line in block.text.splitlines():
        found = re.search(r"\w+", line)
        assert found is not None
        depth = found.start() // 4
        above[depth:] = [found[0]]
        drawn[found[0]] = above[depth - 1] if depth else "Exception"
    public = [getattr(flask_archie_keys, name) for name in flask_archie_keys.__all__]
    real = [e for e in public if isinstance(e, type) and issubclass(e, Exception)]
    assert drawn == {e.__name__: e.__base__.__name__ for e in real if e.__base__ is not None}


def test_signals_are_documented(site: Site) -> None:
    names = [name for name, thing in vars(signals).items() if isinstance(thing, type(key_rotated))]
    assert names
    for name in names:
        assert f"flask_archie_keys.{name}" in site.pages["signals.html"].ids
    assert "key (the old one), successor (the new one), actor" in site.pages["signals.html"].text
    assert "Arguments: name, actor." in site.pages["signals.html"].text


def test_the_checks_of_the_doctor_are_documented(site: Site) -> None:
    for name, question in describe():
        assert f"{name}: {question}" in site.pages["cli.html"].text


def test_graphql_is_documented_from_its_schema(site: Site) -> None:
    page = site.pages["graphql.html"]
    for name, kind in execution.schema().type_map.items():
        if kind.ast_node is not None:
            ids = {f"graphql-{field.lower()}" for field in RESOLVERS.get(name, ())}
            assert ids <= page.ids
            assert ids or print_type(kind) in [text.strip() for text in page.verbatim]


def test_every_way_that_the_guards_tests_try_is_in_the_leak_table(site: Site) -> None:
    guarded = pytest.importorskip("tests.store.guard.cases", exc_type=flask_archie_keys.ConfigurationError)
    text = " ".join(site.pages["leaks.html"].text.split())
    lines = list(guarded.table())
    assert len(lines) > 100
    legend = first_column_words("leaks")
    for group, tried, outcome, said in lines:
        assert f"{group[0].upper()}{group[1:]}" in text
        assert " ".join(f"{tried} {outcome} {said}".split()) in text
        assert outcome in legend


def first_column_words(page: str) -> list[str]:
    """The first column of a page's tables, where it is not in literals."""
    return re.findall(r"^   \* - ([a-z ]+)$", (DOCS / f"{page}.rst").read_text(encoding="utf-8"), re.MULTILINE)


def test_changes_are_a_page(site: Site) -> None:
    text = (ROOT / "CHANGES.md").read_text(encoding="utf-8")
    assert re.search(rf"^## {re.escape(__version__)}\b", text, re.MULTILINE)
    shown = " ".join(site.pages["changes.html"].text.split())
    for line in text.splitlines()[2:]:
        assert " ".join(line.removeprefix("## ").removeprefix("- ").replace("`", "").split()) in shown


# -- the command line


def commands(command: click.Command, *names: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command below ``command`` that is not a group."""
    if isinstance(command, click.Group):
        for name, below in command.commands.items():
            yield from commands(below, *names, name)
    else:
        yield names, command


COMMANDS = dict(commands(keys_command))


@pytest.mark.parametrize("names", COMMANDS, ids=" ".join)
def test_the_cli_page_agrees_with_help(site: Site, names: tuple[str, ...], tmp_path: Path) -> None:
    app = Flask("shop", instance_path=str(tmp_path))
    flask_archie_keys.ArchieKeys(app)
    group = FlaskGroup(create_app=lambda: app, load_dotenv=False)
    shown = CliRunner().invoke(group, ["keys", *names, "--help"], prog_name="flask", terminal_width=78)
    assert shown.exit_code == 0
    page = site.pages["cli.html"]
    assert f"cli-{'-'.join(names)}" in page.ids
    assert shown.output.strip() in [text.strip() for text in page.verbatim]
    for option in COMMANDS[names].params:
        for text in option.opts if isinstance(option, click.Option) else ():
            assert text in shown.output


def command_of(line: list[str]) -> tuple[click.Command, list[str]]:
    """The command that a line calls, and its arguments."""
    depth = 2 if line[0] == "roles" else 1
    return COMMANDS[tuple(line[:depth])], line[depth:]


@pytest.mark.parametrize(
    "line", [pytest.param(line, id=f"{block.path.name}: {' '.join(line)}") for block, line in CONSOLE]
)
def test_lines_of_the_pages_are_understood(line: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "roles.toml").touch()
    monkeypatch.chdir(tmp_path)
    command, arguments = command_of(line)
    command.make_context(line[0], list(arguments)).close()


def test_the_lines_of_the_pages_are_found() -> None:
    shown = {line[0] for _, line in CONSOLE}
    assert {"create", "rotate", "traffic", "delete", "audit", "doctor", "init-db", "drain", "show", "list"} <= shown
    assert {line[1] for _, line in CONSOLE if line[0] == "roles"} == {"list", "save", "copy"}


def test_commands_within_sentences_are_there() -> None:
    found = 0
    for path in (*PAGES, README):
        text = " ".join(path.read_text(encoding="utf-8").split())
        for line in re.findall(r"`flask (?:--app shop )?keys ([^`…]+)`", text):
            if isinstance(keys_command.commands[words(line)[0]], click.Group) and len(words(line)) == 1:
                continue
            command, arguments = command_of(words(line))
            options = {name for parameter in command.params for name in parameter.opts}
            assert {word for word in arguments if word.startswith("--")} <= options, f"{path.name}: {line}"
            found += 1
    assert found > 20
