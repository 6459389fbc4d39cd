"""Makes the reference of the management API from its OpenAPI document.

=============================  =================================================================
``archie-rest:: operations``   a section for each operation: what it takes and what it answers
``archie-rest:: shapes``       a table for each shape of bodies and answers
=============================  =================================================================
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from archie_reference import Generated, literal
from flask import Flask
from sphinx.application import Sphinx

from flask_archie_keys.faces.api.openapi import document

METHODS = ("get", "post", "put", "patch", "delete")
ENVELOPE = re.compile(r"^(?:One|Many)_")


class Rest(Generated):
    """A part of the reference."""

    required_arguments = 1

    def rest(self) -> Iterator[str]:
        described = document(Flask("reference"), "/archie/v1")
        return {"operations": operations, "shapes": shapes}[self.arguments[0]](described)


def operations(described: dict[str, Any]) -> Iterator[str]:
    """A section for each operation, in the order of paths."""
    for path, methods in sorted(described["paths"].items()):
        for method in METHODS:
            if method in methods:
                yield from operation(f"{method.upper()} {path}", methods[method], described)


def operation(title: str, facts: dict[str, Any], described: dict[str, Any]) -> Iterator[str]:
    """One operation."""
    yield from (f".. _rest-{facts['operationId'].lower()}:", "", title, "~" * len(title), "")
    yield from (literal(facts["summary"]), "", literal(facts.get("description", "Needs no grant.")), "")
    rows = [parameter(each) for each in facts["parameters"]]
    if rows:
        yield from table(("Parameter", "In", "Is"), rows, (22, 10, 68))
    if "requestBody" in facts:
        body = facts["requestBody"]
        optional = "" if body["required"] else ", which may be left out"
        types = ", ".join(f"``{media_type}``" for media_type in body["content"])
        yield from (
            f"Body: {kind(next(iter(body['content'].values()))['schema'], described)}{optional}, as {types}.",
            "",
        )
    yield from table(("Status", "Answer"), [answer(*each, described) for each in facts["responses"].items()], (10, 90))


def parameter(facts: dict[str, Any]) -> tuple[str, str, str]:
    """A row for a parameter."""
    schema = facts["schema"]
    text = [facts.get("description") or schema.get("description", ""), constraints(schema)]
    if facts["required"] and facts["in"] != "path":
        text.append("Required.")
    return f"``{facts['name']}``", facts["in"], " ".join(filter(None, map(literal, text)))


def constraints(schema: dict[str, Any]) -> str:
    """The type of a value, its bounds and its default, in words."""
    words = [f"one of {', '.join(f'`{v}`' for v in schema['enum'])}" if "enum" in schema else schema.get("type", "")]
    low, high = schema.get("minimum", schema.get("minLength")), schema.get("maximum", schema.get("maxLength"))
    if high is not None:
        words.append(f"at most {high}" if low is None else f"{low} to {high}")
    if "pattern" in schema and "\0" not in schema["pattern"] and "u0000" not in schema["pattern"]:
        words.append(f"`{schema['pattern']}`")
    if schema.get("format"):
        words.append(schema["format"])
    if "default" in schema:
        words.append(f"`{str(schema['default']).lower()}` when left out")
    text = ", ".join(filter(None, words))
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def answer(status: str, facts: dict[str, Any], described: dict[str, Any]) -> tuple[str, str]:
    """A row for a response."""
    if status >= "400":
        text = literal(facts["description"])
    elif "content" not in facts:
        text = "Nothing."
    else:
        content = facts["content"]
        text = kind(content["application/json"]["schema"], described)
        others = [f"``{media_type}``" for media_type in content if media_type != "application/json"]
        text += f"; or {' or '.join(others)}" if others else ""
    headers = [f"``{name}``" for name in facts.get("headers", ())]
    return status, f"{text}. With {', '.join(headers)}." if headers else f"{text.removesuffix('.')}."


def kind(schema: dict[str, Any], described: dict[str, Any]) -> str:
    """A type as text, with links to shapes; envelopes as what they are."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        if ENVELOPE.match(name):
            data = described["components"]["schemas"][name]["properties"]["data"]
            rest = ', "meta": {"pagination": …}' if name.startswith("Many") else ""
            return f'{{"data": {kind(data, described)}{rest}}}'
        return f":ref:`{name} <rest-shape-{name.lower()}>`"
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(kind(each, described) for each in schema["anyOf"]))
    if "enum" in schema:
        return " or ".join("null" if value is None else f"``{value}``" for value in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {kind(schema['items'], described)}"
    if isinstance(schema.get("additionalProperties"), dict) and schema["additionalProperties"]:
        return f"names to {kind(schema['additionalProperties'], described)}"
    return "time" if schema.get("format") == "date-time" else schema.get("type", "any")


def shapes(described: dict[str, Any]) -> Iterator[str]:
    """A table for each shape, without envelopes and queries."""
    for name, schema in sorted(described["components"]["schemas"].items()):
        if ENVELOPE.match(name) or name.endswith("Query"):
            continue
        yield from (
            f".. _rest-shape-{name.lower()}:",
            "",
            name,
            "~" * len(name),
            "",
            literal(schema["description"]),
            "",
        )
        required = schema.get("required", ())
        rows = []
        for member, facts in schema["properties"].items():
            needed = "yes" if member in required else "no"
            rows.append((f"``{member}``", kind(facts, described), needed))
        yield from table(("Member", "Is", "Always"), rows, (24, 64, 12))


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]], widths: tuple[int, ...]) -> Iterator[str]:
    """A table."""
    yield from (".. list-table::", "   :header-rows: 1", f"   :widths: {' '.join(map(str, widths))}", "")
    for first, *others in [head, *rows]:
        yield f"   * - {first}"
        yield from (f"     - {cell}" for cell in others)
    yield ""


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("archie-rest", Rest)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
