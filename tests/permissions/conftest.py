from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from flask_archie_keys.permissions.authzen import AuthZenPermissions

from ..support.decision_point import DecisionPoint, make_certificate
from .answers import TOKEN

Ask = Callable[..., AuthZenPermissions]


@pytest.fixture(scope="session")
def served() -> Iterator[DecisionPoint]:
    point = DecisionPoint()
    yield point
    point.close()


@pytest.fixture
def point(served: DecisionPoint) -> DecisionPoint:
    """A decision point that has not been asked yet."""
    served.take()
    return served


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    try:
        return make_certificate(tmp_path_factory.mktemp("tls"))
    except (OSError, subprocess.CalledProcessError) as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(f"install openssl, for the tests of TLS: {error}")


@pytest.fixture(scope="session")
def served_by_tls(certificate: Path) -> Iterator[DecisionPoint]:
    point = DecisionPoint(certificate)
    yield point
    point.close()


@pytest.fixture
def connect() -> Iterator[Ask]:
    """Connects to a decision point, with its token and ten seconds; closed in the end."""
    made: list[AuthZenPermissions] = []

    def connect(url: str, **kwargs: Any) -> AuthZenPermissions:
        made.append(AuthZenPermissions(url, **{"token": TOKEN, "timeout": timedelta(seconds=10), **kwargs}))
        return made[-1]

    yield connect
    for permissions in made:
        permissions.close()


@pytest.fixture
def permissions(point: DecisionPoint, connect: Ask) -> AuthZenPermissions:
    return connect(point.url)
