from __future__ import annotations

import json

from flask_archie_keys.domain.clock import isoformat
from flask_archie_keys.faces import schemas

from ..conftest import Host


def test_a_key_has_the_documented_members(host: Host) -> None:
    key = host.create(context={"region": "eu", "ids": [1]}, allowed_networks=["10.0.0.0/8"]).key
    assert json.loads(json.dumps(schemas.plain(schemas.key(key)))) == {
        "id": key.id,
        "name": "key",
        "prefix": "archie",
        "hint": f"archie_{key.id}_…",
        "project": "default",
        "environment": "master",
        "roles": ["viewer"],
        "context": {"region": "eu", "ids": [1]},
        "owner": None,
        "status": "active",
        "createdAt": isoformat(key.created_at),
        "createdBy": "system",
        "expiresAt": None,
        "lastUsedAt": None,
        "disabledAt": None,
        "deletedAt": None,
        "replaces": None,
        "replacedBy": None,
        "rateLimit": None,
        "allowedNetworks": ["10.0.0.0/8"],
        "version": 1,
    }


def test_only_a_new_key_has_a_secret(host: Host) -> None:
    created = host.create()
    assert schemas.plain(schemas.created_key(created)) == {
        "secret": created.secret,
        **schemas.plain(schemas.key(created.key)),
    }
    assert created.secret[-38:] not in json.dumps(schemas.plain(schemas.key(created.key)))
    assert created.secret[-38:] not in repr(schemas.one(schemas.created_key(created)))


def test_lists_have_their_pagination(host: Host) -> None:
    for _ in range(3):
        host.create()
    with host.app.app_context():
        page = host.keys.service.find(limit=2)
    document = schemas.plain(schemas.page(page, schemas.key, 2))
    assert len(document["data"]) == 2
    assert document["meta"]["pagination"] == {"limit": 2, "hasNextPage": True, "nextCursor": page.next_cursor}


def test_traffic_and_events(host: Host) -> None:
    created = host.create()
    host.get("/me", created.secret)
    with host.app.app_context():
        traffic = schemas.plain(schemas.traffic(host.keys.traffic(created.key.id)))
    assert (traffic["quietSeconds"], traffic["safeToDelete"], len(traffic["counts"])) == (0, False, 24)
    event = json.loads(json.dumps(schemas.plain(schemas.event(host.events()[0]))))
    assert (event["keyId"], event["outcome"], event["status"], event["path"]) == (created.key.id, "allowed", 200, "/me")
    assert event["occurredAt"].endswith("Z") and event["durationMs"] > 0
