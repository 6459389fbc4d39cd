"""The faces agree: whatever is done through Python, JSON, GraphQL, the command line and the client has one outcome and
leaves one trace in the audit log.

Each scenario is played on each face, each time with keys and roles of its own. What comes of it is compared with what
came of it in Python, after ids, times and the names that were made up for the run are put away.
"""

from __future__ import annotations

import functools
import itertools
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pytest

from flask_archie_keys import ArchieKeys, AuditEvent, CreatedKey, Grant, Principal

from .conftest import ALL_FACES, Host, hosts
from .support.faces import FACES, Face, Python, Refused

OWN = ("api_keys", "roles", "audit_events")
EVERYTHING = [{"resource": r, "read": True, "write": True, "update": True, "delete": True} for r in OWN]
MINE = [
    {"resource": "api_keys", "read": True, "write": True, "update": True, "delete": True, "filter": "owner = $userId"}
]
LATER = datetime(2030, 1, 31, 12, tzinfo=UTC)
NOBODY = "0" * 12
_numbers = itertools.count(100)


@functools.cache
def _actor(host: Host, role: str) -> CreatedKey:
    return host.create("actor", (role, "viewer"), owner="ada")  # type: ignore[no-any-return]


class World:
    """What a scenario finds: a host, who acts, and names that nothing else has."""

    def __init__(self, host: Host, face: type[Face], actor: str) -> None:
        self.host = host
        self.tag = f"run{next(_numbers)}"
        self.labels: dict[str, str] = {}
        self.actor = _actor(host, actor)
        self.label(self.actor, "ACTOR")
        self.face: Any = face(host, self.actor)
        self.role = f"role_{self.tag}"

    @contextmanager
    def before(self) -> Iterator[ArchieKeys]:
        """A block in which the things are made that are there before; somebody else acts in it than in the scenario."""
        roles = ("administrator", "viewer", "editor", "clerk", self.role)
        with self.host.acting(Principal.user("before", roles=roles)):
            yield self.host.keys

    def label(self, created: CreatedKey, label: str) -> str:
        """Call a key something that is the same in all runs; its id."""
        self.labels[created.key.id] = label
        return created.key.id

    def key(self, **given: Any) -> str:
        """The id of a key that is there before."""
        given = {"name": f"old {self.tag}", "roles": ("viewer",), "owner": "ada", **given}
        with self.before() as keys:
            return self.label(keys.service.create(**given), f"OLD{len(self.labels)}")

    def save(self, *grants: Grant, **given: Any) -> str:
        """The name of a role that is there before."""
        with self.before() as keys:
            return keys.roles.save(self.role, grants=grants, **given).name

    def played(self, act: Callable[[World], Any]) -> Any:
        """What came of a scenario and what it left in the audit log, in a form that other runs have, too."""
        with self.host.app.app_context():
            newest = self.host.keys.audit.find(limit=1)[0].id
        try:
            outcome = act(self)
        except Refused as refused:
            outcome = {"refused": refused.problem}
            if refused.problem["type"] == "/errors/bad-request":  # the faces have different words for what they read
                del refused.problem["detail"]
        events = [
            {"kind": e.kind, "key": e.key_id, "actor": e.actor, "outcome": e.outcome, "details": dict(e.details)}
            for e in self._changes_after(newest)
        ]
        return self._put_away({"outcome": outcome, "events": events})

    def _changes_after(self, newest: str) -> list[AuditEvent]:
        """Oldest first. The ids of events sort by time."""
        with self.host.app.app_context():
            page = self.host.keys.audit.find(limit=30)
        assert page[-1].id <= newest, "there is nothing that was not read"
        return [event for event in reversed(page) if event.kind != "request" and event.id > newest]

    def _put_away(self, played: Any) -> Any:
        played = _without_runs(played)
        text = json.dumps(played, sort_keys=True, default=str)
        for event in played["events"]:
            if event["kind"] == "key.created":
                self.labels.setdefault(event["key"], f"NEW{len(self.labels)}")
        text = text.replace(f'"{self.face.acts_as}"', '"WHO ACTS"')
        for key_id, label in self.labels.items():
            text = text.replace(key_id, label)
        text = text.replace(self.tag, "RUN")
        text = re.sub(r"20(?!30-01-31)\d\d-\d\d-\d\dT[\d:.]+Z", "TIME", text)
        text = re.sub(r"_[0-9A-Za-z]{38}\b", "_SECRET", text)
        return json.loads(re.sub(r"\b\d+ s ago", "N s ago", text))


def _without_runs(value: Any) -> Any:
    """Without what is another in every run, whoever does it."""
    if isinstance(value, dict):
        own = {"id": "EVENT"} if "occurredAt" in value else {}
        gone = ("quietSeconds", "counts", "requestId", "userAgent", "remoteAddress")
        return {name: _without_runs(item) for name, item in {**value, **own}.items() if name not in gone}
    return [_without_runs(item) for item in value] if isinstance(value, list) else value


class Scenario(NamedTuple):
    """One thing that is done.

    :ivar act: does it and gives what is to be compared.
    :ivar actor: the role of who does it.
    :ivar without: faces that have no words for it.
    :ivar wanted: the type of the problem, so that all of them being wrong in the same way is seen.
    :ivar rule: the rule that the first refused field breaks.
    """

    name: str
    act: Callable[[World], Any]
    actor: str = "administrator"
    without: tuple[str, ...] = ()
    wanted: str | None = None
    rule: str | None = None


AS_KEY = ("command line",)  # which is always the system


def create(what: str, rule: str | None = None, without: tuple[str, ...] = (), **given: Any) -> Scenario:
    wanted = None if rule is None else "/errors/validation-failed"

    def act(world: World) -> Any:
        return world.face.create(**{"name": f"new {world.tag}", **given})

    return Scenario(f"create {what}", act, without=without, wanted=wanted, rule=rule)


def changed(what: str, /, **changes: Any) -> Scenario:
    return Scenario(f"update {what}", lambda w: w.face.update(w.key(), None, **changes))


def role(name: str, *grants: dict[str, Any], wanted: str | None = None, **given: Any) -> Scenario:
    return Scenario(f"role {name}", lambda w: w.face.save_role(w.role, grants=list(grants), **given), wanted=wanted)


def _list(**asked: Any) -> Callable[[World], Any]:
    def act(world: World) -> Any:
        world.key()
        world.key(roles=("editor",), prefix="shop")
        disabled = world.key()
        with world.before() as keys:
            keys.service.disable(disabled)
        return world.face.find(**{"q": f"old {world.tag}", **asked})

    return act


def _twice(act: Callable[[World, str], Any]) -> Callable[[World], Any]:
    def both(world: World) -> Any:
        key_id = world.key()
        act(world, key_id)
        return act(world, key_id)

    return both


def _deleted(world: World, key_id: str) -> str:
    with world.before() as keys:
        keys.service.delete(key_id)
    return key_id


def _used(world: World) -> str:
    with world.before() as keys:
        created = keys.service.create(name=f"old {world.tag}", roles=["viewer"], owner="ada")
    assert world.host.get("/me", created.secret).status_code == 200
    return world.label(created, "OLD")


def _quiet(world: World) -> str:
    """A key that ended: it cannot be in use."""
    key_id = world.key()
    with world.before() as keys:
        world.label(keys.service.rotate(key_id, overlap=timedelta(0)), "SUCCESSOR")
    return key_id


def _history(world: World) -> Any:
    key_id = world.key()
    with world.before() as keys:
        keys.service.disable(key_id)
        keys.service.enable(key_id)
        world.label(keys.service.rotate(key_id), "SUCCESSOR")
    return [
        world.face.events(key=key_id),
        world.face.events(key=key_id, limit=2),
        world.face.events(key=key_id, lineage=True),
        world.face.events(key=key_id, kind="key.disabled"),
    ]


def _held(world: World) -> str:
    world.key(roles=(world.save(Grant("roles", read=True)),))
    return world.role


FILTERED = {"resource": "api_keys", "read": True, "filter": "owner = $userId"}
PROBLEM = "/errors/"
SCENARIOS = [
    create("a key"),
    create(
        "one with all that a key can have",
        roles=["viewer"],
        context={"region": "eu", "shops": [1, 2], "live": True, "rate": 1.5},
        prefix="shop",
        expires_at=LATER,
        owner="ada",
        allowed_networks=["10.0.0.0/8", "::1"],
    ),
    create("one with no name", "required", name=" "),
    create("one with a long name", "length", name="x" * 201),
    create("one with control characters", "characters", name="a\x07b"),
    create("one with an unknown role", "unknown", roles=["vewer"]),
    create("one with two of them", "unknown", roles=["vewer", "viewer", "nobody"]),
    create("one with a bad prefix", "pattern", prefix="Shop_"),
    create("one that has ended", "future", expires_at=datetime(2020, 1, 1, tzinfo=UTC)),
    create("one with a time without its zone", "timezone", AS_KEY, expires_at=datetime(2030, 1, 31)),
    create("one with no owner", "required", owner=""),
    create("one with a bad context", "name", context={"a b": 1}),
    create("one with a huge number", "range", context={"a": 2**70}),
    create("one with too much context", "length", context={"a": "x" * 5000}),
    create("one with no network", "network", allowed_networks=["10.0.0.1/8", "home"]),
    create("one with everything wrong", "required", name="", prefix="1", roles=["x"], owner="\x00"),
    Scenario(
        "create one beyond the ceiling",
        lambda w: w.face.create(name="new", roles=["editor"]),
        without=AS_KEY,
        wanted="/errors/forbidden",
    ),
    Scenario("create without a grant", lambda w: w.face.create(name="new"), "viewer", AS_KEY, "/errors/forbidden"),
    Scenario(
        "create with a name for the request",
        lambda w: w.face.create(name="new", idempotency_key=w.tag),
        without=AS_KEY,
    ),
    Scenario(
        "create again with the same one",
        lambda w: [w.face.create(name="new", idempotency_key=w.tag) for _ in range(2)],
        without=AS_KEY,
        wanted="/errors/conflict",
    ),
    Scenario("get a key", lambda w: w.face.get(w.key(context={"a": [1]}, expires_at=LATER))),
    Scenario("get none", lambda w: w.face.get(NOBODY), wanted="/errors/not-found"),
    Scenario("get a hidden one", lambda w: w.face.get(w.key(owner="bob")), "clerk", AS_KEY, "/errors/not-found"),
    Scenario("get one that is not hidden", lambda w: w.face.get(w.key()), "clerk", AS_KEY),
    Scenario("get without a grant", lambda w: w.face.get(w.key()), "viewer", AS_KEY, "/errors/forbidden"),
    Scenario("list keys", _list()),
    Scenario("list a part", _list(limit=2)),
    Scenario("list by status", _list(status="disabled")),
    Scenario("list by role", _list(role="editor")),
    Scenario("list by prefix", _list(prefix="shop")),
    Scenario("list too many", _list(limit=201), wanted="/errors/bad-request"),
    Scenario("list by a wrong cursor", _list(cursor="x"), wanted="/errors/bad-request"),
    changed("a name", name="other"),
    changed(
        "everything", name="other", roles=["editor", "viewer"][1:], context={"x": 1}, owner="bob", expires_at=LATER
    ),
    changed("nothing", owner="ada"),
    Scenario(
        "update with a bad name", lambda w: w.face.update(w.key(), None, name=""), wanted="/errors/validation-failed"
    ),
    Scenario("update a version", lambda w: w.face.update(w.key(), 1, name="other"), without=AS_KEY),
    Scenario(
        "update a stale version",
        lambda w: w.face.update(w.key(), 7, name="other"),
        without=AS_KEY,
        wanted="/errors/precondition-failed",
    ),
    Scenario(
        "update a hidden key",
        lambda w: w.face.update(w.key(owner="bob"), None, name="x"),
        "clerk",
        AS_KEY,
        "/errors/not-found",
    ),
    Scenario(
        "update oneself",
        lambda w: w.face.update(w.actor.key.id, None, name="x"),
        without=AS_KEY,
        wanted="/errors/forbidden",
    ),
    Scenario(
        "update a deleted key",
        lambda w: w.face.update(_deleted(w, w.key()), None, name="x"),
        wanted="/errors/conflict",
    ),
    Scenario("rotate a key", lambda w: w.face.rotate(w.key(), overlap=timedelta(hours=1))),
    Scenario("rotate as the settings say", lambda w: w.face.rotate(w.key())),
    Scenario("rotate at once", lambda w: w.face.rotate(w.key(), overlap=timedelta(0))),
    Scenario("rotate twice", _twice(lambda w, k: w.face.rotate(k)), wanted="/errors/conflict"),
    Scenario("rotate a deleted key", lambda w: w.face.rotate(_deleted(w, w.key())), wanted="/errors/conflict"),
    Scenario("rotate none", lambda w: w.face.rotate(NOBODY), wanted="/errors/not-found"),
    Scenario("disable a key", lambda w: w.face.disable(w.key())),
    Scenario("disable it twice", _twice(lambda w, k: w.face.disable(k))),
    Scenario("disable a deleted key", lambda w: w.face.disable(_deleted(w, w.key())), wanted="/errors/conflict"),
    Scenario("disable and enable", lambda w: [w.face.disable(k := w.key()), w.face.enable(k)]),
    Scenario("delete a key", lambda w: w.face.delete(w.key())),
    Scenario("delete it twice", _twice(lambda w, k: w.face.delete(k))),
    Scenario("delete one in use", lambda w: w.face.delete(_used(w), only_if_quiet=True), wanted="/errors/key-in-use"),
    Scenario("delete a quiet one", lambda w: w.face.delete(_quiet(w), only_if_quiet=True)),
    Scenario("delete none", lambda w: w.face.delete(NOBODY), wanted="/errors/not-found"),
    Scenario("traffic", lambda w: w.face.traffic(_used(w)), without=("GraphQL",)),
    Scenario("traffic of none", lambda w: w.face.traffic(NOBODY), without=("GraphQL",), wanted="/errors/not-found"),
    role("that is saved", FILTERED, {"resource": "roles", "read": True, "update": True}, description="Reads."),
    role("with nothing in it"),
    role("with a wrong filter", {**FILTERED, "filter": "owner = "}, wanted="/errors/validation-failed"),
    role("with an unknown column", {**FILTERED, "filter": "colour = 1"}, wanted="/errors/validation-failed"),
    role("with an unknown resource", {"resource": "ordrs", "read": True}, wanted="/errors/validation-failed"),
    role("with no action", {"resource": "roles"}, wanted="/errors/validation-failed"),
    Scenario("a role that is shown", lambda w: w.face.get_role(w.save(Grant("roles", read=True), description="d"))),
    Scenario("a role that is none", lambda w: w.face.get_role("nobody"), wanted="/errors/not-found"),
    Scenario("a role saved twice", lambda w: [w.face.save_role(w.role), w.face.save_role(w.role)]),
    Scenario(
        "a role of the settings", lambda w: w.face.save_role("viewer", description="x"), wanted="/errors/conflict"
    ),
    Scenario(
        "a role of another version",
        lambda w: w.face.save_role(w.save(), description="x", version=7),
        without=AS_KEY,
        wanted="/errors/precondition-failed",
    ),
    Scenario("a role without a grant", lambda w: w.face.save_role(w.role), "viewer", AS_KEY, "/errors/forbidden"),
    Scenario("delete a role", lambda w: w.face.delete_role(w.save()), without=AS_KEY),
    Scenario("delete a role in use", lambda w: w.face.delete_role(_held(w)), without=AS_KEY, wanted="/errors/conflict"),
    Scenario("delete a role and take it", lambda w: w.face.delete_role(_held(w), take_from_keys=True), without=AS_KEY),
    Scenario("delete no role", lambda w: w.face.delete_role("nobody"), without=AS_KEY, wanted="/errors/not-found"),
    Scenario("the audit log of a key", _history),
    Scenario("explain a key", lambda w: w.face.explain(w.key()), without=("GraphQL",)),
    Scenario(
        "explain a refusal",
        lambda w: w.face.explain(w.key(), roles=["editor"], resource="api_keys", action="update"),
        without=("GraphQL",),
    ),
    Scenario("explain none", lambda w: w.face.explain(NOBODY), without=("GraphQL",), wanted="/errors/not-found"),
]


@pytest.fixture(scope="module")
def everywhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A host with all faces, for all scenarios."""
    roles = {"administrator": {"grants": EVERYTHING}, "clerk": {"grants": MINE}, "viewer": {}, "editor": {}}
    with hosts(tmp_path_factory.mktemp("everywhere")) as make:
        host = make(ARCHIE_KEYS_ROLES=roles, **ALL_FACES)
        host.sql("PRAGMA journal_mode=WAL")
        yield host
        _actor.cache_clear()


@pytest.mark.parametrize("scenario", SCENARIOS, ids=[scenario.name for scenario in SCENARIOS])
def test_faces_agree(everywhere: Host, scenario: Scenario) -> None:
    faces = [face for face in FACES if face.name not in scenario.without]
    assert faces[0] is Python and len(faces) >= 4
    played = {face.name: World(everywhere, face, scenario.actor).played(scenario.act) for face in faces}
    expected = played.pop("Python")
    refused = expected["outcome"].get("refused") if isinstance(expected["outcome"], dict) else None
    assert (None if refused is None else refused["type"]) == scenario.wanted, expected
    assert scenario.rule is None or refused["errors"][0]["rule"] == scenario.rule
    assert played == dict.fromkeys(played, expected)
