"""Answers that are none: other applications, proxies, old versions and liars. Each is an error of ours that says so."""

from __future__ import annotations

import json
from typing import Any

import pytest

from flask_archie_keys import (
    ArchieKeysError,
    Conflict,
    ContentTooLarge,
    Forbidden,
    KeyInUse,
    MethodNotAllowed,
    NotFound,
    PreconditionRequired,
    Replayed,
    Unauthorized,
    Unavailable,
    UnsupportedMediaType,
    ValidationFailed,
    VersionMismatch,
)
from flask_archie_keys.client import BadAnswer, NoAnswer
from flask_archie_keys.client.answers import in_python
from flask_archie_keys.faces.problems import in_json

from .conftest import Play
from .support import EVENT, SECRET, Clients, answer, problem

ID = "7f3Kq2Zt9bXa"
KEY: dict[str, Any] = {
    **dict.fromkeys(("owner", "expiresAt", "lastUsedAt", "disabledAt", "deletedAt", "replaces", "replacedBy")),
    **dict.fromkeys(("rateLimit", "allowedNetworks")),
    "id": ID,
    "name": "CI",
    "prefix": "archie",
    "hint": "archie_7f3Kq2Zt9bXa_…",
    "project": "p",
    "environment": "e",
    "roles": [],
    "context": {},
    "status": "active",
    "createdAt": "2030-01-01T00:00:00.000Z",
    "createdBy": "system",
    "version": 1,
}


def key(**members: Any) -> dict[str, Any]:
    return {"data": {**KEY, **members}}


@pytest.mark.parametrize(
    "step",
    [
        answer(200, "<html>Welcome</html>", "text/html"),
        answer(200, ""),
        answer(200, "["),
        answer(200, "[" * 200_000),
        answer(200, b'\xff\xfe{\x00"\x00'),
        answer(200, []),
        answer(200, {"data": None}),
        answer(200, {"data": {"id": ID}}),
        answer(200, key(status="lost")),
        answer(200, key(version="1")),
        answer(200, key(createdAt="yesterday")),
        answer(200, key(createdAt="2030-01-01T00:00:00")),
        answer(200, key(createdAt="0001-01-01T00:00:00+14:00")),
        answer(200, key(roles=None)),
        answer(204),
        answer(404, "<html>Not Found</html>", "text/html"),
        answer(404, {"type": "/errors/not-found"}, "application/problem+json"),
        answer(404, "[" * 200_000, "application/problem+json"),
        answer(404, {"detail": "no such page"}),
        answer(401, "Login, please", "text/plain"),
        answer(500, "<html>Sorry</html>", "text/html"),
        problem(500, "unheard-of"),
        problem(418, "teapot"),
        answer(302, "", Location="https://elsewhere.example/login"),
        answer(200, b"no gzip", Content_Encoding="gzip"),
    ],
)
def test_wrong_answers(clients: Clients, play: Play, step: Any) -> None:
    server = play(step)
    with pytest.raises(BadAnswer) as raised:
        clients(server.url, retries=0).keys.get(ID)
    assert type(raised.value) is BadAnswer and raised.value.__context__ is None
    assert len(str(raised.value)) < 500


def test_what_is_new_in_an_answer_is_passed_over(clients: Clients, play: Play) -> None:
    assert clients(play(answer(200, key(colour="red"))).url).keys.get(ID).name == "CI"


@pytest.mark.parametrize(
    ("step", "error", "facts"),
    [
        (problem(413, "bad-request"), ContentTooLarge, {}),
        (problem(401, "unauthorized"), Unauthorized, {"reason": "no_credentials", "key_id": None}),
        (
            problem(403, "forbidden", headers={"WWW-Authenticate": 'Bearer realm="p", scope="api_keys:read"'}),
            Forbidden,
            {"scope": "api_keys:read"},
        ),
        (problem(404, "not-found"), NotFound, {}),
        (
            problem(405, "method-not-allowed", headers={"Allow": "GET, HEAD"}),
            MethodNotAllowed,
            {"allowed": ("GET", "HEAD")},
        ),
        (problem(409, "conflict"), Conflict, {}),
        (problem(409, "conflict", keyId=ID), Replayed, {"key_id": ID}),
        (problem(409, "key-in-use"), KeyInUse, {}),
        (problem(412, "precondition-failed"), VersionMismatch, {}),
        (problem(415, "unsupported-media-type"), UnsupportedMediaType, {}),
        (problem(428, "precondition-required"), PreconditionRequired, {}),
        (problem(503, "unavailable", headers={"Retry-After": "5"}), Unavailable, {"retry_after": 5}),
        (problem(422, "validation-failed"), ValidationFailed, {"errors": ()}),
        (answer(502, "<html>Bad Gateway</html>", "text/html"), Unavailable, {"retry_after": 1}),
        (answer(504, "<html>Time-out</html>", "text/html"), Unavailable, {"retry_after": 1}),
    ],
)
def test_problems(clients: Clients, play: Play, step: Any, error: type[ArchieKeysError], facts: dict[str, Any]) -> None:
    with pytest.raises(error) as raised:
        clients(play(step).url, retries=0).me()
    assert type(raised.value) is error
    assert {name: getattr(raised.value, name) for name in facts} == facts


def test_refused_fields_have_their_names_of_python(clients: Clients, play: Play) -> None:
    errors = [{"field": "expiresAt", "rule": "range", "message": "is past"}]
    errors += [{"field": "context.fooBar", "rule": "type", "message": "is odd"}]
    with pytest.raises(ValidationFailed) as raised:
        clients(play(problem(422, "validation-failed", errors=errors)).url).keys.create(name="CI")
    assert [entry.field for entry in raised.value.errors] == ["expires_at", "context.fooBar"]


@pytest.mark.parametrize("field", ["name", "expires_at", "allowed_networks", "context.fooBar", "grants[0].filter", ""])
def test_names_of_fields_go_to_json_and_back(field: str) -> None:
    assert in_python(in_json(field)) == field


def test_a_redirect_says_where_it_would_go_and_is_not_followed(clients: Clients, play: Play) -> None:
    other = play(answer(200, key()))
    server = play(answer(308, "", Location=f"{other.url}/keys/{ID}"))
    with pytest.raises(BadAnswer, match="not followed"):
        clients(server.url).keys.get(ID)
    assert not other.seen


def test_the_key_goes_nowhere_in_errors_and_reprs(
    clients: Clients, play: Play, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor does one that an answer holds which cannot be read."""
    caplog.set_level("DEBUG")
    new = SECRET.replace("7f3K", "8f3K")
    server = play(answer(201, {"data": {**KEY, "secret": new, "version": None}}))
    client = clients(server.url)
    with pytest.raises(BadAnswer) as raised:
        client.keys.create(name="CI")
    with pytest.raises(ArchieKeysError) as problem_raised:
        clients(play(problem(409, "conflict", detail=f"{new} and {SECRET}")).url).me()
    url = server.url
    server.close()
    with pytest.raises(NoAnswer) as no_answer:
        clients(url, retries=0).me()
    errors = [raised.value, problem_raised.value, no_answer.value]
    shown = [caplog.text, repr(client), *map(repr, errors), *(repr(vars(error)) for error in errors)]
    shown += [repr(error.__context__) for error in errors]
    for text in shown:
        assert SECRET[-38:] not in text and new[-38:] not in text
    assert all(error.__context__ is None and error.__cause__ is None for error in errors)


def test_cookies_are_not_kept(clients: Clients, play: Play) -> None:
    server = play(answer(200, key(), Set_Cookie="session=abc; Path=/"))
    client = clients(server.url)
    client.keys.get(ID)
    client.keys.get(ID)
    assert [seen.headers.get("Cookie") for seen in server.seen] == [None, None]


def test_headers_are_sent_with_each_request(clients: Clients, play: Play) -> None:
    server = play(answer(200, key()))
    clients(server.url, headers={"environment": "staging"}).keys.get(ID)
    (seen,) = server.seen
    assert (seen.headers["environment"], seen.headers["Authorization"]) == ("staging", f"Bearer {SECRET}")
    assert (seen.path, seen.headers["Accept"]) == (f"/archie/v1/keys/{ID}", "application/json")


@pytest.mark.parametrize(
    "content", [b"[]\n", b"\n", b"<html>\n", json.dumps(KEY).encode() + b"\n", EVENT + b"[" * 100_000 + b"\n"]
)
def test_wrong_lines_of_a_stream(clients: Clients, play: Play, content: bytes) -> None:
    with pytest.raises(BadAnswer, match="has a line that is not"):
        list(clients(play(answer(200, content, "application/x-ndjson")).url).audit.stream())


def test_a_line_of_a_stream_has_an_end(clients: Clients, play: Play) -> None:
    with pytest.raises(BadAnswer, match="too long"):
        list(clients(play(answer(200, b" " * 1_200_000, "application/x-ndjson")).url).audit.stream())


def test_only_a_line_feed_ends_a_line(clients: Clients, play: Play) -> None:
    events = list(clients(play(answer(200, EVENT * 3, "application/x-ndjson")).url).audit.stream())
    assert [event.path for event in events] == ["/ \u2028 "] * 3


def test_a_stream_can_be_left(clients: Clients, play: Play) -> None:
    stream = clients(play(answer(200, EVENT * 5000, "application/x-ndjson")).url).audit.stream()
    assert next(stream).id == "0"
    stream.close()
