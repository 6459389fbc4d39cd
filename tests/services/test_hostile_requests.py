"""Keys that are made in views: what the client of that request sends ends up in the event of the change."""

from __future__ import annotations

import pytest
from werkzeug.middleware.proxy_fix import ProxyFix

from flask_archie_keys import require_api_key

from ..conftest import Host, MakeHost


@pytest.fixture
def host(make_host: MakeHost, url: str) -> Host:
    maker = {"maker": {"grants": [{"resource": "api_keys", "write": True}]}}
    host = make_host(url, ARCHIE_KEYS_ROLES={"viewer": {}, **maker})
    host.app.wsgi_app = ProxyFix(host.app.wsgi_app)  # type: ignore[method-assign]
    host.app.add_url_rule("/open", "open", lambda: {"id": host.keys.service.create(name="made").key.id})
    guarded = require_api_key(lambda: {"id": host.keys.service.create(name="made").key.id})
    host.app.add_url_rule("/make", "make", guarded)
    return host


HOSTILE = {
    "HTTP_X_FORWARDED_FOR": "9" * 300,
    "HTTP_USER_AGENT": "evil\0agent\x9b" + "u" * 5000,
    "HTTP_X_REQUEST_ID": "\0" + "r" * 5000,
}


@pytest.mark.parametrize("path", ["/open", "/make"])
def test_a_change_in_a_hostile_request_is_done_and_its_event_is_bounded_and_clean(host: Host, path: str) -> None:
    secret = host.create(roles=("maker",)).secret
    answer = host.get(path, secret, environ_overrides=HOSTILE)
    assert answer.status_code == 200, answer.text
    with host.app.app_context():
        (event,) = [e for e in host.keys.audit.find(key=answer.json["id"]) if e.kind == "key.created"]
    assert event.remote_address == "9" * 64
    assert (
        event.user_agent is not None and event.user_agent.startswith("evil\ufffdagent") and "\0" not in event.user_agent
    )
    assert len(event.user_agent) == 256
    assert event.request_id == "\ufffd" + "r" * 127
    assert event.actor == ("system" if path == "/open" else f"key:{secret.split('_')[1]}")


def test_a_key_in_the_headers_of_such_a_request_is_not_written_down(host: Host) -> None:
    secret = host.create().secret
    answer = host.get("/open", headers={"User-Agent": f"x {secret}", "X-Request-ID": secret})
    assert answer.status_code == 200
    rows = str(host.sql("SELECT * FROM archie_audit_events"))
    assert secret[:-38] in rows and secret[-38:] not in rows


def test_the_event_of_the_request_itself_is_bounded_and_clean_too(host: Host) -> None:
    secret = host.create().secret
    assert host.get("/me", secret, environ_overrides=HOSTILE).status_code == 200
    (event,) = host.events()
    assert event.truncated and (event.remote_address, len(event.user_agent), len(event.request_id)) == (
        "9" * 64,
        256,
        128,
    )
    assert "\0" not in event.user_agent + event.request_id
