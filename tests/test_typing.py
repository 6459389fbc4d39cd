"""The types that a host's type checker sees: right uses pass ``mypy --strict``, wrong ones do not."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HOST = Path(__file__).parent / "typing" / "host.py"

#: Each line with `# E:` must be refused, with that code and with a message that holds that text; no other line may be.
WRONG = """
from datetime import timedelta
from flask import Flask
from flask_archie_keys import ArchieKeys, CreatedKey, current_api_key, require_api_key
from flask_archie_keys.client import ArchieKeysClient, AsyncArchieKeysClient

app = Flask(__name__)
keys = ArchieKeys(app)

@require_api_key
def bare(number: int) -> str:
    return str(number)

@require_api_key(roles=["viewer"])
def called(number: int) -> str:
    return str(number)

@require_api_key
async def later(number: int) -> str:
    return str(number)

bare("seven")  # E: arg-type
bare()  # E: call-arg
called(7, verbose=True)  # E: call-arg
called(7) + 1  # E: operator
later(7).upper()  # E: attr-defined
require_api_key(["viewer"])  # E: call-overload
require_api_key(roles=[7])  # E: list-item | call-overload
require_api_key(roles=["viewer"], match="some")  # E: call-overload
require_api_key(role=["viewer"])  # E: call-overload
current_api_key.roles = ("admin",)  # E: misc
current_api_key.secret  # E: attr-defined
current_api_key.context["region"] = "us"  # E: index
keys.service.create("CI")  # E: call-arg | misc
keys.service.create(name=7)  # E: arg-type
keys.service.create(name="x").key.secret  # E: attr-defined
keys.service.create(name="x").secret.id  # E: attr-defined
keys.service.find(status="dead")  # E: arg-type
keys.service.rotate("7f3Kq2Zt9bXa", overlap=3600)  # E: arg-type
keys.service.rotate("7f3Kq2Zt9bXa", timedelta(0))  # E: misc | call-arg
keys.service.delete("7f3Kq2Zt9bXa", True)  # E: misc | call-arg
for key in keys.service.find():
    key.name = "x"  # E: misc
client = ArchieKeysClient("https://shop.example", "key")
client.keys.create("CI")  # E: call-arg | misc
client.keys.create(name=7)  # E: arg-type
client.keys.update("7f3Kq2Zt9bXa", name="x")  # E: call-arg
client.keys.update("7f3Kq2Zt9bXa", version=1, nam="x")  # E: call-arg
client.keys.find(status="dead")  # E: arg-type
client.keys.get("7f3Kq2Zt9bXa").secret  # E: attr-defined
AsyncArchieKeysClient("https://shop.example", "key").keys.get("7f3Kq2Zt9bXa").name  # E: attr-defined
"""


def mypy(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    options = ["--strict", "--no-error-summary", "--config-file=", f"--cache-dir={folder / 'cache'}"]
    return subprocess.run(
        [sys.executable, "-m", "mypy", *options, *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=folder,
        env={**os.environ, "MYPYPATH": str(ROOT)},
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for both, so that the second run finds the first one's cache."""
    return tmp_path_factory.mktemp("mypy")


def test_what_a_host_writes_has_the_types_that_it_expects(folder: Path) -> None:
    done = mypy("--follow-imports=silent", str(HOST), folder=folder)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_wrong_uses_are_refused_each_for_its_reason(folder: Path) -> None:
    source = folder / "wrong.py"
    source.write_text(WRONG)
    expected = {
        number: set(re.split(r" \| ", line.partition("# E: ")[2]))
        for number, line in enumerate(WRONG.splitlines(), 1)
        if "# E: " in line
    }
    done = mypy("--follow-imports=silent", str(source), folder=folder)
    assert done.returncode == 1, done.stderr
    found: dict[int, set[str]] = {}
    for number, code in re.findall(r"^wrong\.py:(\d+): error: .*\[([a-z-]+)\]$", done.stdout, re.MULTILINE):
        found.setdefault(int(number), set()).add(code)
    assert set(found) == set(expected), done.stdout
    for number, codes in found.items():
        assert codes <= expected[number], (WRONG.splitlines()[number - 1], codes)


def test_the_package_says_that_it_is_typed() -> None:
    assert (ROOT / "flask_archie_keys" / "py.typed").exists()
