"""Where the answers of ``flask keys`` go: full disks, closed outputs, narrow encodings, terminals. Real processes."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ...support.processes import FLASK, Application, secret_in

ROCKET = "\N{ROCKET} Déploy"


@pytest.fixture
def application(tmp_path: Path) -> Iterator[Application]:
    application = Application(tmp_path)
    yield application
    application.close()


def listed(application: Application) -> list[dict[str, Any]]:
    done = application.flask("keys", "list", "--json", "--limit", "200")
    assert done.returncode == 0, done.stderr
    data: list[dict[str, Any]] = json.loads(done.stdout)["data"]
    return data


def shell(application: Application, redirection: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `flask keys …` with a redirection of the shell's."""
    line = ["/bin/sh", "-c", f'exec "$0" "$@" {redirection}', sys.executable, *FLASK]
    return subprocess.run(
        [*line, "--app", "served:create_app()", "keys", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env=application.environment,
        cwd=application.folder,
    )


def use(application: Application, secret: str, **environ: str) -> int:
    """The status of a request with a secret, past any client that checks what it sends."""
    script = (
        "import sys, json; from served import create_app; secret, environ = json.loads(sys.argv[1]);"
        'client, header = create_app().test_client(), {"Authorization": "Bearer " + secret};'
        'print(client.get("/x", headers=header, environ_overrides=environ).status_code)'
    )
    process = application.start("-c", script, json.dumps([secret, environ]))
    return int(process.communicate(timeout=60)[0])


def on_terminal(application: Application, *arguments: str) -> str:
    """What `flask keys …` writes to a terminal."""
    leader, follower = pty.openpty()
    try:
        done = application.flask("keys", *arguments, capture_output=False, stdout=follower, stderr=follower)
    finally:
        os.close(follower)
    shown = b""
    try:
        while some := os.read(leader, 65536):
            shown += some
    except OSError:  # the other end is closed
        pass
    os.close(leader)
    assert done.returncode == 0, shown
    return shown.decode()


# -- a secret that cannot be handed over


@pytest.mark.parametrize(("form", "expires"), [("--quiet", "30d"), ("", None)])
def test_a_rotation_whose_secret_cannot_be_written_out_is_undone(
    application: Application, form: str, expires: str | None
) -> None:
    made = application.flask(
        *["keys", "create", "x", "--role", "viewer", "--quiet", *(["--expires", expires] if expires else [])]
    )
    secret = secret_in(made.stdout)
    (before,) = listed(application)
    done = shell(application, ">/dev/full", *["rotate", before["id"], "--overlap", "0s", *([form] if form else [])])
    assert done.returncode == 1
    assert re.fullmatch(r"Error: the secret could not be written \(.*\); the new key was deleted again\n", done.stderr)
    new, old = listed(application)
    assert (new["status"], new["replaces"]) == ("deleted", before["id"])
    same = ("id", "status", "expiresAt", "replacedBy", "disabledAt", "deletedAt", "roles")
    assert {name: old[name] for name in same} == {name: before[name] for name in same}
    assert use(application, secret) == 200
    kinds = [
        event["kind"]
        for event in json.loads(application.flask("keys", "audit", "--key", old["id"], "--json").stdout)["data"]
    ]
    assert kinds == ["request", "key.rotation_undone", "key.rotated", "key.created"]
    again = application.flask("keys", "rotate", old["id"], "--quiet")
    assert again.returncode == 0 and use(application, secret_in(again.stdout)) == 200, "it can be rotated again"


@pytest.mark.parametrize("form", ["--quiet", ""])
def test_a_closed_standard_output_makes_no_key(application: Application, form: str) -> None:
    done = shell(application, ">&-", "create", "x", *([form] if form else []))
    assert done.returncode == 1
    assert done.stderr == "Error: standard output is closed, so there is nowhere to write the secret to\n"
    assert listed(application) == []


def test_a_closed_standard_output_rotates_no_key(application: Application) -> None:
    application.flask("keys", "create", "x")
    (before,) = listed(application)
    assert shell(application, ">&-", "rotate", before["id"], "--quiet").returncode == 1
    assert listed(application) == [before]


def test_a_pipe_that_nobody_reads_leaves_no_key(application: Application) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = application.flask("keys", "create", "x", capture_output=False, stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert done.returncode != 0 and "the new key was deleted again" in done.stderr
    assert [key["status"] for key in listed(application)] == ["deleted"]


@pytest.mark.parametrize(
    ("encoding", "form"), [("latin-1", "--quiet"), ("latin-1", "--json"), ("ascii", ""), ("utf-8", "")]
)
def test_each_active_key_is_one_whose_secret_was_shown(application: Application, encoding: str, form: str) -> None:
    """Also where the output has no room for its name."""
    environment = {**application.environment, "PYTHONIOENCODING": encoding}
    command = [sys.executable, *FLASK, "--app", "served:create_app()", "keys", "create", ROCKET]
    done = subprocess.run(
        [*command, *([form] if form else [])],
        capture_output=True,
        timeout=60,
        env=environment,
        cwd=application.folder,
    )
    text = done.stdout.decode("latin-1")  # the secret is ASCII in any of them
    shown = re.findall(r"archie_([0-9A-Za-z]{12})_[0-9A-Za-z]{38}", text)
    (key,) = listed(application)
    assert key["name"] == ROCKET
    assert (key["status"], shown, done.returncode) in (("active", [key["id"]], 0), ("deleted", [], 1)), done.stderr
    assert b"Traceback" not in done.stderr
    if form == "--quiet" or encoding == "utf-8":
        assert key["status"] == "active", "nothing in the answer that cannot be written"


# -- a database that is not to be had


@pytest.mark.parametrize("command", ["list", "create x --quiet", "audit"])
def test_a_file_of_our_own_that_cannot_be_opened_is_one_line(application: Application, command: str) -> None:
    (application.instance / "archie_keys.sqlite").mkdir(parents=True)
    done = application.flask("keys", *command.split())
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "Error: the key store cannot be used: unable to open database file\n"


# -- terminals

EVIL = "a\x9b31mb\x9d0;title\x9c\x1b[2J\x85\x07\u00adc"


def test_nothing_that_a_client_sent_steers_the_terminal(application: Application) -> None:
    secret = application.flask("keys", "create", "x", "--role", "viewer", "--quiet").stdout.strip()
    key_id = secret.split("_")[1]
    assert use(application, secret, HTTP_USER_AGENT=EVIL, HTTP_X_REQUEST_ID=EVIL, PATH_INFO="/x") == 200
    table = on_terminal(application, "audit")
    as_json = on_terminal(application, "audit", "--json")
    traffic = on_terminal(application, "traffic", key_id)
    assert "a\\x9b31mb" in table and "a\\u009b31mb" in as_json
    for shown in (table, as_json, traffic):
        plain = re.sub(r"\x1b\[3[123]m|\x1b\[0m", "", shown)  # the colours of our own words
        assert not re.search(r"[\x00-\x08\x0b-\x0c\x0e-\x1f\x7f-\x9f\xad]", plain), shown
    (event,) = [event for event in json.loads(as_json)["data"] if event["kind"] == "request"]
    assert event["userAgent"] == EVIL, "the JSON says what was sent"


def test_json_that_is_no_ones_terminal_is_as_it_was_written(application: Application) -> None:
    application.flask("keys", "create", ROCKET)
    assert ROCKET in application.flask("keys", "list", "--json").stdout
    shown = on_terminal(application, "list", "--json")
    assert shown.isascii() and json.loads(shown)["data"][0]["name"] == ROCKET


def test_a_name_is_shown_as_it_is_whatever_it_looks_like(application: Application) -> None:
    names = ["1e5", "007", "1_000", "nan", "1.50"]
    for name in names:
        made = application.flask("keys", "create", "--quiet", name)
        assert made.returncode == 0, made.stderr
    lines = application.flask("keys", "list").stdout.splitlines()[1:]
    assert [line.split()[1] for line in lines] == names[::-1]
    shown = application.flask("keys", "show", lines[-1].split()[0]).stdout
    assert re.search(r"^name +1e5$", shown, re.MULTILINE)
