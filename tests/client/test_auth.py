"""Where a key is sent, and where not."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from flask_archie_keys import ConfigurationError
from flask_archie_keys.client import ArchieKeyAuth, ArchieKeysClient, AsyncArchieKeysClient

from ..conftest import Host
from .conftest import Play
from .support import SECRET, answer

ROOT = Path(__file__).parents[2]


def test_a_client_of_ones_own_sends_the_key(host: Host) -> None:
    secret = host.create("CI").secret
    with httpx.Client(
        transport=httpx.WSGITransport(host.app), base_url="http://localhost", auth=ArchieKeyAuth(secret)
    ) as client:
        assert client.get("/me").json()["name"] == "CI"
        assert client.get("/viewer").text == "seen"


def test_an_asynchronous_client_of_ones_own_sends_it_too(play: Play) -> None:
    server = play(answer(200, {}))

    async def ask() -> None:
        async with httpx.AsyncClient(auth=ArchieKeyAuth(SECRET, origin=server.url)) as client:
            await client.get(server.url)

    asyncio.run(ask())
    assert server.seen[0].headers["Authorization"] == f"Bearer {SECRET}"


def test_it_goes_to_its_origin_only(play: Play) -> None:
    own, other = play(answer(200, {})), play(answer(200, {}))
    for auth in (ArchieKeyAuth(SECRET, origin=own.url), ArchieKeyAuth(SECRET)):
        with httpx.Client(auth=auth) as client:
            client.get(own.url)
            with pytest.raises(ConfigurationError, match=r"the key is for http://127\.0\.0\.1:\d+ and was not sent to"):
                client.get(other.url)
    assert len(own.seen) == 2 and not other.seen


def test_a_redirect_to_another_origin_loses_it(play: Play) -> None:
    other = play(answer(200, {}))
    own = play(answer(307, "", Location=other.url))
    with httpx.Client(auth=ArchieKeyAuth(SECRET), follow_redirects=True) as client:
        client.get(own.url)
    assert "Authorization" in own.seen[0].headers and "Authorization" not in other.seen[0].headers


@pytest.mark.parametrize(
    ("url", "safe"),
    [
        ("https://shop.example", True),
        ("http://127.0.0.1:5000", True),
        ("http://127.8.8.8", True),
        ("http://[::1]:5000", True),
        ("http://localhost:5000", True),
        ("http://shop.example", False),
        ("http://localhost.example", False),
        ("http://127.0.0.1.example", False),
        ("http://10.0.0.1", False),
        ("http://0.0.0.0", False),
    ],
)
def test_it_is_not_sent_in_the_clear(url: str, safe: bool) -> None:
    sent: list[httpx.Request] = []

    def take(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return httpx.Response(200)

    def ask(**kwargs: Any) -> None:
        with httpx.Client(auth=ArchieKeyAuth(SECRET, **kwargs), transport=httpx.MockTransport(take)) as client:
            client.get(url)

    ask(allow_http=True)
    assert len(sent) == 1
    ArchieKeysClient(url, SECRET, allow_http=True).close()
    if safe:
        ask()
        ArchieKeysClient(url, SECRET).close()
        return
    for attempt in (ask, lambda: ask(origin=url), lambda: ArchieKeysClient(url, SECRET)):
        with pytest.raises(ConfigurationError, match="without https everybody on the way could read it"):
            attempt()
    assert len(sent) == 1


@pytest.mark.parametrize(
    "url",
    [
        "shop.example",
        "ftp://shop.example",
        "https://",
        "https://ada:pw@shop.example",
        "https://shop.example/?a=b",
        "https://shop.example/#a",
        "https://shop.example:x",
        "",
    ],
)
def test_wrong_addresses(url: str) -> None:
    for make in (ArchieKeysClient, AsyncArchieKeysClient):
        with pytest.raises(ConfigurationError):
            make(url, SECRET)


@pytest.mark.parametrize(
    "key", ["", " ", f"{SECRET}\n", f" {SECRET}", f"{SECRET}\r\nX: y", "é" * 30, "a" * 257, None, 7]
)
def test_what_cannot_be_a_key_is_refused_unshown(key: Any) -> None:
    for make in (ArchieKeyAuth, lambda key: ArchieKeysClient("https://shop.example", key)):
        with pytest.raises(ConfigurationError) as raised:
            make(key)
        assert SECRET not in str(raised.value) and SECRET[-38:] not in repr(vars(raised.value))


def test_a_line_end_from_a_file_is_named() -> None:
    with pytest.raises(ConfigurationError, match="blanks or line ends around it"):
        ArchieKeyAuth(f"{SECRET}\n")


def test_nothing_shows_the_key() -> None:
    auth = ArchieKeyAuth(SECRET, origin="https://shop.example:8443/x")
    assert repr(auth) == "<ArchieKeyAuth for https://shop.example:8443>"
    assert repr(ArchieKeyAuth(SECRET)) == "<ArchieKeyAuth for the first origin>"
    client = ArchieKeysClient("https://shop.example/archie/v1", SECRET)
    assert repr(client) == "<ArchieKeysClient https://shop.example/archie/v1/>"


@pytest.mark.parametrize("name", ["Authorization", "authorization", "Cookie"])
def test_there_is_one_credential(name: str) -> None:
    with pytest.raises(ConfigurationError, match="the only credential"):
        ArchieKeysClient("https://shop.example", SECRET, headers={name: "x"})


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def test_without_httpx_it_says_what_to_install() -> None:
    done = run("import sys; sys.modules['httpx'] = None; import flask_archie_keys; import flask_archie_keys.client")
    assert done.stderr.splitlines()[-1] == (
        "ImportError: flask_archie_keys.client needs httpx: pip install 'flask-archie-keys[client]'"
    )
