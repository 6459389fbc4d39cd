"""``flask keys roles``: roles in files, so that they can be kept under version control."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_archie_keys import Grant, Role, require_api_key
from flask_archie_keys.domain import role_rules
from flask_archie_keys.domain.permissions import ACTIONS
from flask_archie_keys.faces import schemas
from flask_archie_keys.faces.cli import role_files

from ...conftest import MakeHost
from ...support.sales import SALES
from .test_cli import Cli

TOML = """
[roles.clerk]
description = "Sells"

[[roles.clerk.grants]]
resource = "sales"
read = true
update = true
filter = "region = $context.region"

[[roles.clerk.grants]]
resource = "api_keys"
read = true

[roles.idle]
"""
CLERK = (
    Grant(SALES, read=True, update=True, filter="region = $context.region"),
    Grant("api_keys", read=True),
)


@pytest.fixture
def cli(make_host: MakeHost) -> Cli:
    return Cli(make_host(ARCHIE_KEYS_ENVIRONMENTS={"master": {}, "staging": {}}))


def saved(cli: Cli) -> dict[str, Role]:
    with cli.host.app.app_context():
        return {role.name: role for role in cli.host.keys.roles.find() if role.source == "saved"}


def file(tmp_path: Path, text: str, name: str = "roles.toml") -> str:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return str(path)


# -- saving


def test_a_file_is_saved_and_what_changed_is_shown(cli: Cli, tmp_path: Path) -> None:
    path = file(tmp_path, TOML)
    result = cli("roles", "save", path)
    assert result.exit_code == 0 and result.stdout.splitlines() == [
        "+ clerk",
        "  + sales: read, update where region = $context.region",
        "  + api_keys: read",
        "+ idle",
    ]
    assert result.stderr == "Saved: 2.\n"
    assert {name: (role.description, role.grants) for name, role in saved(cli).items()} == {
        "clerk": ("Sells", CLERK),
        "idle": ("", ()),
    }
    again = cli("roles", "save", path)
    assert again.stdout.splitlines() == ["= clerk", "= idle"] and saved(cli)["clerk"].version == 1
    text = TOML.replace("Sells", "Sells more").replace("update = true\n", "").replace('"api_keys"', '"roles"')
    assert cli("roles", "save", file(tmp_path, text)).stdout.splitlines() == [
        "~ clerk",
        "  ~ description: 'Sells' -> 'Sells more'",
        "  - sales: read, update where region = $context.region",
        "  - api_keys: read",
        "  + sales: read where region = $context.region",
        "  + roles: read",
        "= idle",
    ]
    assert saved(cli)["clerk"].version == 2


def test_a_dry_run_shows_the_same_and_saves_nothing(cli: Cli, tmp_path: Path) -> None:
    path = file(tmp_path, TOML)
    dry = cli("roles", "save", path, "--dry-run")
    assert dry.exit_code == 0 and dry.stderr == "Nothing was saved: this was a dry run.\n"
    assert saved(cli) == {} and cli.host.changes() == []
    assert cli("roles", "save", path).stdout == dry.stdout
    shown = cli.json("roles", "save", path, "--dry-run")["data"]
    assert [role["name"] for role in shown] == ["clerk", "idle"]
    assert saved(cli)["clerk"].version == 1


def test_grants_in_another_order_are_a_change(cli: Cli, tmp_path: Path) -> None:
    one, two = ({"resource": SALES, "read": True}, {"resource": "roles", "read": True})
    for grants, lines in (
        ([one, two], ["+ clerk", "  + sales: read", "  + roles: read"]),
        ([two, one], ["~ clerk", "  ~ the grants are in another order"]),
    ):
        path = file(tmp_path, json.dumps({"roles": {"clerk": {"grants": grants}}}), "roles.json")
        assert cli("roles", "save", path).stdout.splitlines() == lines


def test_standard_input_is_read_as_toml_or_json(cli: Cli) -> None:
    assert cli("roles", "save", "-", input=TOML).exit_code == 0
    document = {"roles": {"other": {"grants": [{"resource": SALES, "delete": True}]}}}
    assert cli("roles", "save", "-", input=f"\n {json.dumps(document)}").exit_code == 0
    assert saved(cli)["other"].grants == (Grant(SALES, delete=True),)


def test_nothing_is_saved_where_any_role_is_refused(cli: Cli, tmp_path: Path) -> None:
    text = (
        TOML
        + """
[[roles.idle.grants]]
resource = "sale"
read = true

[[roles.last.grants]]
resource = "sales"
read = true
filter = "regoin = 'eu'"
"""
    )
    for more in ([], ["--dry-run"]):
        result = cli("roles", "save", file(tmp_path, text), *more)
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr.splitlines() == [
            "Error: idle.grants[0].resource: there is no resource 'sale'; did you mean 'sales'?",
            "Error: last.grants[0].filter: there is no column regoin; did you mean 'region'? (at character 1)",
        ]
    assert saved(cli) == {} and cli.host.changes() == []
    as_json = cli("roles", "save", file(tmp_path, text), "--json")
    assert (as_json.exit_code, as_json.stdout) == (1, "")
    assert [error["field"] for error in json.loads(as_json.stderr)["errors"]] == [
        "idle.grants[0].resource",
        "last.grants[0].filter",
    ]
    result = cli("roles", "save", file(tmp_path, TOML + "\n[roles.viewer]\n"))
    assert result.exit_code == 1 and "'viewer' is declared in ARCHIE_KEYS_ROLES" in result.stderr
    assert saved(cli) == {}


def test_keys_that_are_locked_out_are_named(cli: Cli, tmp_path: Path) -> None:
    cli("roles", "save", "-", input="[[roles.clerk.grants]]\nresource = 'sales'\nread = true\n")
    one = cli.host.create("one", ("clerk",)).key.id
    host_line = "no fitting context, and {} no access by its filters"
    dry = cli("roles", "save", file(tmp_path, TOML), "--dry-run")
    assert dry.exit_code == 0
    assert f"Warning: 1 key has the role clerk and {host_line.format('has')}: {one}" in dry.stderr
    two = cli.host.create("two", ("clerk",)).key.id
    result = cli("roles", "save", file(tmp_path, TOML))
    assert f"Warning: 2 keys have the role clerk and {host_line.format('have')}: {one}, {two}" in result.stderr
    assert cli.json("roles", "save", file(tmp_path, TOML))["data"][0]["lockedOut"] == [one, two]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("x.toml", "", "must hold roles"),
        ("x.toml", "roles = 1", "must hold roles"),
        ("x.toml", "[roles]", "must hold roles"),
        ("x.toml", "[role.viewer]", "must hold roles"),
        ("x.toml", "[roles.a]\n[more]", "must hold roles"),
        ("x.toml", "[roles.a", "x.toml: "),
        ("x.toml", "[roles.a]\n[roles.a]", "x.toml: "),
        ("x.toml", "[roles.a]\ndescription = 'x'\ndescription = 'y'", "x.toml: "),
        ("x.toml", "[[roles.a.grants]]\nresource = 'sales'\nread = true\nread = true", "x.toml: "),
        ("x.toml", "roles.a = 1", "the role 'a' must be an object"),
        ("x.toml", "[roles.a]\ngrant = []", "the role 'a' has a member 'grant'; there are description and grants"),
        ("x.toml", "[roles.a]\nversion = 1", "the role 'a' has a member 'version'"),
        ("x.json", "", "x.json: "),
        ("x.json", "[]", "must be an object"),
        ("x.json", "7", "must be an object"),
        ("x.json", '{"roles": []}', "must hold roles"),
        ("x.json", '{"roles": {"a": null}}', "the role 'a' must be an object"),
        ("x.json", '{"roles": {"a": {}}, "more": 1}', "must hold roles"),
        ("x.json", '{"data": null}', "must hold roles"),
        ("x.json", '{"data": [7]}', "a role is there twice, or is not an object"),
        ("x.json", '{"data": [{"name": "a"}, {"name": "a"}]}', "a role is there twice, or is not an object"),
        ("x.json", '{"data": {"name": "a", "grant": []}}', "the role 'a' has a member 'grant'"),
        ("x.json", "[" * 100_000, "x.json: "),
        ("x.json", "\ufeff{}", "x.json: "),
    ],
)
def test_files_that_are_none(cli: Cli, tmp_path: Path, name: str, text: str, said: str) -> None:
    result = cli("roles", "save", file(tmp_path, text, name))
    assert (result.exit_code, result.stdout) == (2, "") and said in result.stderr and "Traceback" not in result.output
    assert saved(cli) == {}


@pytest.mark.parametrize(
    "text",
    [
        '{"roles": {"a": {"grants": [{"resource": "sales", "read": true, "filter": "level = 1", "filter": null}]}}}',
        '{"roles": {"a": {"grants": []}, "a": {"grants": [{"resource": "sales", "read": true}]}}}',
        '{"roles": {"a": {"grants": [], "grants": [{"resource": "sales", "read": true}]}}}',
        '{"roles": {}, "roles": {"a": {}}}',
    ],
)
def test_a_member_that_is_there_twice_is_refused(cli: Cli, text: str) -> None:
    """JSON parsers take the last one: here the wider one."""
    result = cli("roles", "save", "-", input=text)
    assert result.exit_code == 2 and "a member is there twice" in result.stderr
    assert saved(cli) == {}


@pytest.mark.parametrize(
    ("role", "field"),
    [
        ('{"grants": null}', "grants"),
        ('{"grants": {"resource": "sales", "read": true}}', "grants"),
        ('{"grants": [null]}', "grants[0]"),
        ('{"grants": [{"resource": "sales", "read": "true"}]}', "grants[0].read"),
        ('{"grants": [{"resource": "sales", "read": 1}]}', "grants[0].read"),
        ('{"grants": [{"resource": "sales", "read": null, "write": true}]}', "grants[0].read"),
        ('{"grants": [{"resource": "sales", "read": true, "filter": ""}]}', "grants[0].filter"),
        ('{"grants": [{"resource": "sales", "read": true, "filter": []}]}', "grants[0].filter"),
        ('{"grants": [{"resource": "sales", "read": true, "filters": "level = 1"}]}', "grants[0].filters"),
        ('{"grants": [{"resource": "sales"}]}', "grants[0]"),
        ('{"grants": [{"read": true}]}', "grants[0].resource"),
        ('{"description": null}', "description"),
    ],
)
def test_nothing_that_is_odd_widens_a_role(cli: Cli, role: str, field: str) -> None:
    result = cli("roles", "save", "-", input=f'{{"roles": {{"a": {role}}}}}')
    assert result.exit_code == 1 and f"Error: a.{field}: " in result.stderr
    assert saved(cli) == {}


@pytest.mark.parametrize("name", ['["a"]', '{"a": 1}', "null", "true", "7", '"A"', '""'])
def test_the_name_of_a_role_is_a_text(cli: Cli, name: str) -> None:
    result = cli("roles", "save", "-", input=f'{{"data": {{"name": {name}, "grants": []}}}}')
    assert result.exit_code == 1 and ".name: must be snake_case" in result.stderr
    assert saved(cli) == {}


def test_a_file_that_is_not_utf_8(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "roles.toml").write_bytes(b"[roles.a]\ndescription = '\xff'")
    result = cli("roles", "save", str(tmp_path / "roles.toml"))
    assert result.exit_code == 2 and "not UTF-8" in result.stderr
    assert cli("roles", "save", str(tmp_path / "nothing.toml")).exit_code == 2


# -- showing


def test_list_and_show(cli: Cli) -> None:
    cli.host.app.add_url_rule("/c", "c", require_api_key(roles=["clerk", "sweeper"])(lambda: "c"))
    cli("roles", "save", "-", input=TOML)
    assert cli("roles", "list").stdout.splitlines() == [
        "ROLE     FROM      GRANTS                                              VIEWS",
        "clerk    saved     sales: read, update where region = $context.region  c",
        "                   api_keys: read",
        "editor   settings  -                                                   editor",
        "idle     saved     -                                                   -",
        "sweeper  views     -                                                   c",
        "viewer   settings  -                                                   editor, viewer",
    ]
    shown = cli("roles", "show", "clerk").stdout
    for text in ("Sells", "saved", "sales: read, update where region = $context.region", "api_keys: read", "version"):
        assert text in shown
    missing = cli("roles", "show", "nobody")
    assert (missing.exit_code, missing.stderr) == (1, "Error: there is no role 'nobody' in master\n")


def test_a_long_list_of_roles_fits_into_100_columns(cli: Cli) -> None:
    long = " OR ".join(f"region = 'region {number}  {'of many ' * 8}'" for number in range(4))
    grants = [{"resource": SALES, "read": True, "filter": text} for text in (long, "region = $context.region")]
    for name in ("first_views_name", "second_views_name"):
        cli.host.app.add_url_rule(f"/{name}", name, require_api_key(roles=["regional_manager"])(lambda: ""))
    cli("roles", "save", "-", input=json.dumps({"roles": {"regional_manager": {"grants": grants}}}))
    lines = cli("roles", "list").stdout.splitlines()
    assert max(map(len, lines)) <= 100
    first = next(number for number, line in enumerate(lines) if line.startswith("regional_manager"))
    column = lines[0].index("GRANTS")
    end = lines[0].index("VIEWS")
    shown = [line[column:end].rstrip() for line in lines[first:] if line.startswith(("regional_manager", " "))]
    assert [line for line in shown if not line.startswith("… ")] == [
        shown[0],
        "sales: read where region = $context.region",
    ], "what begins without an ellipsis is a grant"
    said = " ".join(line.removeprefix("… ") for line in shown[:-1])
    assert said.split() == f"sales: read where {long}".split()
    views = [line[end:].strip() for line in lines[first : first + 2]]
    assert views == ["first_views_name,", "… second_views_name"]


def test_the_json_of_a_role(cli: Cli) -> None:
    cli("roles", "save", "-", input=TOML)
    role = cli.json("roles", "show", "clerk")["data"]
    assert role.pop("createdAt") == role.pop("updatedAt")
    assert role == {
        "name": "clerk",
        "description": "Sells",
        "grants": [
            {
                "resource": "sales",
                "read": True,
                "write": False,
                "update": True,
                "delete": False,
                "filter": "region = $context.region",
            },
            {"resource": "api_keys", "read": True, "write": False, "update": False, "delete": False, "filter": None},
        ],
        "source": "saved",
        "project": "default",
        "environment": "master",
        "version": 1,
        "lockedOut": [],
    }
    listed = cli.json("roles", "list")
    assert {role["name"]: role["views"] for role in listed["data"]} == {
        "clerk": [],
        "editor": ["editor"],
        "idle": [],
        "viewer": ["editor", "viewer"],
    }


@pytest.mark.parametrize(
    "command", [["list", "--toml"], ["list", "--json"], ["show", "clerk", "--toml"], ["show", "clerk", "--json"]]
)
def test_what_is_printed_can_be_saved_elsewhere(cli: Cli, command: list[str]) -> None:
    """Of a list what was saved: what the settings declare and views name is not printed, or left out."""
    cli.host.app.add_url_rule("/c", "c", require_api_key(roles=["sweeper"])(lambda: "c"))
    cli("roles", "save", "-", input=TOML)
    before = saved(cli)
    printed = cli("roles", *command)
    assert printed.exit_code == 0
    result = cli("roles", "save", "-", "--environment", "staging", input=printed.stdout)
    assert result.exit_code == 0, result.output
    with cli.host.app.app_context():
        staging = cli.host.keys.for_environment("staging").roles
        names = ["clerk", "idle"] if command[0] == "list" else ["clerk"]
        found = {role.name: (role.description, role.grants) for role in staging.find() if role.source == "saved"}
    assert found == {name: (before[name].description, before[name].grants) for name in names}
    assert cli("roles", "save", "-", input=printed.stdout).stdout.splitlines() == [f"= {name}" for name in names]
    assert saved(cli) == before


def test_a_role_of_the_settings_that_is_shown_is_not_saved_in_silence(cli: Cli) -> None:
    printed = cli("roles", "show", "viewer", "--json").stdout
    result = cli("roles", "save", "-", input=printed)
    assert result.exit_code == 1 and "declared in ARCHIE_KEYS_ROLES" in result.stderr


NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,62}", fullmatch=True)
TEXTS = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=30).map(str.strip)
#: Control characters within a filter are refused, but for blanks between its words.
FILTERS = st.builds(
    lambda text, blank: f"region{blank}={blank}'{text}'{blank}OR level{blank}>{blank}3",
    st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="'"), max_size=20),
    st.sampled_from([" ", "\n", "\t", "\r\n"]),
)
GRANTS = st.builds(
    lambda resource, actions, text: Grant(resource, **dict.fromkeys(actions, True), filter=text),
    NAMES,
    st.sets(st.sampled_from(ACTIONS), min_size=1),
    st.none() | FILTERS,
)
ROLES = st.builds(
    lambda name, description, grants: Role(name=name, description=description, grants=tuple(grants)),
    NAMES,
    TEXTS,
    st.lists(GRANTS, max_size=3),
)


@settings(max_examples=100, deadline=None)
@given(roles=st.lists(ROLES, min_size=1, max_size=3, unique_by=lambda role: role.name))
def test_every_role_survives_its_file(roles: list[Role]) -> None:
    wanted = {role.name: (role.description, role.grants) for role in roles}

    def understood(text: str) -> dict[str, Any]:
        return {
            role_rules.name(name): (
                role_rules.description(role.get("description", "")),
                role_rules.grants(role.get("grants", ())),
            )
            for name, role in role_files.read(text, "<stdin>").items()
        }

    toml = role_files.to_toml(roles)
    assert list(tomllib.loads(toml)["roles"]) == [role.name for role in roles]
    assert understood(toml) == wanted
    assert (
        understood(json.dumps(schemas.plain(schemas.many([schemas.role(role) for role in roles], len(roles)))))
        == wanted
    )
    for role in roles:
        assert understood(json.dumps(schemas.plain(schemas.one(schemas.role(role))))) == {role.name: wanted[role.name]}


def test_what_a_terminal_would_act_on_is_escaped(cli: Cli) -> None:
    grant = {"resource": SALES, "read": True, "filter": "region\n= 'x\u202e'"}
    text = json.dumps({"roles": {"a": {"description": "\u202eevil", "grants": [grant]}}})
    result = cli("roles", "save", "-", input=text)
    assert result.exit_code == 0, result.output
    for output in (result.stdout, cli("roles", "list").stdout, cli("roles", "show", "a").stdout):
        assert "\u202e" not in output and "region\\n= 'x\\u202e'" in output
    refused = cli("roles", "save", "-", input=json.dumps({"roles": {"\x1b[31m": {}}}))
    assert refused.exit_code == 1 and "\x1b" not in refused.output


# -- deleting and copying


def test_delete(cli: Cli) -> None:
    cli("roles", "save", "-", input=TOML)
    key = cli.host.create("k", ("clerk",), context={"region": "eu"}).key
    refused = cli("roles", "delete", "clerk")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert refused.stderr == f"Error: 1 key has the role 'clerk': {key.id}; --take-from-keys takes it from them\n"
    assert cli("roles", "delete", "clerk", "--take-from-keys").stdout == "Deleted the role clerk.\n"
    assert cli.json("show", key.id)["data"]["roles"] == []
    for name, said in (("clerk", "there is no role 'clerk' in master"), ("viewer", "is declared in ARCHIE_KEYS_ROLES")):
        result = cli("roles", "delete", name)
        assert result.exit_code == 1 and said in result.stderr
    assert list(saved(cli)) == ["idle"]


def test_copy(cli: Cli) -> None:
    cli("roles", "save", "-", input=TOML)
    assert cli("roles", "copy", "clerk", "--to", "staging").stdout == "Copied the role clerk to staging.\n"
    assert cli.json("roles", "show", "clerk", "--environment", "staging")["data"]["environment"] == "staging"
    unknown = cli("roles", "copy", "clerk", "--to", "nowhere")
    assert unknown.exit_code == 2 and "there is no environment 'nowhere', only master, staging" in unknown.stderr
    assert cli("roles", "copy", "clerk", "--to", "master").exit_code == 1
    assert cli("roles", "copy", "clerk").exit_code == 2
    assert cli("roles", "copy", "clerk", "--to", "staging", "--environment", "staging").exit_code == 1


def test_explain_with_a_grant(cli: Cli) -> None:
    cli("roles", "save", "-", input=TOML)
    created = cli.host.create("k", ("clerk",), context={"region": "it's"})
    result = cli("explain", created.key.id, "--resource", SALES, "--action", "update")
    assert result.exit_code == 0 and "Filter: region = 'it''s'\nSQL: sales.region" in result.stdout
    assert "\nThe key would be let in.\n" in result.stdout and ' = "it\'s"\n' in result.stdout
    denied = cli("explain", created.key.id, "--resource", SALES, "--action", "delete")
    assert "no grant for sales:delete" in denied.stdout and "The key would be turned away." in denied.stdout
    assert created.secret[-38:] not in result.output + denied.output
    assert cli("explain", created.key.id, "--resource", SALES, "--action", "fly").exit_code == 2
