from __future__ import annotations

import json

import pytest

from flask_archie_keys import errors
from flask_archie_keys.config import Config
from flask_archie_keys.domain.keytext import mint
from flask_archie_keys.faces import problems

CASES: list[tuple[errors.ServiceError, int, str, str | None]] = [
    (errors.BadRequest("x"), 400, "/errors/bad-request", 'Bearer realm="default", error="invalid_request"'),
    (errors.ContentTooLarge("x"), 413, "/errors/bad-request", 'Bearer realm="default", error="invalid_request"'),
    (errors.MethodNotAllowed("x", allowed=["GET"]), 405, "/errors/method-not-allowed", None),
    (errors.Replayed("x", key_id="k"), 409, "/errors/conflict", None),
    (errors.UnsupportedMediaType("x"), 415, "/errors/unsupported-media-type", None),
    (errors.PreconditionRequired("x"), 428, "/errors/precondition-required", None),
    (errors.Unauthorized("x", reason="no_credentials"), 401, "/errors/unauthorized", 'Bearer realm="default"'),
    (
        errors.Unauthorized("x", reason="expired", key_id="k"),
        401,
        "/errors/unauthorized",
        'Bearer realm="default", error="invalid_token"',
    ),
    (
        errors.Forbidden("x", reason="missing_grant", scope="orders:update"),
        403,
        "/errors/forbidden",
        'Bearer realm="default", error="insufficient_scope", scope="orders:update"',
    ),
    (errors.KeyNotFound("x"), 404, "/errors/not-found", None),
    (errors.RoleNotFound("x"), 404, "/errors/not-found", None),
    (errors.RowNotFound("x"), 404, "/errors/not-found", None),
    (errors.Conflict("x"), 409, "/errors/conflict", None),
    (errors.KeyInUse("x"), 409, "/errors/key-in-use", None),
    (errors.RoleInUse("x"), 409, "/errors/conflict", None),
    (errors.VersionMismatch("x"), 412, "/errors/precondition-failed", None),
    (errors.ValidationFailed.one("name", "required", "must not be empty"), 422, "/errors/validation-failed", None),
    (errors.StoreUnavailable("x", retry_after=7), 503, "/errors/unavailable", None),
    (errors.AuditUnavailable("x"), 503, "/errors/unavailable", None),
    (errors.PermissionsUnavailable("x"), 503, "/errors/unavailable", None),
]


@pytest.mark.parametrize(("error", "status", "type", "challenge"), CASES)
def test_the_response_of_each_error(error: errors.ServiceError, status: int, type: str, challenge: str | None) -> None:
    response = problems.respond(error, Config())
    body = json.loads(response.data)
    assert (response.status_code, body["status"], body["type"]) == (status, status, type)
    assert response.content_type == "application/problem+json"
    assert response.headers.get("WWW-Authenticate") == challenge
    assert "reason" not in body and b"expired" not in response.data


def test_refused_fields_are_listed() -> None:
    body = problems.body(errors.ValidationFailed.one("name", "required", "must not be empty"))
    assert body["errors"] == [{"field": "name", "rule": "required", "message": "must not be empty"}]


def test_no_error_repeats_a_secret() -> None:
    secret = mint("archie").text
    for error in (
        errors.KeyNotFound(f"no {secret!r}"),
        errors.ValidationFailed.one("roles", "unknown", f"no {secret!r}"),
    ):
        assert secret[-38:] not in json.dumps(problems.body(error)) + str(error) + repr(error)


def test_the_cause_of_a_503_is_for_the_log(caplog: pytest.LogCaptureFixture) -> None:
    error = errors.StoreUnavailable("the key store cannot be read")
    error.__cause__ = OSError("no such host: db.internal")
    assert b"db.internal" not in problems.respond(error, Config()).data
    assert "503 answered: the key store cannot be read: no such host: db.internal" in caplog.text


def test_unavailable_says_when_to_try_again() -> None:
    assert problems.respond(errors.Unavailable("x", retry_after=7), Config()).headers["Retry-After"] == "7"


def test_every_error_that_reaches_a_client_has_its_case() -> None:
    def leaves(of: type[errors.ServiceError]) -> set[type]:
        ours = [sub for sub in of.__subclasses__() if sub.__module__ == errors.__name__]  # a client has more
        return {leaf for sub in ours for leaf in leaves(sub)} or {of}

    assert leaves(errors.ServiceError) <= {type(error) for error, *_ in CASES}


def test_names_of_fields_are_those_of_json_or_those_that_the_caller_gave() -> None:
    wrong = [errors.FieldError("expires_at", "unknown", "is no member here")]
    assert problems.body(errors.ValidationFailed(wrong))["errors"][0]["field"] == "expiresAt"
    assert problems.body(errors.ValidationFailed(wrong, as_given=True))["errors"][0]["field"] == "expires_at"
