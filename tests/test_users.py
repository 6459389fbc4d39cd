"""Who acts: the key of a request, the host's logged-in user, whom a block names, or nobody."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import FrozenInstanceError
from typing import Any

import pytest
from flask import request, stream_with_context

from flask_archie_keys import (
    AuditUnavailable,
    BadRequest,
    Forbidden,
    Grant,
    NobodyActs,
    Principal,
    ValidationFailed,
    current_api_key,
    current_principal,
    require_api_key,
)
from flask_archie_keys.services.explain import principal_of

from .conftest import Host, MakeHost
from .support.sales import SALES, Sale

MANAGE = Grant("api_keys", read=True, write=True, filter="owner = $userId")


def actor() -> str:
    principal = current_principal()
    return "nobody" if principal is None else principal.actor


@pytest.fixture
def site(host: Host) -> Host:
    """A host whose user is logged in by a header, with views that say who acts."""

    @host.keys.user_loader
    def load() -> Principal | None:
        name = request.headers.get("X-User")
        return None if name is None else Principal.user(name, roles=["clerk"], context={"region": "eu"})

    host.app.add_url_rule("/who", "who", actor)
    host.app.add_url_rule("/key", "key", require_api_key(lambda: actor()))
    host.app.add_url_rule("/either", "either", require_api_key(optional=True)(lambda: actor()))
    return host


def ask(host: Host, path: str, *, secret: str | None = None, user: str | None = None) -> str:
    return str(host.get(path, secret, headers={} if user is None else {"X-User": user}).text)


# -- the host's users


def test_who_acts_in_a_request(site: Host) -> None:
    created = site.create()
    key = f"key:{created.key.id}"
    assert ask(site, "/who") == "nobody"
    assert ask(site, "/who", user="ann") == "user:ann"
    assert ask(site, "/key", secret=created.secret) == key
    assert ask(site, "/either", user="ann") == "user:ann"
    assert ask(site, "/either", secret=created.secret, user="ann") == key  # the view asked for a key, and got one
    assert ask(site, "/who", secret=created.secret, user="ann") == "user:ann"  # this one did not
    assert site.get("/key", headers={"X-User": "ann"}).status_code == 401


def test_a_user_that_was_seen_before_the_key_was_checked_acts_no_more(site: Host) -> None:
    seen: list[str] = []
    site.app.before_request(lambda: seen.append(actor()))
    created = site.create()
    assert ask(site, "/key", secret=created.secret, user="ann") == f"key:{created.key.id}"
    assert seen == ["user:ann"]


def test_a_user_has_roles_and_filters_as_a_key_has(site: Host) -> None:
    site.save("clerk", MANAGE)
    for owner in ("ann", "bob"):
        site.create(owner, (), owner=owner)
    site.app.add_url_rule("/keys", "keys", lambda: [key.name for key in site.keys.service.find()])
    assert site.get("/keys", headers={"X-User": "ann"}).json == ["ann"]
    assert site.get("/keys", headers={"X-User": "bob"}).json == ["bob"]
    site.save("clerk")
    answer = site.get("/keys", headers={"X-User": "ann"})
    assert answer.status_code == 403 and 'scope="api_keys:read"' in answer.headers["WWW-Authenticate"]


def test_what_a_user_changes_is_recorded_as_the_users(site: Host) -> None:
    site.save("clerk", MANAGE)

    @site.app.post("/make")
    def make() -> str:
        return str(site.keys.service.create(name="made", owner=request.headers["X-User"]).key.created_by)

    assert site.client.post("/make", headers={"X-User": "ann"}).text == "user:ann"
    assert [event.actor for event in site.changes() if event.kind == "key.created"] == ["user:ann"]


def test_the_filters_see_the_user_and_its_context(site: Host) -> None:
    text = "region = $context.region AND seller = $userId"
    site.save("clerk", Grant(SALES, read=True, filter=text))
    rows = [Sale(region=region, seller=seller) for region in ("eu", "us") for seller in ("ann", "bob")]
    site.app.add_url_rule("/rows", "rows", lambda: [site.keys.allows(row, "read") for row in rows])
    assert site.get("/rows", headers={"X-User": "ann"}).json == [True, False, False, False]
    assert site.get("/rows", headers={"X-User": "bob"}).json == [False, True, False, False]


def test_the_user_is_loaded_once_in_a_request_and_anew_in_the_next(site: Host) -> None:
    loads: list[str | None] = []

    @site.keys.user_loader
    def load() -> Principal | None:
        loads.append(request.headers.get("X-User"))
        return Principal.user(loads[-1]) if loads[-1] else None

    site.app.add_url_rule("/twice", "twice", lambda: f"{actor()} {actor()}")
    assert ask(site, "/twice", user="ann") == "user:ann user:ann"
    assert ask(site, "/twice", user="bob") == "user:bob user:bob"
    assert loads == ["ann", "bob"]
    assert ask(site, "/twice") == "nobody nobody"
    assert ask(site, "/key", secret=site.create().secret).startswith("key:")
    assert loads == ["ann", "bob", None, None]  # none is asked for again: a login may follow; and not beside a key


def test_while_the_user_is_loaded_nobody_acts(site: Host) -> None:
    """A loader may itself ask who acts, or read protected rows."""
    during: list[str] = []

    @site.keys.user_loader
    def load() -> Principal | None:
        during.append(actor())
        with pytest.raises(NobodyActs):
            site.keys.allows(Sale(), "read")
        return Principal.user("ann")

    assert ask(site, "/who") == "user:ann" and during == ["nobody"]


@pytest.mark.parametrize("given", ["ann", 7, {"id": "ann"}, Principal.system("default", "master")])
def test_a_loader_that_gives_something_else_is_a_mistake_of_the_host(site: Host, given: Any) -> None:
    site.keys.user_loader(lambda: given)
    site.app.testing = True
    with pytest.raises(TypeError, match=r"the user loader must give Principal\.user\(…\) or None"):
        ask(site, "/who")


def test_a_key_is_no_user(site: Host) -> None:
    principal = principal_of(site.create().key)
    site.keys.user_loader(lambda: principal)
    assert site.get("/who").status_code == 500


def test_a_loader_that_fails_leaves_nobody(site: Host) -> None:
    def load() -> Principal | None:
        raise LookupError("no such user")

    def who() -> str:
        try:
            return actor()
        except LookupError:
            return "failed"

    site.keys.user_loader(load)
    site.app.add_url_rule("/fails", "fails", lambda: f"{who()} {who()}")
    assert ask(site, "/fails") == "failed failed"


def test_users_are_of_the_environment_of_the_request(make_host: MakeHost) -> None:
    host = make_host(
        ARCHIE_KEYS_ENVIRONMENTS={"master": {}, "staging": {}}, ARCHIE_KEYS_ENVIRONMENT_HEADER="environment"
    )
    host.save("clerk", Grant("api_keys", read=True))
    users = {"own": Principal.user("ann", roles=["clerk"])}
    users["master"] = Principal.user("ann", roles=["clerk"], project="default", environment="master")
    host.keys.user_loader(lambda: users[request.headers["X-User"]])

    @host.app.get("/keys")
    def keys() -> dict[str, Any]:
        found = [key.name for key in host.keys.service.find()]
        return {"keys": found, "environment": current_principal().environment}  # type: ignore[union-attr]

    host.create("k", ())

    def get(user: str, environment: str) -> Any:
        return host.get("/keys", headers={"X-User": user, "environment": environment})

    assert get("own", "master").json == get("master", "master").json == {"keys": ["k"], "environment": "master"}
    assert get("own", "staging").status_code == 403  # the role is of master
    assert get("master", "staging").status_code == 403
    with host.app.app_context():
        host.keys.for_environment("staging").roles.save("clerk", grants=[Grant("api_keys", read=True)])
    assert get("own", "staging").json == {"keys": [], "environment": "staging"}
    assert get("master", "staging").status_code == 403  # of another one, whatever its role is called there


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"id": None}, TypeError),
        ({"id": ""}, TypeError),
        ({"id": True}, TypeError),
        ({"id": 1.5}, TypeError),
        ({"roles": "clerk"}, TypeError),
        ({"roles": b"clerk"}, TypeError),
        ({"roles": None}, TypeError),
        ({"roles": [1]}, TypeError),
        ({"context": {"region": None}}, ValidationFailed),
        ({"context": {"region": object()}}, ValidationFailed),
        ({"context": "region"}, ValidationFailed),
    ],
)
def test_what_makes_no_user(given: dict[str, Any], error: type[Exception]) -> None:
    """Such as the id of a visitor who is not logged in, which many libraries give as ``None``."""
    with pytest.raises(error):
        Principal.user(**{"id": "ann", **given})


def test_a_user_is_frozen_and_its_id_a_text() -> None:
    user = Principal.user(42, roles={"clerk"}, context={"regions": ["eu"]})
    assert (user.kind, user.id, user.user_id, user.name, user.actor) == ("user", "42", "42", "42", "user:42")
    assert (user.roles, user.context["regions"]) == (("clerk",), ("eu",))
    with pytest.raises(FrozenInstanceError):
        user.id = "43"  # type: ignore[misc]
    with pytest.raises(TypeError):
        user.context["regions"] = ()  # type: ignore[index]


# -- act_as


def test_a_block_names_who_acts(host: Host) -> None:
    created = host.create()
    with host.app.app_context():
        assert actor() == "nobody"
        with host.keys.act_as(principal_of(created.key)):
            assert actor() == f"key:{created.key.id}" and current_api_key.id == created.key.id
            with host.keys.act_as(Principal.user("ann")):
                assert actor() == "user:ann"
                with pytest.raises(RuntimeError):
                    current_api_key.id  # noqa: B018
            assert actor() == f"key:{created.key.id}"
        assert actor() == "nobody"
        with pytest.raises(ZeroDivisionError), host.keys.act_as(Principal.user("ann")):
            raise ZeroDivisionError
        assert actor() == "nobody"


def test_a_block_in_a_request_comes_before_its_key(site: Host) -> None:
    @site.app.get("/for")
    @require_api_key
    def work_for() -> str:
        with site.keys.act_as(Principal.user("bob")):
            inside = actor()
        return f"{inside} {actor()}"

    created = site.create()
    assert ask(site, "/for", secret=created.secret, user="ann") == f"user:bob key:{created.key.id}"


def test_a_principal_acts_in_the_environment_that_it_is_of(make_host: MakeHost) -> None:
    host = make_host(ARCHIE_KEYS_ENVIRONMENTS={"master": {}, "staging": {}})
    host.save("clerk", Grant("api_keys", read=True))
    with host.app.app_context():
        with host.keys.act_as(Principal.user("ann", roles=["clerk"])):
            principal = current_principal()
            assert principal is not None and (principal.project, principal.environment) == ("default", "master")
            host.keys.service.find()
        with host.keys.act_as(Principal.user("ann", roles=["clerk"], environment="staging")):
            with pytest.raises(Forbidden):
                host.keys.for_environment("staging").service.find()
            with pytest.raises(Forbidden):
                host.keys.service.find()
        with host.keys.act_as(Principal.user("ann", roles=["clerk"], project="other")), pytest.raises(Forbidden):
            host.keys.service.find()
        with pytest.raises(BadRequest), host.keys.act_as(Principal.user("ann", environment="nowhere")):
            pass


@pytest.mark.parametrize("who", [None, "ann", Principal.system("default", "master"), object()])
def test_nobody_else_can_be_made_to_act(host: Host, who: Any) -> None:
    with host.app.app_context():
        block = host.keys.act_as(who)
        with pytest.raises(TypeError, match="act_as takes the principal"), block:
            pass


def test_roles_are_read_anew_for_a_principal_that_was_kept(host: Host) -> None:
    host.save("clerk", Grant("api_keys", read=True))
    kept: list[Principal] = []
    host.app.add_url_rule("/keep", "keep", require_api_key(lambda: kept.append(current_principal()) or "kept"))  # type: ignore[arg-type, func-returns-value]
    host.get("/keep", host.create(roles=("clerk",)).secret)
    with host.acting(kept[0]):
        host.keys.service.find()
    host.save("clerk")
    with host.acting(kept[0]), pytest.raises(Forbidden):
        host.keys.service.find()


# -- threads, and requests inside of blocks


def in_thread(job: Callable[[], Any]) -> Any:
    results: list[Any] = []

    def run() -> None:
        try:
            results.append(job())
        except Exception as error:
            results.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(30)
    return results[0]


def test_a_thread_does_not_inherit_who_acts_and_can_be_given_it(host: Host) -> None:
    row = Sale(region="eu")

    def alone() -> Any:
        with host.app.app_context():
            return actor(), host.keys.allows(row, "read")

    def given(principal: Principal) -> Any:
        with host.app.app_context(), host.keys.act_as(principal):
            return actor(), host.keys.allows(row, "read")

    found: list[Any] = []

    @host.app.get("/work")
    @require_api_key
    def work() -> str:
        principal = current_principal()
        assert principal is not None
        found.extend([in_thread(alone), in_thread(lambda: given(principal))])
        return actor()

    host.save("clerk", Grant(SALES, read=True, filter="region = $context.region"))
    created = host.create(roles=("clerk",), context={"region": "eu"})
    assert host.get("/work", created.secret).text == f"key:{created.key.id}"
    assert isinstance(found[0], NobodyActs)
    assert found[1] == (f"key:{created.key.id}", True)
    with host.acting(created.key):
        assert isinstance(in_thread(alone), NobodyActs)
    with host.app.app_context(), host.keys.unrestricted("a test"):
        assert isinstance(in_thread(alone), NobodyActs)


def test_a_request_inside_a_block_is_a_request_like_any_other(site: Host) -> None:
    @site.app.get("/nested")
    @require_api_key
    def nested() -> str:
        with site.keys.act_as(Principal.user("outer")):
            inner = site.app.test_client().get("/who", headers={"X-User": "ann"}).text
            return f"{inner} {actor()}"

    created = site.create()
    with site.app.app_context(), site.keys.act_as(Principal.user("outer")):
        assert ask(site, "/who") == "nobody"
        assert ask(site, "/who", user="ann") == "user:ann"
        assert ask(site, "/key", secret=created.secret) == f"key:{created.key.id}"
        assert actor() == "user:outer"
    with site.app.app_context(), site.keys.unrestricted("a test"):
        assert ask(site, "/who") == "nobody"
    assert ask(site, "/nested", secret=created.secret) == "user:ann user:outer"


def test_a_stream_acts_for_its_request(site: Host) -> None:
    @site.app.get("/stream")
    @require_api_key
    def stream() -> Any:
        def lines() -> Iterator[str]:
            yield actor()
            with site.keys.act_as(Principal.user("bob")):
                yield f" {actor()}"
                yield f" {actor()}"
            yield f" {actor()}"

        return stream_with_context(lines())

    created = site.create()
    key = f"key:{created.key.id}"
    response = site.client.get("/stream", headers={"Authorization": f"Bearer {created.secret}"}, buffered=False)
    parts = []
    for part in response.iter_encoded():
        parts.append(part.decode())
        assert ask(site, "/who") == "nobody"
        assert ask(site, "/who", user="ann") == "user:ann"
    assert "".join(parts) == f"{key} user:bob user:bob {key}"


def test_an_asynchronous_view_acts_for_its_request(site: Host) -> None:
    @site.app.get("/async")
    @require_api_key
    async def view() -> str:
        before = actor()
        with site.keys.act_as(Principal.user("bob")):
            inside = actor()
        return f"{before} {inside} {actor()}"

    created = site.create()
    key = f"key:{created.key.id}"
    assert ask(site, "/async", secret=created.secret) == f"{key} user:bob {key}"


# -- unrestricted


def test_the_way_out_is_recorded_before_it_is_taken(host: Host) -> None:
    host.save("clerk", Grant(SALES, read=True, filter="region = 'eu'"))
    created = host.create(roles=("clerk",))
    row = Sale(region="us")
    with host.acting(created.key):
        assert not host.keys.allows(row, "read")
        with host.keys.unrestricted("nightly report"):
            assert host.keys.allows(row, "read") and host.keys.allows(row, "delete")
            assert actor() == f"key:{created.key.id}"
            (event,) = [event for event in host.keys.audit.find() if event.kind == "unrestricted"]
        assert not host.keys.allows(row, "read")
    assert (event.actor, event.key_id) == (f"key:{created.key.id}", created.key.id)
    assert event.details == {"reason": "nightly report"}


def test_who_acted_outside_acts_inside(site: Host) -> None:
    """In the audit log, that is: what is changed inside is changed by them."""

    def made() -> str:
        with site.keys.unrestricted("a test"):
            return f"{actor()} {site.keys.service.create(name='made').key.created_by}"

    site.app.add_url_rule("/made", "made", made)
    site.app.add_url_rule("/made-by-key", "made_by_key", require_api_key(lambda: made()))

    def made_for() -> str:
        with site.keys.act_as(Principal.user("bob")):
            return made()

    site.app.add_url_rule("/made-for", "made_for", require_api_key(made_for))
    created = site.create()
    key = f"key:{created.key.id}"
    assert ask(site, "/made", user="ann") == "user:ann user:ann"
    assert ask(site, "/made") == "nobody system"
    assert ask(site, "/made-by-key", secret=created.secret) == f"{key} {key}"
    assert ask(site, "/made-for", secret=created.secret) == "user:bob user:bob"
    with site.app.app_context(), site.keys.act_as(Principal.user("bob")), site.keys.unrestricted("a test"):
        assert actor() == "user:bob"
        with site.keys.unrestricted("deeper"):
            assert made() == "user:bob user:bob"
    assert [event.actor for event in site.changes() if event.kind == "unrestricted"] == [
        "user:ann",
        "system",
        key,
        "user:bob",
        "user:bob",
        "user:bob",
        "user:bob",
    ]


@pytest.mark.parametrize("reason", ["", " ", "\t", "x" * 201, None, 7, b"why"])
def test_the_way_out_needs_a_reason(host: Host, reason: Any) -> None:
    with host.app.app_context():
        block = host.keys.unrestricted(reason)
        with pytest.raises(ValueError, match="needs a reason of at most 200 characters"), block:
            raise AssertionError("it was entered")


def test_the_way_out_is_not_taken_where_it_cannot_be_recorded(host: Host) -> None:
    with host.app.app_context():
        directory = host.keys.audit.spool.directory
        directory.parent.mkdir(parents=True, exist_ok=True)
        directory.write_text("a file where the folder should be")
        with pytest.raises(AuditUnavailable), host.keys.unrestricted("a test"):
            raise AssertionError("it was entered")
        assert actor() == "nobody"
        with pytest.raises(NobodyActs):
            host.keys.allows(Sale(), "read")


def test_the_way_out_ends_with_its_block(host: Host) -> None:
    with host.app.app_context():
        with pytest.raises(ZeroDivisionError), host.keys.unrestricted("a test"):
            raise ZeroDivisionError
        with pytest.raises(NobodyActs):
            host.keys.allows(Sale(), "read")
        with host.keys.unrestricted("a test"):
            assert host.keys.allows(Sale(), "read")
            with host.keys.act_as(Principal.user("ann")):
                assert not host.keys.allows(Sale(), "read")  # the inner one counts
            assert host.keys.allows(Sale(), "read")


def test_nothing_of_this_works_without_an_application(host: Host) -> None:
    for block in (host.keys.act_as(Principal.user("ann")), host.keys.unrestricted("a test")):
        with pytest.raises(RuntimeError, match="application context"), block:
            pass
