"""Services are tested on SQLite files and on PostgreSQL."""

from __future__ import annotations

import pytest

from flask_archie_keys.services.keys import KeyService

from ..conftest import Host, MakeHost


@pytest.fixture
def host(make_host: MakeHost, url: str) -> Host:
    return make_host(url)


@pytest.fixture
def service(host: Host) -> KeyService:
    with host.app.app_context():
        return host.keys.service
