"""Imports go down only. The walk is over the syntax, so imports in functions and under TYPE_CHECKING count as well."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = "flask_archie_keys"
FOLDER = Path(__file__).parents[1] / PACKAGE

#: From the ground up. What stands in one row may import each other and all below; `_version` and `signals` are leaves.
TIERS: list[tuple[str, ...]] = [
    ("_version", "signals"),
    ("errors", "domain"),
    ("config", "setting_rules"),
    ("store",),
    ("permissions", "audit", "rate_limits"),
    ("services", "authentication"),
    ("authorization", "context", "guarded_views", "rows"),
    ("faces",),
    ("client",),
    ("extension",),
    ("__init__",),
]
TIER = {part: number for number, parts in enumerate(TIERS) for part in parts}
#: Who may use the signals: their senders, and those who re-export them.
SIGNALS_FOR = ("services", "__init__")
#: The one place where a face reaches below services and context: `flask keys init-db` makes tables.
FACES_TO_STORE = {"flask_archie_keys.faces.cli.upkeep": {"flask_archie_keys.store.database"}}
#: The one place besides: where the end of a request finds what was let through, under the name the context gives.
#: And a request of httpx, which is going out.
REQUEST_STATE = {
    "flask_archie_keys.authorization": ["environ[key]"],
    "flask_archie_keys.client.auth": ["request.headers['Authorization']"],
}


def modules(folder: Path) -> Iterator[tuple[str, Path]]:
    """Names and files of all modules; packages as ``name.__init__``."""
    for path in sorted(folder.rglob("*.py")):
        yield ".".join((PACKAGE, *path.relative_to(folder).with_suffix("").parts)), path


def imports(name: str, tree: ast.AST, known: set[str]) -> Iterator[str]:
    """The full names of the modules that a module imports; ``from . import x`` is ``x`` where that is a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = name.split(".")[: -node.level] if node.level else []
            module = ".".join([*base, *((node.module or "").split(".") if node.module else [])])
            for alias in node.names:
                inner = f"{module}.{alias.name}"
                yield inner if inner in known or f"{inner}.__init__" in known else module


def part_of(module: str) -> str:
    """``flask_archie_keys.store.keys`` is of ``store``; the package itself is ``__init__``."""
    return [*module.split("."), "__init__"][1]


def graph(folder: Path) -> dict[str, set[str]]:
    """What each module imports, of ours and of others."""
    known = {name for name, _ in modules(folder)}
    return {name: set(imports(name, ast.parse(path.read_text()), known)) for name, path in modules(folder)}


def upward(folder: Path) -> list[str]:
    """The imports that point up, and those of parts that have no place yet."""
    wrong = []
    for name, found in graph(folder).items():
        for imported in sorted(found):
            if imported.split(".")[0] != PACKAGE:
                continue
            above, below = part_of(name), part_of(imported)
            if above not in TIER or below not in TIER:
                wrong.append(f"{name} or {imported} has no tier")
            elif TIER[below] > TIER[above] or (below == "signals" and above not in SIGNALS_FOR):
                wrong.append(f"{name} imports {imported}")
    return wrong


def test_imports_go_down_only() -> None:
    assert upward(FOLDER) == []
    assert len(graph(FOLDER)) > 30, "the walk found the package"


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("domain/rules.py", "from ..store.models import keys"),
        ("domain/clock.py", "import flask_archie_keys.config"),
        ("domain/ids.py", "from .. import config"),
        ("errors.py", "from .context import acting"),
        ("config.py", "from .store import models"),
        ("store/keys.py", "from ..audit.log import AuditLog"),
        ("audit/log.py", "def f():\n    from ..services.keys import KeyService"),
        ("services/keys.py", "from ..context import acting"),
        ("services/explain.py", "import typing\nif typing.TYPE_CHECKING:\n    from ..authorization import enforce"),
        ("authentication.py", "from flask_archie_keys import authorization"),
        ("context.py", "from .faces import problems"),
        ("faces/problems.py", "from .. import ArchieKeys"),
        ("faces/problems.py", "from ..client.records import Me"),
        ("faces/cli/params.py", "from ...extension import ArchieKeys"),
        ("extension.py", "from . import current_api_key"),
        ("audit/spool.py", "from ..signals import key_created"),
        ("brand_new.py", "from .errors import ServiceError"),
    ],
)
def test_the_walk_finds_an_import_that_points_up(tmp_path: Path, file: str, line: str) -> None:
    for name, path in modules(FOLDER):
        copy = tmp_path / path.relative_to(FOLDER)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(path.read_text() if name else "")
    planted = tmp_path / file
    planted.write_text((planted.read_text() if planted.exists() else "") + "\n" + line + "\n")
    (found,) = upward(tmp_path)
    assert file.removesuffix(".py").replace("/", ".") in found


def test_the_domain_knows_neither_flask_nor_the_database() -> None:
    for name, found in graph(FOLDER).items():
        if part_of(name) == "domain":
            assert not {module.split(".")[0] for module in found} & {"flask", "sqlalchemy", "flask_sqlalchemy"}, name


def test_the_store_and_the_audit_know_no_flask() -> None:
    """They run in threads and scripts, where there is no current application."""
    for name, found in graph(FOLDER).items():
        if part_of(name) in ("store", "audit", "services", "authentication", "config", "errors", "signals"):
            assert not {module.split(".")[0] for module in found} & {"flask", "flask_sqlalchemy"}, name


def test_faces_reach_the_store_through_services_and_context() -> None:
    reached = {
        name: {module for module in found if part_of(module) == "store" and module.startswith(f"{PACKAGE}.")}
        for name, found in graph(FOLDER).items()
        if part_of(name) == "faces"
    }
    assert {name: found for name, found in reached.items() if found} == FACES_TO_STORE


def test_only_the_context_keeps_state_with_the_request() -> None:
    """Nobody else has ``g``, context variables, thread-locals or proxies, or writes to a request."""
    found = {}
    for name, path in modules(FOLDER):
        if name == f"{PACKAGE}.context":
            continue
        tree = ast.parse(path.read_text())
        used = {alias.name for n in ast.walk(tree) if isinstance(n, (ast.Import, ast.ImportFrom)) for alias in n.names}
        used |= {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        kept = {"g", "flask.g", "session", "contextvars", "ContextVar", "LocalProxy", "Local", "local"}
        kept |= {"threading.local", "werkzeug.local", "flask.session"}
        assert not used & kept, name
        found[name] = [line for line in written(tree) if line.startswith(("request.", "req.", "req[", "environ"))]
    assert {name: lines for name, lines in found.items() if lines} == REQUEST_STATE


def written(tree: ast.AST) -> Iterator[str]:
    """The targets of assignments to attributes and items, and of ``setattr``."""
    for node in ast.walk(tree):
        targets: list[ast.expr] = []
        if isinstance(node, ast.Assign):
            targets = node.targets
        elif isinstance(node, (ast.AugAssign, ast.AnnAssign)):
            targets = [node.target]
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "setattr":
            yield f"{ast.unparse(node.args[0])}."
        yield from (ast.unparse(target) for target in targets if isinstance(target, (ast.Attribute, ast.Subscript)))
