"""The page about decision points says what is so."""

from __future__ import annotations

import json
from typing import Any

from werkzeug.datastructures import ImmutableDict

from flask_archie_keys.domain.permissions import Allowed, Denied
from flask_archie_keys.permissions import wire
from flask_archie_keys.permissions.authzen import BODY_MAX, FILTERS_MAX, TIMEOUT_MAX, TIMEOUT_MIN, WHY_MAX
from flask_archie_keys.permissions.service import PermissionsService

from ..docs.blocks import DOCS, blocks_of, text_of
from ..support.decision_point import DecisionPoint
from .asking import REQUEST, VIEWER, key, read
from .conftest import Ask

BLOCKS = blocks_of(DOCS / "decision_point.rst")
DOCUMENTS = [json.loads(block.text) for block in BLOCKS if block.language == "json"]


def test_the_question(point: DecisionPoint, connect: Ask) -> None:
    connect(point.url).decide(VIEWER, "orders", "read", REQUEST)
    (question,) = point.take()["questions"]
    assert json.loads(question["body"]) == DOCUMENTS[0]


DECISIONS = [
    Allowed(("region = $context.region",), why="viewers see their region"),
    Allowed(("region = $context.region", "owner_id = $userId")),
    Denied("missing_grant", scope="orders:read", why="Request failed policy C076E82F"),
]


def test_the_answers() -> None:
    assert [read(told) for told in DOCUMENTS[1:]] == DECISIONS


def test_a_service_of_ones_own() -> None:
    found: dict[str, Any] = {}
    (block,) = (block for block in BLOCKS if block.name == "decision_point-1")
    exec(compile(block.text, "decision_point.rst", "exec"), found)  # the sample of the page
    service: PermissionsService = found["ReadOnly"]()
    assert service.decide(VIEWER, "orders", "read") == Allowed(("region = $context.region",))
    assert service.decide(VIEWER, "orders", "delete") == Denied(
        "missing_grant", scope="orders:delete", why="read-only this week"
    )
    assert not service.decide(key("editor", context=ImmutableDict()), "orders", "read")


def test_the_figures() -> None:
    text = text_of("decision_point")
    assert f"at most {BODY_MAX // 1024} KiB" in text
    assert f"a list of at most {FILTERS_MAX}" in text
    assert f"cut to {WHY_MAX} characters" in text
    assert f"kept for {wire.IDLE_FOR:.0f} seconds" in text
    assert (TIMEOUT_MIN.total_seconds(), TIMEOUT_MAX.total_seconds()) == (0.01, 60)
