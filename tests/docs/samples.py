"""Runs the samples of the pages: as modules, with applications and databases of their own."""

from __future__ import annotations

import gc
import importlib
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from click.testing import Result
from flask import Flask

from .blocks import DOCS, Block, blocks_of

PEPPER = "pepper-" + "for-the-docs-only"


class Samples:
    """Writes the named blocks of a page to a module in a temporary folder, and imports it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.modules: list[str] = []
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
        self.modules.append(name)
        if isinstance(vars(module).get("app"), Flask):
            self.opened(module.keys, module.app)
        return module

    def opened(self, keys: Any, app: Flask) -> Flask:
        """Close it in the end."""
        self.apps.append((keys, app))
        return app

    def close(self) -> None:
        """Close what is open, and forget the modules: the classes that they protect with them."""
        for keys, app in self.apps:
            keys.close(app)
            db = app.extensions.get("sqlalchemy")
            if db is not None:
                with app.app_context():
                    engines = list(db.engines.values())
                for engine in engines:
                    engine.dispose()
        self.apps.clear()
        for name in self.modules:
            del sys.modules[name]
        gc.collect()


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


def get(app: Flask, path: str, secret: str | None = None, method: str = "GET", json: Any = None, **headers: str) -> Any:
    """The response to a request with a key."""
    if secret is not None:
        headers["Authorization"] = f"Bearer {secret}"
    return app.test_client().open(path, method=method, headers=headers, json=json, buffered=True)


def blocks_after(page: str, label: str, language: str) -> list[Block]:
    """The blocks in one language below a heading, up to the next heading of any level."""
    path = DOCS / f"{page}.rst"
    lines = path.read_text(encoding="utf-8").splitlines()
    headings = [n for n, line in enumerate(lines, 1) if n > 1 and re.fullmatch(r"([=~-])\1{2,}", line)]
    starts = [n - 1 for n in headings if lines[n - 2] == label]
    assert len(starts) == 1, (page, label)
    end = min([n for n in headings if n - 1 > starts[0]], default=len(lines))
    return [b for b in blocks_of(path) if b.language == language and starts[0] < b.line < end]


def flat(text: str) -> str:
    """A text with every run of blanks as one."""
    return " ".join(text.split())
