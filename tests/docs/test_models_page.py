"""The guide to protecting a model, step by step, with its own application."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
from sqlalchemy import create_engine, delete, insert, select, text
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from flask_archie_keys import Forbidden, NobodyActs, Principal, RowNotFound, Unguarded

from .blocks import DOCS, blocks_of
from .samples import Samples, blocks_after, get, made, run

pytestmark = pytest.mark.usefixtures("rows_can_be_guarded")
STEPS = {block.name: block.text for block in blocks_of(DOCS / "protecting_models.rst") if block.name}


@pytest.fixture
def shop(samples: Samples) -> ModuleType:
    """The page's application with two orders of each region, each with a line and a tag."""
    shop = samples.load("protecting_models", "models")
    with shop.app.app_context():
        shop.db.create_all()
        with shop.keys.unrestricted("the orders to begin with"):
            tag = shop.Tag(id=1, name="red")
            for number, region in ((1, "eu"), (2, "us"), (3, "eu"), (4, "us")):
                lines = [shop.Line(article=f"{region} {number}")]
                shop.db.session.add(shop.Order(id=number, region=region, lines=lines, tags=[tag]))
            shop.db.session.add_all([shop.Visit(order_id=1), shop.Visit(order_id=2)])
            shop.db.session.commit()
    return shop


def viewer(shop: ModuleType, role: str = "viewer", region: str = "eu") -> str:
    return made(shop.app, "Key", "--role", role, "--context", f"region={region}")


def acting(shop: ModuleType, role: str = "viewer", region: str = "eu") -> Any:
    return shop.keys.act_as(Principal.user(1, roles=[role], context={"region": region}))


def test_two_keys_of_one_role_see_different_rows(shop: ModuleType) -> None:
    assert get(shop.app, "/api/orders", viewer(shop)).json == [
        {"id": 1, "lines": ["eu 1"]},
        {"id": 3, "lines": ["eu 3"]},
    ]
    assert [o["id"] for o in get(shop.app, "/api/orders", viewer(shop, region="us")).json] == [2, 4]


def test_nobody(shop: ModuleType) -> None:
    with shop.app.app_context(), pytest.raises(NobodyActs):
        shop.db.session.scalars(shop.select(shop.Order)).all()


def test_children_need_a_decision(samples: Samples) -> None:
    """The first step without the second: under a key, lines are refused."""
    from .blocks import DOCS, blocks_of

    first = next(b.text for b in blocks_of(DOCS / "protecting_models.rst") if b.name == "models-1")
    shop = samples.write(
        "first_step", first.replace('"resource": "lines"', '"resource": "orders"').replace("order.", "")
    )
    with shop.app.app_context():
        shop.db.create_all()
        with acting(shop), pytest.raises(Unguarded) as refused:
            shop.db.session.scalars(shop.select(shop.Line)).all()
    assert str(refused.value) == blocks_after("protecting_models", "2. Decide about its children", "text")[0].text


def test_another_table_of_the_name_is_declared_free(shop: ModuleType) -> None:
    class Archive(DeclarativeBase):
        pass

    class Order(Archive):
        __tablename__ = "orders"

        id: Mapped[int] = mapped_column(primary_key=True)

    archive = create_engine("sqlite://")
    free = r"another table of that name, in another database or metadata, is declared free by keys\.unprotected\(.+\)$"
    with shop.app.app_context(), Session(archive) as session:
        Archive.metadata.create_all(archive)
        with pytest.raises(NobodyActs, match=free):
            session.scalars(select(Order)).all()
        shop.keys.unprotected(Order)
        session.add(Order(id=7))
        session.commit()
        assert session.scalars(select(Order.id)).all() == [7]
        with pytest.raises(NobodyActs):
            session.execute(text("SELECT id FROM orders"))
        with shop.keys.unrestricted("the archive"):
            assert session.scalar(text("SELECT id FROM orders")) == 7
        with pytest.raises(NobodyActs):
            shop.db.session.scalars(select(shop.Order)).all()
        with acting(shop):
            assert session.scalars(select(Order.id)).all() == [7]
            assert shop.db.session.scalars(select(shop.Order.id).order_by(shop.Order.id)).all() == [1, 3]
    archive.dispose()


def test_children_that_were_decided_about(shop: ModuleType) -> None:
    select, session = shop.select, shop.db.session
    with shop.app.app_context(), acting(shop):
        assert [line.article for line in session.scalars(select(shop.Line))] == ["eu 1", "eu 3"]
        assert len(session.scalars(select(shop.Visit)).all()) == 2
        assert [tag.name for tag in session.get(shop.Order, 1).tags] == ["red"]
        with pytest.raises(Unguarded, match="order_tags refers to the protected table orders"):
            session.execute(select(shop.order_tags))
    assert "rows" in run(shop.app, "doctor").output


def test_what_is_refused_and_what_to_write_instead(shop: ModuleType) -> None:
    orders, select = shop.Order.__table__, shop.select
    with shop.app.app_context(), acting(shop, "editor"):
        session = shop.db.session
        for statement in (
            select(orders),
            select(shop.func.count()).select_from(orders),
            text("SELECT * FROM orders"),
            insert(shop.Order).values(region="eu"),
            shop.update(shop.Order).values(region="us"),
        ):
            with pytest.raises(Unguarded):
                session.execute(statement)
        with pytest.raises(Unguarded):
            session.execute(shop.update(shop.Order), [{"id": 1, "status": "held"}])
        with pytest.raises(Unguarded):
            session.bulk_save_objects([shop.Order(region="eu")])
        session.rollback()
        order = session.get(shop.Order, 1)
        session.expunge(order)
        for again in (lambda: session.merge(order, load=False), lambda: session.add(order)):
            with pytest.raises(Unguarded, match=r"use session\.merge"):
                again()
        assert session.merge(order).id == 1
        assert session.scalar(select(shop.func.count()).select_from(shop.Order)) == 2
        assert session.execute(shop.update(shop.Order).values(status="held")).rowcount == 2
        held = session.get(shop.Order, 1)
        with acting(shop, region="us"), pytest.raises(Unguarded, match="a session of its own"):
            session.get(shop.Order, 2)
        assert held in session


def test_making_rows(shop: ModuleType) -> None:
    editor = viewer(shop, "editor")
    assert get(shop.app, "/api/orders", editor, "POST", json={}).json == {"id": 5}
    outside = get(shop.app, "/api/orders", editor, "POST", json={"region": "us"})
    assert (outside.status_code, 'scope="orders:write"' in outside.headers["WWW-Authenticate"]) == (403, True)
    assert get(shop.app, "/api/lines", editor, "POST", json={"order": 1, "article": "x"}).status_code == 201
    hidden, missing = (
        get(shop.app, "/api/lines", editor, "POST", json={"order": number, "article": "x"}) for number in (2, 99)
    )
    assert (hidden.status_code, hidden.data) == (missing.status_code, missing.data)
    assert hidden.status_code == 404
    assert get(shop.app, "/api/orders", viewer(shop), "POST", json={}).status_code == 403
    with shop.app.app_context(), shop.keys.unrestricted("a look"):
        assert shop.db.session.scalar(shop.select(shop.func.count()).select_from(shop.Order)) == 5


def test_moving_a_row_out(shop: ModuleType) -> None:
    with shop.app.app_context(), acting(shop, "editor"):
        shop.db.session.get(shop.Order, 1).region = "us"
        with pytest.raises(Forbidden) as refused:
            shop.db.session.commit()
        assert refused.value.scope == "orders:update"
        shop.db.session.rollback()
        assert shop.db.session.get(shop.Order, 1).region == "eu"


def test_hidden_rows(shop: ModuleType) -> None:
    editor = viewer(shop, "editor")
    assert get(shop.app, "/api/orders/1", editor, "PATCH", json={"status": "held"}).json["status"] == "held"
    hidden, missing = (get(shop.app, f"/api/orders/{n}", editor, "PATCH", json={"status": "x"}) for n in (2, 99))
    assert (hidden.status_code, hidden.data) == (missing.status_code, missing.data)
    assert hidden.status_code == 404
    with shop.app.app_context(), acting(shop):
        order = shop.db.session.get(shop.Order, 1)
        assert (shop.keys.allows(order, "read"), shop.keys.allows(order, "update")) == (True, False)
        shop.db.session.commit()
        with Session(shop.db.engine) as other, shop.keys.unrestricted("the row moves out"):
            other.get(shop.Order, 1).region = "us"
            other.commit()
        with pytest.raises(RowNotFound):
            assert order.status


def test_migrations_and_scripts(shop: ModuleType) -> None:
    migration = text("UPDATE orders SET status = 'held'")
    with shop.app.app_context(), shop.db.engine.begin() as connection:
        connection.execute(text("CREATE INDEX ix_orders_region ON orders (region)"))
        with pytest.raises(NobodyActs):
            connection.execute(migration)
        with shop.keys.unrestricted("migration"):
            assert connection.execute(migration).rowcount == 4


def test_rows_that_are_open_where_nobody_acts(samples: Samples) -> None:
    first = STEPS["models-1"].replace('resource="orders")', 'resource="orders", unscoped="allow")')
    shop = samples.write("open_step", first)
    with shop.app.app_context():
        shop.db.create_all()
        shop.db.session.add_all([shop.Order(region="eu"), shop.Order(region="us")])
        shop.db.session.commit()
        shop.db.session.expunge_all()
        with acting(shop):
            assert [order.region for order in shop.db.session.scalars(shop.select(shop.Order))] == ["eu"]


def test_scope(shop: ModuleType) -> None:
    assert get(shop.app, "/api/count", viewer(shop)).json == {"orders": 2}
    assert get(shop.app, "/api/close", viewer(shop, "editor"), "POST").json == {"closed": 2}
    assert get(shop.app, "/api/close", viewer(shop), "POST").status_code == 403
    with shop.app.app_context(), shop.db.engine.connect() as connection:
        with acting(shop):
            statement = shop.keys.scope(shop.select(shop.Order.__table__), "read")
            nested = shop.select(shop.select(shop.Order.__table__).subquery())
            with pytest.raises(Unguarded):
                connection.execute(shop.keys.scope(nested, "read"))
            assert len(connection.execute(statement).all()) == 2
        with acting(shop, region="us"), pytest.raises(Unguarded, match="scoped for another principal"):
            connection.execute(statement)
        with acting(shop), pytest.raises(Unguarded):
            connection.execute(delete(shop.Order))


def test_the_test_of_the_page(samples: Samples) -> None:
    samples.load("protecting_models", "models").test_viewers_see_their_region()
