"""Every operation, by both clients, against a real server process over HTTP."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pytest

from flask_archie_keys import (
    BadRequest,
    Conflict,
    CreatedKey,
    Forbidden,
    Grant,
    Key,
    KeyInUse,
    KeyNotFound,
    Replayed,
    Role,
    RoleNotFound,
    Unauthorized,
    ValidationFailed,
    VersionMismatch,
)
from flask_archie_keys.client import ArchieKeysClient, AsyncArchieKeysClient, calls
from flask_archie_keys.faces.api.operations import OPERATIONS

from ..support.processes import Application, secret_in
from .support import SECRET, Clients

APPLICATION = """
import os
from datetime import timedelta
from flask import Flask
from flask_archie_keys import ArchieKeys, require_api_key

EVERYTHING = [
    {"resource": resource, "read": True, "write": True, "update": True, "delete": True}
    for resource in ("api_keys", "roles", "audit_events")
]

def create_app():
    app = Flask("served", instance_path=os.environ["INSTANCE"])
    app.config["ARCHIE_KEYS_PEPPERS"] = ["pepper-of-" + "the-processes"]
    app.config["ARCHIE_KEYS_AUDIT"] = {"interval": timedelta(milliseconds=10)}
    app.config["ARCHIE_KEYS_ROLES"] = {"administrator": {"grants": EVERYTHING}, "viewer": {}, "editor": {}}
    app.config["ARCHIE_KEYS_QUIET_PERIOD"] = timedelta(seconds=60)
    ArchieKeys(app)
    return app
"""


class Served(NamedTuple):
    url: str
    secret: str
    application: Application


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    application = Application(tmp_path_factory.mktemp("served"))
    (application.folder / "served.py").write_text(APPLICATION)
    made = application.flask(
        "keys", "create", "administrator", "--role", "administrator", "--role", "viewer", "--quiet"
    )
    server = application.serve("--threads", "4")
    yield Served(f"http://127.0.0.1:{server.port}/archie/v1", secret_in(made.stdout), application)
    application.close()


@pytest.fixture
def client(served: Served, clients: Clients) -> Any:
    return clients(served.url, served.secret)


def test_there_is_a_call_for_every_operation_but_none_that_the_api_has_not() -> None:
    made = {
        "listKeys": calls.find_keys(),
        "createKey": calls.create_key(name="x"),
        "getKey": calls.get_key("0" * 12),
        "updateKey": calls.update_key("0" * 12, version=1, name="x"),
        "deleteKey": calls.delete_key("0" * 12),
        "rotateKey": calls.rotate_key("0" * 12),
        "disableKey": calls.disable_key("0" * 12),
        "enableKey": calls.enable_key("0" * 12),
        "getTraffic": calls.traffic_of_key("0" * 12),
        "listRoles": calls.find_roles(),
        "createRole": calls.create_role("x"),
        "getRole": calls.get_role("x"),
        "saveRole": calls.save_role("x"),
        "deleteRole": calls.delete_role("x"),
        "listAuditEvents": calls.find_events(),
        "getMe": calls.me(),
        "explain": calls.explain("0" * 12),
    }
    paths = {
        each.name: (each.method, each.path.replace("<key_id>", "0" * 12).replace("<name>", "x").lstrip("/"))
        for each in OPERATIONS
        if each.path != "/graphql"
    }
    assert {name: (call.method, call.path) for name, call in made.items()} == paths


def test_the_two_clients_have_the_same_methods() -> None:
    def methods(client: Any) -> dict[str, list[str]]:
        parts = {"": client, "keys": client.keys, "roles": client.roles, "audit": client.audit}
        return {
            part: [name for name in dir(thing) if not name.startswith("_") and callable(getattr(thing, name))]
            for part, thing in parts.items()
        }

    url = "https://shop.example/archie/v1"
    assert methods(ArchieKeysClient(url, SECRET)) == methods(AsyncArchieKeysClient(url, SECRET))


def test_who_calls(client: Any) -> None:
    me = client.me()
    assert (me.principal.kind, me.principal.name) == ("key", "administrator")
    assert me.principal.roles == ("administrator", "viewer")
    assert {(each.role, each.grant.resource) for each in me.grants} == {
        ("administrator", name) for name in ("api_keys", "roles", "audit_events")
    }


def test_the_life_of_a_key(client: Any) -> None:
    expires = datetime(2030, 1, 31, 12, tzinfo=UTC)
    created = client.keys.create(
        name="CI",
        roles=["viewer"],
        context={"region": "eu", "shops": (1, 2)},
        prefix="shop",
        expires_at=expires,
        owner="ada",
        allowed_networks=["127.0.0.0/8"],
    )
    assert isinstance(created, CreatedKey) and isinstance(created.key, Key)
    key = created.key
    assert created.secret.startswith(f"shop_{key.id}_") and created.secret not in repr(created)
    assert (key.name, key.roles, key.context) == ("CI", ("viewer",), {"region": "eu", "shops": (1, 2)})
    assert (key.expires_at, key.owner, key.allowed_networks) == (expires, "ada", ("127.0.0.0/8",))
    assert key.created_by.startswith("key:") and key.created_at.utcoffset() == timedelta(0)
    changed = client.keys.update(
        key.id, version=key.version, name="CI 2", context={"region": None, "x": True}, expires_at=None, owner=None
    )
    assert (changed.name, changed.context, changed.version) == ("CI 2", {"shops": (1, 2), "x": True}, 2)
    assert (changed.expires_at, changed.owner, changed.roles) == (None, None, ("viewer",))
    assert client.keys.update(key.id, version=None, roles=[]).roles == ()
    assert client.keys.disable(key.id).status == "disabled"
    assert client.keys.enable(key.id).status == "active"
    successor = client.keys.rotate(key.id, overlap=timedelta(hours=1))
    assert successor.key.replaces == key.id and client.keys.get(key.id).status == "retiring"
    traffic = client.keys.traffic(key.id)
    assert traffic.last_used_at is None and traffic.quiet < timedelta(minutes=1) and len(traffic.counts) >= 24
    with pytest.raises(KeyInUse):
        client.keys.delete(key.id, only_if_quiet=True)
    assert client.keys.delete(key.id).status == "deleted"
    kinds = [event.kind for event in client.audit.each(key=key.id, limit=2)]
    assert kinds == [
        *("key.deleted", "key.rotated", "key.enabled", "key.disabled", "key.updated", "key.updated", "key.created")
    ]
    assert {event.key_id for event in client.audit.stream(key=key.id, lineage=True)} == {key.id, successor.key.id}


def test_lists_are_found_page_by_page(client: Any) -> None:
    for number in range(3):
        client.keys.create(name=f"listed {client!r} {number}", owner=f"lister of {client!r}")
    whole = client.keys.find(q=f"lister of {client!r}")
    assert [key.name[-1] for key in whole] == ["2", "1", "0"] and whole.next_cursor is None
    page = client.keys.find(q=f"lister of {client!r}", limit=2)
    assert len(page) == 2 and page.next_cursor
    assert len(client.keys.find(q=f"lister of {client!r}", limit=2, cursor=page.next_cursor)) == 1
    assert [key.id for key in client.keys.each(q=f"lister of {client!r}", limit=1)] == [key.id for key in whole]


def test_roles(served: Served, client: Any) -> None:
    grants = [Grant("api_keys", read=True, filter="owner = $userId"), {"resource": "roles", "read": True}]
    role = client.roles.create("clerk", description="Reads keys.", grants=grants)
    assert isinstance(role, Role)
    assert role.grants == (grants[0], Grant("roles", read=True))
    assert (role.version, role.source, role.description) == (1, "saved", "Reads keys.")
    with pytest.raises(Conflict):
        client.roles.create("clerk")
    with pytest.raises(VersionMismatch):
        client.roles.save("clerk", version=7)
    with pytest.raises(VersionMismatch):
        client.roles.save("clerk", version=0)
    assert client.roles.save("clerk", version=1, grants=grants[1:]).grants == (Grant("roles", read=True),)
    assert client.roles.get("clerk").version == 2
    assert [role.name for role in client.roles.find()] == ["administrator", "clerk", "editor", "viewer"]
    holder = secret_in(served.application.flask("keys", "create", "holder", "--role", "clerk", "--quiet").stdout)
    with pytest.raises(Conflict, match="has the role 'clerk'"):
        client.roles.delete("clerk")
    assert client.roles.delete("clerk", take_from_keys=True) is None
    assert client.keys.get(holder[-51:-39]).roles == ()
    with pytest.raises(RoleNotFound):
        client.roles.delete("clerk")


def test_the_audit_log(client: Any) -> None:
    key = client.keys.create(name="watched", roles=["viewer"]).key
    (event,) = client.audit.find(key=key.id, kind="key.created", since=datetime(2020, 1, 1, tzinfo=UTC))
    assert event.details == {"name": "watched", "roles": ["viewer"]} and event.occurred_at.tzinfo is UTC
    assert list(client.audit.stream(key=key.id)) == [event]
    assert client.audit.find(key=key.id, outcome="refused").items == ()


def test_why_a_key_is_let_in(client: Any) -> None:
    key = client.keys.create(name="asked about", roles=["viewer"]).key
    found = client.explain(key.id, roles=["viewer"], resource="api_keys", action="write", remote_address="10.0.0.1")
    assert (found.key_id, found.allowed) == (key.id, False)
    assert {check.name: check.passed for check in found.checks}["roles"] is True
    assert not found.checks[-1].passed


def refusals() -> Iterator[Any]:
    unknown = "0" * 12
    yield pytest.param(lambda c: c.keys.get(unknown), KeyNotFound, {}, id="no such key")
    yield pytest.param(lambda c: c.keys.find(cursor="x"), BadRequest, {}, id="a bad cursor")
    yield pytest.param(lambda c: c.keys.find(limit=0), BadRequest, {}, id="a bad limit")
    yield pytest.param(lambda c: c.keys.create(name="\ud800"), BadRequest, {}, id="a lone surrogate")
    yield pytest.param(lambda c: c.roles.get("nobody"), RoleNotFound, {}, id="no such role")
    yield pytest.param(lambda c: c.explain(unknown), KeyNotFound, {}, id="no such key to explain")
    yield pytest.param(
        lambda c: c.keys.create(name="x", roles=["administrator", "editor"]),
        Forbidden,
        {"reason": "insufficient_scope", "scope": None},
        id="beyond the ceiling",
    )
    yield pytest.param(
        lambda c: c.keys.create(name="", expires_at=datetime(2020, 1, 1, tzinfo=UTC)),
        ValidationFailed,
        {"fields": [("name", "required"), ("expires_at", "future")]},
        id="refused input",
    )


@pytest.mark.parametrize(("asked", "error", "facts"), list(refusals()))
def test_problems_are_the_errors_of_the_services(
    client: Any, asked: Callable[[Any], Any], error: type[Exception], facts: dict[str, Any]
) -> None:
    with pytest.raises(error) as raised:
        asked(client)
    assert type(raised.value) is error
    if isinstance(raised.value, ValidationFailed):
        assert [(entry.field, entry.rule) for entry in raised.value.errors] == facts["fields"]
    else:
        assert {name: getattr(raised.value, name) for name in facts} == facts


def test_a_bad_key_and_a_key_that_may_not(served: Served, client: Any, clients: Clients) -> None:
    with pytest.raises(Unauthorized) as raised:
        clients(served.url, SECRET).me()
    assert raised.value.reason == "invalid_token"
    weak = clients(served.url, client.keys.create(name="weak", roles=["viewer"]).secret)
    with pytest.raises(Forbidden) as forbidden:
        weak.keys.find()
    assert (forbidden.value.scope, forbidden.value.status) == ("api_keys:read", 403)


def test_a_request_that_was_made_before_is_told_by_its_key(client: Any) -> None:
    made = client.keys.create(name="once", idempotency_key=f"deploy of {client!r}")
    with pytest.raises(Replayed) as raised:
        client.keys.create(name="once", idempotency_key=f"deploy of {client!r}")
    assert raised.value.key_id == made.key.id and "lost" not in str(raised.value)
    assert client.keys.create(name="twice").key.id != client.keys.create(name="twice").key.id
    for wrong in ("a\nb", "", "x" * 256, "é"):
        with pytest.raises(BadRequest, match="1 to 255 visible"):
            client.keys.create(name="x", idempotency_key=wrong)


def test_what_cannot_be_an_id_or_a_name_is_never_sent(clients: Clients) -> None:
    """It would be another address: `DELETE /keys/..` is `DELETE /`."""
    client = clients("http://127.0.0.1:9/archie/v1")
    for wrong in ("..", ".", "", "a/b", "7f3Kq2Zt9bX?"):
        with pytest.raises(KeyNotFound):
            client.keys.delete(wrong)
        with pytest.raises(RoleNotFound):
            client.roles.delete(wrong)
        with pytest.raises(ValidationFailed):
            client.roles.save(wrong)


def test_a_client_closes(served: Served, clients: Clients) -> None:
    client = clients(served.url, served.secret)
    client.me()
    client.close()
    with pytest.raises(RuntimeError, match="closed"):
        client.me()


def test_clients_are_contexts(served: Served) -> None:
    with ArchieKeysClient(served.url, served.secret) as client:
        client.me()
    with pytest.raises(RuntimeError, match="closed"):
        client.me()
