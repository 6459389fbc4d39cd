from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, event

from flask_archie_keys.store import guard

from .world import World


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def shared_world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    if request.param == "sqlite":
        path: Path = tmp_path_factory.mktemp("guard") / "docs.sqlite"
        url = f"sqlite:///{path}"
    else:
        url = request.getfixturevalue("postgres_server").new_database()
    engine = create_engine(url)
    if request.param == "sqlite":
        event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA synchronous = OFF"))
    try:
        yield World(engine)
    finally:
        engine.dispose()


@pytest.fixture
def world(shared_world: World) -> Iterator[World]:
    """A database with the models' rows. The tests say who acts."""
    before = guard._guard.tell
    guard.install(shared_world.current)
    yield shared_world
    shared_world.restore()
    guard.install(before)
