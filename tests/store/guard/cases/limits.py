"""What no guard in the application can reach."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column, Integer, MetaData, String, Table, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from ..models import Doc, Folder
from ..world import World
from . import case

LEFT = "left over"
IN_KEYS = "put the filter's column into unique and foreign keys"


@case(LEFT, "a cursor of the driver", "left over", expect=8, advice="needs row security in the database")
def _(world: World, s: Session) -> Any:
    cursor = s.connection().connection.cursor()
    cursor.execute("SELECT * FROM doc")
    return len(cursor.fetchall())


@case(
    LEFT, "ON DELETE CASCADE from a row that is not protected", "left over", expect=0, only="postgresql", advice=IN_KEYS
)
def _(world: World, s: Session) -> Any:
    world.raw("DELETE FROM remark")
    world.raw("DELETE FROM visit")
    world.raw("UPDATE doc SET parent_id = NULL")
    s.connection().exec_driver_sql("DELETE FROM folder WHERE id = 2")
    s.commit()
    return len(world.raw("SELECT id FROM doc WHERE id = 4"))


@case(LEFT, "a unique constraint that tells of a hidden value", "left over", expect="taken", advice=IN_KEYS)
def _(world: World, s: Session) -> Any:
    try:
        s.add(Doc(env="prod", title="hidden a"))
        s.commit()
    except IntegrityError:
        return "taken"
    return "free"


@case(LEFT, "a view of the database", "left over", expect=8, advice="protect the class that is mapped to it")
def _(world: World, s: Session) -> Any:
    world.raw("CREATE VIEW doc_view AS SELECT id, title FROM doc")
    try:
        view = Table("doc_view", MetaData(), Column("id", Integer), Column("title", String))
        return len(s.execute(select(view)).all())
    finally:
        s.close()
        world.raw("DROP VIEW doc_view")


@case(LEFT, "an object that the program has kept in a variable", "left over", expect="hidden a", advice="keep none")
def _(world: World, s: Session) -> Any:
    with world.acting(world.other), world.session() as theirs:
        kept = theirs.get_one(Doc, 3)
    return kept.title


@case(
    LEFT,
    "a folder's name that comes from what is hidden: whatever is not protected",
    "left over",
    expect="bin",
    advice="protect it",
)
def _(world: World, s: Session) -> Any:
    return s.get_one(Folder, 2).name
