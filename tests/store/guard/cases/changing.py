"""UPDATE, DELETE and INSERT: by statements, and by the unit of work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import bindparam, delete, event, func, insert, select, text, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from flask_archie_keys.errors import Forbidden, RowNotFound

from ..models import Doc, Folder, MemoDoc, Note, SpecialDoc
from ..world import World
from . import case, each_refused

UPDATE = "UPDATE and DELETE statements"
INSERT = "INSERT statements and bulk operations"
FLUSH = "the unit of work"
ADD = "use session.add()"
CHANGE = "load the objects and change them"
docs: Any = Doc.__table__


@contextmanager
def sql(world: World) -> Iterator[list[str]]:
    """The statements that reach the engine."""
    statements: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        statements.append(" ".join(statement.split()))

    event.listen(world.engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        event.remove(world.engine, "before_cursor_execute", note)


def has(*expected: Any) -> Any:
    """Whether documents have these sizes, by id."""
    return lambda world: world.raw("SELECT id, size FROM doc WHERE size >= 50 ORDER BY id") == list(expected)


@case(UPDATE, "update(Doc)", "filtered", expect=4, after=has((1, 50), (2, 50), (5, 50), (7, 50)))
def _(world: World, s: Session) -> Any:
    count = s.execute(update(Doc).values(size=50)).rowcount  # type: ignore[attr-defined]
    s.commit()
    return count


@case(UPDATE, "update(Doc).where(a hidden row)", "filtered", expect=0, after=has())
def _(world: World, s: Session) -> Any:
    count = s.execute(update(Doc).where(Doc.id == 3).values(size=50)).rowcount  # type: ignore[attr-defined]
    s.commit()
    return count


@case(
    UPDATE,
    "with parameters, expressions, sub-queries, RETURNING",
    "filtered",
    expect=[1, 1, 1, [1]],
    after=has((1, 70)),
)
def _(world: World, s: Session) -> Any:
    most = select(func.max(Doc.size)).scalar_subquery()
    statements: list[Any] = [
        update(Doc).where(Doc.id == bindparam("number")).values(size=Doc.size + 50),
        update(Doc).where(Doc.id.in_([1, 3])).values(size=most),
        update(Doc).where(Doc.id.in_(select(Doc.id).where(Doc.id < 2))).values(size=70),
    ]
    counts = [s.execute(statement, {"number": 1}).rowcount for statement in statements]  # type: ignore[attr-defined]
    returned = s.scalars(update(Doc).where(Doc.id.in_([1, 3])).values(size=70).returning(Doc.id))
    found = [*counts, list(returned)]
    s.commit()
    return found


for strategy in ("evaluate", "fetch", "auto", False):

    @case(UPDATE, f"update(Doc), synchronize_session={strategy!r}", "filtered", after=has((1, 50)))
    def _(world: World, s: Session, strategy: Any = strategy) -> Any:
        doc = s.get_one(Doc, 1)
        options = {"synchronize_session": strategy}
        s.execute(update(Doc).where(Doc.id.in_([1, 3])).values(size=50), execution_options=options)
        s.execute(delete(Doc).where(Doc.id.in_([3])), execution_options=options)
        s.commit()
        return doc.size


@case(UPDATE, "query.update() and query.delete()", "filtered", expect=[1, 0], after=has((1, 50)))
def _(world: World, s: Session) -> Any:
    query = s.query(Doc).filter(Doc.id.in_([1, 3]))
    counts = [query.update({"size": 50}), s.query(Doc).filter(Doc.id == 3).delete()]
    s.commit()
    return counts


@case(UPDATE, "update() of a single-table class", "filtered", expect=1, after=has((7, 50)))
def _(world: World, s: Session) -> Any:
    count = s.execute(update(MemoDoc).values(size=50)).rowcount  # type: ignore[attr-defined]
    s.commit()
    return count


@case(UPDATE, "update() and delete() by a rule over a dotted path", "filtered", expect=[2, 2])
def _(world: World, s: Session) -> Any:
    counts = [s.execute(update(Note).values(text="seen too")).rowcount, s.execute(delete(Note)).rowcount]  # type: ignore[attr-defined]
    s.commit()
    return counts


@case(UPDATE, "update() of a joined-table class, which is another table", "refused", advice=CHANGE)
def _(world: World, s: Session) -> Any:
    s.execute(update(SpecialDoc).values(extra="x"))
    s.commit()


@case(UPDATE, "delete() of a joined-table class", "refused", advice=CHANGE)
def _(world: World, s: Session) -> Any:
    s.execute(delete(SpecialDoc))
    s.commit()


@case(UPDATE, "delete(Doc)", "filtered", expect=1, after=lambda world: len(world.raw("SELECT id FROM doc")) == 7)
def _(world: World, s: Session) -> Any:
    count = s.execute(delete(Doc).where(Doc.id > 6)).rowcount  # type: ignore[attr-defined]
    s.commit()
    return count


@case(UPDATE, "an assignment to a column that filters use", "refused", advice=CHANGE)
def _(world: World, s: Session) -> Any:
    tries: list[Any] = [
        lambda: s.execute(update(Doc).values({Doc.env: "dev"})),
        lambda: s.execute(update(Doc).ordered_values((Doc.size, 1), (Doc.env, "dev"))),
        lambda: s.execute(update(Doc).where(Doc.id == 1), {"env": "dev"}),
        lambda: s.query(Doc).update({"env": "dev"}),
        lambda: s.execute(update(Note).values(doc_id=3)),
        lambda: s.execute(update(Doc).values(parent_id=3)),
        lambda: s.execute(update(Doc).where(Doc.id == 1).values(id=99)),
    ]
    each_refused(tries, CHANGE)
    s.execute(update(Doc).values(env="dev"))


@case(UPDATE, "bulk UPDATE by primary key", "refused", advice="bulk UPDATE by primary key")
def _(world: World, s: Session) -> Any:
    s.execute(update(Doc), [{"id": 3, "size": 50}])
    s.commit()


@case(
    UPDATE,
    "UPDATE … FROM and DELETE … USING with another protected class",
    "refused",
    advice="no row filter reaches it",
)
def _(world: World, s: Session) -> Any:
    off = {"synchronize_session": False}
    statement = update(Note).where(Note.doc_id == Doc.id, Doc.title == "hidden a").values(text="x")
    if world.engine.dialect.name == "postgresql":
        using = delete(Note).where(Note.doc_id == Doc.id, Doc.title == "hidden a")
        each_refused([lambda: s.execute(using, execution_options=off)], "no row filter reaches it")
    s.execute(statement, execution_options=off)


@case(UPDATE, "an unprotected table, by what a protected class holds", "filtered", expect=[1, 0])
def _(world: World, s: Session) -> Any:
    inside = select(Doc.folder_id)
    counts = [s.execute(update(Folder).where(Folder.id.in_(inside)).values(name="seen")).rowcount]  # type: ignore[attr-defined]
    hidden = select(Doc.id).where(Doc.title == "hidden b", Doc.folder_id == Folder.id).exists()
    counts.append(s.execute(update(Folder).where(hidden).values(name="hidden")).rowcount)  # type: ignore[attr-defined]
    return counts


@case(UPDATE, "Core update() and delete() of the table", "refused", advice="has no row filter")
def _(world: World, s: Session) -> Any:
    each_refused([lambda: s.execute(delete(docs)), lambda: s.execute(update(docs), {"size": 50})], "has no row filter")
    s.execute(update(docs).values(size=50))


@case(UPDATE, "an UPDATE within a CTE", "refused", advice="is written within another statement", only="postgresql")
def _(world: World, s: Session) -> Any:
    changed = update(docs).values(size=50).returning(docs.c.title).cte()
    return s.execute(select(changed.c.title)).all()


@case(
    UPDATE,
    "without a grant for the action",
    "refused",
    error=Forbidden,
    expect="docs:update",
    who="reader",
    advice="a grant",
)
def _(world: World, s: Session) -> Any:
    s.execute(update(Doc).values(size=50))


@case(INSERT, "insert(Doc), and with several rows", "refused", advice=ADD)
def _(world: World, s: Session) -> Any:
    row = {"env": "prod", "title": "new", "kind": "doc", "size": 1}
    tries: list[Any] = [
        lambda: s.execute(insert(Doc), [row, row]),
        lambda: s.execute(insert(Doc).values([row])),
        lambda: s.execute(insert(Doc).returning(Doc), [row]),
        lambda: s.execute(insert(docs).values(row)),
        lambda: s.execute(insert(SpecialDoc), [row | {"extra": "x"}]),
    ]
    each_refused(tries, ADD)
    s.execute(insert(Doc).values(row))


@case(INSERT, "INSERT … SELECT into it, and out of its table", "refused", advice=ADD)
def _(world: World, s: Session) -> Any:
    out = insert(Folder).from_select(["name", "region"], select(docs.c.title, docs.c.env))
    each_refused([lambda: s.execute(out)], "no row filter reaches it")
    s.execute(insert(Doc).from_select(["title", "env"], select(Folder.name, Folder.region)))


@case(INSERT, "INSERT … SELECT out of the class, in a session", "filtered", expect=["seen a", "seen b"])
def _(world: World, s: Session) -> Any:
    s.execute(insert(Folder).from_select(["name", "region"], select(Doc.title, Doc.env).where(Doc.id < 5)))
    return sorted(s.scalars(select(Folder.name).where(Folder.id > 2)))


@case(INSERT, "upsert on a hidden row", "refused", advice=ADD)
def _(world: World, s: Session) -> Any:
    dialect: Any = sqlite if world.engine.dialect.name == "sqlite" else postgresql
    statement = dialect.insert(Doc).values(id=3, env="prod", title="hidden a", kind="doc", size=1)
    s.execute(statement.on_conflict_do_update(index_elements=["id"], set_={"size": 50}))


@case(INSERT, "bulk_insert_mappings(), bulk_update_mappings(), bulk_save_objects()", "refused", advice=ADD)
def _(world: World, s: Session) -> Any:
    each_refused([lambda: s.bulk_update_mappings(Doc, [{"id": 3, "size": 50}])], "has no row filter")  # type: ignore[arg-type]
    s.rollback()
    each_refused([lambda: s.bulk_save_objects([Doc(env="prod", title="new")])], ADD)
    s.rollback()
    s.bulk_insert_mappings(Doc, [{"env": "prod", "title": "new"}])  # type: ignore[arg-type]


@case(FLUSH, "session.add() inside", "works", expect=("prod", "new"))
def _(world: World, s: Session) -> Any:
    doc = Doc(env="prod", title="new", folder=s.get(Folder, 1))
    s.add(doc)
    s.commit()
    return (doc.env, doc.title)


@case(
    FLUSH, "session.add() outside", "refused", error=Forbidden, expect="may not write", advice="give it values inside"
)
def _(world: World, s: Session) -> Any:
    s.add(Doc(env="dev", title="planted"))
    s.commit()


@case(
    FLUSH,
    "session.add() of a row that its database default puts outside",
    "refused",
    error=Forbidden,
    expect="may not write",
)
def _(world: World, s: Session) -> Any:
    s.add(Doc(env=text("'d' || 'ev'"), title="planted"))
    s.commit()


@case(FLUSH, "session.add() of derived classes, inside and outside", "refused", error=Forbidden, expect="may not write")
def _(world: World, s: Session) -> Any:
    s.add_all([SpecialDoc(env="prod", title="new", extra="x"), MemoDoc(env="prod", title="memo")])
    s.commit()
    s.add(SpecialDoc(env="dev", title="planted", extra="x"))
    s.commit()


@case(FLUSH, "session.add() with the key of a hidden row", "refused", error=Forbidden, expect="may not", advice="")
def _(world: World, s: Session) -> Any:
    s.delete(s.get_one(Doc, 7))
    s.add(MemoDoc(id=7, env="dev", title="replaced"))
    s.commit()


@case(FLUSH, "a row replaced in one flush, inside", "works", expect="replaced")
def _(world: World, s: Session) -> Any:
    s.delete(s.get_one(Doc, 7))
    s.add(MemoDoc(id=7, env="prod", title="replaced"))
    s.commit()
    return s.get_one(Doc, 7).title


@case(FLUSH, "… with grants for deleting and writing, and none for changing", "works", expect="replaced")
def _(world: World, s: Session) -> Any:
    with world.granting("docs", update=Ellipsis):
        s.delete(s.get_one(Doc, 7))
        s.add(MemoDoc(id=7, env="prod", title="replaced"))
        s.commit()
        return s.get_one(Doc, 7).title


@case(FLUSH, "changing an object inside", "works", after=has((1, 50), (5, 51)))
def _(world: World, s: Session) -> Any:
    s.get_one(Doc, 1).size = 50
    s.get_one(Doc, 5).size = 51
    s.commit()


@case(FLUSH, "moving a row out", "refused", error=Forbidden, expect="may not update", advice="keep its values inside")
def _(world: World, s: Session) -> Any:
    s.get_one(Doc, 1).env = "dev"
    s.commit()


@case(FLUSH, "moving a row out by an SQL expression", "refused", error=Forbidden, expect="may not update")
def _(world: World, s: Session) -> Any:
    s.get_one(Doc, 1).env = text("'d' || 'ev'")  # type: ignore[assignment]
    s.commit()


@case(FLUSH, "moving a row out over a dotted path", "refused", error=RowNotFound, expect="no such row")
def _(world: World, s: Session) -> Any:
    s.get_one(Note, 1).doc_id = 3
    s.commit()


@case(FLUSH, "changing an object whose row has moved out meanwhile", "refused", error=RowNotFound, expect="no such row")
def _(world: World, s: Session) -> Any:
    doc = s.get_one(Doc, 1)
    s.commit()
    s.refresh(doc)
    s.rollback()
    world.raw("UPDATE doc SET env = 'dev' WHERE id = 1")
    with s.no_autoflush:
        doc.__dict__.setdefault("size", 1)
        doc.size = 50
    s.commit()


@case(FLUSH, "deleting an object whose row has moved out meanwhile", "refused", error=RowNotFound, expect="no such row")
def _(world: World, s: Session) -> Any:
    doc = s.get_one(Doc, 7)
    s.connection().rollback() if world.engine.dialect.name == "sqlite" else s.connection().commit()
    world.raw("UPDATE doc SET env = 'dev' WHERE id = 7")
    s.delete(doc)
    s.commit()


@case(FLUSH, "session.delete() inside", "works", after=lambda world: not world.raw("SELECT id FROM doc WHERE id = 7"))
def _(world: World, s: Session) -> Any:
    s.delete(s.get_one(Doc, 7))
    s.commit()


@case(FLUSH, "changing a row that may only be read", "refused", error=Forbidden, expect="docs:update", who="reader")
def _(world: World, s: Session) -> Any:
    s.get_one(Doc, 1).size = 50
    s.commit()


@case(
    FLUSH,
    "changing a row that is readable, outside the filter for changing",
    "refused",
    error=Forbidden,
    expect="may not update",
)
def _(world: World, s: Session) -> Any:
    with world.granting("docs", update="size > 3"):
        s.get_one(Doc, 1).size = 50
        s.commit()


@case(FLUSH, "… to where the filter for changing ends", "refused", error=Forbidden, expect="may not update rows")
def _(world: World, s: Session) -> Any:
    with world.granting("docs", update="size < 3"):
        s.get_one(Doc, 1).size = 50
        s.commit()


@case(
    FLUSH,
    "deleting a row outside the filter for deleting",
    "refused",
    error=Forbidden,
    expect="may not delete this row",
)
def _(world: World, s: Session) -> Any:
    with world.granting("docs", delete="size > 30"):
        s.delete(s.get_one(Doc, 7))
        s.commit()


@case(FLUSH, "deleting a row that may only be read", "refused", error=Forbidden, expect="docs:delete", who="reader")
def _(world: World, s: Session) -> Any:
    s.delete(s.get_one(Doc, 7))
    s.commit()


@case(FLUSH, "adding without a grant, before any SQL", "refused", error=Forbidden, expect="docs:write", who="reader")
def _(world: World, s: Session) -> Any:
    s.add(Doc(env="prod", title="planted"))
    with sql(world) as statements:
        try:
            s.commit()
        finally:
            assert statements == []


@case(FLUSH, "rows are locked between the look and the change", "works", only="postgresql")
def _(world: World, s: Session) -> Any:
    s.get_one(Doc, 1).size = 50
    with sql(world) as statements:
        s.commit()
    look, change, _ = statements
    assert look.startswith("SELECT doc.id")
    assert look.endswith("ORDER BY doc.id FOR UPDATE OF doc")
    assert change.startswith("UPDATE doc SET")


@case(
    FLUSH,
    "objects that the flush finds by itself: orphans and children of a collection",
    "refused",
    error=Forbidden,
    expect="notes:",
)
def _(world: World, s: Session) -> Any:
    with world.granting("notes", delete=Ellipsis):
        doc = s.get_one(Doc, 1)
        doc.notes.clear()
        s.commit()


@case(FLUSH, "changing the primary key", "works", expect=[71, None])
def _(world: World, s: Session) -> Any:
    s.get_one(Doc, 7).id = 71
    s.commit()
    return [s.get_one(Doc, 71).id, s.get(Doc, 7)]
