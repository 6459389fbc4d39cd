"""The OpenAPI document says what the API does: valid, complete, and held against the API by Schemathesis."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from flask import Flask
from hypothesis import HealthCheck, Phase, given, settings
from openapi_spec_validator import OpenAPIV31SpecValidator
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import ignored_auth

from flask_archie_keys import ArchieKeys
from flask_archie_keys.faces.api.openapi import document, errors_of
from flask_archie_keys.faces.api.operations import OPERATIONS, Operation

from .conftest import ROLES, Api, MakeApi

METHODS = {"get", "put", "post", "patch", "delete"}


@pytest.fixture
def served(api: Api) -> dict[str, Any]:
    answer = api.host.client.get("/archie/v1/_openapi.json")
    assert (answer.status_code, answer.content_type) == (200, "application/json")
    found: dict[str, Any] = answer.json
    return found


def operations_of(described: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        operation["operationId"]: {**operation, "path": path, "method": method}
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
        if method in METHODS
    }


def test_it_is_valid_and_public(served: dict[str, Any]) -> None:
    OpenAPIV31SpecValidator(served).validate()
    assert served["openapi"] == "3.1.0"
    assert served["servers"] == [{"url": "/archie/v1"}]


def test_it_has_every_operation_and_nothing_of_the_host(api: Api, served: dict[str, Any]) -> None:
    assert set(operations_of(served)) == {operation.name for operation in OPERATIONS}
    assert sorted(served["paths"]) == [
        "/audit",
        "/explain",
        "/keys",
        "/keys/{keyId}",
        "/keys/{keyId}/disable",
        "/keys/{keyId}/enable",
        "/keys/{keyId}/rotate",
        "/keys/{keyId}/traffic",
        "/me",
        "/roles",
        "/roles/{name}",
    ]


def test_every_key_and_every_session_is_a_way_in(served: dict[str, Any]) -> None:
    schemes = served["components"]["securitySchemes"]
    assert {name: scheme["type"] for name, scheme in schemes.items()} == {"apiKey": "http", "session": "apiKey"}
    assert schemes["apiKey"]["scheme"] == "bearer"
    assert (schemes["session"]["in"], schemes["session"]["name"]) == ("cookie", "session")
    assert served["security"] == [{"apiKey": []}, {"session": []}]


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_every_error_is_described(served: dict[str, Any], operation: Operation) -> None:
    described = operations_of(served)[operation.name]
    wanted: dict[str, set[str]] = {}
    for error in errors_of(operation):
        wanted.setdefault(str(error.status), set()).add(error.type)
    assert {"400", "401", "403", "503"} <= set(wanted)
    for status, types in wanted.items():
        answer = described["responses"][status]
        assert list(answer["content"]) == ["application/problem+json"]
        assert all(f"`{type}`" in answer["description"] for type in types)
    assert set(described["responses"]) - set(wanted) <= {"200", "201", "204"}
    assert described["responses"]["401"]["headers"].keys() == {"WWW-Authenticate"}
    assert described["responses"]["503"]["headers"].keys() == {"Retry-After"}


def test_what_needs_a_grant_names_it(served: dict[str, Any]) -> None:
    for operation in OPERATIONS:
        text = operations_of(served)[operation.name].get("description", "")
        assert operation.grant is None or f"`{':'.join(operation.grant)}`" in text


def test_headers_are_described(served: dict[str, Any]) -> None:
    found = operations_of(served)
    assert found["createKey"]["responses"]["201"]["headers"].keys() == {"Location", "ETag"}
    assert found["getKey"]["responses"]["200"]["headers"].keys() == {"ETag"}
    assert found["saveRole"]["responses"].keys() >= {"200", "201", "412"}
    sent = {name: {p["name"] for p in o["parameters"] if p["in"] == "header"} for name, o in found.items()}
    assert sent["createKey"] == sent["rotateKey"] == {"Idempotency-Key"}
    assert sent["updateKey"] == sent["saveRole"] == {"If-Match"}
    assert found["listAuditEvents"]["responses"]["200"]["content"].keys() == {
        "application/json",
        "text/csv",
        "application/x-ndjson",
    }


def test_flask_keys_openapi_prints_it(make_api: MakeApi) -> None:
    api = make_api(ARCHIE_KEYS_FACES=("api", "cli"), ARCHIE_KEYS_API_PREFIX="/internal")
    printed = api.host.app.test_cli_runner().invoke(args=["keys", "openapi"])
    assert printed.exit_code == 0 and not printed.stderr
    assert json.loads(printed.stdout) == api.host.client.get("/internal/_openapi.json").json


def test_flask_keys_openapi_without_an_api_fails(make_api: MakeApi) -> None:
    api = make_api(ARCHIE_KEYS_FACES=("cli",))
    printed = api.host.app.test_cli_runner().invoke(args=["keys", "openapi"])
    assert (printed.exit_code, printed.stdout) == (1, "")
    assert "ARCHIE_KEYS_FACES" in printed.stderr


def test_the_command_line_does_not_import_the_api_for_others() -> None:
    code = "import sys, flask_archie_keys.faces.cli\nassert 'flask_archie_keys.faces.api' not in sys.modules"
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


# -- held against the API


class Tried:
    """An application, its document as Schemathesis reads it, and a key that may do everything."""

    def __init__(self, app: Flask, secret: str) -> None:
        self.headers = {"Authorization": f"Bearer {secret}"}
        self.schema = schemathesis.openapi.from_dict(document(app, "/archie/v1"))
        self.schema.app = app
        checks = self.schema.config.checks
        # what a schema cannot say: that a name is known, that a text is no formula, that a key is of that version
        checks.positive_data_acceptance.expected_statuses = ["2xx", "403", "404", "409", "412", "422"]
        checks.negative_data_rejection.expected_statuses = ["400", "403", "404", "409", "412", "415", "422", "428"]
        self.operations = {found.ok().definition.raw["operationId"]: found.ok() for found in self._all()}

    def _all(self) -> Iterator[Any]:
        return iter(self.schema.get_all_operations())

    def ask(self, case: Any) -> None:
        """Ask, and let Schemathesis check the answer against the document."""
        if case.query and case.operation.method == "get":
            case.query.pop("cursor", None)  # only the API can make one
        if isinstance(case.body, dict) and case.body.get("resource") is None:
            case.body.pop("action", None)  # it goes with a resource
        answer = case.call(headers=self.headers)
        assert answer.status_code != 500
        case.validate_response(answer, excluded_checks=[ignored_auth])  # it takes the header for a made-up one


@pytest.fixture(scope="module")
def tried(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tried]:
    app = Flask("tried", instance_path=str(tmp_path_factory.mktemp("instance")))
    app.config.update(ARCHIE_KEYS_FACES=("api",), ARCHIE_KEYS_AUDIT={"background": False}, ARCHIE_KEYS_ROLES=ROLES)
    keys = ArchieKeys(app)
    with app.app_context():
        secret = keys.service.create(name="admin", roles=["admin"]).secret
    yield Tried(app, secret)
    keys.close(app)


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=lambda mode: mode.value)
@pytest.mark.parametrize("name", [operation.name for operation in OPERATIONS])
def test_the_api_does_what_the_document_says(tried: Tried, name: str, mode: GenerationMode) -> None:
    strategy = tried.operations[name].as_strategy(generation_mode=mode)
    limits = settings(
        max_examples=8,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    limits(given(strategy)(tried.ask))()
