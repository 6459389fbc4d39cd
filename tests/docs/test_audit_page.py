"""What the page about the audit log says is what the code writes."""

from __future__ import annotations

import ast
import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import flask_archie_keys
from flask_archie_keys import AuditEvent
from flask_archie_keys.audit import event
from flask_archie_keys.audit.search import Filters
from flask_archie_keys.faces.cli import keys_command

from .blocks import DOCS, blocks_of, first_column, text_of


def reasons_in_the_code() -> set[str]:
    """Every reason that an error, a denial or a refusal is made with."""
    found: set[Any] = set()
    package = Path(flask_archie_keys.__file__).parent
    outside = {package / "client", package / "faces" / "pages"}  # they make errors of answers, and fields of forms
    for path in package.glob("**/*.py"):
        if outside & set(path.parents):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                found |= {
                    k.value.value for k in node.keywords if k.arg == "reason" and isinstance(k.value, ast.Constant)
                }
                name = node.func.id if isinstance(node.func, ast.Name) else ""
                if name in ("Refusal", "Denied") and isinstance(node.args[0], ast.Constant):
                    found.add(node.args[0].value)
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == "reason":
                found.add(node.value.value if isinstance(node.value, ast.Constant) else None)
    return found - {None}


def test_audit_reasons_are_documented() -> None:
    in_code = reasons_in_the_code()
    assert {"wrong_secret", "missing_role", "network", "invalid_request"} <= in_code  # each way of naming one is seen
    assert set(first_column("audit", "Reasons")) == in_code


def test_audit_fields_are_documented() -> None:
    assert first_column("audit", "Fields") == [
        "id",
        "occurred_at",
        *("project", "environment", "kind", "key_id", "actor", "outcome", "reason", "method", "route", "path"),
        *("status", "duration_ms", "remote_address", "user_agent", "request_id"),
        *("count", "truncated", "streamed", "details"),
    ]
    assert set(first_column("audit", "Fields")) == {field.name for field in dataclasses.fields(AuditEvent)}


def test_kinds_of_changes_are_documented() -> None:
    services = Path(flask_archie_keys.__file__).parent / "services"
    source = "".join((services / f"{name}.py").read_text(encoding="utf-8") for name in ("keys", "roles"))
    in_code = set(re.findall(r'"((?:key|role)\.[a-z_]+)"', source))
    assert len(in_code) >= 11
    assert set(re.findall(r"``((?:key|role)\.[a-z_]+)``", text_of("audit"))) == in_code


def test_filters_of_the_audit_log_are_documented() -> None:
    filters = set(Filters.__annotations__)
    reading = text_of("audit").partition("Reading -------")[2].partition("Pass ``next_cursor``")[0]
    assert {name for name in filters if f"``{name}" not in reading} == set()
    assert {f"--{name}" for name in filters} <= {name for p in keys_command.commands["audit"].params for name in p.opts}


def test_members_of_spool_lines_are_documented() -> None:
    request = event.Request("GET", "/r", "/p" * 5000, "::1", "agent", "id")
    facts = {"key_id": "k", "outcome": "refused", "reason": "r", "status": 401, "duration_us": 1, "count": 2}
    first = event.first_line("1", "refused", 1, event.head("p", "e"), request, **facts)  # type: ignore[arg-type]
    last = event.completed_line("1", 200, 5, outcome="denied", reason="r", streamed=True)
    text = text_of("audit")
    members = set(json.loads(first)) | set(json.loads(last))
    assert {"truncated", "streamed", "count", "duration_us"} <= members
    for member in members:
        assert f"``{member}``" in text or f'"{member}":' in text, member


def test_the_spool_lines_of_the_page_are_spool_lines() -> None:
    lines = [b.text for b in blocks_of(DOCS / "audit.rst") if b.language == "json"]
    assert [event.parse(line.encode())["phase"] for line in lines] == ["received", "completed"]
