from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy

from ..support.protected import alone
from .samples import PEPPER, Samples


@pytest.fixture(autouse=True)
def own_resources() -> Iterator[None]:
    """Resources are known to the whole process by their names, and other tests have ``orders`` of their own."""
    with alone():
        yield


@pytest.fixture(scope="session")
def rows_can_be_guarded() -> None:
    """For the samples that protect a model."""
    if tuple(map(int, sqlalchemy.__version__.split(".")[:2])) < (2, 1):
        pytest.skip("needs SQLAlchemy 2.1")


@pytest.fixture
def samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Samples]:
    for name in [name for name in os.environ if name.startswith("FLASK_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("FLASK_ARCHIE_KEYS_PEPPERS", json.dumps([PEPPER]))
    monkeypatch.syspath_prepend(tmp_path)
    found = Samples(tmp_path)
    yield found
    found.close()
