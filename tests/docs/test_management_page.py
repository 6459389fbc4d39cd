"""What the pages about the management API say is so, with their own applications."""

from __future__ import annotations

import csv
import json
import re
from types import ModuleType
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from flask_archie_keys.faces.api.openapi import document
from flask_archie_keys.faces.api.operations import OPERATIONS
from flask_archie_keys.faces.api.requests import BODY_MAX

from .blocks import DOCS, Block, blocks_of, text_of
from .samples import Samples, get, id_of, made, run


@pytest.fixture
def page(samples: Samples) -> ModuleType:
    page = samples.load("management", "management")
    page.app.secret_key = "for-the-" + "tests-only"
    return page


def console(number: int) -> list[str]:
    return [block.text for block in blocks_of(DOCS / "management.rst") if block.language == "console"][number].split(
        "$ "
    )


def curl(page: ModuleType, line: str, key: str) -> Any:
    """What a line with curl asks, without a network."""
    flat = line.replace("\\\n", " ").replace("$KEY", key)
    headers = dict(header.split(": ", 1) for header in re.findall(r'-H "([^"]+)"', flat))
    content = re.search(r"-d '([^']+)'", flat)
    found = re.search(r"http://127.0.0.1:5000(/[^\s\"]+)", flat)
    assert found is not None
    method = "POST" if content else "GET"
    return page.app.test_client().open(
        found[1], method=method, headers=headers, data=content[1] if content else None, buffered=True
    )


def test_the_first_key_makes_others(page: ModuleType) -> None:
    _, first, second = console(0)
    names = re.findall(r"flask keys create (\w+) --role (\w+) --role (\w+) --quiet", first)[0]
    key = made(page.app, names[0], "--role", names[1], "--role", names[2])
    answer = curl(page, second, key)
    assert (answer.status_code, answer.json["data"]["name"]) == (201, "Nightly import")
    assert get(page.app, "/archie/v1/me", answer.json["data"]["secret"]).status_code == 200


def test_the_export_is_csv(page: ModuleType) -> None:
    key = made(page.app, "Bootstrap", "--role", "key_manager")
    answer = curl(page, console(1)[1], key)
    assert answer.mimetype == "text/csv"
    assert next(csv.reader(answer.text.splitlines()))[:2] == ["id", "occurredAt"]


def test_a_user_changes_with_a_token(page: ModuleType) -> None:
    client = page.app.test_client()
    with client.session_transaction() as session:
        session["user"] = "ann"
    path, body = "/archie/v1/keys", {"name": "x", "roles": ["viewer"]}
    assert client.get(path).status_code == 200
    assert client.post(path, json=body).status_code == 400
    token = client.get("/dashboard/token").json["token"]
    assert client.post(path, json=body, headers={"X-CSRFToken": token}).status_code == 201


def test_the_answer_to_a_replay(page: ModuleType) -> None:
    key = made(page.app, "Bootstrap", "--role", "key_manager")
    asked = {"method": "POST", "json": {"name": "x"}, "Idempotency-Key": "run-7"}
    key_id = get(page.app, "/archie/v1/keys", key, **asked).json["data"]["id"]
    shown: Block = next(block for block in blocks_of(DOCS / "management.rst") if block.language == "json")
    assert get(page.app, "/archie/v1/keys", key, **asked).json == json.loads(shown.text.replace("7f3Kq2Zt9bXa", key_id))


def test_the_numbers_of_the_page() -> None:
    assert f"above {BODY_MAX:,} bytes".replace(",", " ") in text_of("management")


def test_every_operation_has_a_section(samples: Samples) -> None:
    """The directive makes one of each; here the names that they get."""
    import sys

    sys.path.insert(0, str(DOCS / "_ext"))
    try:
        import archie_rest
    finally:
        sys.path.remove(str(DOCS / "_ext"))
    app = samples.load("management", "management").app
    described = document(app, "/archie/v1")
    rest = "\n".join(archie_rest.operations(described))
    assert set(re.findall(r"^\.\. _rest-(\w+):$", rest, re.MULTILINE)) == {o.name.lower() for o in OPERATIONS}
    for operation in OPERATIONS:
        assert f"\n{operation.method} " in rest
    shapes = "\n".join(archie_rest.shapes(described))
    links = set(re.findall(r"<rest-shape-(\w+)>", rest + shapes))
    assert links <= set(re.findall(r"^\.\. _rest-shape-(\w+):$", shapes, re.MULTILINE)) and len(links) > 10


# -- the application's own document


def test_what_stands_before_a_view(samples: Samples) -> None:
    page = samples.load("openapi", "openapi_plain")
    assert f'"{page.asked.description}"' in text_of("openapi")
    assert page.asked.grants == ("orders:read",) and page.asked.roles == ("viewer", "editor")


@pytest.mark.parametrize(
    ("group", "path", "grants"),
    [
        ("openapi_apispec", "/api/orders", {"get": "orders:read"}),
        ("openapi_smorest", "/api/orders", {"get": "orders:read", "post": "orders:write"}),
        ("openapi_apiflask", "/api/orders/{number}", {"post": "orders:write"}),
    ],
)
def test_the_bridges(samples: Samples, group: str, path: str, grants: dict[str, str]) -> None:
    page = samples.load("openapi", group)
    spec = get(page.app, "/openapi.json").json
    with page.app.app_context():
        scheme = page.keys.openapi_security(next(e for e in page.app.view_functions if "rder" in e), "GET").schemes
    assert spec["components"]["securitySchemes"] == scheme
    for method, grant in grants.items():
        operation = spec["paths"][path][method]
        assert operation["security"] == [{"apiKey": []}]
        assert operation["description"].endswith(f"Needs an API key with the grant {grant}.")
        assert {"400", "401", "403", "503"} <= set(operation["responses"])
        assert get(page.app, path.replace("{number}", "7"), method=method.upper()).status_code == 401
    if spec["openapi"].startswith("3.1"):
        OpenAPIV31SpecValidator(spec).validate()


def test_views_behind_the_bridges_still_answer(samples: Samples) -> None:
    page = samples.load("openapi", "openapi_apiflask")
    run(page.app, "init-db")
    with page.app.app_context():
        page.keys.roles.save("clerk", grants=[{"resource": "orders", "write": True}])
    secret = made(page.app, "Clerk", "--role", "clerk")
    assert id_of(secret)
    answer = get(page.app, "/api/orders/7", secret, "POST", {"count": 1})
    assert (answer.status_code, answer.json) == (201, {"number": 7})
    assert get(page.app, "/api/orders/7", secret, "POST", {}).status_code == 422
