from __future__ import annotations

from collections.abc import Iterator

import pytest

from ..support.protected import alone


@pytest.fixture(scope="module", autouse=True)
def _without_the_protected_models_of_others(request: pytest.FixtureRequest) -> Iterator[None]:
    """Other tests' models are named alike; here rules are looked at, not the guard."""
    if request.module.__name__.rpartition(".")[2].startswith("test_scope"):
        with alone():
            yield
    else:
        yield
