"""What the package exports: complete, sorted, documented, and light to import."""

from __future__ import annotations

import ast
import importlib
import inspect
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import blinker
import pytest

import flask_archie_keys
from flask_archie_keys import errors, signals

ROOT = Path(flask_archie_keys.__file__).parents[1]
PROXIES = {"current_api_key": "context"}  # documented where they are made, by a string below them


def test_all_is_complete_and_sorted() -> None:
    public = {name for name, value in vars(flask_archie_keys).items() if not name.startswith("_")}
    public -= {name for name, value in vars(flask_archie_keys).items() if isinstance(value, ModuleType)}
    assert set(flask_archie_keys.__all__) == public - {"annotations"}
    assert flask_archie_keys.__all__ == sorted(flask_archie_keys.__all__)


def test_every_error_and_every_signal_is_exported() -> None:
    raised = {
        name for name, value in vars(errors).items() if inspect.isclass(value) and value.__module__ == errors.__name__
    }
    sent = {name for name, value in vars(signals).items() if isinstance(value, blinker.Signal)}
    assert raised | sent <= set(flask_archie_keys.__all__)


@pytest.mark.parametrize("name", flask_archie_keys.__all__)
def test_every_name_is_documented(name: str) -> None:
    value = getattr(flask_archie_keys, name)
    if isinstance(value, blinker.Signal):
        documentation = below(signals, name)
    elif name in PROXIES:
        documentation = below(importlib.import_module(f"flask_archie_keys.{PROXIES[name]}"), name)
    else:
        documentation = value.__doc__ if inspect.isfunction(value) else vars(value).get("__doc__")  # its own
    assert documentation and documentation.rstrip()[-1] in ".:`" and len(documentation) > 10, name


def below(module: ModuleType, name: str) -> str | None:
    """The string that stands below an assignment, which is where Sphinx looks."""
    body = ast.parse(inspect.getsource(module)).body
    flat = [
        part for node in body for part in ([*node.body, *node.orelse, node] if isinstance(node, ast.If) else [node])
    ]
    for here, following in itertools.pairwise(flat):
        if isinstance(here, ast.If):
            defined = {getattr(t, "id", None) for n in ast.walk(here) if isinstance(n, ast.Assign) for t in n.targets}
        else:
            targets = here.targets if isinstance(here, ast.Assign) else [getattr(here, "target", None)]
            defined = {getattr(target, "id", None) for target in targets}
        if name in defined and isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
            return str(following.value.value)
    return None


@pytest.mark.parametrize(
    "name", [n for n in flask_archie_keys.__all__ if inspect.isclass(getattr(flask_archie_keys, n))]
)
def test_every_public_method_is_documented(name: str) -> None:
    for attribute, value in vars(getattr(flask_archie_keys, name)).items():
        if not attribute.startswith("_") and (
            callable(value) or isinstance(value, (property, classmethod, staticmethod))
        ):
            assert inspect.getdoc(value), f"{name}.{attribute}"


def imported_by(code: str) -> set[str]:
    """The modules that a fresh interpreter has loaded after ``code``."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", f"{code}\nimport sys, json; print(json.dumps(sorted(sys.modules)))"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_a_star_import_brings_all_of_it() -> None:
    names = "from flask_archie_keys import *\nassert {'ArchieKeys', 'require_api_key', 'current_api_key'} <= set(dir())"
    assert "flask_archie_keys" in imported_by(names)


def test_importing_it_imports_no_driver_no_table_printer_and_no_database_extension() -> None:
    """Those are the host's to have, or needed by one command."""
    loaded = imported_by("import flask_archie_keys")
    heavy = ("psycopg", "tabulate", "flask_sqlalchemy", "flask_sqlalchemy_lite", "redis", "graphql", "httpx")
    assert not {module for module in loaded if module.split(".")[0] in heavy}
    assert not {module for module in loaded if module.startswith("flask_archie_keys.faces.")} - {
        "flask_archie_keys.faces.problems"
    }


@pytest.mark.parametrize("module", ["errors", "domain.keytext", "domain.rules", "store.models", "config", "signals"])
def test_the_parts_can_be_imported_by_themselves(module: str) -> None:
    """In any order: no module needs another one to be imported before it."""
    assert f"flask_archie_keys.{module}" in imported_by(f"import flask_archie_keys.{module}")
