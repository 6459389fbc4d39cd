"""The samples of the page about the client do what it says, over HTTP."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from types import ModuleType

import pytest
from werkzeug.serving import make_server

from flask_archie_keys import ConfigurationError

from ..conftest import ALL_FACES, Host, MakeHost
from .samples import Samples

OWN = ("api_keys", "roles", "audit_events")
EVERYTHING = [{"resource": r, "read": True, "write": True, "update": True, "delete": True} for r in OWN]


@pytest.fixture
def shop(make_host: MakeHost, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    """An application that is served."""
    host = make_host(ARCHIE_KEYS_ROLES={"administrator": {"grants": EVERYTHING}, "viewer": {}}, **ALL_FACES)
    host.app.add_url_rule("/api/orders", view_func=lambda: {"orders": []}, endpoint="orders")
    server = make_server("127.0.0.1", 0, host.app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, args=[0.01])
    thread.start()
    monkeypatch.setenv("ARCHIE_URL", f"http://127.0.0.1:{server.port}/archie/v1")
    monkeypatch.setenv("ARCHIE_KEY", host.create("program", ("administrator", "viewer")).secret)
    yield host
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def page(samples: Samples) -> ModuleType:
    return samples.load("client", "client")


def test_the_samples(shop: Host, page: ModuleType) -> None:
    key_id, secret = page.make("CI")
    assert shop.get("/viewer", secret).status_code == 200
    assert "CI" in asyncio.run(page.names())
    assert page.rotate(key_id).key.replaces == key_id
    last_used_at = page.finish(key_id)
    assert last_used_at is not None and last_used_at.tzinfo is UTC
    assert page.make_surely("other").key.name == "other"
    shop.get("/viewer", "archie_nonsense")
    assert (None, "unknown") not in page.refused_since(datetime(2020, 1, 1, tzinfo=UTC))
    assert {reason for _, reason in page.refused_since(datetime(2020, 1, 1, tzinfo=UTC))} != set()


def test_a_client_of_ones_own(shop: Host, page: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    url = page.os.environ["ARCHIE_URL"].removesuffix("/archie/v1")
    assert page.orders(url, page.os.environ["ARCHIE_KEY"]) == {"orders": []}
    with pytest.raises(ConfigurationError):
        page.orders("http://shop.example", page.os.environ["ARCHIE_KEY"])
