"""``flask keys``, run as a developer runs it: real processes, real files."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ...conftest import Host, MakeHost
from ...support.processes import FLASK, Application, secret_in


class Cli:
    """The commands in this process."""

    def __init__(self, host: Host) -> None:
        self.host = host

    def __call__(self, *arguments: str, input: str | None = None) -> Result:
        return self.host.app.test_cli_runner().invoke(args=["keys", *arguments], input=input)

    def json(self, *arguments: str) -> Any:
        result = self(*arguments, "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)


@pytest.fixture
def cli(make_host: MakeHost, url: str) -> Cli:
    return Cli(make_host(url, ARCHIE_KEYS_ENVIRONMENTS={"master": {}, "staging": {"PREFIX": "archie_test"}}))


def test_create_shows_the_secret_once(cli: Cli) -> None:
    arguments = ["--role", "viewer", "--context", "region=eu", "--context", "ids:=[1,2]", "--prefix", "shop"]
    result = cli("create", "CI", *arguments, "--expires", "90d", "--owner", "u-1", "--network", "127.0.0.0/8")
    assert result.exit_code == 0 and "Store the secret now" in result.stderr
    secret = secret_in(result.stdout)
    assert cli.host.get("/viewer", secret).status_code == 200
    key_id = secret.split("_")[1]
    shown = cli.json("show", key_id)["data"]
    assert (shown["name"], shown["roles"], shown["owner"]) == ("CI", ["viewer"], "u-1")
    assert shown["context"] == {"region": "eu", "ids": [1, 2]} and shown["allowedNetworks"] == ["127.0.0.0/8"]
    for command in ("show", "traffic"):
        assert secret[-38:] not in cli(command, key_id).output
    assert secret[-38:] not in cli("list").output + cli("audit").output


def test_quiet_prints_the_secret_alone(cli: Cli) -> None:
    result = cli("create", "CI", "--quiet")
    assert re.fullmatch(r"archie_[0-9A-Za-z]{12}_[0-9A-Za-z]{38}\n", result.stdout) and result.stderr == ""


def test_json_has_the_shapes_of_the_api(cli: Cli) -> None:
    made = cli.json("create", "CI", "--role", "viewer")["data"]
    assert made["secret"].startswith(f"archie_{made['id']}_")
    listed = cli.json("list")
    assert [key["id"] for key in listed["data"]] == [made["id"]] and "secret" not in listed["data"][0]
    assert listed["meta"]["pagination"] == {"limit": 50, "hasNextPage": False, "nextCursor": None}
    assert cli.json("traffic", made["id"])["data"]["safeToDelete"] is False
    assert cli.json("audit", "--key", made["id"])["data"][0]["kind"] == "key.created"
    assert cli.json("rotate", made["id"])["data"]["replaces"] == made["id"]
    assert cli.json("update", made["id"], "--name", "x")["data"]["name"] == "x"
    assert cli.json("disable", made["id"])["data"]["status"] == "disabled"
    assert cli.json("enable", made["id"])["data"]["status"] == "retiring"
    assert cli.json("delete", made["id"], "--yes")["data"]["status"] == "deleted"
    assert cli.json("drain")["data"] == {"lines": 0, "quarantined": 0, "files": 0}


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["create", ""], 1, "Error: name: must not be empty"),
        (["create", "x", "--role", "viewr"], 1, "Error: roles: there is no role 'viewr'; did you mean 'viewer'?"),
        (["create", "x", "--prefix", "X"], 1, "Error: prefix: must be 1 to 32"),
        (["create", "x", "--expires", "2020-01-01"], 1, "Error: expires_at: must be in the future"),
        (["create", "x", "--expires", "2030-01-01T00:00:00"], 2, "is not a duration such as 90d"),
        (["create", "x", "--expires", "99999999w"], 2, "too long"),
        (["create", "x", "--context", "region"], 2, "is not name=text or name:=json"),
        (["create", "x", "--context", "a:={"], 2, "is not JSON; for a text write a={"),
        (["create", "x", "--context", "a=1", "--context", "a=2"], 2, "a name is given twice"),
        (["create", "x", "--context", "a:={}"], 1, "Error: context.a: must be a string"),
        (["create", "x", "--network", "everywhere"], 1, "Error: allowed_networks: 'everywhere' is not a network"),
        (["create", "x", "--environment", "stagin"], 2, "there is no environment 'stagin', only master, staging"),
        (["show", "x"], 1, "Error: there is no key 'x' in master"),
        (["rotate", "x" * 12], 1, "Error: there is no key"),
        (["rotate", "x" * 12, "--overlap", "1"], 2, "is not a duration"),
        (["list", "--limit", "0"], 1, "Error: limit must be a whole number"),
        (["list", "--status", "dead"], 2, "is not one of"),
        (["audit", "--lineage"], 2, "--lineage goes with --key"),
        (["audit", "--cursor", "x"], 1, "Error: cursor is not one"),
        (["audit", "--follow", "--until", "1h"], 2, "--follow goes with neither"),
        (["update", "x" * 12], 2, "say what to change"),
        (["update", "x" * 12, "--owner", "a", "--no-owner"], 2, "owner: given and taken away at once"),
    ],
)
def test_failures_go_to_standard_error_exit_non_zero_and_change_nothing(
    cli: Cli, arguments: list[str], code: int, message: str
) -> None:
    result = cli(*arguments)
    assert (result.exit_code, result.stdout) == (code, "")
    assert message in result.stderr
    assert cli.json("list")["data"] == []


def test_failures_as_json_are_problems(cli: Cli) -> None:
    result = cli("create", "", "--json")
    problem = json.loads(result.stderr)
    assert (result.exit_code, problem["type"], problem["errors"][0]["field"]) == (
        1,
        "/errors/validation-failed",
        "name",
    )


def test_update_replaces_and_takes_away(cli: Cli) -> None:
    key_id = cli.json("create", "x", "--role", "viewer", "--context", "a=1", "--owner", "o", "--expires", "1h")["data"][
        "id"
    ]
    changed = cli.json(
        "update", key_id, "--role", "editor", "--context", "b=2", "--network", "10.0.0.0/8", "--expires", "2h"
    )
    assert (changed["data"]["roles"], changed["data"]["context"]) == (["editor"], {"b": "2"})
    gone = ["--no-roles", "--no-context", "--no-owner", "--any-network", "--never-expires"]
    emptied = cli.json("update", key_id, *gone)["data"]
    assert [emptied[name] for name in ("roles", "context", "owner", "allowedNetworks", "expiresAt")] == [
        [],
        {},
        None,
        None,
        None,
    ]


def test_environments_are_apart(cli: Cli) -> None:
    made = cli.json("create", "x", "--environment", "staging")["data"]
    assert made["secret"].startswith("archie_test_") and made["environment"] == "staging"
    assert cli.json("list")["data"] == []
    assert len(cli.json("list", "--environment", "staging")["data"]) == 1


def test_list_pages_and_filters(cli: Cli) -> None:
    for n in range(5):
        cli("create", f"key {n}", "--role", "viewer" if n % 2 else "editor")
    result = cli("list", "--limit", "2")
    assert "key 4" in result.stdout and "key 2" not in result.stdout
    cursor = re.search(r"--cursor (\S+)", result.stderr)
    assert cursor and "key 2" in cli("list", "--cursor", cursor[1]).stdout
    assert [key["name"] for key in cli.json("list", "--role", "viewer")["data"]] == ["key 3", "key 1"]
    assert [key["name"] for key in cli.json("list", "--search", "KEY 4")["data"]] == ["key 4"]
    lines = cli("list").stdout.splitlines()
    assert len({line.index("key") for line in lines[1:]}) == 1, "aligned"


def test_delete_shows_the_traffic_and_asks(cli: Cli) -> None:
    secret = cli("create", "busy \x1b".strip("\x1b") + "key", "--role", "viewer", "--quiet").stdout.strip()
    key_id = secret.split("_")[1]
    cli.host.get("/viewer", secret, headers={"User-Agent": "evil\x1b[2Jagent"})
    refused = cli("delete", key_id, input="n\n")
    assert refused.exit_code == 1 and "Requests in 24 hours: 1." in refused.stderr
    assert (
        "It is still in use" in refused.stderr and "\\x1b[2Jagent" in refused.stderr and "\x1b[2J" not in refused.stderr
    )
    assert cli("delete", key_id, input="").exit_code == 1, "nobody there to ask"
    in_use = cli("delete", key_id, "--yes", "--only-if-quiet")
    assert in_use.exit_code == 3 and "was used 0 s ago" in in_use.stderr
    assert cli.host.get("/viewer", secret).status_code == 200
    assert cli("delete", key_id, input="y\n").exit_code == 0
    assert cli.host.get("/viewer", secret).status_code == 401


def test_the_main_job(cli: Cli) -> None:
    """Make, use, rotate, see the old one fall silent, delete."""
    old = cli("create", "CI", "--role", "viewer", "--quiet").stdout.strip()
    old_id = old.split("_")[1]
    assert cli.host.get("/viewer", old).status_code == 200
    rotated = cli("rotate", old_id, "--overlap", "1h")
    new = secret_in(rotated.stdout)
    assert f"The old key {old_id} works until" in rotated.stderr
    assert cli.host.get("/viewer", old).status_code == cli.host.get("/viewer", new).status_code == 200
    assert "safe to delete  no" in cli("traffic", old_id).stdout
    cli.host.sql("UPDATE archie_api_keys SET last_used_at = last_used_at - 3600000000 WHERE id = '" + old_id + "'")
    assert "safe to delete  yes" in cli("traffic", old_id).stdout
    assert cli("delete", old_id, "--yes", "--only-if-quiet").exit_code == 0
    assert (cli.host.get("/viewer", old).status_code, cli.host.get("/viewer", new).status_code) == (401, 200)
    lineage = cli.json("audit", "--key", new.split("_")[1], "--lineage")["data"]
    assert {event["keyId"] for event in lineage} == {old_id, new.split("_")[1]}


def test_audit_filters_and_table(cli: Cli) -> None:
    secret = cli("create", "x", "--role", "viewer", "--quiet").stdout.strip()
    cli.host.get("/viewer", secret)
    cli.host.get("/editor", secret)
    cli.host.get("/me")
    assert [e["status"] for e in cli.json("audit", "--outcome", "denied")["data"]] == [403]
    assert [e["status"] for e in cli.json("audit", "--status", "401", "--since", "1h")["data"]] == [401]
    assert cli.json("audit", "--until", "1h")["data"] == []
    table = cli("audit", "--route", "/viewer").stdout
    assert table.splitlines()[0].split()[:3] == ["TIME", "WHAT", "KEY"] and "GET /viewer" in table


def test_explain(cli: Cli) -> None:
    made = cli.json("create", "x", "--role", "viewer", "--network", "10.0.0.0/8")["data"]
    good = cli("explain", made["id"], "--role", "viewer", "--address", "10.1.1.1")
    assert "The key would be let in." in good.stdout
    bad = cli.json("explain", made["id"], "--role", "editor", "--address", "11.1.1.1")["data"]
    assert bad["allowed"] is False
    assert {c["name"]: c["passed"] for c in bad["checks"]} == {
        "deleted": True,
        "disabled": True,
        "expired": True,
        "network": False,
        "roles": False,
    }
    cli("disable", made["id"])
    assert "disabled  refused" in cli("explain", made["id"]).stdout


def test_roles_list(cli: Cli) -> None:
    roles = {role["name"]: role["views"] for role in cli.json("roles", "list")["data"]}
    assert roles == {"editor": ["editor"], "viewer": ["editor", "viewer"]}
    assert "viewer  settings  -         editor, viewer" in cli("roles", "list").stdout


def test_init_db_and_purge(cli: Cli) -> None:
    cli.host.sql("DROP TABLE archie_api_keys")
    assert "archie_api_keys" in cli("init-db").stdout
    assert "Nothing to do" in cli("init-db").stdout
    key_id = cli.json("create", "x")["data"]["id"]
    cli("delete", key_id, "--yes")
    assert "0 records" in cli("purge").stdout
    assert "1 records" in cli("purge", "--deleted-before", "0s").stdout
    assert cli("show", key_id).exit_code == 1


def test_a_database_that_is_away_is_said_plainly(cli: Cli) -> None:
    cli.host.sql("DROP TABLE archie_api_keys")
    result = cli("list")
    assert result.exit_code == 1 and result.stderr.startswith("Error: the key store cannot be used: ")
    assert "archie_api_keys" in result.stderr and "Traceback" not in result.output


def test_every_command_and_option_has_help(cli: Cli) -> None:
    group = cli.host.app.cli.commands["keys"]
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        assert command.help, name
        assert CliRunner().invoke(command, ["--help"]).exit_code == 0
        for option in command.params:
            if option.param_type_name == "option":
                assert option.help, (name, option.name)


# -- as processes


@pytest.fixture
def application(tmp_path: Path) -> Iterator[Application]:
    application = Application(tmp_path)
    yield application
    application.close()


def test_a_secret_that_cannot_be_written_out_leaves_no_key(application: Application) -> None:
    with open("/dev/full", "w") as full:
        done = application.flask(
            "keys", "create", "x", "--quiet", capture_output=False, stdout=full, stderr=subprocess.PIPE
        )
    assert done.returncode != 0 and "the new key was deleted again" in done.stderr
    listed = json.loads(application.flask("keys", "list", "--json").stdout)["data"]
    assert [key["status"] for key in listed] == ["deleted"]


def test_ctrl_c_leaves_nothing_half_made(application: Application) -> None:
    """At any moment: either the secret was shown and there is a key, or neither."""
    application.flask("keys", "list")
    secrets = []
    for n in range(8):
        process = application.start(*FLASK, "--app", "served:create_app()", "keys", "create", f"k{n}", "--quiet")
        time.sleep(0.25 + n * 0.05)
        process.send_signal(signal.SIGINT)
        output = process.communicate(timeout=60)[0]
        secrets += re.findall(r"archie_([0-9A-Za-z]{12})_[0-9A-Za-z]{38}", output)
    listed = json.loads(application.flask("keys", "list", "--json", "--status", "active").stdout)["data"]
    assert sorted(key["id"] for key in listed) == sorted(secrets)


def test_colour_is_for_terminals_only(application: Application) -> None:
    application.flask("keys", "create", "x")
    assert "\x1b[" not in application.flask("keys", "list").stdout
    leader, follower = pty.openpty()
    application.flask("keys", "list", capture_output=False, stdout=follower, stderr=subprocess.PIPE)
    os.close(follower)
    shown = os.read(leader, 65536).decode()
    os.close(leader)
    assert "\x1b[32mactive\x1b[0m" in shown


def test_follow_shows_each_event_once(application: Application) -> None:
    secret = application.flask("keys", "create", "x", "--role", "viewer", "--quiet").stdout.strip()
    server = application.serve("--workers", "2")
    server.get("/x", secret)
    command = [*FLASK, "--app", "served:create_app()", "keys", "audit", "--follow", "--json"]
    follower = application.start("-u", *command)
    assert follower.stdout is not None
    lines = [json.loads(follower.stdout.readline()) for _ in range(2)]
    for _ in range(20):
        server.get("/x", secret)
    lines += [json.loads(follower.stdout.readline()) for _ in range(20)]
    time.sleep(1.5)
    follower.send_signal(signal.SIGINT)
    rest = follower.communicate(timeout=20)[0]
    assert '"id"' not in rest
    assert [line["kind"] for line in lines] == ["key.created"] + ["request"] * 21
    assert len({line["id"] for line in lines}) == 22 and {line["status"] for line in lines[1:]} == {200}


def test_it_is_there_under_python_m_flask(application: Application) -> None:
    assert "Make, look after and audit API keys." in application.flask("--help").stdout
    assert sys.version_info >= (3, 11)
