from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from flask import Flask

from ..conftest import ALL_FACES, Host, MakeHost
from .support import Clients, Script, Step

OWN = ("api_keys", "roles", "audit_events")
ADMINISTRATOR = {"grants": [{"resource": r, "read": True, "write": True, "update": True, "delete": True} for r in OWN]}


@pytest.fixture(params=["synchronous", "asynchronous"])
def clients(request: pytest.FixtureRequest) -> Iterator[Clients]:
    """Both sorts."""
    made = Clients(request.param)
    yield made
    made.close()


Play = Callable[..., Script]


@pytest.fixture
def play() -> Iterator[Play]:
    """Starts servers that answer as they are told."""
    started: list[Script] = []

    def start(*steps: Step, app: Flask | None = None) -> Script:
        started.append(Script(steps, app))
        return started[-1]

    yield start
    for script in started:
        script.close()


@pytest.fixture
def managed(make_host: MakeHost) -> Host:
    """A host with a role that manages everything."""
    return make_host(ARCHIE_KEYS_ROLES={"administrator": ADMINISTRATOR, "viewer": {}, "editor": {}}, **ALL_FACES)
