"""What may be protected, and which mappings around it cannot be guarded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Column, ForeignKey, Integer, MetaData, Table, func, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, column_property, mapped_column, relationship

from flask_archie_keys.errors import ConfigurationError
from flask_archie_keys.store import guard
from flask_archie_keys.store import protection as module
from flask_archie_keys.store.protection import child_advice, is_child, is_unprotected, protection_of, registry

from .models import Doc, MemoDoc, Note, Public, Remark, SpecialDoc, Tag, Visit, doc_tag
from .world import World


@pytest.fixture
def base() -> Iterator[Any]:
    """A declarative base whose protected classes are forgotten in the end."""
    mappers, metadata = set(registry.mappers), registry.metadata

    class Base(DeclarativeBase):
        pass

    yield Base
    for mapper in set(registry.mappers) - mappers:
        registry.mappers.discard(mapper)
    registry.metadata = metadata
    registry.changed()


def test_a_protection_covers_all_that_inherit() -> None:
    assert protection_of(Doc) is protection_of(SpecialDoc) is protection_of(MemoDoc)
    protection = protection_of(SpecialDoc.__table__)
    assert protection is not None
    assert (protection.model, protection.resource, protection.unscoped) == (Doc, "docs", "refuse")
    assert protection_of(Tag) is None is protection_of(doc_tag) is protection_of(int)
    assert guard.resources()["docs"] is Doc
    assert guard.resources()["pages"] is Public


def test_protecting_twice_alike_is_no_mistake() -> None:
    guard.protect(Note, "notes")
    with pytest.raises(ConfigurationError, match="protected already, as the resource notes"):
        guard.protect(Note, "texts")
    with pytest.raises(ConfigurationError, match="protected already"):
        guard.protect(Note, "notes", "allow")


@pytest.mark.parametrize(
    ("model", "resource", "unscoped", "message"),
    [
        (SpecialDoc, "special", "refuse", "protect the base"),
        (MemoDoc, "memos", "refuse", "SpecialDoc|MemoDoc inherits from Doc"),
        (int, "numbers", "refuse", "takes a mapped class"),
        (doc_tag, "links", "refuse", "takes a mapped class"),
        (Tag, "Tags", "refuse", "snake_case"),
        (Tag, "", "refuse", "snake_case"),
        (Tag, None, "refuse", "snake_case"),
        (Tag, "api_keys", "refuse", "this extension's own"),
        (Tag, "docs", "refuse", "the resource docs is Doc"),
        (Tag, "tags", "maybe", 'must be "refuse" or "allow"'),
        (Visit, "visits", "refuse", "was declared unprotected"),
    ],
)
def test_what_cannot_be_protected(model: Any, resource: Any, unscoped: Any, message: str) -> None:
    before = guard.resources()
    with pytest.raises(ConfigurationError, match=message):
        guard.protect(model, resource, unscoped)
    assert guard.resources() == before


def test_older_versions_of_sqlalchemy_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.sqlalchemy, "__version__", "2.0.58")
    with pytest.raises(ConfigurationError, match=r"protect\(\) needs SQLAlchemy 2\.1; this is 2\.0\.58"):
        guard.protect(Tag, "tags")


def test_mappings_that_are_no_table(base: Any) -> None:
    class Joined(base):
        __table__ = select(Table("one", base.metadata, Column("id", Integer, primary_key=True))).subquery()
        __mapper_args__ = {"primary_key": [__table__.c.id]}  # noqa: RUF012

    with pytest.raises(ConfigurationError, match="not mapped to a table but to Subquery"):
        guard.protect(Joined, "joined")


def test_children_are_what_refers_to_protected_rows() -> None:
    assert is_child(Remark.__table__)  # type: ignore[arg-type]
    assert is_child(doc_tag)
    assert not is_child(Note.__table__)  # type: ignore[arg-type]
    assert not is_child(Tag.__table__)  # type: ignore[arg-type]
    assert not is_child(Visit.__table__)  # type: ignore[arg-type]
    assert is_unprotected(Visit.__table__)  # type: ignore[arg-type]
    assert "keys.protect(Remark, …)" in child_advice(Remark.__table__)  # type: ignore[arg-type]


def test_a_table_of_an_unknown_one_is_no_child() -> None:
    alone = Table("alone", MetaData(), Column("id", Integer, primary_key=True), Column("doc_id", ForeignKey("doc.id")))
    assert not is_child(alone)


@pytest.mark.parametrize(("what", "message"), [(Doc, "is protected"), (int, "takes a mapped class or a table")])
def test_what_cannot_be_declared_unprotected(what: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        guard.unprotected(what)


def test_good_mappings_have_no_problems() -> None:
    assert guard.problems() == []


def test_mappings_that_cannot_be_guarded_are_named_and_refused(base: Any, world: World) -> None:
    class Order(base):
        __tablename__ = "problem_order"
        id: Mapped[int] = mapped_column(primary_key=True)
        customer_id: Mapped[int | None] = mapped_column(ForeignKey("problem_customer.id"))

    class Item(base):
        __tablename__ = "problem_item"
        id: Mapped[int] = mapped_column(primary_key=True)
        order_id: Mapped[int] = mapped_column(ForeignKey("problem_order.id"))

    class Customer(base):
        __tablename__ = "problem_customer"
        id: Mapped[int] = mapped_column(primary_key=True)
        items: Mapped[list[Item]] = relationship(
            secondary=Order.__table__,
            primaryjoin=lambda: Customer.id == Order.customer_id,
            secondaryjoin=lambda: Order.id == Item.order_id,
            viewonly=True,
        )
        orders = column_property(select(func.count()).select_from(Order.__table__).scalar_subquery())
        good = column_property(select(func.count(Order.id)).scalar_subquery())

    class OrderToo(base):
        __table__ = Order.__table__

    class OldOrder(Order):
        __tablename__ = "problem_old_order"
        id: Mapped[int] = mapped_column(primary_key=True)
        customer_id: Mapped[int | None]
        __mapper_args__ = {"concrete": True}  # noqa: RUF012

    guard.protect(Order, "problem_orders")
    found = guard.problems()
    assert [problem.split(" ")[0] for problem in found] == ["Customer.items", "Customer.orders", "OldOrder", "OrderToo"]
    with (
        world.acting(world.key),
        Session(world.engine) as s,
        pytest.raises(ConfigurationError, match=r"Customer\.items"),
    ):
        s.scalars(select(Doc)).all()


def test_a_class_that_is_mapped_later_is_covered(base: Any) -> None:
    class Thing(base):
        __tablename__ = "later_thing"
        id: Mapped[int] = mapped_column(primary_key=True)
        kind: Mapped[str]
        __mapper_args__ = {"polymorphic_on": "kind"}  # noqa: RUF012

    guard.protect(Thing, "later_things")
    changes = registry.changes

    class Special(Thing):
        __tablename__ = "later_special"
        id: Mapped[int] = mapped_column(ForeignKey("later_thing.id"), primary_key=True)
        __mapper_args__ = {"polymorphic_identity": "special"}  # noqa: RUF012

    class Hanger(base):
        __tablename__ = "later_hanger"
        id: Mapped[int] = mapped_column(primary_key=True)
        thing_id: Mapped[int] = mapped_column(ForeignKey("later_special.id"))

    assert registry.changes > changes, "what was found out before is found out anew"
    assert protection_of(Special.__table__) is protection_of(Thing)
    assert is_child(Hanger.__table__)
