"""What the page about GraphQL says is so, with its own application and its own documents."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from graphql import parse, validate

from flask_archie_keys.faces.graphql import execution

from .blocks import DOCS, Block, blocks_of, lines_of_flask_keys
from .samples import Samples, get, id_of, run

PAGE = blocks_of(DOCS / "graphql.rst")
PATH = "/archie/v1/graphql"


@pytest.fixture
def app(samples: Samples) -> Flask:
    return samples.load("graphql", "graphql").app


@pytest.fixture
def bootstrap(app: Flask) -> str:
    """The key of the pipelines, made as the page says."""
    (line,) = (line for block in PAGE if block.language == "console" for line in lines_of_flask_keys(block))
    return run(app, *line).stdout.strip()


def block(name: str) -> Block:
    (found,) = (block for block in PAGE if block.name == name)
    return found


def ask(app: Flask, secret: str, body: Any) -> Any:
    answer = get(app, PATH, secret, "POST", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json


@pytest.mark.parametrize("found", [b for b in PAGE if b.language == "graphql"], ids=lambda block: block.name)
def test_the_documents_fit_the_schema(found: Block) -> None:
    assert validate(execution.schema(), parse(found.text)) == []


def test_asking(app: Flask, bootstrap: str) -> None:
    answer = ask(app, bootstrap, {"query": block("graphql_ask-1").text})
    assert [key["name"] for key in answer["data"]["apiKeys"]["data"]] == ["Pipelines"]
    assert answer["data"]["me"] == {"name": "Pipelines", "roles": ["bootstrap", "deployer"]}


def test_a_pipeline_makes_its_key_replaces_it_and_ends_the_old_one(app: Flask, bootstrap: str) -> None:
    create = json.loads(block("graphql_create").text)
    made = ask(app, bootstrap, create)["data"]["createApiKey"]
    assert id_of(made["secret"]) == made["apiKey"]["id"]
    again = ask(app, bootstrap, create)
    assert again["data"] == {"createApiKey": None}
    assert again["errors"][0]["extensions"]["keyId"] == made["apiKey"]["id"]
    changes = block("graphql_rotate-1").text
    rotate = {"query": changes, "operationName": "Rotate", "variables": {"id": made["apiKey"]["id"]}}
    new = ask(app, bootstrap, rotate)["data"]["rotateApiKey"]
    finish = {"query": changes, "operationName": "Finish", "variables": {"id": made["apiKey"]["id"]}}
    assert ask(app, bootstrap, finish)["errors"][0]["extensions"]["type"] == "/errors/key-in-use"
    assert new["apiKey"]["id"] != made["apiKey"]["id"]


def test_the_error_of_the_page(app: Flask, bootstrap: str) -> None:
    shown = next(block for block in PAGE if block.language == "json" and '"errors"' in block.text)
    answer = ask(app, bootstrap, {"query": '{ apiKey(id: "7f3Kq2Zt9bXa") { id } }'})
    assert answer == json.loads(shown.text)


def test_the_script_of_the_page_sends_what_the_page_saves() -> None:
    script = block("graphql_pipeline").text
    for part in ("--data @create.json", '"$API/graphql"', "Authorization: Bearer $BOOTSTRAP_KEY", "application/json"):
        assert part in script
    assert "``create.json``" in Path(DOCS / "graphql.rst").read_text(encoding="utf-8")
