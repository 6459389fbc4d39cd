"""The header grammar, the statuses, the challenges and the bodies of the documentation, on a real application."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from flask_archie_keys import require_api_key
from flask_archie_keys.domain.keytext import checksum, mint

from .conftest import Host, MakeHost

NO_CREDENTIALS = (401, 'Bearer realm="default"')
INVALID_REQUEST = (400, 'Bearer realm="default", error="invalid_request"')
INVALID_TOKEN = (401, 'Bearer realm="default", error="invalid_token"')


def raw(host: Host, path: str, **environ: Any) -> tuple[int, dict[str, str], bytes]:
    """A request past the test client, which refuses to send some of what attackers send."""
    answer: dict[str, Any] = {}

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: object = None) -> Any:
        answer.update(status=int(status[:3]), headers=dict(headers))

    full = {"REQUEST_METHOD": "GET", "PATH_INFO": path, "SERVER_NAME": "localhost", "SERVER_PORT": "80"}
    full |= {
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": io.StringIO(),
        "wsgi.version": (1, 0),
    }
    full |= {"REMOTE_ADDR": "127.0.0.1", "wsgi.multithread": False, "wsgi.multiprocess": False, "wsgi.run_once": False}
    iterable = host.app({**full, **environ}, start_response)
    body = b"".join(iterable)
    iterable.close()  # type: ignore[attr-defined]
    return answer["status"], answer["headers"], body


GOOD = "<good>"
HEADERS = [
    (None, NO_CREDENTIALS),
    ("", NO_CREDENTIALS),
    ("Basic dXNlcjpwYXNz", NO_CREDENTIALS),
    ('Digest username="a", realm="b", nonce="c"', NO_CREDENTIALS),
    ("Bearerx abc", NO_CREDENTIALS),
    ("Bearer", INVALID_REQUEST),
    ("bearer ", INVALID_REQUEST),
    ("Bearer\tabc", INVALID_REQUEST),
    (f"Bearer\t{GOOD}", INVALID_REQUEST),
    (f"Bearer {GOOD} ", INVALID_REQUEST),
    (f" Bearer {GOOD}", INVALID_REQUEST),
    (f"Bearer {GOOD} x", INVALID_REQUEST),
    (f"Bearer {GOOD},", INVALID_REQUEST),
    (f"Bearer {GOOD},Bearer {GOOD}", INVALID_REQUEST),
    (f",Bearer {GOOD}", INVALID_REQUEST),
    (f"Basic abc,Bearer {GOOD}", INVALID_REQUEST),
    ("Bearer a=b", INVALID_REQUEST),
    ("Bearer abc$", INVALID_REQUEST),
    (f"Bearer {GOOD}\x85", INVALID_REQUEST),
    (f"Bearer {GOOD}\xa0", INVALID_REQUEST),
    (f"Bearer {GOOD}\x1c", INVALID_REQUEST),
    (f"Bearer {GOOD}\x00", INVALID_REQUEST),
    (f"Bearer {GOOD}\n", INVALID_REQUEST),
    ("Bearer \xc3\xa9\xff", INVALID_REQUEST),
    ("Bearer " + "a" * 257, INVALID_REQUEST),
    ("Bearer " + "a" * 9000, INVALID_REQUEST),
    ("Bearer " + "a" * 256, INVALID_TOKEN),
    ("Bearer abc", INVALID_TOKEN),
    ("Bearer ===", INVALID_REQUEST),
    ("Bearer abc==", INVALID_TOKEN),
    ("Bearer archie_7f3Kq2Zt9bXa_" + "0" * 38, INVALID_TOKEN),
]


@pytest.mark.parametrize(("header", "expected"), HEADERS)
def test_headers(host: Host, header: str | None, expected: tuple[int, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """And none of them reaches the database."""
    good = host.create().secret
    with host.app.app_context():
        environment = host.keys.for_environment("master")
    monkeypatch.setattr(type(environment.lookup), "read", None)  # a call would be a TypeError, and a 500
    environ = {} if header is None else {"HTTP_AUTHORIZATION": header.replace(GOOD, good)}
    status, headers, body = raw(host, "/me", **environ)
    assert (status, headers["WWW-Authenticate"]) == expected
    assert headers["Content-Type"] == "application/problem+json"
    problem = json.loads(body)
    assert problem["status"] == status
    assert problem["type"] == {400: "/errors/bad-request", 401: "/errors/unauthorized"}[status]
    assert good not in body.decode()


@pytest.mark.parametrize("scheme", ["Bearer ", "bearer ", "BEARER ", "BeArEr     "])
def test_the_scheme_in_any_case_and_any_number_of_spaces(host: Host, scheme: str) -> None:
    created = host.create()
    answer = host.client.get("/me", headers={"Authorization": scheme + created.secret})
    assert answer.json == {"id": created.key.id, "name": "key", "environment": "master"}


def refuse(host: Host, reason: str) -> str:
    created = host.create()
    key_id = created.key.id
    table = "UPDATE archie_api_keys SET"
    if reason == "unknown":
        return mint("archie").text
    if reason == "bad_checksum":
        return created.secret[:-1] + ("0" if created.secret[-1] != "0" else "1")
    if reason == "wrong_secret":
        body = f"archie_{key_id}_{mint('archie').text[-38:-6]}"
        return body + checksum(body)
    if reason == "other_prefix":
        body = "archie2" + created.secret[len("archie") : -6]
        return body + checksum(body)
    if reason == "wrong_environment":
        host.sql(f"{table} environment = 'staging' WHERE id = '{key_id}'")
    if reason == "wrong_project":
        host.sql(f"{table} project = 'other' WHERE id = '{key_id}'")
    if reason == "expired":
        host.sql(f"{table} expires_at = 1 WHERE id = '{key_id}'")
    if reason == "deleted_by_hand":
        host.sql(f"{table} deleted_at = 1 WHERE id = '{key_id}'")
    with host.app.app_context():
        if reason == "deleted":
            host.keys.service.delete(key_id)
        if reason == "disabled":
            host.keys.service.disable(key_id)
    return created.secret


REASONS = {
    **{name: name for name in ("unknown", "bad_checksum", "wrong_secret", "wrong_environment", "expired")},
    **{name: name for name in ("disabled", "deleted")},
    "deleted_by_hand": "deleted",
    "wrong_project": "wrong_environment",
    "other_prefix": "wrong_secret",
}


@pytest.mark.parametrize(("case", "reason"), REASONS.items())
def test_the_client_is_told_one_thing_and_the_audit_log_the_reason(host: Host, case: str, reason: str) -> None:
    secret = refuse(host, case)
    answer = host.get("/me", secret)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="default", error="invalid_token"'
    assert json.loads(answer.data) == {
        "type": "/errors/unauthorized",
        "title": "Unauthorized",
        "status": 401,
        "detail": "the API key is not valid",
    }
    (event,) = host.events()
    assert (event.outcome, event.reason, event.status) == ("refused", reason, 401)
    assert event.key_id == (None if reason in ("unknown", "bad_checksum") else secret.split("_")[1])


def test_a_key_of_one_environment_is_worthless_in_another_by_cryptography(make_host: MakeHost) -> None:
    """Even for somebody who moves its row, as with a copied database."""
    two = {"ARCHIE_KEYS_ENVIRONMENTS": {"master": {}, "staging": {}}}
    host = make_host(**two)
    with host.app.app_context():
        created = host.keys.for_environment("staging").service.create(name="x", roles=["viewer"])
    host.sql(f"UPDATE archie_api_keys SET environment = 'master' WHERE id = '{created.key.id}'")
    assert host.get("/me", created.secret).status_code == 401
    assert [event.reason for event in host.events()] == ["wrong_secret"]


def test_a_digest_moved_to_another_row_opens_nothing(host: Host) -> None:
    known, victim = host.create(), host.create()
    host.sql(
        "UPDATE archie_api_keys SET digest = (SELECT digest FROM archie_api_keys "
        f"WHERE id = '{known.key.id}') WHERE id = '{victim.key.id}'"
    )
    body = f"archie_{victim.key.id}_{known.secret[-38:-6]}"
    assert host.get("/me", body + checksum(body)).status_code == 401


def test_changes_hold_at_the_very_next_request(host: Host) -> None:
    created = host.create(roles=())
    key_id = created.key.id
    assert host.get("/viewer", created.secret).status_code == 403
    with host.app.app_context():
        host.keys.service.update(key_id, roles=["viewer"])
    assert host.get("/viewer", created.secret).status_code == 200
    with host.app.app_context():
        host.keys.service.disable(key_id)
    assert host.get("/viewer", created.secret).status_code == 401
    with host.app.app_context():
        host.keys.service.enable(key_id)
    assert host.get("/viewer", created.secret).status_code == 200
    host.sql(f"UPDATE archie_api_keys SET roles = '[]' WHERE id = '{key_id}'")
    assert host.get("/viewer", created.secret).status_code == 403, "also a change made past this package"


def test_a_missing_role_names_what_is_needed(host: Host) -> None:
    created = host.create(roles=["viewer"])
    answer = host.get("/editor", created.secret)
    assert answer.status_code == 403
    assert (
        answer.headers["WWW-Authenticate"]
        == 'Bearer realm="default", error="insufficient_scope", scope="viewer editor"'
    )
    assert json.loads(answer.data)["type"] == "/errors/forbidden"
    (event,) = host.events()
    assert (event.outcome, event.reason, event.key_id) == ("denied", "missing_role", created.key.id)


@pytest.mark.parametrize(
    ("networks", "address", "status"),
    [
        (["10.0.0.0/8"], "10.1.2.3", 200),
        (["10.0.0.0/8"], "11.1.2.3", 403),
        (["10.0.0.0/8"], "::ffff:10.1.2.3", 200),
        (["2001:db8::/32"], "2001:db8::7", 200),
        (["2001:db8::/32"], "2001:db9::7", 403),
        (["2001:db8::/32", "192.0.2.7"], "192.0.2.7", 200),
        (["0.0.0.0/0"], "::1", 403),
        (["0.0.0.0/0"], "", 403),
        (["0.0.0.0/0"], "unix:", 403),
        (["0.0.0.0/0"], "not an address", 403),
    ],
)
def test_allowed_networks(host: Host, networks: list[str], address: str, status: int) -> None:
    created = host.create(allowed_networks=networks)
    answer = host.get(
        "/me", created.secret, environ_overrides={"REMOTE_ADDR": address}, headers={"X-Forwarded-For": "10.0.0.1"}
    )
    assert answer.status_code == status
    if status == 403:
        assert answer.headers["WWW-Authenticate"] == 'Bearer realm="default", error="insufficient_scope"'
        assert [(e.outcome, e.reason) for e in host.events()] == [("denied", "network")]


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (None, 200),
        ("Basic dXNlcjpwYXNz", 200),
        ("Bearer eyJhbGciOiJIUzI1NiJ9.e30." + "x" * 300, 200),
        ("Bearer somebody-elses", 200),
        ("Bearer archie_mistyped", 401),
        pytest.param("Bearer " + mint("archie").text, 401, id="one that was never made"),
        pytest.param("Bearer " + mint("other").text, 401, id="one of another prefix"),
        ("Bearer a b", 400),
    ],
)
def test_optional_leaves_other_credentials_to_others(host: Host, header: str | None, status: int) -> None:
    answer = host.client.get("/optional", headers={} if header is None else {"Authorization": header})
    assert answer.status_code == status
    if status == 200:
        assert answer.json == {"id": None}
        assert host.events() == []


def test_optional_with_a_good_key(host: Host) -> None:
    created = host.create()
    assert host.get("/optional", created.secret).json == {"id": created.key.id}


def test_a_store_that_cannot_be_read_is_503_and_not_401(host: Host) -> None:
    created = host.create()
    host.sql("ALTER TABLE archie_api_keys RENAME TO away")
    answer = host.get("/me", created.secret)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert json.loads(answer.data)["type"] == "/errors/unavailable"
    assert "WWW-Authenticate" not in answer.headers
    host.sql("ALTER TABLE away RENAME TO archie_api_keys")
    assert host.get("/me", created.secret).status_code == 200
    assert [(e.outcome, e.reason, e.status) for e in host.events()] == [
        ("refused", "unavailable", 503),
        ("allowed", None, 200),
    ]


def test_an_older_pepper_is_replaced_at_the_first_use(make_host: MakeHost) -> None:
    old, new = "o" * 32, "n" * 32
    before = make_host(ARCHIE_KEYS_PEPPERS=[old])
    created = before.create()
    after = make_host(ARCHIE_KEYS_PEPPERS=[old, new])
    assert after.get("/me", created.secret).status_code == 200
    last = make_host(ARCHIE_KEYS_PEPPERS=[new])
    assert last.get("/me", created.secret).status_code == 200
    with last.app.app_context():
        assert last.keys.service.get(created.key.id).version == 1
        assert "key.rehashed" in [event.kind for event in last.keys.audit.find(key=created.key.id)]


def test_an_imported_digest_is_replaced_at_the_first_use(make_host: MakeHost) -> None:
    from passlib.hash import pbkdf2_sha256

    host = make_host(ARCHIE_KEYS_IMPORT_SCHEMES=["pbkdf2_sha256"])
    created = host.create()
    host.sql(f"UPDATE archie_api_keys SET digest = '{pbkdf2_sha256.using(rounds=10).hash(created.secret)}'")
    assert host.get("/me", created.secret).status_code == 200
    assert host.sql("SELECT digest FROM archie_api_keys")[0][0].startswith("$archie-hmac-sha256$")
    assert make_host().get("/me", created.secret).status_code == 200


def test_a_bad_secret_never_replaces_a_digest(make_host: MakeHost) -> None:
    created = make_host(ARCHIE_KEYS_PEPPERS=["o" * 32]).create()
    after = make_host(ARCHIE_KEYS_PEPPERS=["o" * 32, "n" * 32])
    digest = after.sql("SELECT digest FROM archie_api_keys")
    body = f"archie_{created.key.id}_{'0' * 32}"
    assert after.get("/me", body + checksum(body)).status_code == 401
    assert after.sql("SELECT digest FROM archie_api_keys") == digest


def test_a_key_that_is_refused_writes_nothing_to_the_database(make_host: MakeHost) -> None:
    """Not even a digest that is due to be made anew."""
    created = make_host(ARCHIE_KEYS_PEPPERS=["o" * 32]).create()
    after = make_host(ARCHIE_KEYS_PEPPERS=["o" * 32, "n" * 32])
    with after.app.app_context():
        after.keys.service.disable(created.key.id)
    digest = after.sql("SELECT digest FROM archie_api_keys")
    assert after.get("/me", created.secret).status_code == 401
    assert after.sql("SELECT digest FROM archie_api_keys") == digest


def test_from_no_pepper_to_the_first_in_a_rolling_deployment(make_host: MakeHost) -> None:
    """First every process takes the new pepper, then every process makes digests with it."""
    pepper = "n" * 32
    none, takes, makes = (make_host(ARCHIE_KEYS_PEPPERS=p) for p in ([], [pepper, ""], ["", pepper]))
    secret = none.create().secret
    assert [h.get("/me", secret).status_code for h in (none, takes, none)] == [200] * 3
    assert [h.get("/me", secret).status_code for h in (takes, makes, takes, makes)] == [200] * 4
    assert make_host(ARCHIE_KEYS_PEPPERS=[pepper]).get("/me", secret).status_code == 200


def test_a_key_in_the_path_or_the_user_agent_is_not_written_down(host: Host) -> None:
    host.app.add_url_rule("/<path:anything>", "anything", require_api_key(lambda anything: "x"))
    secret = host.create().secret
    host.get("/me", secret, headers={"User-Agent": f"x {secret} y", "X-Request-ID": secret})
    host.get(f"/{secret}")
    events = host.events()
    assert events[0].user_agent == f"x {secret[:-38]}… y"
    assert events[1].path == f"/{secret[:-38]}…" and secret[-38:] not in repr(events)
