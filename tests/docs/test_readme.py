"""What the README says works, and what it installs has its reason."""

from __future__ import annotations

import configparser
import re
from pathlib import Path
from types import ModuleType

import pytest

from .blocks import CONSOLE, DOCS, README, ROOT, SAMPLE_ID, Block, blocks_of, first_column, lines_of_flask_keys
from .samples import Samples, get, id_of, made, run

SET_UP = "python3 -m venv .venv && .venv/bin/python -m pip install '.[example]' && .venv/bin/python -m example_app"
RUN_TESTS = (
    "python3 -m venv .venv && .venv/bin/python -m pip install -e '.[dev]' && "
    ".venv/bin/python -m pytest -n auto --dist worksteal"
)


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


@pytest.mark.usefixtures("rows_can_be_guarded")
def test_the_readme_samples(samples: Samples) -> None:
    """They are a module ``shop``, and the commands below are its keys' life."""
    python = [b.text for b in blocks_of(README) if b.language == "python"]
    shop = samples.write("readme", "\n\n".join(python))
    life, roles = ([line for at, line in CONSOLE if at == block] for block in _blocks_with_commands(README))
    assert [line[0] for line in life] == ["init-db", "create", "audit", "rotate", "traffic", "delete"]
    assert run(shop.app, *life[0]).exit_code == 0
    created = run(shop.app, *life[1])
    secret = re.findall(r"secret +(\S+)", created.stdout)[0]
    assert get(shop.app, "/api/orders", secret).json == {"orders": [], "asked_by": "Nightly import"}
    exit_codes = [
        run(shop.app, *[id_of(secret) if word == SAMPLE_ID else word for word in line], input="y\n").exit_code
        for line in life[2:]
    ]
    assert exit_codes == [0, 0, 0, 3]
    _the_roles_of_the_readme(samples, shop, roles)


def _blocks_with_commands(path: Path) -> list[Block]:
    return [block for block in blocks_of(path) if lines_of_flask_keys(block)]


def _the_roles_of_the_readme(samples: Samples, shop: ModuleType, lines: list[list[str]]) -> None:
    (roles,) = (block.text for block in blocks_of(README) if block.language == "toml")
    path = samples.folder / "roles.toml"
    path.write_text(roles, encoding="utf-8")
    assert [line[0] for line in lines] == ["roles", "create"]
    assert run(shop.app, *[str(path) if word == path.name else word for word in lines[0]]).exit_code == 0
    secret = made(shop.app, *lines[1][1:])
    with shop.app.app_context():
        shop.db.create_all()
        with shop.keys.unrestricted("the orders to begin with"):
            shop.db.session.add_all([shop.Order(id=1, region="eu"), shop.Order(id=2, region="us")])
            shop.db.session.commit()
    assert get(shop.app, "/api/orders/1", secret).json == {"id": 1, "region": "eu"}
    hidden, missing = get(shop.app, "/api/orders/2", secret), get(shop.app, "/api/orders/3", secret)
    assert (hidden.status_code, hidden.data) == (missing.status_code, missing.data)
    assert hidden.status_code == 404
