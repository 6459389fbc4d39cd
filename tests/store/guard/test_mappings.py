"""Mappings of other kinds: keys of several columns, other names, versions, links between protected classes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Column, ForeignKey, ForeignKeyConstraint, MetaData, Table, Uuid, func, select, update
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    aliased,
    foreign,
    immediateload,
    joinedload,
    lazyload,
    mapped_column,
    relationship,
    selectinload,
    subqueryload,
)

from flask_archie_keys.errors import ConfigurationError, Forbidden, RowNotFound, Unguarded
from flask_archie_keys.store import guard

from .world import KeyAccess, World, all_actions


class Base(DeclarativeBase):
    pass


part_link = Table(
    "part_link",
    Base.metadata,
    Column("plant", primary_key=True),
    Column("number", primary_key=True),
    Column("label_id", ForeignKey("label.id"), primary_key=True),
    ForeignKeyConstraint(["plant", "number"], ["part.plant", "part.number"]),
)


class Part(Base):
    """A key of two columns, other names of attributes, a version, a unique column that others refer to."""

    __tablename__ = "part"
    place: Mapped[str] = mapped_column("plant", primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    zone: Mapped[str] = mapped_column("the zone")
    code: Mapped[str] = mapped_column(unique=True)
    stamp: Mapped[int] = mapped_column(default=0)
    touched: Mapped[int] = mapped_column(server_default="7")
    labels: Mapped[list[Label]] = relationship(secondary=part_link, back_populates="parts")
    orders: Mapped[list[PartOrder]] = relationship(
        back_populates="part", foreign_keys="[PartOrder.plant, PartOrder.number]"
    )
    __mapper_args__ = {"version_id_col": stamp, "eager_defaults": True}  # noqa: RUF012


class Label(Base):
    """Protected as well, with a key that the application makes."""

    __tablename__ = "label"
    id: Mapped[UUID] = mapped_column(Uuid, primary_key=True, default=uuid4)
    zone: Mapped[str]
    parts: Mapped[list[Part]] = relationship(secondary=part_link, back_populates="labels")


class PartOrder(Base):
    """Protected by nothing of its own: every key may see all of it. It refers to keys of several kinds."""

    __tablename__ = "part_order"
    id: Mapped[int] = mapped_column(primary_key=True)
    plant: Mapped[str | None] = mapped_column()
    number: Mapped[int | None] = mapped_column()
    code: Mapped[str | None] = mapped_column(ForeignKey("part.code"))
    crate_id: Mapped[int | None] = mapped_column(ForeignKey("wooden_crate.id"))
    part: Mapped[Part | None] = relationship(back_populates="orders", foreign_keys=[plant, number])
    __table_args__ = (ForeignKeyConstraint(["plant", "number"], ["part.plant", "part.number"]),)


class Crate(Base):
    __tablename__ = "crate"
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]
    zone: Mapped[str]
    outer_id: Mapped[int | None] = mapped_column(ForeignKey("crate.id"))
    inner: Mapped[list[Crate]] = relationship(lazy="joined", join_depth=2, order_by="Crate.id")
    __mapper_args__ = {"polymorphic_on": "kind", "with_polymorphic": "*", "polymorphic_identity": "crate"}  # noqa: RUF012


class WoodenCrate(Crate):
    __tablename__ = "wooden_crate"
    id: Mapped[int] = mapped_column(ForeignKey("crate.id"), primary_key=True)
    wood: Mapped[str]
    __mapper_args__ = {"polymorphic_identity": "wooden"}  # noqa: RUF012


class OakCrate(WoodenCrate):
    """A derived class of a derived class."""

    __tablename__ = "oak_crate"
    id: Mapped[int] = mapped_column(ForeignKey("wooden_crate.id"), primary_key=True)
    age: Mapped[int]
    __mapper_args__ = {"polymorphic_identity": "oak"}  # noqa: RUF012


class Yard(Base):
    __tablename__ = "yard"
    id: Mapped[int] = mapped_column(primary_key=True)
    zone: Mapped[str]


class Depot(Base):
    """Not protected, and never read without what is."""

    __tablename__ = "depot"
    id: Mapped[int] = mapped_column(primary_key=True)
    place: Mapped[str]
    parts: Mapped[list[Part]] = relationship(
        primaryjoin=lambda: Depot.place == foreign(Part.place), viewonly=True, lazy="joined"
    )


class Log(Base):
    """Its defaults of the database are read by a SELECT of their own."""

    __tablename__ = "log"
    id: Mapped[int] = mapped_column(primary_key=True)
    zone: Mapped[str]
    made: Mapped[int] = mapped_column(server_default="5")
    __table_args__ = {"implicit_returning": False}  # noqa: RUF012
    __mapper_args__ = {"eager_defaults": True}  # noqa: RUF012


_parts = aliased(Part, name="yard_parts")
Yard.parts = relationship(  # type: ignore[attr-defined]
    _parts, primaryjoin=lambda: Yard.zone == foreign(_parts.zone), viewonly=True
)

for model, resource in ((Part, "parts"), (Label, "labels"), (Crate, "crates"), (Log, "logs")):
    guard.protect(model, resource)
guard.unprotected(PartOrder)

RED = UUID(int=1)
BLUE = UUID(int=2)
GREEN = UUID(int=3)


@pytest.fixture
def other(world: World) -> Iterator[World]:
    """The world with these tables; the key is for the zone "a"."""
    Base.metadata.create_all(world.engine)
    grants = {name: all_actions("zone = $context.zone") for name in ("parts", "labels", "crates")}
    key = KeyAccess(grants, zone="a")
    with world.unrestricted(), Session(world.engine) as s:
        red, blue, green = Label(id=RED, zone="a"), Label(id=BLUE, zone="b"), Label(id=GREEN, zone="a")
        s.add_all(
            [
                Part(place="x", number=1, zone="a", code="X1", labels=[red, blue]),
                Part(place="x", number=2, zone="b", code="X2", labels=[red]),
                Part(place="y", number=1, zone="a", code="Y1"),
                green,
                Yard(id=1, zone="a"),
                Yard(id=2, zone="b"),
                Depot(id=1, place="x"),
                OakCrate(id=1, zone="a", wood="oak", age=3),
                WoodenCrate(id=2, zone="a", wood="pine", outer_id=1),
                Crate(id=3, zone="b", outer_id=1),
                OakCrate(id=4, zone="b", wood="hidden", age=9, outer_id=2),
                Crate(id=5, zone="a", outer_id=2),
            ]
        )
        s.commit()
    world.who = key
    yield world
    world.restore()
    Base.metadata.drop_all(world.engine)


def test_a_key_of_two_columns(other: World) -> None:
    s = other.session()
    assert s.get(Part, ("x", 2)) is None
    parts = s.scalars(select(Part).order_by(Part.place)).all()
    assert [part.code for part in parts] == ["X1", "Y1"]
    parts[0].code, parts[1].code = "X1a", "Y1a"
    s.commit()
    assert parts[0].stamp == 2
    s.delete(parts[1])
    s.commit()
    part = Part(place="z", number=9, zone="a", code="Z9")
    s.add(part)
    s.flush()
    assert part.touched == 7
    s.rollback()
    s.add(Part(place="z", number=9, zone="b", code="Z9"))
    with pytest.raises(Forbidden):
        s.flush()
    s.rollback()
    s.get_one(Part, ("x", 1)).zone = "b"
    with pytest.raises(Forbidden):
        s.commit()


def test_more_rows_than_one_look_takes(other: World) -> None:
    s = other.session()
    parts = [Part(place="many", number=number, zone="a", code=f"M{number}") for number in range(600)]
    s.add_all(parts)
    s.commit()
    for part in parts:
        part.code += "!"
    s.commit()
    parts[550].zone = "b"
    parts[3].code = "?"
    with pytest.raises(Forbidden):
        s.commit()
    s.rollback()
    assert s.scalar(select(func.count()).where(Part.place == "many", Part.code.like("%!"))) == 600


def test_references_by_several_columns_by_a_unique_one_and_to_a_derived_class(other: World) -> None:
    s = other.session()
    s.add_all([PartOrder(plant="x", number=1), PartOrder(code="Y1"), PartOrder(crate_id=1), PartOrder(plant="x")])
    s.commit()
    for wrong in (PartOrder(plant="x", number=2), PartOrder(code="X2"), PartOrder(crate_id=4), PartOrder(crate_id=3)):
        s.add(wrong)
        with pytest.raises(RowNotFound):
            s.commit()
        s.rollback()
    order = PartOrder(part=Part(place="new", number=1, zone="a", code="N1"))
    s.add(order)
    s.commit()
    assert order.plant == "new"


def test_a_link_between_two_protected_classes_needs_both_ends(other: World) -> None:
    s = other.session()
    part = s.get_one(Part, ("x", 1))
    assert [label.id for label in part.labels] == [RED]
    assert [each.code for each in s.get_one(Label, RED).parts] == ["X1"]
    for option in (joinedload(Part.labels), selectinload(Part.labels)):
        found = s.scalars(select(Part).options(option), execution_options={"populate_existing": True}).unique()
        assert sorted(len(each.labels) for each in found) == [0, 1]
    part.labels = [s.get_one(Label, GREEN)]
    s.commit()
    assert other.raw("SELECT count(*) FROM part_link") == [(3,)], "the link to the hidden label is still there"
    statement = part_link.insert().values(plant="x", number=1, label_id=BLUE)
    with pytest.raises(Unguarded):
        s.execute(statement)


def test_a_link_may_be_made_with_a_grant_to_change_one_of_its_ends(other: World) -> None:
    other.who = KeyAccess({"parts": all_actions(None), "labels": {"read": None}}, zone="a")
    s = other.session()
    part = s.get_one(Part, ("y", 1))
    part.labels = [s.get_one(Label, BLUE)]
    s.commit()
    other.who = KeyAccess({"parts": {"read": None}, "labels": {"read": None}}, zone="a")
    s = other.session()
    part = s.get_one(Part, ("y", 1))
    part.labels = []
    with pytest.raises(Forbidden):
        s.commit()


def test_a_hierarchy_of_three_tables_that_contains_itself(other: World) -> None:
    s = other.session()
    crate = s.get_one(Crate, 1)
    assert isinstance(crate, OakCrate)
    assert [each.id for each in crate.inner] == [2]
    assert [each.id for each in crate.inner[0].inner] == [5]
    s.expire_all()
    assert (crate.age, crate.wood, crate.zone) == (3, "oak", "a")
    s.expire(crate, ["age"])
    assert crate.age == 3
    assert [each.id for each in s.scalars(select(WoodenCrate).order_by(WoodenCrate.id)).unique()] == [1, 2]
    assert s.scalars(select(OakCrate.age)).all() == [3]
    crate.age = 4
    s.commit()
    s.add(OakCrate(id=50, zone="b", wood="oak", age=1))
    with pytest.raises(Forbidden):
        s.commit()
    s.rollback()
    with pytest.raises(Unguarded, match="load the objects and change them"):
        s.execute(update(OakCrate).values(age=1))


@pytest.mark.parametrize("loader", [lazyload, joinedload, selectinload, subqueryload, immediateload])
def test_a_relationship_to_an_alias(other: World, loader: Any) -> None:
    s = other.session()
    yards: Any = s.scalars(select(Yard).order_by(Yard.id).options(loader(Yard.parts))).unique()  # type: ignore[attr-defined]
    assert [sorted(part.code for part in yard.parts) for yard in yards] == [["X1", "Y1"], []]


def test_a_table_of_another_database_with_the_same_name(other: World) -> None:
    namesake = Table("label", MetaData(), Column("id", Uuid, primary_key=True))
    s = other.session()
    with pytest.raises(Unguarded, match=r"keys\.unprotected"):
        s.execute(select(namesake))
    guard.unprotected(namesake)
    assert len(s.execute(select(namesake)).all()) == 3, "who declared it has said so"


def test_a_link_table_joined_to_one_end_only(other: World) -> None:
    s = other.session()
    both = (part_link.c.plant == Part.place) & (part_link.c.number == Part.number)
    with pytest.raises(Unguarded, match="part_link refers to the protected table"):
        s.execute(select(part_link.c.label_id).join(Part, both)).all()
    statement = select(part_link.c.label_id).join(Part, both).join(Label, Label.id == part_link.c.label_id)
    assert s.scalars(statement).all() == [RED]


def test_a_relationship_that_is_always_joined(other: World) -> None:
    yard = other.session().scalars(select(Depot)).unique().one()
    assert [part.code for part in yard.parts] == ["X1"]


def test_what_a_flush_makes_may_be_read_by_it(other: World) -> None:
    """Defaults of the database are fetched, and foreign keys lead to new rows, whatever may be read afterwards."""
    grants = {"logs": {"write": None, "read": "zone = 'a'"}, "parts": {"write": None, "read": "zone = 'a'"}}
    other.who = KeyAccess(grants, zone="a")  # type: ignore[arg-type]
    s = other.session()
    log = Log(id=1, zone="b")
    s.add(log)
    s.flush()
    assert log.__dict__["made"] == 5
    s.add(PartOrder(part=Part(place="q", number=1, zone="b", code="Q1")))
    s.commit()
    with pytest.raises(RowNotFound):
        s.refresh(log)


def test_a_rule_of_another_class_is_refused(other: World) -> None:
    class Wrong(KeyAccess):
        def may(self, resource: str, action: Any, model: Any = None) -> Any:
            return super().may("labels", action)

    other.who = Wrong({"labels": all_actions(None)})
    for statement in (select(Part), select(Depot)):
        with pytest.raises(ConfigurationError, match="the rule of the resource parts is for"):
            other.session().execute(statement)


def test_a_write_grant_does_not_read(other: World) -> None:
    other.who = KeyAccess({"labels": {"write": None}}, zone="a")
    s = other.session()
    s.add(Label(zone="b"))
    s.commit()
    with pytest.raises(Forbidden):
        s.scalars(select(Label)).all()
