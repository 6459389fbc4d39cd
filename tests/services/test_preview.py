"""Which rows a key would see: by its roles as they would be, and never more than whoever asks may see."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import ForeignKey, LargeBinary, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, deferred, mapped_column, relationship

from flask_archie_keys import ArchieKeys, Forbidden, Grant, KeyNotFound, NotFound, Principal, Role, StoreUnavailable
from flask_archie_keys.domain.records import Key
from flask_archie_keys.services import preview

from ..conftest import Host, MakeHost
from ..support.protected import alone


class Base(DeclarativeBase):
    pass


class Firm(Base):
    __tablename__ = "preview_firms"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    region: Mapped[str]


class Box(Base):
    __tablename__ = "preview_boxes"
    id: Mapped[int] = mapped_column(primary_key=True)
    region: Mapped[str]
    label: Mapped[str | None]
    password_hash: Mapped[str | None]
    picture: Mapped[bytes | None] = mapped_column(LargeBinary)
    story: Mapped[str | None] = deferred(mapped_column(Text))
    firm_id: Mapped[int | None] = mapped_column(ForeignKey("preview_firms.id"))
    firm: Mapped[Firm | None] = relationship()


@pytest.fixture(scope="module", autouse=True)
def protected() -> Iterator[None]:
    with alone():
        keys = ArchieKeys()
        keys.protect(Firm, resource="firms")
        keys.protect(Box, resource="boxes")
        yield


@pytest.fixture
def host(make_host: MakeHost, url: str) -> Host:
    """Boxes 1 and 2 are in the EU, 3 and 4 in the US, 5 is nobody's."""
    host = make_host(url)
    with host.app.app_context(), host.keys.unrestricted("fill"):
        Base.metadata.create_all(host.db.engine)
        session = host.db.session
        session.add_all([Firm(id=1, name="Acme", region="eu"), Firm(id=2, name="Hidden", region="us")])
        session.flush()
        for number, region, firm in ((1, "eu", 1), (2, "eu", 2), (3, "us", 1), (4, "us", 2), (5, "xx", None)):
            session.add(Box(id=number, region=region, label=f"box {number}", password_hash="x", firm_id=firm))
        session.commit()
    host.save("boss", *(Grant(name, read=True) for name in ("boxes", "firms", "api_keys", "roles", "audit_events")))
    return host


def user(*roles: str, **context: object) -> Principal:
    return Principal.user("u1", roles=roles, context=context)


def show(
    host: Host, key: Key, resource: str = "boxes", role: Role | None = None, by: Principal | None = None
) -> preview.Preview:
    with host.acting(by or user("boss")):
        return host.keys.for_environment("master").previews.show(key.id, resource, role)


def ids(found: preview.Preview) -> list[str]:
    return [str(row[0]) for row in found.rows]


def draft(*grants: Grant, name: str = "clerk") -> Role:
    return Role(name=name, grants=grants)


BY_REGION = Grant("boxes", read=True, filter="region = $context.region")


def test_the_rows_that_a_key_sees(host: Host) -> None:
    host.save("clerk", BY_REGION)
    found = show(host, host.create("eu", ("clerk",), context={"region": "eu"}).key)
    assert ids(found) == ["1", "2"] and (found.count, found.more, found.holds) == (2, False, True)
    assert found.filter == "region = 'eu'"
    assert found.rows[0][:3] == ("1", "eu", "box 1")


def test_columns_that_are_nobodys_to_look_at_are_left_out(host: Host) -> None:
    found = show(host, host.create().key, role=draft(Grant("boxes", read=True)))
    assert found.columns == ("id", "region", "label", "firm_id")
    assert len(found.rows) == found.count == 5 and found.filter is None


def test_a_filter_on_such_a_column_shows_nothing(host: Host) -> None:
    for filter in ("password_hash > 'a'", "id > 0 AND NOT (region = 'eu' OR password_hash = 'x')"):
        found = show(host, host.create().key, role=draft(Grant("boxes", read=True, filter=filter)))
        assert not found.rows and found.why == "the filters look at columns that are shown to nobody"


def test_a_role_as_it_would_be_takes_the_place_of_the_saved_one(host: Host) -> None:
    host.save("clerk", BY_REGION)
    key = host.create("eu", ("clerk",), context={"region": "eu"}).key
    assert ids(show(host, key, role=draft(Grant("boxes", read=True, filter="id > 3")))) == ["4", "5"]
    assert ids(show(host, key)) == ["1", "2"], "nothing was saved"


def test_a_key_that_does_not_have_the_role_is_taken_to_have_it(host: Host) -> None:
    host.save("other", Grant("boxes", read=True, filter="id = 5"))
    found = show(host, host.create("eu", ("other",), context={"region": "eu"}).key, role=draft(BY_REGION))
    assert not found.holds and ids(found) == ["1", "2", "5"], "with what its other roles let it see"


def test_a_key_without_a_grant_or_without_the_value_sees_nothing(host: Host) -> None:
    key = host.create().key
    assert show(host, key).why == "no role of the key grants boxes:read"
    found = show(host, key, role=draft(BY_REGION))
    assert not found.rows and "context.region" in str(found.why)


def test_never_more_than_whoever_asks_may_see(host: Host) -> None:
    host.save("eu_boss", Grant("boxes", read=True, filter="region = 'eu'"), Grant("api_keys", read=True))
    key = host.create("all", ("viewer",)).key
    found = show(host, key, role=draft(Grant("boxes", read=True)), by=user("eu_boss"))
    assert ids(found) == ["1", "2"] and found.count == 2


def test_filters_over_related_rows_do_not_tell_what_is_hidden(host: Host) -> None:
    """Whoever asks may not see the firm of boxes 2 and 4: no filter on it lets them through, nor counts them."""
    host.save(
        "half", *(Grant(name, read=True) for name in ("boxes", "api_keys")), Grant("firms", read=True, filter="id = 1")
    )
    key = host.create("all", ("viewer",)).key
    for filter in ("firm.name = 'Hidden'", "firm.name != 'Acme'", "NOT (firm.name = 'Acme')"):
        tried = draft(Grant("boxes", read=True, filter=filter), Grant("firms", read=True))
        assert set(ids(show(host, key, role=tried))) >= {"2", "4"}
        assert not set(ids(show(host, key, role=tried, by=user("half")))) & {"2", "4"}
    tried = draft(Grant("boxes", read=True, filter="firm.name = 'Acme'"), Grant("firms", read=True))
    assert ids(show(host, key, role=tried, by=user("half"))) == ["1", "3"]
    tried = draft(Grant("boxes", read=True, filter="firm.name = 'Acme' OR region = 'xx'"), Grant("firms", read=True))
    assert ids(show(host, key, role=tried, by=user("half"))) == ["1", "3", "5"], "a box without a firm hides nothing"


def test_the_key_needs_its_own_grant_on_related_rows(host: Host) -> None:
    tried = draft(Grant("boxes", read=True, filter="firm.name = 'Acme'"))
    assert not show(host, host.create().key, role=tried).rows


def test_without_a_grant_to_read_the_resource_there_is_no_preview(host: Host) -> None:
    host.save("keeper", Grant("api_keys", read=True))
    key = host.create().key
    with pytest.raises(Forbidden):
        show(host, key, role=draft(BY_REGION), by=user("keeper"))
    with host.acting(user("keeper")):
        previews = host.keys.for_environment("master").previews
        assert not previews.offers("boxes") and previews.offers("api_keys") and not previews.offers("roles")


def test_without_a_grant_to_read_the_key_there_is_no_preview(host: Host) -> None:
    host.save("reader", Grant("boxes", read=True), Grant("api_keys", read=True, filter="name = 'mine'"))
    mine, other = host.create("mine").key, host.create("other").key
    assert show(host, mine, role=draft(Grant("boxes", read=True)), by=user("reader")).count == 5
    with pytest.raises(KeyNotFound):
        show(host, other, by=user("reader"))
    host.save("no_keys", Grant("boxes", read=True))
    with pytest.raises(Forbidden):
        show(host, mine, by=user("no_keys"))


@pytest.mark.parametrize("resource", ["elsewhere", "", "preview_boxes", "archie_api_keys"])
def test_a_resource_that_there_is_not(host: Host, resource: str) -> None:
    with pytest.raises(NotFound, match="no preview"):
        show(host, host.create().key, resource)


def test_the_system_has_no_previews(host: Host) -> None:
    with host.app.app_context(), pytest.raises(NotFound):
        host.keys.for_environment("master").previews.show(host.create().key.id, "boxes")


def test_our_own_resources(host: Host) -> None:
    host.save("keeper", Grant("api_keys", read=True, filter="name = 'mine'"), Grant("roles", read=True))
    mine = host.create("mine").key
    host.create("other")
    everything = draft(*(Grant(name, read=True) for name in ("api_keys", "roles", "audit_events")))
    assert {row[1] for row in show(host, mine, "api_keys", everything).rows} == {"mine", "other"}
    found = show(host, mine, "api_keys", everything, user("keeper"))
    assert [row[1] for row in found.rows] == ["mine"]
    assert found.columns == ("id", "name", "prefix", "owner", "created_by"), "no digest, no context"
    assert ids(show(host, mine, "roles", everything)) == ["boss", "keeper"]
    assert show(host, mine, "audit_events", everything).count > 0


def test_long_lists_and_long_texts_are_cut(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preview, "COUNT_MAX", 30)
    with host.app.app_context(), host.keys.unrestricted("fill"):
        host.db.session.add_all(Box(id=number, region="zz", label="x" * 500) for number in range(10, 60))
        host.db.session.commit()
    found = show(host, host.create().key, role=draft(Grant("boxes", read=True, filter="region = 'zz'")))
    assert len(found.rows) == preview.ROWS and (found.count, found.more) == (30, True)
    assert found.rows[0][2] == "x" * preview.CELL_MAX + "…"


def test_a_table_that_cannot_be_read(host: Host) -> None:
    with host.app.app_context(), host.keys.unrestricted("drop"):
        Base.metadata.drop_all(host.db.engine)
    with pytest.raises(StoreUnavailable):
        show(host, host.create().key, role=draft(Grant("boxes", read=True)))


def test_who_asks_is_who_reads(host: Host) -> None:
    """In a request, the preview is a statement of the host's user: the guard lets it pass."""
    host.keys.user_loader(lambda: user("boss"))
    key = host.create("eu", ("viewer",), context={"region": "eu"}).key

    def view() -> list[Any]:
        return ids(host.keys.for_environment("master").previews.show(key.id, "boxes", draft(BY_REGION)))

    host.app.add_url_rule("/preview", "preview", view)
    assert host.get("/preview").json == ["1", "2"]


# -- what the matrix of a role is made of


def test_the_resources_that_grants_can_be_for(host: Host) -> None:
    with host.app.app_context():
        assert host.keys.roles.resources() == ["boxes", "firms", "api_keys", "roles", "audit_events"]


def test_how_many_keys_have_each_role(host: Host) -> None:
    for number, roles in enumerate((("viewer",), ("viewer", "editor"), ())):
        host.create(f"key {number}", roles)
    gone = host.create("gone", ("editor",)).key
    with host.app.app_context():
        host.keys.service.delete(gone.id)
        assert host.keys.roles.holders() == {"viewer": 2, "editor": 1}
        assert [key.name for key in host.keys.roles.keys_with("viewer")] == ["key 1", "key 0"]
        assert [key.name for key in host.keys.roles.keys_with("editor", limit=1)] == ["key 1"]
    host.save("some", Grant("api_keys", read=True, filter="name = 'key 0'"))
    with host.acting(user("some")):
        assert host.keys.roles.holders() == {"viewer": 1}
        assert [key.name for key in host.keys.roles.keys_with("viewer")] == ["key 0"]
    with host.acting(user("viewer")), pytest.raises(Forbidden):
        host.keys.roles.holders()
