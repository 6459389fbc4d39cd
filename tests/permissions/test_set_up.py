"""What an :class:`AuthZenPermissions` is made of, and what it refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from flask_archie_keys.errors import ConfigurationError
from flask_archie_keys.permissions.authzen import AuthZenPermissions
from flask_archie_keys.permissions.service import PermissionsService

from ..conftest import MakeHost
from ..support.decision_point import DecisionPoint
from .answers import TOKEN


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", "begin with"),
        (None, "such as"),
        (b"https://pdp.example", "such as"),
        ("https://pdp.example/a b", "such as"),
        ("https://pdp.exam\nple", "such as"),
        ("https://bücher.example", "such as"),
        ("https://pdp..example", "such as"),
        ("https://[::1", "such as"),
        ("https://pdp.example:x", "such as"),
        ("https://pdp.example:65536", "such as"),
        ("pdp.example", "begin with"),
        ("pdp.example:8080", "begin with"),
        ("ftp://pdp.example", "begin with"),
        ("file:///etc/passwd", "begin with"),
        ("https://", "name a host"),
        ("https:///path", "name a host"),
        ("https://:8443", "name a host"),
        ("https://pdp.example:0", "a port from 1"),
        ("https://pdp:secret@pdp.example", "credentials"),
        ("https://secret@pdp.example", "credentials"),
        ("https://pdp.example?token=secret", "query"),
        ("https://pdp.example/?", "query"),
        ("https://pdp.example/#secret", "fragment"),
        ("https://pdp.example/access/v1/evaluation", "without /access/v1/evaluation"),
        ("https://pdp.example/base/access/v1/evaluation/", "without /access/v1/evaluation"),
    ],
)
def test_wrong_urls(url: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as caught:
        AuthZenPermissions(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "timeout", [2, 2.0, None, timedelta(0), timedelta(seconds=-1), timedelta(milliseconds=9), timedelta(seconds=61)]
)
def test_wrong_timeouts(timeout: Any) -> None:
    with pytest.raises(ConfigurationError, match="timeout must be a timedelta from 10 milliseconds to one minute"):
        AuthZenPermissions("https://pdp.example", timeout=timeout)


@pytest.mark.parametrize("token", ["", "Bearer x-secret", "x-secret\r\nX: y", "x-secret\n", "é-secret", b"x-secret", 7])
def test_wrong_tokens(token: Any) -> None:
    with pytest.raises(ConfigurationError, match="token must be a bearer token") as caught:
        AuthZenPermissions("https://pdp.example", token=token)
    assert "secret" not in str(caught.value)


def test_it_is_a_permissions_service() -> None:
    service: PermissionsService = AuthZenPermissions("https://pdp.example", token=TOKEN)
    assert TOKEN not in repr(service)


def test_httpcore_is_needed_only_when_one_is_made(tmp_path: Path) -> None:
    (tmp_path / "httpcore.py").write_text("raise ModuleNotFoundError('none', name='httpcore')")
    script = (
        "from flask_archie_keys.permissions.authzen import AuthZenPermissions\n"
        "try:\n    AuthZenPermissions('https://pdp.example')\n"
        "except Exception as error:\n    print(type(error).__name__, error)"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env={"PYTHONPATH": f"{tmp_path}:{root}"}
    )
    needed = "AuthZenPermissions needs httpcore: pip install 'flask-archie-keys[authzen]'"
    assert done.stdout.strip() == f"ConfigurationError {needed}", done.stderr


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"URL": "ftp://pdp.example"}, "ARCHIE_KEYS_PERMISSIONS_URL: url must begin with https:// or http://"),
        ({"URL": "https://pdp.example", "TOKEN": "a b"}, "ARCHIE_KEYS_PERMISSIONS_TOKEN: token must be a bearer token"),
        ({"TOKEN": TOKEN}, "ARCHIE_KEYS_PERMISSIONS_TOKEN is for a decision point; set ARCHIE_KEYS_PERMISSIONS_URL"),
    ],
)
def test_wrong_settings_are_refused_when_the_application_starts(
    make_host: MakeHost, settings: dict[str, str], message: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        make_host(**{f"ARCHIE_KEYS_PERMISSIONS_{name}": value for name, value in settings.items()})
    assert message in str(caught.value)


def test_the_doctor_asks_the_decision_point(make_host: MakeHost, point: DecisionPoint) -> None:
    def found(url: str) -> tuple[int, str]:
        host = make_host(ARCHIE_KEYS_PERMISSIONS_URL=url, ARCHIE_KEYS_PERMISSIONS_TOKEN=TOKEN)
        result = host.app.test_cli_runner().invoke(args=["keys", "doctor", "--json"])
        findings = {finding["check"]: finding for finding in json.loads(result.stdout)["data"]}
        return result.exit_code, findings["decision point"]["verdict"]

    assert found(point.url) == (0, "ok")
    assert found("http://127.0.0.1:1") == (1, "problem")
