"""What the page about roles says is so, with its own application."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

from flask_archie_keys import (
    ConfigurationError,
    Conflict,
    CreatedKey,
    Forbidden,
    Grant,
    Principal,
    RoleInUse,
    ValidationFailed,
    current_principal,
)
from flask_archie_keys.domain.permissions import ACTION_OF_METHOD, OWN_RESOURCES
from flask_archie_keys.rows import _OWN_COLUMNS

from .blocks import DOCS, SAMPLE_ID, blocks_of, first_column, lines_of_flask_keys
from .samples import Samples, blocks_after, flat, get, id_of, made, run

pytestmark = pytest.mark.usefixtures("rows_can_be_guarded")
PAGE = (DOCS / "roles.rst").read_text(encoding="utf-8")
VIEWER = "region = $context.region"
CEILING = "whoever acts here can hand out no more than it has"


@pytest.fixture
def shop(samples: Samples) -> ModuleType:
    """The page's application, with orders of two regions and a draft."""
    shop = samples.load("roles", "roles")
    with shop.app.app_context():
        shop.db.create_all()
        with shop.keys.unrestricted("the orders to begin with"):
            places = [(1, "eu", "open"), (2, "us", "open"), (3, "eu", "draft"), (4, "us", "held")]
            shop.db.session.add_all(shop.Order(id=n, region=region, status=status) for n, region, status in places)
            shop.db.session.commit()
        shop.save_viewer()
    return shop


def key(shop: ModuleType, *roles: str, **context: str) -> str:
    """The secret of a new key."""
    arguments = [word for role in roles for word in ("--role", role)]
    arguments += [word for name, value in context.items() for word in ("--context", f"{name}={value}")]
    return made(shop.app, "Warehouse", *arguments)


def saved(shop: ModuleType, name: str, *grants: Grant) -> str:
    with shop.app.app_context():
        shop.keys.roles.save(name, grants=grants)
    return name


def text_block(heading: str, number: int = 0) -> str:
    return blocks_after("roles", heading, "text")[number].text


def test_a_key_reads_the_rows_of_its_filter(shop: ModuleType) -> None:
    assert get(shop.app, "/api/orders", key(shop, "viewer", region="eu")).json == [1, 3]
    assert get(shop.app, "/api/orders", key(shop, "viewer", region="us")).json == [2, 4]
    assert get(shop.app, "/api/orders", key(shop)).status_code == 403


def test_the_first_file_is_the_role_of_the_sample(shop: ModuleType) -> None:
    block = next(b for b in blocks_of(DOCS / "roles.rst") if b.name == "roles_toml-1")
    (given,) = tomllib.loads(block.text)["roles"].items()
    with shop.app.app_context():
        role = shop.keys.roles.get(given[0])
        assert (role.description, role.grants) == (
            given[1]["description"],
            tuple(Grant(**g) for g in given[1]["grants"]),
        )


def test_the_table_of_actions() -> None:
    table = PAGE.partition("Actions\n-------\n")[2].partition("``update`` and")[0]
    rows = re.findall(r"^   \* - ``(\w+)``\n     - .*\n     - (.*)$", table, re.MULTILINE)
    shown = {method: action for action, methods in rows for method in re.findall(r"``(\w+)``", methods)}
    assert shown == ACTION_OF_METHOD


def test_update_and_delete_need_read(shop: ModuleType) -> None:
    updater = key(shop, saved(shop, "updater", Grant("orders", update=True)))
    refused = get(shop.app, "/api/orders/1", updater, "PATCH", json={"status": "held"})
    assert (refused.status_code, 'scope="orders:read"' in refused.headers["WWW-Authenticate"]) == (403, True)


def test_the_views_ask_for_their_action(shop: ModuleType) -> None:
    saved(shop, "editor", Grant("orders", read=True, update=True, filter=VIEWER))
    saved(shop, "remover", Grant("orders", read=True, delete=True))
    editor = key(shop, "editor", region="eu")
    assert get(shop.app, "/api/orders/1", editor, "PATCH", json={"status": "held"}).json == {"id": 1, "status": "held"}
    assert get(shop.app, "/api/orders/1", key(shop, "remover"), "DELETE").status_code == 403
    assert get(shop.app, "/api/orders/1", key(shop, "auditor"), "DELETE").status_code == 403
    assert get(shop.app, "/api/orders/1", key(shop, "auditor", "remover"), "DELETE").status_code == 204


def test_what_a_403_says(shop: ModuleType) -> None:
    response = get(shop.app, "/api/orders/1", key(shop, "viewer", region="eu"), "PATCH", json={"status": "held"})
    shown = text_block("What a 403 says").splitlines()
    assert f"HTTP/1.1 {response.status}" == shown[0]
    assert f"WWW-Authenticate: {response.headers['WWW-Authenticate']}" == shown[1]
    assert response.json == json.loads(blocks_after("roles", "What a 403 says", "json")[0].text)
    with shop.app.app_context():
        event = shop.keys.audit.find(outcome="denied")[0]
    assert event.reason == "missing_grant"
    assert event.details["permissions"] == [{"resource": "orders", "action": "update", "decision": "denied"}]
    remover = key(shop, saved(shop, "remover", Grant("orders", read=True, delete=True)))
    assert 'scope="auditor"' in get(shop.app, "/api/orders/1", remover, "DELETE").headers["WWW-Authenticate"]


def test_a_hidden_row_answers_like_one_that_never_existed(shop: ModuleType) -> None:
    editor = key(shop, saved(shop, "editor", Grant("orders", read=True, update=True, filter=VIEWER)), region="eu")
    hidden, missing = (get(shop.app, f"/api/orders/{n}", editor, "PATCH", json={"status": "x"}) for n in (2, 99))
    assert (hidden.status_code, hidden.data) == (missing.status_code, missing.data)
    assert hidden.status_code == 404


@pytest.mark.parametrize(
    ("filters", "read"),
    [
        (["region = 'eu'"], [1, 3]),
        (["region = 'eu'", "status = 'open'"], [1, 2, 3]),
        (["region = 'eu'", None], [1, 2, 3, 4]),
        ([VIEWER], 403),
        ([VIEWER, "status = 'open'"], [1, 2]),
    ],
)
def test_several_roles(shop: ModuleType, filters: list[str | None], read: list[int] | int) -> None:
    roles = [saved(shop, f"role_{number}", Grant("orders", read=True)) for number, _ in enumerate(filters)]
    secret = key(shop, *roles)  # made while the roles ask for nothing
    for role, text in zip(roles, filters, strict=True):
        assert text is None or f"``{text}``" in PAGE
        saved(shop, role, Grant("orders", read=True, filter=text))
    response = get(shop.app, "/api/orders", secret)
    assert (response.json if isinstance(read, list) else response.status_code) == read


def test_other_names_of_resources(shop: ModuleType) -> None:
    with shop.app.app_context(), pytest.raises(ValidationFailed, match="did you mean 'orders'"):
        shop.keys.roles.check("viewer", grants=[Grant("order", read=True)])


REPORTS = """
from flask import Flask
from flask_archie_keys import ArchieKeys, require_api_key

app = Flask(__name__)
keys = ArchieKeys(app)


@app.get("/reports")
@require_api_key(resource="reports")
def reports():
    return []
"""


def test_resources_without_rows(samples: Samples) -> None:
    plain = samples.write("reports", REPORTS)
    saved(plain, "reader", Grant("reports", read=True))
    assert get(plain.app, "/reports", key(plain, "reader")).status_code == 200
    with plain.app.app_context(), pytest.raises(ValidationFailed, match="reports is not protected, so its rows cannot"):
        plain.keys.roles.check("reader", grants=[Grant("reports", read=True, filter="region = 'eu'")])


def test_where_roles_come_from(shop: ModuleType) -> None:
    with shop.app.app_context():
        found = {role.name: role.source for role in shop.keys.roles.find()}
        assert found == {"auditor": "views", "clerk": "settings", "viewer": "saved"}
        assert shop.keys.roles.get("auditor").grants == ()
        with pytest.raises(Conflict, match="declared in ARCHIE_KEYS_ROLES; change it there"):
            shop.keys.roles.save("clerk")
    assert set(first_column("roles", "Where roles come from")) == {"views", "settings", "saved"}
    refused = run(shop.app, "create", "Warehouse", "--role", "viewr")
    assert "did you mean 'viewer'" in refused.output


def test_a_role_of_the_settings_that_does_not_fit(samples: Samples) -> None:
    """A mistake in the language is found at start-up, one in a column by ``explain``."""
    text = "\n\n".join(b.text for b in blocks_of(DOCS / "roles.rst") if re.fullmatch(r"roles-\d", b.name))
    reader = '"reader": {"grants": [{"resource": "orders", "read": True, "filter": "FILTER"}]},\n       "clerk": {'
    text = text.replace('"clerk": {', reader)
    with pytest.raises(ConfigurationError, match=r"in the role 'reader': grants\[0\].filter there is no LIKE"):
        samples.write("wrong_language", text.replace("FILTER", "region LIKE 'e%'"))
    shop = samples.write("wrong_column", text.replace("FILTER", "regio = 'eu'"))
    with shop.app.app_context():
        shop.db.create_all()
    secret = key(shop, "reader")
    assert get(shop.app, "/api/orders", secret).status_code == 403
    said = run(shop.app, "explain", id_of(secret), "--resource", "orders").output
    assert "there is no column regio; did you mean 'region'?" in flat(said)
    doctor = run(shop.app, "doctor", "--json")
    assert (doctor.exit_code, "there is no column regio" in doctor.output) == (1, True)


def test_saving_deleting_and_checking(shop: ModuleType) -> None:
    key(shop, "viewer", region="eu")
    with shop.app.app_context():
        roles = shop.keys.roles
        assert roles.check("viewer").grants == ()
        assert roles.get("viewer").grants != ()
        assert roles.save("viewer").grants == ()
        with pytest.raises(RoleInUse):
            roles.delete("viewer")
        roles.delete("viewer", take_from_keys=True)
        assert shop.keys.service.find()[0].roles == ()


def test_a_change_holds_at_the_next_request(shop: ModuleType) -> None:
    secret = key(shop, "viewer", region="eu")
    assert get(shop.app, "/api/orders", secret).json == [1, 3]
    saved(shop, "viewer", Grant("orders", read=True))
    assert get(shop.app, "/api/orders", secret).json == [1, 2, 3, 4]
    saved(shop, "viewer")
    assert get(shop.app, "/api/orders", secret).status_code == 403


def test_a_key_without_what_its_roles_need(shop: ModuleType) -> None:
    console = blocks_after("roles", "A role and the keys that have it", "console")
    refused, accepted = (run(shop.app, *lines_of_flask_keys(block)[0]) for block in console)
    assert refused.output.strip() == text_block("A role and the keys that have it")
    assert (refused.exit_code, accepted.exit_code) == (1, 0)
    saved(shop, "owner", Grant("orders", read=True, filter="id = $userId"))
    with shop.app.app_context(), pytest.raises(ValidationFailed, match=r"^owner: the role 'owner' filters orders by"):
        shop.keys.service.create(name="Warehouse", roles=["owner"])
    with shop.app.app_context(), pytest.raises(ValidationFailed, match=r"\$context.region, which must be a string"):
        shop.keys.service.create(name="Warehouse", roles=["viewer"], context={"region": 1})


def test_locked_out_keys_are_told(shop: ModuleType, tmp_path: Path) -> None:
    secret = key(shop, "viewer", region="eu")
    with shop.app.app_context():
        narrower = [Grant("orders", read=True, filter=f"{VIEWER} AND status = $context.status")]
        assert shop.keys.roles.save("viewer", grants=narrower).locked_out == (id_of(secret),)
    assert get(shop.app, "/api/orders", secret).status_code == 403
    printed = run(shop.app, "roles", "show", "viewer", "--json").stdout
    warned = run(shop.app, "roles", "save", "-", input=printed)
    said = "Warning: 1 key has the role viewer and no fitting context, and has no access by its filters:"
    assert f"{said} {id_of(secret)}" in warned.stderr


def test_the_table_of_our_own_resources() -> None:
    table = PAGE.partition("- Columns for filters\n")[2].partition("To copy a role")[0]
    rows = re.findall(r"^   \* - (?:``(\w+)``)?\n     - ``(\w+)``\n     - (.*)\n     -(.*)$", table, re.MULTILINE)
    assert [name for name, *_ in rows if name] == list(OWN_RESOURCES)
    shown = {name: tuple(re.findall(r"``(\w+)``", columns)) for name, _, _, columns in rows if name}
    assert shown == _OWN_COLUMNS


@pytest.mark.parametrize(
    ("roles", "context", "status"),
    [
        (["viewer"], {"region": "eu"}, 201),
        (["clerk"], {"region": "eu", "note": "more"}, 201),
        (["viewer"], {"region": "us"}, 403),
        ([], {}, 403),
        (["auditor"], {"region": "eu"}, 403),
    ],
)
def test_the_ceiling(shop: ModuleType, roles: list[str], context: dict[str, str], status: int) -> None:
    clerk = key(shop, "clerk", "viewer", region="eu")
    response = get(shop.app, "/api/keys", clerk, "POST", json={"name": "New", "roles": roles, "context": context})
    assert response.status_code == status, response.text
    if context.get("region") == "us":
        assert response.json == json.loads(blocks_after("roles", "The ceiling", "json")[0].text)
    assert get(shop.app, "/api/keys", key(shop, "viewer", region="eu"), "POST", json={"name": "N"}).status_code == 403


def test_the_ceiling_of_dates_networks_and_the_key_itself(shop: ModuleType) -> None:
    with shop.app.app_context():
        service = shop.keys.service
        expires_at = shop.keys.service.create(name="x").key.created_at.replace(year=9000)
        clerk = service.create(name="Clerk", roles=["clerk"], expires_at=expires_at, allowed_networks=["127.0.0.0/8"])
        other = service.create(name="Other", roles=["viewer"], context={"region": "eu"}).key
        with shop.keys.act_as(_principal(shop, clerk)):
            made = service.create(name="New").key
            assert (made.expires_at, made.allowed_networks) == (expires_at, ("127.0.0.0/8",))
            with pytest.raises(Forbidden, match="ends earlier"):
                service.update(made.id, expires_at=expires_at.replace(year=9001))
            with pytest.raises(Forbidden, match="bound to networks"):
                service.update(made.id, allowed_networks=["0.0.0.0/0"])
            for change in (service.delete, service.disable, service.rotate):
                with pytest.raises(Forbidden, match="a key does not change itself"):
                    change(clerk.key.id)
            with pytest.raises(Forbidden, match="does not have the role 'viewer'"):
                service.rotate(other.id)
            assert service.disable(other.id).status == "disabled"
            with pytest.raises(Forbidden, match="does not have the role 'viewer'"):
                service.enable(other.id)
            assert service.delete(other.id).status == "deleted"


@pytest.mark.parametrize(
    ("filter", "saves"),
    [(VIEWER, True), (f"{VIEWER} AND status = 'open'", True), (None, False), ("region = 'eu'", False)],
)
def test_the_ceiling_of_roles(shop: ModuleType, filter: str | None, saves: bool) -> None:
    with shop.app.app_context():
        service = shop.keys.service
        clerk = service.create(name="Clerk", roles=["clerk", "viewer"], context={"region": "eu"})
        with shop.keys.act_as(_principal(shop, clerk)):
            grants = [Grant("orders", read=True, filter=filter)]
            if saves:
                assert shop.keys.roles.save("narrow", grants=grants).name == "narrow"
            else:
                with pytest.raises(Forbidden, match=CEILING) as refused:
                    shop.keys.roles.save("narrow", grants=grants)
                assert refused.value.reason == "ceiling"
        service.create(name="Other", roles=["viewer"], context={"region": "us"})
        with shop.keys.act_as(_principal(shop, clerk)), pytest.raises(Forbidden, match=r"another \$context.region"):
            shop.keys.roles.save("viewer", grants=[Grant("orders", read=True, filter=VIEWER)])
        with shop.keys.unrestricted("nobody's ceiling"):
            shop.keys.roles.save("narrow", grants=[Grant("orders", read=True)])


def _principal(shop: ModuleType, created: CreatedKey) -> Principal:
    """Who acts with a key, as its own request says."""
    headers = {"Authorization": f"Bearer {created.secret}"}
    with shop.app.test_request_context("/", headers=headers, environ_base={"REMOTE_ADDR": "127.0.0.1"}):
        assert shop.keys.guard()() is None
        found = current_principal()
    assert found is not None
    return found


def test_keys_outside_a_filter_are_not_there(shop: ModuleType) -> None:
    saved(shop, "own_keys", Grant("api_keys", read=True, filter="owner = $userId"))
    with shop.app.app_context():
        own = shop.keys.service.create(name="Own", roles=["own_keys"], owner="ada@example.org")
        shop.keys.service.create(name="Other", owner="bob@example.org")
        with shop.keys.act_as(_principal(shop, own)):
            assert [k.name for k in shop.keys.service.find()] == ["Own"]


def test_events_outside_a_filter_are_not_there(shop: ModuleType) -> None:
    saved(shop, "own_events", Grant("audit_events", read=True, filter="key_id = $keyId"))
    with shop.app.app_context():
        own, other = (shop.keys.service.create(name=name, roles=["own_events"]) for name in ("Own", "Other"))
        with shop.keys.act_as(_principal(shop, own)):
            assert {event.key_id for event in shop.keys.audit.find()} == {own.key.id}
            with pytest.raises(Forbidden):
                shop.keys.traffic(other.key.id)


def test_files_of_roles(shop: ModuleType, tmp_path: Path) -> None:
    listed, dry, save = lines_of_flask_keys(blocks_after("roles", "Roles under version control", "console")[0])
    path = tmp_path / "roles.toml"
    path.write_text(run(shop.app, *listed).stdout, encoding="utf-8")
    assert "[roles.viewer]" in path.read_text(encoding="utf-8")
    block = next(b for b in blocks_of(DOCS / "roles.rst") if b.name == "roles_toml-2")
    path.write_text(block.text, encoding="utf-8")
    shown = run(shop.app, *[str(path) if word == "roles.toml" else word for word in dry])
    assert shown.stdout.strip() == text_block("Roles under version control")
    with shop.app.app_context():
        assert [role.name for role in shop.keys.roles.find()] == ["auditor", "clerk", "viewer"]
    assert run(shop.app, *[str(path) if word == "roles.toml" else word for word in save]).exit_code == 0
    with shop.app.app_context():
        assert shop.keys.roles.get("viewer").grants[0].filter == f"{VIEWER} AND status != 'draft'"
        assert shop.keys.roles.get("editor").description == "Changes them, too."
    for printed in (run(shop.app, "roles", *words, "--json").stdout for words in (["list"], ["show", "viewer"])):
        again = run(shop.app, "roles", "save", "-", input=printed)
        assert (again.exit_code, "clerk" in again.stdout, "auditor" in again.stdout) == (0, False, False)
    assert run(shop.app, "roles", "delete", "viewer").exit_code == 0


def test_explain(shop: ModuleType) -> None:
    secret = key(shop, "viewer", region="eu")
    (line,) = lines_of_flask_keys(blocks_after("roles", "Why a key is let in or not", "console")[0])
    shown = run(shop.app, *[id_of(secret) if word == SAMPLE_ID else word for word in line])
    assert shown.output.strip() == text_block("Why a key is let in or not")
    with shop.app.app_context():
        explanation = shop.keys.explain(id_of(secret), resource="orders", action="read")
    assert (explanation.allowed, explanation.filter) == (True, "region = 'eu'")
    assert secret not in repr(explanation)
