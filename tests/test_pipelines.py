"""The scripts of ``docs/pipelines.rst`` do what the page says: run by a shell, against a real server process."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .docs.blocks import DOCS, Block, blocks_of, lines_of_flask_keys
from .support.processes import Application, Server, secret_in

APPLICATION = """
import os
from datetime import timedelta
from flask import Flask
from flask_archie_keys import ArchieKeys, require_api_key

def create_app():
    app = Flask("served", instance_path=os.environ["INSTANCE"])
    app.config["ARCHIE_KEYS_PEPPERS"] = ["pepper-of-" + "the-pipelines"]
    app.config["ARCHIE_KEYS_AUDIT"] = {"interval": timedelta(milliseconds=10)}
    app.config["ARCHIE_KEYS_QUIET_PERIOD"] = timedelta(microseconds=int(os.environ.get("QUIET", 900_000_000)))
    ArchieKeys(app)

    @app.post("/api/deployments")
    @require_api_key(resource="deployments")
    def deploy():
        return {"deployed": True}

    return app
"""


def block(name: str) -> Block:
    (found,) = [each for each in blocks_of(DOCS / "pipelines.rst") if each.name == f"{name}-1"]
    return found


class Runner:
    """A machine of the CI system, with its folder, its secret store and what it has in variables."""

    def __init__(self, application: Application, url: str, bootstrap: str, folder: Path) -> None:
        self.application = application
        self.folder = folder
        self.secrets = folder / "secrets"
        self.secrets.mkdir(parents=True)
        (folder / "archie.sh").write_text(block("archie_sh").text)
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        self.variables = {
            **application.environment,
            "PATH": path,
            "FLASK_APP": "served:create_app()",
            "TMPDIR": str(folder),
            "ARCHIE_URL": url,
            "BOOTSTRAP_KEY": bootstrap,
            "SECRETS": str(self.secrets),
            "RUN_ID": "1",
        }

    def run(self, script: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """A script of the page."""
        return subprocess.run(
            ["sh", "-c", block(script).text],
            capture_output=True,
            text=True,
            cwd=self.folder,
            env={**self.variables, **variables},
            timeout=60,
        )

    def stored(self, name: str = "deploy-key") -> str:
        return (self.secrets / name).read_text()


class Pipelines:
    """A server process, and a bootstrap key that was made as the page says."""

    def __init__(self, folder: Path) -> None:
        self.application = Application(folder)
        (folder / "served.py").write_text(APPLICATION)
        (folder / "roles.toml").write_text(block("pipelines_toml").text)
        save, create = [line for b in blocks_of(DOCS / "pipelines.rst") for line in lines_of_flask_keys(b)]
        assert self.flask(*save).startswith("+ ")
        self.bootstrap = secret_in(self.flask(*[word.strip("\"'") for word in create]))
        self.server = self.serve()

    def serve(self, **environment: str) -> Server:
        return self.application.serve("--threads", "2", **environment)

    def flask(self, *arguments: str) -> str:
        done = self.application.flask("keys", *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def runner(self, folder: Path, server: Server | None = None) -> Runner:
        url = f"http://127.0.0.1:{(server or self.server).port}/archie/v1"
        return Runner(self.application, url, self.bootstrap, folder)

    def deploy(self, secret: str) -> int:
        return self.server.ask("POST", "/api/deployments", secret)[0]


@pytest.fixture(scope="module")
def pipelines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipelines]:
    missing = [tool for tool in ("curl", "jq") if shutil.which(tool) is None]
    if missing:
        assert os.environ.get("CI") != "true", f"install {' and '.join(missing)}"
        pytest.skip(f"the scripts of pipelines need {' and '.join(missing)}: install them")
    made = Pipelines(tmp_path_factory.mktemp("pipelines"))
    yield made
    made.application.close()


@pytest.fixture
def runner(pipelines: Pipelines, tmp_path: Path) -> Runner:
    return pipelines.runner(tmp_path / "runner")


def good(done: subprocess.CompletedProcess[str]) -> str:
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout


@pytest.mark.parametrize("script", ["rest", "graphql", "commandline"])
def test_a_pipeline_makes_a_deploy_key(pipelines: Pipelines, runner: Runner, script: str) -> None:
    assert good(runner.run(script, RUN_ID=f"made by {script}")) == ""
    secret = runner.stored()
    assert runner.stored("deploy-key-id") == secret[-51:-39]
    assert stat.S_IMODE((runner.secrets / "deploy-key").stat().st_mode) == 0o600
    assert pipelines.deploy(secret) == 200
    assert sorted(path.name for path in runner.folder.iterdir()) == ["archie.sh", "secrets"], "nothing is left behind"
    assert sorted(path.name for path in runner.secrets.iterdir()) == ["deploy-key", "deploy-key-id"]


@pytest.mark.parametrize("script", ["rest", "graphql"])
def test_a_step_that_is_repeated_makes_no_second_key(runner: Runner, script: str) -> None:
    good(runner.run(script, RUN_ID=f"repeated by {script}"))
    before = runner.stored()
    done = runner.run(script, RUN_ID=f"repeated by {script}")
    assert done.returncode != 0 and runner.stored() == before
    good(runner.run(script, RUN_ID=f"another of {script}"))
    assert runner.stored() != before


@pytest.mark.parametrize("script", ["rest", "graphql"])
def test_a_bad_bootstrap_key_fails_the_step(runner: Runner, script: str) -> None:
    done = runner.run(script, BOOTSTRAP_KEY=runner.variables["BOOTSTRAP_KEY"][:-1] + "!")
    assert done.returncode != 0 and list(runner.secrets.iterdir()) == []


@pytest.mark.parametrize("script", ["rest", "graphql"])
def test_a_key_that_cannot_be_stored_is_deleted_again(pipelines: Pipelines, runner: Runner, script: str) -> None:
    runner.secrets.rmdir()
    done = runner.run(script, RUN_ID=f"unstored by {script}")
    assert done.returncode != 0 and "was deleted again" in done.stderr
    newest = pipelines.flask("list", "--limit", "1", "--json")
    assert '"status": "deleted"' in newest


def test_another_rotates_it_and_deletes_the_old_one_when_it_is_quiet(
    pipelines: Pipelines, runner: Runner, tmp_path: Path
) -> None:
    good(runner.run("rest", RUN_ID="to be rotated"))
    old, old_id = runner.stored(), runner.stored("deploy-key-id")
    assert good(runner.run("clean_up")) == "", "there is nothing to clean up yet"
    assert good(runner.run("rotate")) == ""
    new = runner.stored()
    assert (runner.stored("deploy-key-old-id"), pipelines.deploy(old), pipelines.deploy(new)) == (old_id, 200, 200)
    assert good(runner.run("clean_up")).startswith(f"{old_id} is still in use: 20")
    assert pipelines.deploy(old) == 200
    shutil.copytree(runner.secrets, tmp_path / "other" / "secrets-before")
    quiet = pipelines.runner(tmp_path / "quiet", pipelines.serve(QUIET="1"))
    quiet.variables["SECRETS"] = str(runner.secrets)
    assert good(quiet.run("clean_up")) == f"{old_id} is deleted\n"
    assert (pipelines.deploy(old), pipelines.deploy(new)) == (401, 200)
    assert good(quiet.run("clean_up")) == ""


def test_what_else_goes_wrong_with_the_old_one_fails(runner: Runner) -> None:
    (runner.secrets / "deploy-key-old-id").write_text("0" * 12)
    done = runner.run("clean_up")
    assert done.returncode != 0 and "/errors/not-found" in done.stderr


def test_the_bootstrap_key_sees_no_other_keys(pipelines: Pipelines, runner: Runner) -> None:
    other = secret_in(pipelines.flask("create", "of somebody else", "--role", "deployer", "--owner", "ada"))
    (runner.secrets / "deploy-key-id").write_text(other[-51:-39])
    assert runner.run("rotate").returncode != 0
    assert pipelines.deploy(other) == 200


def test_no_secret_is_an_argument_of_a_program() -> None:
    """Arguments can be read by every process of the machine; `printf` and `.` are the shell's own."""
    scripts = "\n".join(each.text for each in blocks_of(DOCS / "pipelines.rst") if each.language == "sh")
    assert scripts.count("BOOTSTRAP_KEY") == 1
    line: Any = next(line for line in scripts.splitlines() if "BOOTSTRAP_KEY" in line)
    assert re.match(r"printf .* > ", line)
