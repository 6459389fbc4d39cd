"""The documentation says what is there: every name has its place, the samples run and do what the text says."""

from __future__ import annotations

import ast
import configparser
import dataclasses
import doctest
import importlib
import importlib.util
import json
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple
from urllib.parse import unquote

import click
import pytest
from click.testing import CliRunner, Result
from flask import Flask
from flask.cli import FlaskGroup

import flask_archie_keys
from flask_archie_keys import AuditEvent, ServiceError, key_rotated, require_api_key, signals
from flask_archie_keys._version import __version__
from flask_archie_keys.audit import event
from flask_archie_keys.config import AuditConfig, Config, settings
from flask_archie_keys.domain import keytext
from flask_archie_keys.faces.cli import keys_command
from flask_archie_keys.faces.cli.doctor import describe

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.rst"))
README = ROOT / "README.md"
PEPPER = "pepper-" + "for-the-docs-only"
SAMPLE_ID = "7f3Kq2Zt9bXa"


# -- what is written


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


@pytest.mark.parametrize("block", in_language("python"))
def test_python_compiles(block: Block) -> None:
    compile(block.text, f"{block.path.name}:{block.line}", "exec")


@pytest.mark.parametrize("block", in_language("json"))
def test_json_is_json(block: Block) -> None:
    assert json.loads(block.text)


def test_the_blocks_are_found() -> None:
    """The checks of blocks are worth something only if they see them."""
    assert {block.language for block in BLOCKS} == {"console", "json", "python", "sh", "text"}
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


def test_the_checks_of_the_doctor_are_documented(site: Site) -> None:
    for name, question in describe():
        assert f"{name}: {question}" in site.pages["cli.html"].text


def test_changes_are_a_page(site: Site) -> None:
    text = (ROOT / "CHANGES.md").read_text(encoding="utf-8")
    assert re.search(rf"^## {re.escape(__version__)}\b", text, re.MULTILINE)
    shown = " ".join(site.pages["changes.html"].text.split())
    for line in text.splitlines()[2:]:
        assert " ".join(line.removeprefix("## ").removeprefix("- ").replace("`", "").split()) in shown


# -- the audit log


def reasons_in_the_code() -> set[str]:
    """Every reason that an error, a denial or a refusal is made with."""
    found: set[Any] = set()
    for path in Path(flask_archie_keys.__file__).parent.glob("**/*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                found |= {
                    k.value.value for k in node.keywords if k.arg == "reason" and isinstance(k.value, ast.Constant)
                }
                name = node.func.id if isinstance(node.func, ast.Name) else ""
                if name in ("Refusal", "Denied") and isinstance(node.args[0], ast.Constant):
                    found.add(node.args[0].value)
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == "reason":
                found.add(node.value.value if isinstance(node.value, ast.Constant) else None)
    return found - {None}


def test_audit_reasons_are_documented() -> None:
    in_code = reasons_in_the_code()
    assert {"wrong_secret", "missing_role", "network", "invalid_request"} <= in_code  # each way of naming one is seen
    assert set(first_column("audit", "Reasons")) == in_code


def test_audit_fields_are_documented() -> None:
    assert first_column("audit", "Fields") == [
        "id",
        "occurred_at",
        *("project", "environment", "kind", "key_id", "actor", "outcome", "reason", "method", "route", "path"),
        *("status", "duration_ms", "remote_address", "user_agent", "request_id"),
        *("count", "truncated", "streamed", "details"),
    ]
    assert set(first_column("audit", "Fields")) == {field.name for field in dataclasses.fields(AuditEvent)}


def test_kinds_of_changes_are_documented() -> None:
    source = (Path(flask_archie_keys.__file__).parent / "services" / "keys.py").read_text(encoding="utf-8")
    in_code = set(re.findall(r'"(key\.[a-z]+)"', source))
    assert len(in_code) >= 8
    assert set(re.findall(r"``(key\.[a-z]+)``", text_of("audit"))) == in_code


def test_members_of_spool_lines_are_documented() -> None:
    request = event.Request("GET", "/r", "/p" * 5000, "::1", "agent", "id")
    facts = {"key_id": "k", "outcome": "refused", "reason": "r", "status": 401, "duration_us": 1, "count": 2}
    first = event.first_line("1", "refused", 1, event.head("p", "e"), request, **facts)  # type: ignore[arg-type]
    last = event.completed_line("1", 200, 5, outcome="denied", reason="r", streamed=True)
    text = text_of("audit")
    members = set(json.loads(first)) | set(json.loads(last))
    assert {"truncated", "streamed", "count", "duration_us"} <= members
    for member in members:
        assert f"``{member}``" in text or f'"{member}":' in text, member


def test_the_spool_lines_of_the_page_are_spool_lines() -> None:
    lines = [b.text for b in blocks_of(DOCS / "audit.rst") if b.language == "json"]
    assert [event.parse(line.encode())["phase"] for line in lines] == ["received", "completed"]


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


def lines_of_flask_keys(block: Block) -> list[list[str]]:
    """The words behind ``flask keys`` in a console block."""
    lines = re.findall(r"^\$ .*?flask(?: --app \w+)? keys (.*?)\)?$", block.text, re.MULTILINE)
    return [words(line) for line in lines]


def words(line: str) -> list[str]:
    """A line as a shell would split it."""
    return [re.sub(r"^(['\"])(.*)\1$", r"\2", word) for word in re.findall(r"'[^']*'|\"[^\"]*\"|\S+", line)]


def command_of(line: list[str]) -> tuple[click.Command, list[str]]:
    """The command that a line calls, and its arguments."""
    depth = 2 if line[0] == "roles" else 1
    return COMMANDS[tuple(line[:depth])], line[depth:]


CONSOLE = [(block, line) for block in BLOCKS if block.language == "console" for line in lines_of_flask_keys(block)]


@pytest.mark.parametrize(
    "line", [pytest.param(line, id=f"{block.path.name}: {' '.join(line)}") for block, line in CONSOLE]
)
def test_lines_of_the_pages_are_understood(line: list[str]) -> None:
    command, arguments = command_of(line)
    command.make_context(line[0], list(arguments)).close()


def test_the_lines_of_the_pages_are_found() -> None:
    shown = {line[0] for _, line in CONSOLE}
    assert {"create", "rotate", "traffic", "delete", "audit", "doctor", "init-db", "drain", "show", "list"} <= shown


def test_commands_within_sentences_are_there() -> None:
    found = 0
    for path in (*PAGES, README):
        text = " ".join(path.read_text(encoding="utf-8").split())
        for line in re.findall(r"`flask (?:--app shop )?keys ([^`…]+)`", text):
            command, arguments = command_of(words(line))
            options = {name for parameter in command.params for name in parameter.opts}
            assert {word for word in arguments if word.startswith("--")} <= options, f"{path.name}: {line}"
            found += 1
    assert found > 20


# -- the README


SET_UP = "python3 -m venv .venv && .venv/bin/python -m pip install '.[example]' && .venv/bin/python -m example_app"
RUN_TESTS = "python3 -m venv .venv && .venv/bin/python -m pip install -e '.[dev]' && .venv/bin/python -m pytest"


def test_the_readme_has_the_two_commands_once_each() -> None:
    text = README.read_text(encoding="utf-8")
    for command in (SET_UP, RUN_TESTS):
        assert text.count(command) == 1
        assert text.count(f"```sh\n{command}\n```\n") == 1
    assert text.count("<!-- test command -->") == 1
    assert f"<!-- test command -->\n```sh\n{RUN_TESTS}\n```\n" in text


def test_the_extras_of_the_commands_are_there() -> None:
    extras = set(_setup()["options.extras_require"])
    assert set(re.findall(r"\.\[(\w+)\]", README.read_text(encoding="utf-8"))) == {"example", "dev"} <= extras


def _setup() -> configparser.ConfigParser:
    found = configparser.ConfigParser(interpolation=None)
    found.read(ROOT / "setup.cfg", encoding="utf-8")
    return found


def test_every_dependency_has_its_reason() -> None:
    """The page and ``setup.cfg`` name the same packages, each in its part."""
    setup = _setup()
    wanted = {("", name) for name in _requirements(setup["options"]["install_requires"])}
    for extra, requirements in setup["options.extras_require"].items():
        wanted |= {(extra, name) for name in _requirements(requirements)}
    given = {("", name) for name in first_column("dependencies", "Always")}
    text = (DOCS / "dependencies.rst").read_text(encoding="utf-8")
    given |= set(re.findall(r"^   \* - ``(\S+)``\n     - ``(\S+)``\n     - \w", text, re.MULTILINE))
    assert given == wanted


def _requirements(text: str) -> list[str]:
    lines = [line.strip() for line in text.splitlines()]
    return [re.split(r"[\[ <>=]", line)[0] for line in lines if line and not line.startswith(("#", "%"))]


# -- the samples


class Samples:
    """Writes the named blocks of a page to a module in a temporary folder, and imports it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.modules: list[ModuleType] = []
        self.apps: list[tuple[Any, Flask]] = []

    def load(self, page: str, group: str) -> ModuleType:
        """The blocks ``group-1``, ``group-2`` and so on as one module."""
        blocks = [b for b in blocks_of(DOCS / f"{page}.rst") if re.fullmatch(rf"{group}-\d+", b.name)]
        assert [b.name for b in blocks] == [f"{group}-{n}" for n in range(1, len(blocks) + 1)] != []
        return self.write(group, "\n\n".join(block.text for block in blocks))

    def write(self, name: str, text: str) -> ModuleType:
        """``text`` as a module."""
        name = f"sample_{name}"
        (self.folder / f"{name}.py").write_text(text, encoding="utf-8")
        importlib.invalidate_caches()
        module = importlib.import_module(name)
        self.modules.append(module)
        if isinstance(vars(module).get("app"), Flask):
            self.opened(module.keys, module.app)
        return module

    def opened(self, keys: Any, app: Flask) -> Flask:
        """Close it in the end."""
        self.apps.append((keys, app))
        return app

    def close(self) -> None:
        for keys, app in self.apps:
            keys.close(app)
            db = app.extensions.get("sqlalchemy")
            if db is not None:
                with app.app_context():
                    engines = list(db.engines.values())
                for engine in engines:
                    engine.dispose()
        for module in self.modules:
            del sys.modules[module.__name__]


@pytest.fixture
def samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Samples]:
    for name in [name for name in os.environ if name.startswith("FLASK_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("FLASK_ARCHIE_KEYS_PEPPERS", json.dumps([PEPPER]))
    monkeypatch.syspath_prepend(tmp_path)
    found = Samples(tmp_path)
    yield found
    found.close()


def run(app: Flask, *arguments: str, input: str | None = None) -> Result:
    """``flask keys``."""
    return app.test_cli_runner().invoke(args=["keys", *arguments], input=input)


def made(app: Flask, *arguments: str) -> str:
    """The secret of a new key, as the command line prints it."""
    result = run(app, "create", *arguments, "--quiet")
    assert result.exit_code == 0, result.output
    return result.stdout.strip()


def id_of(secret: str) -> str:
    """The key id in a secret."""
    return secret[-51:-39]


def get(app: Flask, path: str, secret: str | None = None, method: str = "GET", **headers: str) -> Any:
    """The response to a request with a key."""
    if secret is not None:
        headers["Authorization"] = f"Bearer {secret}"
    return app.test_client().open(path, method=method, headers=headers, buffered=True)


def test_quickstart_with_flask_sqlalchemy(samples: Samples) -> None:
    shop = samples.load("quickstart", "shop")
    app = samples.opened(shop.keys, shop.create_app())
    assert app.config["ARCHIE_KEYS_PEPPERS"] == [PEPPER]
    assert {"archie_api_keys", "archie_audit_events"} <= set(shop.db.metadata.tables)
    page = blocks_of(DOCS / "quickstart.rst")
    steps = [line for block in page if block.language == "console" for line in lines_of_flask_keys(block)]
    assert [step[0] for step in steps] == ["init-db", "doctor", "create", "audit"]
    for step in steps[:2]:
        assert run(app, *step).exit_code == 0
    secret = made(app, *steps[2][1:-1])
    assert get(app, "/api/orders", secret).json == {"orders": [], "asked_by": "Nightly import"}
    assert get(app, "/api/orders").status_code == 401
    assert get(app, "/api/orders", made(app, "No role")).status_code == 403
    shown = run(app, *steps[3])
    assert shown.exit_code == 0
    assert shown.output.count("GET /api/orders") == 3
    assert {"missing_role", "no_credentials", id_of(secret)} <= set(shown.output.split())


def test_quickstart_without_a_database(samples: Samples) -> None:
    plain = samples.load("quickstart", "plain")
    secret = made(plain.app, "Ada")
    assert get(plain.app, "/hello", secret).text == "Hello, Ada!"
    assert get(plain.app, "/hello").status_code == 401
    assert (Path(plain.app.instance_path) / "archie_keys.sqlite").is_file()
    assert Path(plain.app.instance_path).is_relative_to(samples.folder)


@pytest.mark.parametrize("by_hand", [False, True])
def test_quickstart_with_flask_sqlalchemy_lite(samples: Samples, by_hand: bool) -> None:
    lite = samples.load("quickstart", "lite")
    app = samples.opened(lite.keys, lite.create_app())
    if by_hand:
        assert run(app, "init-db").exit_code == 0
    else:
        with app.app_context():
            lite.Model.metadata.create_all(lite.db.engine)
    assert get(app, "/hello", made(app, "Ada")).text == "Hello, Ada!"


@pytest.fixture
def protecting(samples: Samples) -> ModuleType:
    return samples.load("protecting", "protecting")


def test_protecting_each_kind_of_view(protecting: ModuleType) -> None:
    app = protecting.app
    plain = made(app, "Plain")
    viewer = made(app, "Viewer", "--role", "viewer")
    editor = made(app, "Editor", "--role", "editor", "--role", "auditor")
    key = {"key": id_of(plain)}
    assert get(app, "/api/status", plain).json == key
    assert get(app, "/api/orders", viewer).json == get(app, "/api/orders", editor).json == {"orders": []}
    assert get(app, "/api/orders", plain).status_code == 403
    assert get(app, "/api/orders/7", editor, "DELETE").status_code == 204
    assert get(app, "/api/orders/7", made(app, "Half", "--role", "editor"), "DELETE").status_code == 403
    assert get(app, "/api/catalogue", plain).json == {"prices": "net", "for": "Plain"}
    assert get(app, "/api/catalogue").json == {"prices": "gross"}
    assert get(app, "/api/catalogue", plain[:-1]).status_code == 401
    assert get(app, "/api/slow", plain).json == key
    assert get(app, "/api/export", plain).text == "0,Plain\n1,Plain\n2,Plain\n"
    assert get(app, "/api/show/4", plain).json == {"kind": "order", "number": 4}
    assert get(app, "/api/reports", viewer).json == {"reports": []}
    assert get(app, "/api/reports", plain).status_code == 403
    for path in ("/api/status", "/api/slow", "/api/export", "/api/show/4", "/api/reports", "/api/monthly/"):
        assert get(app, path).status_code == 401, path
        assert get(app, path, method="OPTIONS").status_code == 200, path


def test_protecting_a_blueprint(protecting: ModuleType) -> None:
    app = protecting.app
    viewer = made(app, "Viewer", "--role", "viewer")
    both = made(app, "Both", "--role", "viewer", "--role", "editor")
    assert get(app, "/api/monthly/", viewer).json == {"key": id_of(viewer)}
    assert get(app, "/api/monthly/", viewer, "DELETE").status_code == 403
    assert get(app, "/api/monthly/", both, "DELETE").status_code == 204
    with app.app_context():
        events = [e for e in protecting.keys.audit.find() if e.kind == "request"]
    assert [(e.outcome, e.status) for e in reversed(events)] == [("allowed", 200), ("denied", 403), ("allowed", 204)]


def test_protecting_beside_others(protecting: ModuleType) -> None:
    app = protecting.app
    app.secret_key = "not-" + "a-pepper"
    secret = made(app, "Ada")
    assert get(app, "/api/mixed", secret).json == {"by": f"key:{id_of(secret)}"}
    jwt = "eyJhbGciOiJIUzI1NiJ9.e30.c2lnbmF0dXJl"
    for headers in ({}, {"Authorization": f"Bearer {jwt}"}, {"Authorization": "Basic YTpi"}):
        turned_away = get(app, "/api/mixed", **headers)
        assert turned_away.status_code == 401
        assert turned_away.content_type.startswith("text/html")  # the view's own abort(401), not ours
    assert get(app, "/api/mixed", f"archie_{jwt}").content_type == "application/problem+json"
    assert get(app, "/api/mixed", Authorization="Bearer a b").status_code == 400
    client = app.test_client()
    with client.session_transaction() as session:
        session["user_id"] = 42
    assert client.get("/api/mixed").json == {"by": "user:42"}
    with app.app_context():
        recorded = [e for e in protecting.keys.audit.find() if e.kind == "request"]
    assert [(e.outcome, e.status) for e in recorded] == [("refused", 400), ("refused", 401), ("allowed", 200)]


CHALLENGE = 'Bearer realm="default"'


@pytest.mark.parametrize(
    ("authorization", "status", "challenge"),
    [
        (None, 401, CHALLENGE),
        ("Basic YTpi", 401, CHALLENGE),
        ("Bearer", 400, f'{CHALLENGE}, error="invalid_request"'),
        ("Bearer\tKEY", 400, f'{CHALLENGE}, error="invalid_request"'),
        ("Bearer KEY KEY", 400, f'{CHALLENGE}, error="invalid_request"'),
        ("Bearer KEY,Bearer KEY", 400, f'{CHALLENGE}, error="invalid_request"'),
        ("Bearer KÉY", 400, f'{CHALLENGE}, error="invalid_request"'),
        ("Bearer " + 257 * "a", 400, f'{CHALLENGE}, error="invalid_request"'),
        ("Bearer KEYa", 401, f'{CHALLENGE}, error="invalid_token"'),
        ("bEARER  KEY", 403, f'{CHALLENGE}, error="insufficient_scope", scope="viewer editor"'),
    ],
)
def test_the_table_of_statuses(protecting: ModuleType, authorization: str | None, status: int, challenge: str) -> None:
    secret = made(protecting.app, "No role")
    headers = {} if authorization is None else {"Authorization": authorization.replace("KEY", secret)}
    response = get(protecting.app, "/api/orders", **headers)
    assert (response.status_code, response.headers["WWW-Authenticate"]) == (status, challenge)
    assert f"``{challenge}``" in text_of("protecting")
    if challenge.endswith('"invalid_token"'):
        body = next(b for b in blocks_of(DOCS / "protecting.rst") if b.language == "json")
        assert response.json == json.loads(body.text)


def test_allowed_networks_of_the_page(protecting: ModuleType) -> None:
    line = next(line for block, line in CONSOLE if block.path.stem == "protecting")
    secret = made(protecting.app, *line[1:])
    for address, status in {
        "198.51.100.7": 200,
        "::ffff:198.51.100.7": 200,
        "2001:db8::1": 200,
        "203.0.113.1": 403,
        "": 403,
    }.items():
        response = protecting.app.test_client().get(
            "/api/orders",
            headers={"Authorization": f"Bearer {secret}", "X-Forwarded-For": "198.51.100.7"},
            environ_overrides={"REMOTE_ADDR": address},
        )
        assert response.status_code == status, address
        if status == 403:
            assert response.headers["WWW-Authenticate"] == f'{CHALLENGE}, error="insufficient_scope"'


def test_a_misplaced_decorator_is_found_out(samples: Samples, caplog: pytest.LogCaptureFixture) -> None:
    app = samples.load("protecting", "misplaced").app
    for path in ("/api/orders", "/another", "/api/orders"):
        assert get(app, path).status_code == 500
    records = [str(record.exc_info[1]) for record in caplog.records if record.exc_info]
    assert len(records) == 3
    assert all(f"``{message}``" in text_of("protecting") for message in records)
    doctor = run(app, "doctor")
    assert doctor.exit_code == 1
    assert "list_orders" in doctor.output


def test_rotation_on_the_command_line(samples: Samples) -> None:
    rotation = samples.load("rotation", "rotation")
    app = rotation.app
    old = made(app, "CI")
    assert get(app, "/api/orders", old).status_code == 200
    page = [b for b in blocks_of(DOCS / "rotation.rst") if b.language == "console"]
    steps = [[id_of(old) if w == SAMPLE_ID else w for w in line] for line in lines_of_flask_keys(page[0])]
    assert [step[0] for step in steps] == ["rotate", "traffic", "audit", "delete"]
    rotated = run(app, *steps[0])
    assert rotated.exit_code == 0
    new = re.findall(r"secret +(\S+)", rotated.stdout)[0]
    for secret in (old, new):
        assert get(app, "/api/orders", secret).status_code == 200
    assert re.search(r"status +retiring", run(app, "show", id_of(old)).output)
    traffic = run(app, *steps[1])
    assert re.search(r"safe to delete +no", traffic.output)
    assert len(re.findall(r"^\d{4}-\d\d-\d\dT\d\d:00Z", traffic.output, re.MULTILINE)) == 24
    assert "GET /api/orders" in run(app, *steps[2]).output
    assert run(app, *steps[3]).exit_code == 3
    assert get(app, "/api/orders", old).status_code == 200
    history = run(app, "audit", "--key", id_of(new), "--lineage").output
    assert {id_of(old), id_of(new), "key.rotated"} <= set(history.split())


def test_rotation_in_python(samples: Samples) -> None:
    rotation = samples.load("rotation", "rotation")
    app, keys = rotation.app, rotation.keys
    old = made(app, "CI")
    with app.app_context():
        new_id, new = rotation.begin(id_of(old))
        assert keys.service.get(id_of(old)).status == "retiring"
        with pytest.raises(flask_archie_keys.Conflict):
            rotation.begin(id_of(old))
    assert get(app, "/api/orders", old, **{"User-Agent": "the old one"}).status_code == 200
    assert get(app, "/api/orders", new).status_code == 200
    with app.app_context():
        assert rotation.users_of(id_of(old)) == {("127.0.0.1", "the old one")}
        assert rotation.finish(id_of(old)) is False
        keys.service.rotate(new_id, overlap=rotation.timedelta(0))
        assert keys.traffic(new_id).safe_to_delete
        assert rotation.finish(new_id) is True
        assert keys.service.get(new_id).status == "deleted"
    assert get(app, "/api/orders", new).status_code == 401
    assert get(app, "/api/orders", old).status_code == 200


def test_configuration(samples: Samples) -> None:
    app = samples.load("configuration", "configuration").app
    secret = made(app, "CI", "--role", "auditor")
    assert secret.startswith("shop_")
    assert "project      shop" in run(app, "show", id_of(secret)).output
    assert run(app, "create", "CI", "--expires", "366d").exit_code == 1


@pytest.mark.parametrize(
    ("step", "statuses"),
    [
        # the processes of the step are started beside the old ones, and use the key first
        ("first", {"step": 200, "old": 200}),
        ("then", {"step": 200, "old": 401, "new": 200, "first": 200}),
    ],
)
def test_rolling_the_pepper(samples: Samples, tmp_path: Path, step: str, statuses: dict[str, int]) -> None:
    page = samples.load("configuration", "peppers")
    new, old = page.first
    assert page.then == [old, new]
    peppers = {"old": [old], "new": [new], "first": page.first, "then": page.then, "step": getattr(page, step)}
    secret = made(_with_peppers(samples, tmp_path, [old]), "CI")
    assert {
        name: get(_with_peppers(samples, tmp_path, peppers[name]), "/", secret).status_code for name in statuses
    } == statuses


def test_from_no_pepper_to_the_first(samples: Samples, tmp_path: Path) -> None:
    assert '``["", "the-first-pepper"]``' in text_of("configuration")
    secret = made(_with_peppers(samples, tmp_path, []), "CI")
    assert get(_with_peppers(samples, tmp_path, ["the-first-pepper"]), "/", secret).status_code == 401
    assert get(_with_peppers(samples, tmp_path, ["", "the-first-pepper"]), "/", secret).status_code == 200
    assert get(_with_peppers(samples, tmp_path, ["the-first-pepper"]), "/", secret).status_code == 200


def _with_peppers(samples: Samples, folder: Path, peppers: list[str]) -> Flask:
    app = Flask("shop", instance_path=str(folder / "instance"))
    app.config["ARCHIE_KEYS_PEPPERS"] = peppers
    samples.opened(flask_archie_keys.ArchieKeys(app), app)
    app.add_url_rule("/", view_func=require_api_key(lambda: "in"), endpoint="view")
    return app


def test_errors_as_problem_documents(samples: Samples) -> None:
    sample = samples.load("errors", "errors")

    @sample.app.post("/keys")
    @require_api_key(roles=["viewer"])
    def create() -> str:
        return str(sample.keys.service.create(name="", roles=["vewer"]))

    secret = made(sample.app, "CI", "--role", "viewer")
    response = get(sample.app, "/keys", secret, "POST")
    shown = next(b for b in blocks_of(DOCS / "errors.rst") if b.language == "json")
    assert (response.status_code, response.content_type) == (422, "application/problem+json")
    assert response.json == json.loads(shown.text)


def test_signals(samples: Samples, caplog: pytest.LogCaptureFixture) -> None:
    sample = samples.load("signals", "signals")
    app = _with_peppers(samples, samples.folder, [PEPPER])
    app.logger.setLevel("INFO")
    old = id_of(made(app, "CI"))
    assert run(app, "rotate", old, "--overlap", "0s").exit_code == 0
    key_rotated.disconnect(sample.tell_the_owner)
    assert [r.getMessage() for r in caplog.records if f"replaces {old}, by system" in r.getMessage()]


def test_reading_the_audit_log(samples: Samples) -> None:
    app = _with_peppers(samples, samples.folder, [PEPPER])
    assert get(app, "/").status_code == 401
    sample = samples.load("audit", "audit")
    with app.app_context():
        assert sample.refused_today(samples.apps[0][0]) == [("no_credentials", "127.0.0.1")]


def test_the_readme_sample(samples: Samples) -> None:
    """The sample is a module ``shop``, and the commands below it are its keys' life."""
    shop = samples.write("readme", next(b.text for b in blocks_of(README) if b.language == "python"))
    console = [line for block, line in CONSOLE if block.path == README]
    assert [line[0] for line in console] == ["init-db", "create", "audit", "rotate", "traffic", "delete"]
    assert run(shop.app, *console[0]).exit_code == 0
    created = run(shop.app, *console[1])
    secret = re.findall(r"secret +(\S+)", created.stdout)[0]
    assert get(shop.app, "/api/orders", secret).json == {"orders": [], "asked_by": "Nightly import"}
    exit_codes = [
        run(shop.app, *[id_of(secret) if word == SAMPLE_ID else word for word in line], input="y\n").exit_code
        for line in console[2:]
    ]
    assert exit_codes == [0, 0, 0, 3]


# -- key text


def test_the_key_format_page_runs() -> None:
    """Its examples are right, and its checksum is the package's."""
    text = (DOCS / "keyformat.rst").read_text(encoding="utf-8")
    assert text.count(keytext.PATTERN) == 2
    names: dict[str, Any] = {}
    test = doctest.DocTestParser().get_doctest(text, names, "keyformat.rst", None, 0)
    report: list[str] = []
    results = doctest.DocTestRunner().run(test, out=report.append, clear_globs=False)
    assert results.attempted >= 10
    assert not results.failed, "".join(report)
    is_key: Callable[[str], bool] = test.globs["is_key"]
    for prefix in ("a", "archie", "archie_test", "x" * 32):
        new = keytext.mint(prefix).text
        assert is_key(new)
        assert not is_key(new[:-1] + ("0" if new[-1] != "0" else "1"))
    for bad in ("a_", "A", "1"):
        body = f"{bad}_{SAMPLE_ID}_{'0' * 32}"
        assert not is_key(body + keytext.checksum(body))


def test_only_the_key_format_page_has_doctests() -> None:
    """Another page with examples of that form would need a test of its own."""
    assert [path.name for path in PAGES if ">>>" in path.read_text(encoding="utf-8")] == ["keyformat.rst"]
