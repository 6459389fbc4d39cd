"""What keys and users may do to keys and roles: no more than they have, by every way to make or change one."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest

from flask_archie_keys import (
    BadRequest,
    Conflict,
    Forbidden,
    Grant,
    Key,
    KeyInUse,
    KeyNotFound,
    Principal,
    RoleNotFound,
    ValidationFailed,
    require_api_key,
)
from flask_archie_keys.domain.clock import utcnow
from flask_archie_keys.services.explain import principal_of
from flask_archie_keys.services.keys import KeyService

from ..conftest import Host, MakeHost
from ..support.sales import SALES

ALL = {"read": True, "write": True, "update": True, "delete": True}
on_sqlite = pytest.mark.parametrize("url", ["sqlite"], indirect=True)


@pytest.fixture
def host(make_host: MakeHost, url: str) -> Host:
    """A host with roles that manage keys and roles, and some that filter sales."""
    return make_host(
        url,
        ARCHIE_KEYS_ROLES={
            "manager": {"grants": [{"resource": "api_keys", **ALL}, {"resource": "roles", **ALL}]},
            "viewer": {"grants": [{"resource": SALES, "read": True}]},
            "editor": {"grants": [{"resource": SALES, **ALL}]},
            "clerk": {"grants": [{"resource": SALES, "read": True, "filter": "region = $context.region"}]},
            "seller": {"grants": [{"resource": SALES, "read": True, "filter": "seller = $userId"}]},
            "others": {"grants": [{"resource": SALES, "update": True, "filter": "seller != $keyId"}]},
        },
    )


def user(*roles: str, id: str = "42", **kwargs: Any) -> Principal:
    return Principal.user(id, roles=roles, project="default", environment="master", **kwargs)


EU = {"region": "eu"}
SELF = "a key does not change itself"


# -- grants


@on_sqlite
@pytest.mark.parametrize(
    ("action", "do"),
    [
        ("read", lambda s, k: s.get(k)),
        ("read", lambda s, k: s.find()),
        ("write", lambda s, k: s.create(name="x")),
        ("write", lambda s, k: s.rotate(k)),
        ("update", lambda s, k: s.update(k, name="x")),
        ("update", lambda s, k: s.disable(k)),
        ("update", lambda s, k: s.enable(k)),
        ("delete", lambda s, k: s.delete(k)),
        ("delete", lambda s, k: s.delete(k, only_if_quiet=True)),
        ("delete", lambda s, k: s.purge(older_than=timedelta(0))),
    ],
)
def test_each_thing_that_is_done_to_keys_needs_its_grant(
    host: Host, service: KeyService, action: str, do: Callable[[KeyService, str], object]
) -> None:
    target = host.create("target", ()).key
    host.save("all_but", Grant("api_keys", **{**ALL, action: False}))
    host.save("only", Grant("api_keys", **{action: True}))
    for roles in ((), ("viewer",), ("all_but",)):
        with host.acting(user(*roles)), pytest.raises(Forbidden) as caught:
            do(service, target.id)
        assert (caught.value.reason, caught.value.scope) == ("missing_grant", f"api_keys:{action}")
    assert service.get(target.id) == target
    with host.acting(user("only")), suppress(KeyInUse):  # it was just made
        do(service, target.id)


@on_sqlite
@pytest.mark.parametrize(
    ("action", "do"),
    [
        ("read", lambda r: r.get("saved")),
        ("read", lambda r: r.find()),
        ("read", lambda r: r.copy("saved", "staging")),
        ("write", lambda r: r.save("new")),
        ("write", lambda r: r.check("new")),
        ("update", lambda r: r.save("saved", description="x")),
        ("update", lambda r: r.check("saved")),
        ("delete", lambda r: r.delete("saved")),
    ],
)
def test_each_thing_that_is_done_to_roles_needs_its_grant(host: Host, action: str, do: Callable[[Any], object]) -> None:
    host.save("saved")
    host.save("all_but", Grant("roles", **{**ALL, action: False}))
    host.save("only", Grant("roles", **{action: True}))
    for roles in ((), ("viewer",), ("all_but",)):
        with host.acting(user(*roles)), pytest.raises(Forbidden) as caught:
            do(host.keys.roles)
        assert (caught.value.reason, caught.value.scope) == ("missing_grant", f"roles:{action}")
    with host.acting(user("only")):
        try:
            do(host.keys.roles)
        except BadRequest as error:
            assert str(error) == "there is no such environment"


@on_sqlite
def test_the_system_is_bound_by_nothing(host: Host, service: KeyService) -> None:
    """The command line and scripts; and, in its block, whoever took the way out."""
    created = host.create("k", ("manager", "editor", "clerk"), context=EU)
    weak = host.create("weak", ()).key
    with host.acting(weak), pytest.raises(Forbidden):
        service.get(created.key.id)
    with host.acting(weak), host.keys.unrestricted("a test"):
        assert service.get(created.key.id) == created.key
        service.create(name="x", roles=["manager"])


# -- making keys


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"roles": ["editor"]}, "it does not have the role 'editor' itself"),
        ({"roles": ["manager", "others"]}, "it does not have the role 'others' itself"),
        ({"roles": ["clerk"], "context": {"region": "us"}}, "$context.region"),
        ({"roles": [], "context": {}}, "$context.region"),
        ({"roles": [], "context": None}, "$context.region"),
        ({"roles": ["clerk"], "context": {"region": ["eu", "us"]}}, None),
        ({"roles": ["clerk"], "context": {"region": ["eu"]}}, None),
        ({"owner": "43"}, "$userId"),
        ({"owner": None}, "$userId"),
    ],
)
def test_a_key_hands_out_no_more_than_it_has(
    host: Host, service: KeyService, asked: dict[str, Any], why: str | None
) -> None:
    maker = host.create("maker", ("manager", "clerk", "seller"), context=EU, owner="42").key
    given = {"name": "x", "roles": ["clerk"], "context": EU, "owner": "42", **asked}
    with host.acting(maker), pytest.raises((Forbidden, ValidationFailed)) as caught:
        service.create(**given)
    if why is None:  # the value does not even fit the filter
        assert isinstance(caught.value, ValidationFailed)
    else:
        assert isinstance(caught.value, Forbidden) and why in str(caught.value)
        assert (caught.value.reason, caught.value.key_id) == ("ceiling", maker.id)
    assert len(service.find().items) == 1


def test_a_key_hands_out_what_it_has(host: Host, service: KeyService) -> None:
    maker = host.create("maker", ("manager", "clerk", "seller"), context={**EU, "more": 1}, owner="42").key
    with host.acting(maker):
        made = service.create(name="x", roles=["clerk", "manager"], context={**EU, "other": 2}, owner="42").key
    assert (made.roles, made.created_by) == (("clerk", "manager"), f"key:{maker.id}")
    with host.acting(made):
        again = service.create(
            name="y", roles=["clerk"], context=EU, owner="43"
        ).key  # it has no role that uses the owner
    assert again.owner == "43"


def test_users_of_the_host_are_bound_as_keys_are(host: Host, service: KeyService) -> None:
    with host.acting(user("manager", "seller")):
        made = service.create(name="x", roles=["seller"], owner="42").key
        with pytest.raises(Forbidden, match="userId"):
            service.create(name="x", roles=["seller"], owner="43")
        with pytest.raises(Forbidden, match="'editor'"):
            service.update(made.id, roles=["editor"])
        assert service.update(made.id, name="renamed").name == "renamed"
    assert made.created_by == "user:42"


@pytest.mark.parametrize(("mine", "theirs"), [(1, True), (True, 1), (1, 1.0), (1.0, 1), (1, "1"), ([1], [True])])
@on_sqlite
def test_values_that_are_only_equal_are_others(host: Host, service: KeyService, mine: object, theirs: object) -> None:
    """No filter of the role fits them all, so that only the ceiling tells them apart."""
    host.save("odd", Grant(SALES, read=True, filter="region = $context.v OR level = $context.v"))
    host.sql("UPDATE archie_grants SET filter = 'level = $context.v' WHERE filter IS NOT NULL")
    with host.acting(user("manager", "odd", context={"v": mine})):
        with pytest.raises(Forbidden, match=r"\$context.v"):
            service.create(name="x", roles=[], context={"v": theirs})
        assert service.create(name="x", roles=[], context={"v": mine}).key.roles == ()


def test_no_key_is_made_whose_rows_turn_on_its_own_id(host: Host, service: KeyService) -> None:
    """A second key would see what the first one is kept from: rows of the first one."""
    maker = host.create("maker", ("manager", "others")).key
    twin = host.create("twin", ("others",)).key
    with host.acting(maker):
        for do in (
            lambda: service.create(name="x", roles=["others"]),
            lambda: service.rotate(twin.id),
            lambda: service.update(twin.id, name="renamed"),
        ):
            with pytest.raises(Forbidden, match=r"\$keyId"):
                do()
        assert service.create(name="x", roles=["manager"]).key.roles == ("manager",)
        assert service.update(twin.id, roles=[]).roles == ()


def test_the_end_of_a_key_is_that_of_its_maker_at_most(host: Host, service: KeyService) -> None:
    end = (utcnow() + timedelta(days=2)).replace(microsecond=0)
    maker = host.create("maker", ("manager",), expires_at=end).key
    free = host.create("free", (), expires_at=end + timedelta(days=9)).key
    ever = host.create("ever", ()).key
    with host.acting(maker):
        assert service.create(name="as long").key.expires_at == end
        assert service.create(name="shorter", expires_at=end - timedelta(days=1)).key.expires_at < end
        with pytest.raises(Forbidden, match="it ends earlier itself"):
            service.create(name="longer", expires_at=end + timedelta(seconds=1))
        for target in (free, ever):
            with pytest.raises(Forbidden, match="it ends earlier itself"):
                service.update(target.id, name="renamed")
            assert service.rotate(target.id).key.expires_at == end
        made = service.create(name="made").key
        with pytest.raises(Forbidden, match="it ends earlier itself"):
            service.update(made.id, expires_at=None)
        assert service.rotate(made.id).key.expires_at <= end


def test_the_networks_of_a_key_are_within_those_of_its_maker(host: Host, service: KeyService) -> None:
    maker = host.create("maker", ("manager",), allowed_networks=["10.0.0.0/8"]).key
    anywhere = host.create("anywhere", ()).key
    with host.acting(maker):
        assert service.create(name="the same").key.allowed_networks == ("10.0.0.0/8",)
        made = service.create(name="fewer", allowed_networks=["10.1.0.0/16"]).key
        for networks in (["11.0.0.0/8"], ["0.0.0.0/0"], ["10.1.0.0/16", "::/0"]):
            with pytest.raises(Forbidden, match="it is bound to networks itself"):
                service.create(name="more", allowed_networks=networks)
        for do in (
            lambda: service.update(made.id, allowed_networks=None),
            lambda: service.update(anywhere.id, name="renamed"),
            lambda: service.rotate(anywhere.id),
        ):
            with pytest.raises(Forbidden, match="it is bound to networks itself"):
                do()
        assert service.rotate(made.id).key.allowed_networks == ("10.1.0.0/16",)


# -- changing keys


WAYS: dict[str, Callable[[KeyService, str], Any]] = {
    "update": lambda s, k: s.update(k, name="renamed"),
    "rotate": lambda s, k: s.rotate(k),
    "disable": lambda s, k: s.disable(k),
    "enable": lambda s, k: s.enable(k),
    "delete": lambda s, k: s.delete(k),
}


@pytest.mark.parametrize("way", WAYS)
@on_sqlite
def test_a_key_does_not_change_itself(host: Host, service: KeyService, way: str) -> None:
    key = host.create("k", ("manager",)).key
    with host.acting(key), pytest.raises(Forbidden, match=SELF):
        WAYS[way](service, key.id)
    assert service.get(key.id) == key


@pytest.mark.parametrize("way", ["update", "rotate", "enable"])
@pytest.mark.parametrize(
    "stronger",
    [
        {"roles": ("manager", "editor")},
        {"roles": ("clerk",), "context": {"region": "us"}},
        {"roles": (), "context": {}},
        {"roles": ("ghost",), "context": EU},
    ],
)
def test_nobody_changes_a_stronger_key(host: Host, service: KeyService, way: str, stronger: dict[str, Any]) -> None:
    maker = host.create("maker", ("manager", "clerk"), context=EU).key
    ghost = stronger["roles"] == ("ghost",)
    if ghost:
        host.save("ghost")
    strong = host.create("strong", **stronger).key
    if ghost:  # as when it goes from the settings
        host.sql("DELETE FROM archie_roles")
    service.disable(strong.id)
    with host.acting(maker), pytest.raises(Forbidden) as caught:
        WAYS[way](service, strong.id)
    assert caught.value.reason == "ceiling"
    assert service.get(strong.id).status == "disabled" and service.get(strong.id).version == 2
    with host.acting(maker):  # stopping it hands out nothing
        service.disable(strong.id)
        service.delete(strong.id)


@on_sqlite
def test_a_key_is_not_changed_to_more(host: Host, service: KeyService) -> None:
    maker = host.create("maker", ("manager", "clerk", "seller"), context=EU, owner="42").key
    key = host.create("k", ("clerk",), context=EU, owner="42").key
    with host.acting(maker):
        for changes in (
            {"roles": ["clerk", "editor"]},
            {"context": {"region": "us"}},
            {"owner": "43"},
            {"owner": None},
            {"roles": [], "context": {}},
        ):
            with pytest.raises(Forbidden):
                service.update(key.id, **changes)
        assert service.get(key.id) == key
        changed = service.update(key.id, roles=["manager", "clerk", "seller"], name="more")
    assert changed.roles == ("manager", "clerk", "seller")


@on_sqlite
def test_a_key_does_not_come_to_more_by_a_second_one(host: Host, service: KeyService) -> None:
    end = (utcnow() + timedelta(days=2)).replace(microsecond=0)
    bounds = {"context": EU, "owner": "42", "expires_at": end, "allowed_networks": ["10.0.0.0/8"]}
    first = host.create("first", ("manager", "clerk", "seller"), **bounds).key
    with host.acting(first):
        second = service.create(name="second", roles=first.roles, context=EU, owner="42").key
    with host.acting(second):
        for changes in (
            {"expires_at": end + timedelta(days=1)},
            {"expires_at": None},
            {"allowed_networks": None},
            {"owner": "43"},
            {"context": {"region": "us"}},
            {"roles": ["editor"]},
        ):
            with pytest.raises(Forbidden):
                service.update(first.id, **changes)
        successor = service.rotate(first.id, overlap=timedelta(0)).key
    assert (successor.roles, successor.owner, successor.allowed_networks) == (first.roles, "42", ("10.0.0.0/8",))
    assert successor.expires_at is not None and successor.expires_at <= end


# -- by the newest state


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda s, k: s.delete(k), "deleted"),
        (lambda s, k: s.disable(k), "disabled"),
        (lambda s, k: s.rotate(k, overlap=timedelta(0)), "expired"),
        (lambda s, k: s.update(k, roles=["manager"]), "ceiling"),
        (lambda s, k: s.update(k, context={"region": "us"}), "ceiling"),
        (lambda s, k: s.update(k, expires_at=utcnow() + timedelta(days=1)), "ceiling"),
        (lambda s, k: s.update(k, allowed_networks=["10.0.0.0/8"]), "ceiling"),
    ],
)
@on_sqlite
def test_what_was_taken_from_a_key_meanwhile_it_hands_out_no_more(
    host: Host, service: KeyService, change: Callable[[KeyService, str], Any], reason: str
) -> None:
    """It acts as it was when its request began, or as it was read a while ago."""
    maker = host.create("maker", ("manager", "clerk"), context=EU).key
    other = host.create("other", ("clerk",), context=EU).key
    with host.acting(maker):
        with host.keys.unrestricted("somebody else does this"):
            change(service, maker.id)
            count = len(service.find().items)
        for do in (
            lambda: service.create(
                name="x", roles=["clerk"], context=EU, allowed_networks=["11.0.0.0/8"], expires_at=end()
            ),
            lambda: service.update(other.id, name="renamed"),
            lambda: service.rotate(other.id),
        ):
            with pytest.raises(Forbidden) as caught:
                do()
            assert caught.value.reason == reason
        if reason != "ceiling":
            with pytest.raises(Forbidden):
                host.keys.roles.save("x")
    assert len(service.find().items) == count


def end() -> Any:
    return utcnow() + timedelta(days=3)


# -- rows of api_keys


@pytest.fixture
def owned(host: Host) -> tuple[Principal, Key, Key]:
    """A user who may manage its own keys, one of its keys, and one of somebody else."""
    host.save("own_keys", Grant("api_keys", **ALL, filter="owner = $userId"))
    mine = host.create("mine", ("own_keys",), owner="42").key
    return user("own_keys"), mine, host.create("hidden", ("own_keys",), owner="43").key


@pytest.mark.parametrize(
    "way", ["get", "update", "rotate", "disable", "enable", "delete", "delete if quiet", "explain"]
)
def test_a_hidden_key_is_not_there(
    host: Host, service: KeyService, owned: tuple[Principal, Key, Key], way: str
) -> None:
    who, mine, hidden = owned
    do = {
        **WAYS,
        "get": lambda s, k: s.get(k),
        "delete if quiet": lambda s, k: s.delete(k, only_if_quiet=True),
        "explain": lambda s, k: host.keys.explain(k),
    }[way]
    with host.acting(who):
        told = []
        for key_id in (hidden.id, "0" * 12):
            with pytest.raises(KeyNotFound) as caught:
                do(service, key_id)
            told.append(str(caught.value).replace(key_id, "…"))
        assert told[0] == told[1]
        try:
            do(service, mine.id)
        except KeyInUse:
            assert way == "delete if quiet"
    assert service.get(hidden.id) == hidden


def test_hidden_keys_are_not_found(host: Host, service: KeyService, owned: tuple[Principal, Key, Key]) -> None:
    who, mine, hidden = owned
    with host.acting(who):
        assert [key.id for key in service.find()] == [mine.id]
        assert service.find(q="hidden").items == () and service.find(q=hidden.id).items == ()
        assert [key.id for key in service.find(role="own_keys", limit=1)] == [mine.id]
        assert service.find(limit=1).next_cursor is None
    with host.acting(mine):
        assert [key.id for key in service.find()] == [mine.id]


def test_no_key_is_made_or_moved_outside_the_rows(host: Host, service: KeyService) -> None:
    host.save("named", Grant("api_keys", **ALL, filter="name != 'secret' AND prefix = 'archie'"))
    with host.acting(user("named")):
        made = service.create(name="fine").key
        for do in (
            lambda: service.create(name="secret"),
            lambda: service.create(name="fine", prefix="other"),
            lambda: service.update(made.id, name="secret"),
        ):
            with pytest.raises(Forbidden, match="its filter on api_keys does not let this through"):
                do()
        assert service.get(made.id) == made
    plain = host.create("plain", ()).key
    host.save("by_hand", Grant("api_keys", **ALL, filter="created_by = 'system'"))
    with host.acting(user("by_hand")):
        with pytest.raises(Forbidden, match="its filter on api_keys does not let this through"):
            service.rotate(plain.id)  # the new one would be made by another
        assert service.get(plain.id).replaced_by is None


def test_a_principal_without_the_variable_sees_nothing(host: Host, service: KeyService) -> None:
    host.save("own_keys", Grant("api_keys", **ALL, filter="owner = $userId"))
    nobody = host.create("nobody", ("viewer",)).key
    host.sql("""UPDATE archie_api_keys SET roles = '["own_keys"]'""")
    with host.acting(service.get(nobody.id)), pytest.raises(Forbidden) as caught:
        service.find()
    assert caught.value.scope == "api_keys:read"


def test_only_the_records_that_one_may_delete_are_purged(host: Host, service: KeyService) -> None:
    host.save("own_keys", Grant("api_keys", **ALL, filter="owner = $userId"))
    for owner in ("42", "43"):
        service.delete(host.create("k", (), owner=owner).key.id)
    with host.acting(user("own_keys")):
        assert service.purge(older_than=timedelta(0)) == 1
    assert [key.owner for key in service.find()] == ["43"]


# -- saving roles


def test_a_role_grants_no_more_than_whoever_saves_it_has(host: Host) -> None:
    maker = host.create("maker", ("manager", "viewer", "clerk"), context=EU).key
    narrower = "region = $context.region AND level = 1"
    with host.acting(maker):
        roles = host.keys.roles
        assert roles.save("less", grants=[Grant(SALES, read=True, filter=narrower)]).version == 1
        assert roles.save("less", grants=[Grant(SALES, read=True), Grant("api_keys", **ALL)]).version == 2
        for grant in (
            Grant(SALES, update=True),
            Grant(SALES, read=True, delete=True, filter=narrower),
            Grant("audit_events", read=True),
        ):
            for save in (roles.save, roles.check):
                with pytest.raises(Forbidden) as caught:
                    save("less", grants=[grant])
                assert (caught.value.reason, caught.value.scope) == ("ceiling", None)
                assert f"it is not granted {grant.resource}:{grant.actions[-1]} that widely itself" in str(caught.value)
    weak = host.create("weak", ("manager", "clerk"), context=EU).key
    with host.acting(weak):
        for filter in (None, "region = 'us'", "region = $context.region OR level = 1", "region != $context.region"):
            with pytest.raises(Forbidden):
                host.keys.roles.save("less", grants=[Grant(SALES, read=True, filter=filter)])
        roles.save("less", grants=[Grant(SALES, read=True, filter="level = 2 AND region = $context.region")])


def test_a_role_that_keys_with_other_values_have_is_not_saved(host: Host) -> None:
    text = "region = $context.region"
    host.save("held", Grant(SALES, read=True))
    maker = host.create("maker", ("manager", "clerk"), context=EU).key
    host.create("same", ("held",), context=EU)
    with host.acting(maker):
        host.keys.roles.save("held", grants=[Grant(SALES, read=True, filter=text)])
    other = host.create("other", ("held",), context={"region": "us"}).key
    with host.acting(maker):
        with pytest.raises(Forbidden, match=r"keys with another \$context.region have this role"):
            host.keys.roles.save("held", grants=[Grant(SALES, read=True, filter=f"{text} AND level = 1")])
        host.keys.roles.save("held", grants=[])
    with host.app.app_context():
        host.keys.service.delete(other.id)
    with host.acting(maker):
        host.keys.roles.save("held", grants=[Grant(SALES, read=True, filter=text)])


def test_a_role_that_one_has_oneself_is_saved_narrower(host: Host) -> None:
    """Whoever saves it is no other key, whatever the filter turns on."""
    text = "seller != $keyId AND shopper.region = 'eu'"
    host.save("mine", Grant(SALES, read=True, filter=text))
    maker = host.create("maker", ("manager", "mine")).key
    with host.acting(maker):
        host.keys.roles.save("mine", grants=[Grant(SALES, read=True, filter=f"{text} AND level = 1")])
        with pytest.raises(Forbidden):
            host.keys.roles.save("mine", grants=[Grant(SALES, read=True, filter=text)])
    host.create("twin", ("mine",))
    with host.acting(maker), pytest.raises(Forbidden, match=r"keys with another \$keyId have this role"):
        host.keys.roles.save("mine", grants=[Grant(SALES, read=True, filter=f"{text} AND level = 1 AND open = true")])


@on_sqlite
def test_a_role_that_is_not_there_yet_gives_no_more_when_it_is_saved(host: Host, service: KeyService) -> None:
    """Names without a role: of keys whose role is gone, and of views."""
    host.app.add_url_rule("/s", "s", require_api_key(roles=["sweeper"])(lambda: "s"))
    host.save("ghost", Grant(SALES, read=True))
    maker = host.create("maker", ("manager", "clerk", "ghost", "sweeper"), context=EU).key
    host.sql("DELETE FROM archie_grants")
    host.sql("DELETE FROM archie_roles")
    host.sql("UPDATE archie_policy_epochs SET epoch = epoch + 1")
    with host.acting(maker):
        with pytest.raises(ValidationFailed, match="there is no role 'ghost'"):
            service.create(name="x", roles=["ghost"], context=EU)
        for name in ("ghost", "sweeper", "new"):
            for grant in (Grant(SALES, read=True), Grant(SALES, update=True), Grant("audit_events", read=True)):
                with pytest.raises(Forbidden):
                    host.keys.roles.save(name, grants=[grant])
        with pytest.raises(Conflict):
            host.keys.roles.save("clerk", grants=[])
        made = service.create(name="x", roles=["sweeper"], context=EU).key
        host.keys.roles.save("sweeper", grants=[Grant(SALES, read=True, filter="region = $context.region")])
        with pytest.raises(Forbidden):
            service.update(made.id, context={"region": "us"})


def test_filters_on_roles_say_which(host: Host) -> None:
    host.save("clerks", Grant("roles", **ALL, filter="name IN ('one', 'two')"))
    host.save("three")
    with host.acting(user("clerks")):
        roles = host.keys.roles
        assert roles.save("one").version == 1
        assert roles.save("one", description="changed").version == 2
        assert [role.name for role in roles.find()] == ["one"]
        for name in ("three", "nobody", "manager"):
            with pytest.raises(RoleNotFound, match=f"there is no role '{name}' in master"):
                roles.get(name)
            with pytest.raises(RoleNotFound):
                roles.delete(name)
            with pytest.raises(Forbidden, match="its filter on roles does not let this through"):
                roles.save(name)
        roles.delete("one")
    with host.app.app_context():
        assert host.keys.roles.get("three").version == 1


# -- elsewhere


def test_another_environment_is_out_of_reach(make_host: MakeHost) -> None:
    """Also with a role of the same name there that would grant it."""
    host = make_host(
        ARCHIE_KEYS_ENVIRONMENTS={"master": {}, "staging": {}},
        ARCHIE_KEYS_ROLES={"manager": {"grants": [{"resource": "api_keys", **ALL}, {"resource": "roles", **ALL}]}},
    )
    host.save("plain")
    key = host.create("k", ("manager",)).key
    with host.app.app_context():
        staging = host.keys.for_environment("staging")
    for who in (principal_of(key), user("manager")):
        with host.acting(who):
            for do in (
                lambda: staging.service.create(name="x"),
                lambda: staging.service.find(),
                lambda: staging.service.get(key.id),
                lambda: staging.roles.find(),
                lambda: staging.roles.save("x"),
                lambda: host.keys.roles.copy("plain", "staging"),
                lambda: staging.explainer.explain(key.id),
            ):
                with pytest.raises(Forbidden, match="it is of master and cannot manage staging"):
                    do()
    with host.app.app_context():
        assert staging.service.find().items == () and not [
            role for role in staging.roles.find() if role.source == "saved"
        ]
