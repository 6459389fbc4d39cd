"""The ceiling: what passes it never grants more than whoever acts has, tried on all rows of a small world."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import timedelta
from itertools import product
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_archie_keys import Forbidden, Grant, Principal, Role
from flask_archie_keys.domain import kinds
from flask_archie_keys.domain.clock import to_micros, utcnow
from flask_archie_keys.domain.filters import ABSENT, Unbound, UnknownColumn, bind, evaluate, parse
from flask_archie_keys.domain.kinds import Kind
from flask_archie_keys.domain.permissions import ACTIONS, Action, union
from flask_archie_keys.permissions.access import variables_of
from flask_archie_keys.permissions.ceiling import ensure_holders_within, ensure_role_within, ensure_within

PROJECT, ENVIRONMENT = "shop", "master"
END = utcnow() + timedelta(days=1)

# -- a world of two tables: things, and the customers that they may have


class Customer(NamedTuple):
    vip: bool


class Thing(NamedTuple):
    region: str | None
    owner: str | None
    key_id: str
    level: int
    customer: Customer | None


CUSTOMERS = [Customer(True), Customer(False)]
#: ``other`` is no key that acts or is made here: rows with a key's own id are that key's own.
THINGS = [
    Thing(*values)
    for values in product(["eu", "us", None], ["ann", "bob", None], ["actor", "other"], [0, 1], [*CUSTOMERS, None])
]
TABLES: dict[str, list[Any]] = {"things": THINGS, "customers": CUSTOMERS}
KINDS: dict[str, dict[tuple[str, ...], Kind]] = {
    "things": {
        ("region",): kinds.String(),
        ("owner",): kinds.String(),
        ("key_id",): kinds.String(),
        ("level",): kinds.Integer(),
        ("customer", "vip"): kinds.Boolean(),
    },
    "customers": {("vip",): kinds.Boolean()},
}


class Columns:
    def __init__(self, resource: str) -> None:
        self._kinds = KINDS[resource]

    def kind(self, path: tuple[str, ...]) -> Kind:
        if path not in self._kinds:
            raise UnknownColumn(f"there is no column {path}")
        return self._kinds[path]


def rows(principal: Principal, known: Mapping[str, Role], resource: str, action: Action) -> frozenset[Any]:
    """The rows that a principal may touch."""
    grants = [grant for name in principal.roles if name in known for grant in known[name].grants]
    allowed = union(grants, resource, action)
    if allowed is None:
        return frozenset()
    if allowed.filters is None:
        return frozenset(TABLES[resource])
    found: set[Any] = set()
    for text in allowed.filters:
        try:
            bound = bind(parse(text), Columns(resource), variables_of(principal))
        except Unbound:
            continue
        seen = rows(principal, known, "customers", "read") if resource == "things" else frozenset()

        def read(row: Any, path: tuple[str, ...], seen: frozenset[Any] = seen) -> object:
            if len(path) == 1:
                return getattr(row, path[0])
            return row.customer.vip if row.customer is not None and row.customer in seen else ABSENT

        found |= {row for row in TABLES[resource] if evaluate(bound, lambda path, row=row: read(row, path))}
    return frozenset(found)


def more(of: Principal, than: Principal, known: Mapping[str, Role]) -> list[str]:
    """What one principal may do that the other may not."""
    return [
        f"{resource}:{action} {sorted(map(str, beyond))[:2]}"
        for resource in TABLES
        for action in ACTIONS
        if (beyond := rows(of, known, resource, action) - rows(than, known, resource, action))
    ]


FILTERS = [
    "region = $context.region",
    "region IN $context.regions",
    "NOT region = $context.region",
    "region = 'eu'",
    "owner = $userId",
    "owner != $userId OR owner IS NULL",
    "level = $context.level",
    "level < $context.level",
    "key_id = $keyId",
    "key_id != $keyId",
    "key_id = $keyId OR region = 'eu'",
    "customer.vip = true",
    "NOT customer.vip = $context.vip",
]
VIPS = ["vip = true", "vip = $context.vip"]


def joined(pool: list[str]) -> st.SearchStrategy[str]:
    """One filter of the pool, or two joined by AND or OR."""
    one = st.sampled_from(pool)
    pair = st.tuples(one, st.sampled_from(["AND", "OR"]), one).map(lambda p: f"({p[0]}) {p[1]} ({p[2]})")
    return one | one | pair


def grants(resource: str, pool: list[str]) -> st.SearchStrategy[Grant]:
    actions = st.sets(st.sampled_from(["read", "update"]), min_size=1)
    return st.builds(
        lambda actions, text: Grant(resource, **dict.fromkeys(actions, True), filter=text),
        actions,
        joined(pool) | joined(pool) | joined(pool) | st.none(),
    )


GRANTS = grants("things", FILTERS) | grants("things", FILTERS) | grants("customers", VIPS)
ROLES = st.lists(GRANTS, min_size=1, max_size=2).map(tuple)
ALL_CUSTOMERS = Grant("customers", read=True)
KNOWN = st.fixed_dictionaries({"a": ROLES, "b": ROLES, "c": ROLES.map(lambda found: (ALL_CUSTOMERS, *found))}).map(
    lambda found: {name: Role(name=name, grants=grants) for name, grants in found.items()}
)
HELD = st.lists(st.sampled_from(["a", "b", "c", "ghost"]), min_size=1, max_size=2, unique=True).map(tuple)
CONTEXT = st.fixed_dictionaries(
    {},
    optional={
        "region": st.sampled_from(["eu", "us", ("eu",), 1]),
        "regions": st.sampled_from([("eu",), ("us",), ("eu", "us"), (), "eu"]),
        "level": st.sampled_from([True, 1, 1.0, "1", 0, False, (1,)]),
        "vip": st.sampled_from([True, False, 1, "true"]),
    },
)
OWNER = st.sampled_from(["ann", "bob"])
ACTOR = st.builds(
    lambda kind, roles, context, owner: Principal(
        kind,
        "actor" if kind == "key" else owner or "ann",
        "who acts",
        PROJECT,
        ENVIRONMENT,
        roles=roles,
        context=context,
        owner=owner if kind == "key" else None,
    ),
    st.sampled_from(["key", "user"]),
    HELD,
    CONTEXT,
    OWNER,
)


def key(roles: tuple[str, ...], context: Mapping[str, Any], owner: str | None, id: str = "made") -> Principal:
    return Principal("key", id, "key", PROJECT, ENVIRONMENT, roles=roles, context=context, owner=owner)


def resembling(own: list[Grant]) -> st.SearchStrategy[Grant]:
    """Some of the grants that one has, narrower and wider ones, and others."""

    def narrowed(grant: Grant, text: str) -> Grant:
        narrow = text if grant.resource == "things" else "vip = true"
        return replace(grant, filter=narrow if grant.filter is None else f"({grant.filter}) AND ({narrow})")

    def widened(grant: Grant) -> Grant:
        one, both, _ = (grant.filter or "").partition(") AND (")
        return replace(grant, filter=one[1:] if both else grant.filter)

    held = st.sampled_from(own)
    return held | st.builds(narrowed, held, st.sampled_from(FILTERS)) | held.map(widened) | GRANTS


def within(actor: Principal, known: Mapping[str, Role] | None, of: Principal, **more: Any) -> None:
    asked: dict[str, Any] = {"expires_at": None, "networks": None, "actor_networks": None}
    asked |= {"project": PROJECT, "environment": ENVIRONMENT, **more}
    ensure_within(actor, known=known, roles=of.roles, context=of.context, owner=of.owner, **asked)


@settings(max_examples=250, deadline=None)
@given(actor=ACTOR, known=KNOWN, data=st.data())
def test_a_key_that_passes_can_do_no_more(actor: Principal, known: dict[str, Role], data: st.DataObject) -> None:
    """Most of the keys that are tried resemble who makes them: others would be refused for their first difference."""
    roles = data.draw(st.just(actor.roles) | HELD)
    context = {**actor.context, **data.draw(CONTEXT)} if data.draw(st.booleans()) else actor.context
    made = key(roles, context, data.draw(st.just(actor.user_id) | OWNER))
    try:
        within(actor, known, made)
    except Forbidden:
        return
    assert more(made, actor, known) == []


@settings(max_examples=250, deadline=None)
@given(actor=ACTOR, known=KNOWN, data=st.data())
def test_a_role_that_passes_grants_those_who_have_it_no_more(
    actor: Principal, known: dict[str, Role], data: st.DataObject
) -> None:
    """Neither through what they have of other roles."""
    own = [grant for name in actor.roles if name in known for grant in known[name].grants]
    wanted = data.draw(st.lists(resembling(own) if own else GRANTS, min_size=1, max_size=2))
    context = data.draw(st.just(dict(actor.context)) | CONTEXT)
    others = data.draw(HELD)
    holder = key(("saved", *others), context, data.draw(st.just(actor.user_id) | OWNER), id="holder")
    try:
        ensure_role_within(actor, known, wanted)
        ensure_holders_within(actor, known, wanted, holder.context, holder.owner, holder.roles)
    except Forbidden:
        return
    after = {**known, "saved": Role(name="saved", grants=tuple(wanted))}
    before = {**known, "saved": Role(name="saved")}
    for resource in TABLES:
        for action in ACTIONS:
            gained = rows(holder, after, resource, action) - rows(holder, before, resource, action)
            assert gained <= rows(actor, known, resource, action), (resource, action)


@settings(max_examples=150, deadline=None)
@given(first=ACTOR, known=KNOWN, steps=st.integers(1, 5), data=st.data())
def test_no_number_of_steps_leads_to_more(
    first: Principal, known: dict[str, Role], steps: int, data: st.DataObject
) -> None:
    """Whoever acts saves roles, makes keys and changes them, and goes on with any key that it made."""
    start, at_first = dict(known), first
    mine = [first]
    for _ in range(steps):
        acting = data.draw(st.sampled_from(mine))
        try:
            if data.draw(st.booleans()):
                own = [grant for name in acting.roles if name in known for grant in known[name].grants]
                wanted = data.draw(st.lists(resembling(own) if own else GRANTS, max_size=2))
                name = data.draw(st.sampled_from(["a", "b", "c", "ghost"]))
                ensure_role_within(acting, known, wanted)
                for other in mine:
                    if name in other.roles and other is not acting:
                        ensure_holders_within(acting, known, wanted, other.context, other.owner, other.roles)
                known = {**known, name: Role(name=name, grants=tuple(wanted))}
            else:
                roles = data.draw(
                    st.lists(st.sampled_from([r for r in acting.roles if r in known] or ["a"]), unique=True)
                )
                context = {**acting.context, **data.draw(CONTEXT)} if data.draw(st.booleans()) else acting.context
                made = key(tuple(roles), context, data.draw(st.just(acting.user_id) | OWNER), id=f"made{len(mine)}")
                within(acting, known, made)
                mine.append(made)
        except Forbidden:
            continue
    for one in mine:
        for resource in TABLES:
            for action in ACTIONS:
                gained = rows(one, known, resource, action) - rows(at_first, start, resource, action)
                assert gained == frozenset(), (one.id, resource, action)


# -- one rule after the other

REGION = Role(name="clerk", grants=(Grant("things", read=True, filter="region = $context.region"),))
USER = Role(name="mine", grants=(Grant("things", read=True, filter="owner = $userId"),))
FREE = Role(name="free", grants=(Grant("things", read=True),))
OWN = Role(name="own", grants=(Grant("things", read=True, filter="key_id = $keyId AND region = 'eu'"),))
OTHERS = Role(name="others", grants=(Grant("things", update=True, filter="region = 'eu' AND key_id != $keyId"),))
BROKEN = Role(name="broken", grants=(Grant("things", read=True, filter="region ="),))
BY_NAME = {role.name: role for role in (REGION, USER, FREE, OWN, OTHERS, BROKEN)}


def actor(*roles: str, **kwargs: Any) -> Principal:
    return Principal("key", "actor", "who acts", PROJECT, ENVIRONMENT, roles=roles, **kwargs)


@pytest.mark.parametrize(
    ("who", "made"),
    [
        (actor(), key((), {}, None)),
        (actor("free"), key(("free",), {"region": "eu"}, "bob")),  # no filter uses them
        (actor("clerk", context={"region": "eu"}), key(("clerk",), {"region": "eu", "more": 1}, "bob")),
        (actor("clerk", context={"region": "eu"}), key((), {"region": "eu"}, None)),
        (actor("clerk"), key(("clerk",), {}, None)),  # neither has it: neither sees a row
        (actor("mine", owner="ann"), key(("mine",), {}, "ann")),
        (actor("clerk", context={"region": ("eu", 1)}), key(("clerk",), {"region": ("eu", 1)}, None)),
        (Principal.user("ann", roles=["mine"], project=PROJECT, environment=ENVIRONMENT), key(("mine",), {}, "ann")),
        (actor("own"), key(("own",), {}, None)),  # a key's own rows are its own
        (actor("others"), key((), {}, None)),
        (actor("broken", "free"), key(("broken", "free"), {}, None)),
        (actor("ghost"), key(("ghost",), {}, None)),
    ],
)
def test_what_is_within(who: Principal, made: Principal) -> None:
    within(who, BY_NAME, made)


REGION_USED = "its filters use $context.region, which must stay what it is for itself"
OWNER_USED = "its filters use $userId, so the owner must stay what it is for itself"
KEY_ID_USED = "filters of these roles use $keyId, which is another for each key"


@pytest.mark.parametrize(
    ("who", "made", "why"),
    [
        (actor(), key(("free",), {}, None), "it does not have the role 'free' itself"),
        (actor("free"), key(("free", "ghost"), {}, None), "it does not have the role 'ghost' itself"),
        (actor("clerk", context={"region": "eu"}), key((), {}, None), REGION_USED),
        (actor("clerk", context={"region": "eu"}), key(("clerk",), {"region": "us"}, None), REGION_USED),
        (actor("clerk", context={"region": "eu"}), key(("clerk",), {"region": ("eu",)}, None), REGION_USED),
        (actor("clerk"), key(("clerk",), {"region": "eu"}, None), REGION_USED),
        (actor("clerk", context={"region": 1}), key(("clerk",), {"region": True}, None), REGION_USED),
        (actor("clerk", context={"region": 1}), key(("clerk",), {"region": 1.0}, None), REGION_USED),
        (actor("clerk", context={"region": 1}), key(("clerk",), {"region": "1"}, None), REGION_USED),
        (actor("clerk", context={"region": (0,)}), key(("clerk",), {"region": (False,)}, None), REGION_USED),
        (actor("clerk", context={"region": ("eu",)}), key(("clerk",), {"region": ("eu", "eu")}, None), REGION_USED),
        (actor("mine", owner="ann"), key(("mine",), {}, "bob"), OWNER_USED),
        (actor("mine", owner="ann"), key((), {}, None), OWNER_USED),
        (actor("mine"), key(("mine",), {}, "ann"), OWNER_USED),
        (
            Principal.user("ann", roles=["mine"], project=PROJECT, environment=ENVIRONMENT),
            key(("mine",), {}, "bob"),
            OWNER_USED,
        ),
        (actor("others"), key(("others",), {}, None), KEY_ID_USED),
        (
            Principal.user("ann", roles=["others"], project=PROJECT, environment=ENVIRONMENT),
            key(("others",), {}, None),
            KEY_ID_USED,
        ),
    ],
)
def test_what_goes_beyond(who: Principal, made: Principal, why: str) -> None:
    with pytest.raises(Forbidden) as caught:
        within(who, BY_NAME, made)
    assert str(caught.value) == f"whoever acts here can hand out no more than it has: {why}"
    assert (caught.value.reason, caught.value.key_id) == ("ceiling", "actor" if who.kind == "key" else None)
    assert caught.value.scope is None


@pytest.mark.parametrize(
    ("own", "other", "passes"),
    [
        (None, None, True),
        (None, END, True),
        (END, END, True),
        (END, END - timedelta(microseconds=1), True),
        (END, END + timedelta(microseconds=1), False),
        (END, None, False),
    ],
)
def test_the_end_is_no_later(own: Any, other: Any, passes: bool) -> None:
    made = {"expires_at": None if other is None else to_micros(other)}
    if passes:
        within(actor(expires_at=own), {}, key((), {}, None), **made)
    else:
        with pytest.raises(Forbidden, match="it ends earlier itself"):
            within(actor(expires_at=own), {}, key((), {}, None), **made)


@pytest.mark.parametrize(
    ("own", "other", "passes"),
    [
        (None, None, True),
        (None, ["10.0.0.0/8"], True),
        (["10.0.0.0/8"], ["10.0.0.0/8"], True),
        (["10.0.0.0/8"], ["10.1.0.0/16", "10.2.3.4/32"], True),
        (["10.0.0.0/8", "fd00::/8"], ["fd00::1/128", "10.0.0.1/32"], True),
        (["10.0.0.0/9", "10.128.0.0/9"], ["10.0.0.0/8"], False),  # it is, in effect; but not one by one
        (["10.0.0.0/8"], None, False),
        (["10.0.0.0/8"], ["10.1.0.0/16", "11.0.0.0/16"], False),
        (["10.0.0.0/8"], ["0.0.0.0/0"], False),
        (["10.0.0.0/8"], ["fd00::/8"], False),
        (["0.0.0.0/0"], ["::/0"], False),
        ([], ["10.0.0.0/8"], False),
    ],
)
def test_networks_are_no_wider(own: Any, other: Any, passes: bool) -> None:
    if passes:
        within(actor(), {}, key((), {}, None), networks=other, actor_networks=own)
    else:
        with pytest.raises(Forbidden, match="it is bound to networks itself"):
            within(actor(), {}, key((), {}, None), networks=other, actor_networks=own)


@pytest.mark.parametrize("where", [{"project": "other"}, {"environment": "staging"}])
def test_project_and_environment_are_the_same(where: dict[str, str]) -> None:
    with pytest.raises(Forbidden, match="it is of shop, master and cannot manage"):
        within(actor(), {}, key((), {}, None), **where)


def test_where_a_remote_service_decides_every_variable_may_matter() -> None:
    who = actor("free", "own", context={"region": "eu"}, owner="ann")
    within(who, None, key(("free", "own"), {"region": "eu"}, "ann"))
    for made in (
        key(("free",), {"region": "us"}, "ann"),
        key(("free",), {}, "ann"),
        key(("free",), {"region": "eu", "more": 1}, "ann"),
        key(("free",), {"region": "eu"}, None),
        key(("mine",), {"region": "eu"}, "ann"),
    ):
        with pytest.raises(Forbidden):
            within(who, None, made)


def role_within(filter: str | None, own: Iterable[str | None], **actions: bool) -> None:
    held = Role(name="held", grants=tuple(Grant("things", read=True, filter=text) for text in own))
    ensure_role_within(
        actor("held", "ghost"), {"held": held}, [Grant("things", **(actions or {"read": True}), filter=filter)]
    )


@pytest.mark.parametrize(
    ("filter", "own"),
    [
        (None, [None]),
        ("region = 'eu'", [None]),
        ("region = 'eu'", ["region = 'eu'"]),
        ("region='eu'", ["(region  =  'eu')"]),
        ("region = 'eu' AND level = 1", ["region = 'eu'"]),
        ("level = 1 AND (region = 'eu' AND owner = $userId)", ["owner = $userId AND region = 'eu'"]),
        ("level = 1", ["region = 'eu'", "level = 1"]),
    ],
)
def test_a_grant_that_is_covered(filter: str | None, own: list[str | None]) -> None:
    role_within(filter, own)


@pytest.mark.parametrize(
    ("filter", "own"),
    [
        (None, []),
        (None, ["region = 'eu'"]),
        (None, ["region = 'eu'", "region != 'eu'"]),
        ("region = 'us'", ["region = 'eu'"]),
        ("region = 'eu'", ["region = 'eu' AND level = 1"]),
        ("region = 'eu' OR level = 1", ["region = 'eu'"]),
        ("NOT (region = 'eu')", ["region = 'eu'"]),
        ("NOT (region = 'eu' AND level = 1)", ["region = 'eu'"]),
        ("level = true", ["level = 1"]),  # 1 equals True in Python
        ("level = '1'", ["level = 1"]),
        ("level = 1", ["level <= 1"]),  # it is, in effect; but not by its form
        ("region = 'eu'", ["region ="]),
    ],
)
def test_a_grant_that_is_not_covered(filter: str | None, own: list[str | None]) -> None:
    with pytest.raises(Forbidden, match="it is not granted things:read that widely itself"):
        role_within(filter, own)


def test_each_action_and_resource_is_covered_by_itself() -> None:
    for action in ("write", "update", "delete"):
        with pytest.raises(Forbidden, match=f"things:{action}"):
            role_within(None, [None], read=True, **{action: True})
    with pytest.raises(Forbidden, match="customers:read"):
        ensure_role_within(actor("free"), BY_NAME, [Grant("customers", read=True)])
    truthy = Role(name="odd", grants=(Grant("things", read=1),))  # type: ignore[arg-type]
    with pytest.raises(Forbidden):
        ensure_role_within(actor("odd"), {"odd": truthy}, [Grant("things", read=True)])


HELD_BY = SimpleNamespace(context={"region": "eu"}, owner="ann")


@pytest.mark.parametrize(
    ("who", "filter", "why"),
    [
        (actor("clerk", context={"region": "us"}), "region = $context.region", "keys with another $context.region"),
        (actor("clerk"), "region = $context.region", "keys with another $context.region"),
        (actor("mine", owner="bob"), "owner = $userId", "keys with another $userId"),
        (actor("others"), "region = 'eu' AND key_id != $keyId", "keys with another $keyId"),
        (actor("clerk"), "customer.vip = true", "its filter on things reads other tables"),
        (actor("clerk", context={"region": "eu"}), "region = $context.region", None),
        (actor("mine", owner="ann"), "owner = $userId", None),
        (actor("own"), "key_id = $keyId", None),
        (actor("clerk"), "region = $environment AND owner = $project", None),
        (actor("free"), "region = $context.region AND key_id != $keyId AND customer.vip = true", None),
    ],
)
def test_a_role_that_another_key_has(who: Principal, filter: str, why: str | None) -> None:
    wanted = [Grant("things", read=True, filter=filter)]
    if why is None:
        ensure_holders_within(who, BY_NAME, wanted, HELD_BY.context, HELD_BY.owner)
    else:
        with pytest.raises(Forbidden) as caught:
            ensure_holders_within(who, BY_NAME, wanted, HELD_BY.context, HELD_BY.owner)
        assert why in str(caught.value)


def test_a_grant_for_some_actions_is_no_grant_for_the_others() -> None:
    """Whoever reads all rows and changes some hands out no more by a grant of both."""
    some = Role(name="some", grants=(Grant("things", update=True, filter="region = $context.region"),))
    who = actor("free", "some", context={"region": "us"})
    wanted = [Grant("things", read=True, update=True, filter="region = $context.region")]
    ensure_role_within(who, {**BY_NAME, "some": some}, wanted)
    with pytest.raises(Forbidden):
        ensure_holders_within(who, {**BY_NAME, "some": some}, wanted, HELD_BY.context, HELD_BY.owner)


FREE = {
    "everything": Role(name="everything", grants=(Grant("things", read=True, write=True),)),
    "of_region": Role(name="of_region", grants=(Grant("things", read=True, filter="region = $context.region"),)),
    "of_level": Role(name="of_level", grants=(Grant("things", read=True, filter="level = $context.level"),)),
    "of_both": Role(
        name="of_both",
        grants=(Grant("things", read=True, filter="level = $context.level AND region = $context.region"),),
    ),
    "deletes": Role(name="deletes", grants=(Grant("things", delete=True, filter="region = $context.region"),)),
}


@pytest.mark.parametrize(
    ("held", "region", "passes"),
    [
        (("everything", "of_region"), "eu", True),  # its rows are among all rows, whatever the region is
        (("of_region",), "eu", False),
        (("of_region", "of_level"), "eu", False),  # another filter is no wider one
        (("of_level", "of_both"), "eu", True),  # all of its rows have the level, which is the same
        (("everything", "of_region", "deletes"), "eu", False),  # everything can be read, and not deleted
    ],
)
def test_a_filter_does_not_bound_who_is_granted_the_same_with_fewer_conditions(
    held: tuple[str, ...], region: str, passes: bool
) -> None:
    level = {"level": 1}
    who = Principal("key", "actor", "actor", PROJECT, ENVIRONMENT, roles=held, context=level)
    other = {"project": PROJECT, "environment": ENVIRONMENT, "expires_at": None, "networks": None}
    asked = {"known": FREE, "roles": held[1:], "context": {**level, "region": region}, "owner": None, **other}
    if passes:
        ensure_within(who, actor_networks=None, **asked)  # type: ignore[arg-type]
        return
    with pytest.raises(Forbidden, match=r"context\.region"):
        ensure_within(who, actor_networks=None, **asked)  # type: ignore[arg-type]
