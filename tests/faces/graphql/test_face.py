"""Where the face is and where it is not; and that its schema says what the JSON API's shapes say."""

from __future__ import annotations

import configparser
import subprocess
import sys
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Union, get_args, get_origin

import msgspec
import pytest
from flask import Flask
from graphql import GraphQLEnumType, GraphQLNonNull, GraphQLObjectType, is_list_type, validate_schema

from flask_archie_keys import ArchieKeys, ConfigurationError
from flask_archie_keys.audit.search import OUTCOMES
from flask_archie_keys.domain.permissions import RoleSource
from flask_archie_keys.domain.records import STATUSES
from flask_archie_keys.faces import inputs, schemas
from flask_archie_keys.faces.graphql import execution
from flask_archie_keys.faces.graphql.resolvers import RESOLVERS

from .conftest import PATH

ROOT = Path(__file__).parents[3]


def routes(tmp_path: Path, **config: Any) -> set[str]:
    """The paths of an application."""
    app = Flask("host", instance_path=str(tmp_path))
    app.config.update(ARCHIE_KEYS_AUDIT={"background": False}, **config)
    keys = ArchieKeys(app)
    keys.close(app)
    return {rule.rule for rule in app.url_map.iter_rules()}


# -- where it is


def test_it_is_there_by_default(tmp_path: Path) -> None:
    assert PATH in routes(tmp_path)
    assert "/keys/graphql" in routes(tmp_path, ARCHIE_KEYS_API_PREFIX="/keys")


def test_it_is_there_without_the_json_api(tmp_path: Path) -> None:
    assert {rule for rule in routes(tmp_path, ARCHIE_KEYS_FACES=("graphql",)) if "archie" in rule} == {PATH}


def test_it_is_not_there_where_it_is_not_asked_for(tmp_path: Path) -> None:
    assert PATH not in routes(tmp_path, ARCHIE_KEYS_FACES=("api",))


def test_without_its_package_it_is_not_there_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "graphql", None)
    found = routes(tmp_path)
    assert PATH not in found and "/archie/v1/me" in found


def test_without_its_package_it_cannot_be_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "graphql", None)
    with pytest.raises(ConfigurationError, match=r"ARCHIE_KEYS_FACES.*pip install 'flask-archie-keys\[graphql\]'"):
        routes(tmp_path, ARCHIE_KEYS_FACES=("api", "graphql"))


def test_introspection_is_true_or_false(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="ARCHIE_KEYS_GRAPHQL_INTROSPECTION must be True or False"):
        routes(tmp_path, ARCHIE_KEYS_GRAPHQL_INTROSPECTION="yes")


IMPORTED = """
import sys
from flask import Flask
from flask_archie_keys import ArchieKeys
app = Flask("host", instance_path=sys.argv[1])
app.config.update(ARCHIE_KEYS_FACES=tuple(sys.argv[2:]), ARCHIE_KEYS_AUDIT={"background": False})
keys = ArchieKeys(app)
if "graphql" in sys.argv:
    assert "flask_archie_keys.faces.graphql" in sys.modules
    assert app.test_client().post("/archie/v1/graphql", json={"query": "{me{id}}"}).status_code == 401
else:
    assert "flask_archie_keys.faces.graphql" not in sys.modules
assert "graphql" not in sys.modules
keys.close(app)
"""


@pytest.mark.parametrize("faces", [("api", "cli"), ("api", "graphql")])
def test_its_package_is_not_imported_before_somebody_asks(tmp_path: Path, faces: tuple[str, ...]) -> None:
    command = [sys.executable, "-c", IMPORTED, str(tmp_path), *faces]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_schema_is_in_the_package() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    listed = config["options.package_data"]["flask_archie_keys"].split()
    assert str(execution.SDL.relative_to(ROOT / "flask_archie_keys")) in listed


# -- the schema


def test_the_schema_is_valid_and_every_operation_has_its_resolver() -> None:
    schema = execution.schema()
    assert validate_schema(schema) == []
    assert schema.query_type is not None and schema.mutation_type is not None
    for root in (schema.query_type, schema.mutation_type):
        assert list(root.fields) == list(RESOLVERS[root.name])
        assert all(field.description for field in root.fields.values()), "the documentation is made of them"
        assert not [name for name, field in root.fields.items() if isinstance(field.type, GraphQLNonNull)], (
            "one that is refused must not take the others with it"
        )


def fields_of(struct: type[msgspec.Struct]) -> dict[str, Any]:
    return {field.encode_name: field for field in msgspec.structs.fields(struct)}


def parts(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)


@pytest.mark.parametrize(
    ("name", "struct"),
    [
        ("ApiKey", schemas.Key),
        ("Role", schemas.Role),
        ("Grant", schemas.Grant),
        ("RoleGrant", schemas.RoleGrant),
        ("Me", schemas.Me),
        ("AuditEvent", schemas.Event),
        ("Pagination", schemas.Pagination),
        ("ListMeta", schemas.ListMeta),
    ],
)
def test_a_type_has_the_members_of_the_shape(name: str, struct: type[msgspec.Struct]) -> None:
    found: GraphQLObjectType = execution.schema().type_map[name]  # type: ignore[assignment]
    expected = fields_of(struct)
    assert set(found.fields) == set(expected)
    for member, field in found.fields.items():
        may_be_null = type(None) in parts(expected[member].type)
        assert isinstance(field.type, GraphQLNonNull) is not may_be_null, member
        inner = field.type.of_type if isinstance(field.type, GraphQLNonNull) else field.type
        is_list = any(get_origin(part) is list for part in parts(expected[member].type))
        assert is_list_type(inner) is is_list, member


@pytest.mark.parametrize(
    ("name", "struct"),
    [
        ("NewApiKey", inputs.NewKey),
        ("ApiKeyChanges", inputs.KeyPatch),
        ("RoleInput", inputs.SavedRole),
        ("GrantInput", inputs.NewGrant),
    ],
)
def test_an_input_has_the_members_of_the_bodies(name: str, struct: type[msgspec.Struct]) -> None:
    found: Any = execution.schema().type_map[name]
    expected = fields_of(struct)
    assert set(found.fields) == set(expected)
    for member, field in found.fields.items():
        assert isinstance(field.type, GraphQLNonNull) is expected[member].required, member


@pytest.mark.parametrize(
    ("name", "struct"),
    [("apiKeys", inputs.KeyQuery), ("auditEvents", inputs.EventQuery)],
)
def test_a_list_has_the_filters_of_the_query(name: str, struct: type[msgspec.Struct]) -> None:
    query = execution.schema().query_type
    assert query is not None
    expected: Mapping[str, Any] = fields_of(struct)
    assert set(query.fields[name].args) == set(expected)
    limit: Any = query.fields[name].args["limit"].ast_node
    assert limit.default_value.value == str(inputs.LIMIT_DEFAULT)


@pytest.mark.parametrize(
    ("name", "values"),
    [("KeyStatus", STATUSES), ("RoleSource", get_args(RoleSource)), ("Outcome", OUTCOMES)],
)
def test_an_enum_has_the_values_that_there_are(name: str, values: tuple[str, ...]) -> None:
    found = execution.schema().type_map[name]
    assert isinstance(found, GraphQLEnumType)
    assert tuple(found.values) == values
