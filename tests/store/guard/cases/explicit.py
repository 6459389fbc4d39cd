"""keys.scope(): Core statements, sessions and connections of one's own."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Table, delete, func, insert, literal, select, text, update
from sqlalchemy.orm import Session

from flask_archie_keys.errors import Forbidden
from flask_archie_keys.store import guard

from ..models import Doc, Folder, Note, SpecialDoc, Tag
from ..world import World
from . import case, each_refused
from .changing import has
from .reading import TITLES, titles

SCOPE = "keys.scope()"
docs: Table = Doc.__table__  # type: ignore[assignment]
special: Table = SpecialDoc.__table__  # type: ignore[assignment]


def scope(world: World, statement: Any, action: Any = "read") -> Any:
    return guard.scope(statement, action, world.current())


@case(SCOPE, "select(table) in a session", "filtered", expect=TITLES)
def _(world: World, s: Session) -> Any:
    return titles(s.execute(scope(world, select(docs))))


@case(SCOPE, "on a connection: tables, aliases, classes, counts", "filtered", expect=[TITLES, TITLES, TITLES, 4])
def _(world: World, s: Session) -> Any:
    with world.engine.connect() as connection:
        return [
            titles(connection.execute(scope(world, select(docs)))),
            titles(connection.execute(scope(world, select(docs.alias())))),
            titles(connection.execute(scope(world, select(Doc.title)))),
            connection.scalar(scope(world, select(func.count()).select_from(docs))),
        ]


@case(
    SCOPE,
    "joins of several protected tables",
    "filtered",
    expect=[("seen a", "seen note"), ("seen a", "seen second note")],
)
def _(world: World, s: Session) -> Any:
    notes: Any = Note.__table__
    with world.engine.connect() as connection:
        statement = select(docs.c.title, notes.c.text).join(notes, notes.c.doc_id == docs.c.id)
        return sorted(tuple(row) for row in connection.execute(scope(world, statement)))


@case(SCOPE, "the table of a derived class, joined to its base", "filtered", expect=["seen extra"])
def _(world: World, s: Session) -> Any:
    statement = select(special.c.extra).join(docs, docs.c.id == special.c.id)
    with world.engine.connect() as connection:
        return list(connection.scalars(scope(world, statement)))


@case(SCOPE, "the table of a derived class alone", "refused", advice="whose row filter is on doc")
def _(world: World, s: Session) -> Any:
    return scope(world, select(special))


@case(SCOPE, "the table of a derived class, joined by another column", "refused", advice="special_doc", who="admin")
def _(world: World, s: Session) -> Any:
    return s.execute(scope(world, select(special.c.extra).join(docs, docs.c.size == special.c.id))).all()


@case(SCOPE, "an outer join", "refused", advice="joined by an outer join")
def _(world: World, s: Session) -> Any:
    folders: Any = Folder.__table__
    return scope(world, select(folders.c.name, docs.c.title).outerjoin(docs, docs.c.folder_id == folders.c.id))


@case(SCOPE, "an outer join with a scoped sub-query", "filtered", expect=["seen a", "seen b", "seen special", None])
def _(world: World, s: Session) -> Any:
    folders: Any = Folder.__table__
    inside = scope(world, select(docs)).subquery()
    statement = select(inside.c.title).select_from(folders).outerjoin(inside, inside.c.folder_id == folders.c.id)
    with world.engine.connect() as connection:
        return sorted(connection.scalars(statement), key=lambda title: title or "z")


@case(SCOPE, "a nested select that was not scoped itself", "refused", advice="no row filter reaches it here")
def _(world: World, s: Session) -> Any:
    most = select(func.max(docs.c.title)).scalar_subquery()
    with world.engine.connect() as connection:
        return connection.execute(scope(world, select(docs.c.title, most.label("most"), literal(1)))).all()


@case(
    SCOPE, "a text that is added to its FROM clause afterwards", "refused", advice="a text of SQL names the table doc"
)
def _(world: World, s: Session) -> Any:
    statement = scope(world, select(docs.c.title, text("d.title")))
    return s.execute(statement.select_from(docs, text("doc AS d"))).all()


@case(SCOPE, "a union, or what is no select, update or delete", "refused", advice="scope its parts")
def _(world: World, s: Session) -> Any:
    each_refused([lambda: scope(world, insert(docs).values(title="x"), "write")], "scope its parts")
    return scope(world, select(docs.c.id).union(select(docs.c.id)))


@case(SCOPE, "a union of scoped parts", "filtered", expect=TITLES)
def _(world: World, s: Session) -> Any:
    one, two = scope(world, select(docs).where(docs.c.id < 5)), scope(world, select(docs))
    with world.engine.connect() as connection:
        return titles(connection.execute(one.union(two)))


@case(SCOPE, "a statement that was scoped for another principal", "refused", advice="scoped for another principal")
def _(world: World, s: Session) -> Any:
    with world.acting(world.other):
        theirs = scope(world, select(docs))
        s.execute(theirs)
    return s.execute(theirs).all()


@case(SCOPE, "… and nested in one's own", "refused", advice="scoped for another principal")
def _(world: World, s: Session) -> Any:
    with world.acting(world.other):
        theirs = scope(world, select(func.max(docs.c.title))).scalar_subquery()
    return s.execute(scope(world, select(docs.c.id, theirs.label("most")))).all()


@case(SCOPE, "update() and delete()", "filtered", expect=[4, 1], after=has((1, 50), (2, 50), (5, 50)))
def _(world: World, s: Session) -> Any:
    with world.engine.begin() as connection:
        return [
            connection.execute(scope(world, update(docs).values(size=50), "update")).rowcount,
            connection.execute(scope(world, delete(docs).where(docs.c.id > 6), "delete")).rowcount,
        ]


@case(SCOPE, "update() that assigns a column that filters use", "refused", advice="load the objects and change them")
def _(world: World, s: Session) -> Any:
    with world.engine.begin() as connection:
        connection.execute(scope(world, update(docs).values(env="dev"), "update"))


@case(SCOPE, "the wrong action", "refused", advice="the action of this statement is 'update'")
def _(world: World, s: Session) -> Any:
    return scope(world, update(docs).values(size=1), "read")


@case(SCOPE, "a select for what may be changed", "filtered", expect=["seen a"])
def _(world: World, s: Session) -> Any:
    with world.granting("docs", update="id = 1 OR env = 'dev'"):
        return titles(s.execute(scope(world, select(docs), "update")))


@case(SCOPE, "update() reaches only what may also be read", "filtered", expect=4)
def _(world: World, s: Session) -> Any:
    with world.granting("docs", update=None):
        counts = {
            s.execute(scope(world, update(docs).values(size=50), "update")).rowcount,  # type: ignore[attr-defined]
            s.execute(update(Doc).values(size=50)).rowcount,  # type: ignore[attr-defined]
        }
        return counts.pop() if len(counts) == 1 else counts


@case(SCOPE, "without a grant", "refused", error=Forbidden, expect="docs:read", who="stranger", advice="a grant")
def _(world: World, s: Session) -> Any:
    return scope(world, select(docs))


@case(SCOPE, "a statement with nothing protected in it", "works", expect=["blue", "red"])
def _(world: World, s: Session) -> Any:
    with world.engine.connect() as connection:
        return sorted(connection.scalars(scope(world, select(Tag.name))))
