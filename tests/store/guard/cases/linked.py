"""Foreign keys to protected rows, tables that hang on them, association tables."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnDefault, delete, event, insert, literal_column, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session, joinedload

from flask_archie_keys.errors import Forbidden, RowNotFound

from ..models import Doc, Folder, Note, Remark, Tag, Visit, doc_tag
from ..world import World
from . import case, each_refused

KEYS = "foreign keys to hidden rows"
CHILDREN = "tables without a rule that refer to protected ones"
LINKS = "association tables"
NO_ROW = "there is no such row"
DECIDE = "remark refers to the protected table doc and has no rule of its own: keys.protect(Remark, …)"


def upsert(world: World) -> Any:
    """An INSERT of visits, for the database that is tried."""
    dialect: Any = sqlite if world.engine.dialect.name == "sqlite" else postgresql
    return dialect.insert(Visit)


@case(KEYS, "a new row that refers to a hidden one", "refused", error=RowNotFound, advice=NO_ROW)
def _(world: World, s: Session) -> Any:
    s.add(Note(doc_id=3, text="planted"))
    s.commit()


@case(KEYS, "… and to one that does not exist: the same answer", "refused", error=RowNotFound, advice=NO_ROW)
def _(world: World, s: Session) -> Any:
    s.add(Note(doc_id=333, text="planted"))
    s.commit()


@case(KEYS, "a changed row that refers to a hidden one", "refused", error=RowNotFound, advice=NO_ROW)
def _(world: World, s: Session) -> Any:
    s.get_one(Doc, 1).parent_id = 3
    s.commit()


@case(KEYS, "a row of an unprotected table that refers to a hidden one", "refused", error=RowNotFound, advice=NO_ROW)
def _(world: World, s: Session) -> Any:
    s.add(Visit(doc_id=3, path="/"))
    s.commit()


@case(KEYS, "the same by statements", "refused", error=RowNotFound, advice=NO_ROW)
def _(world: World, s: Session) -> Any:
    tries: list[Any] = [
        lambda: s.execute(insert(Visit), [{"doc_id": 1, "path": "/"}, {"doc_id": 3, "path": "/"}]),
        lambda: s.execute(insert(Visit).values(doc_id=3, path="/")),
        lambda: s.execute(update(Visit).values(doc_id=3)),
        lambda: s.execute(update(Visit).where(Visit.id == 1), {"doc_id": 3}),
    ]
    for attempt in tries:
        try:
            attempt()
        except RowNotFound:
            s.rollback()
        else:
            raise AssertionError(attempt)
    s.bulk_insert_mappings(Visit, [{"doc_id": 3, "path": "/"}])  # type: ignore[arg-type]


@case(KEYS, "by an SQL expression", "refused", advice="give it a plain value")
def _(world: World, s: Session) -> Any:
    tries: list[Any] = [
        lambda: s.execute(update(Visit).values(doc_id=literal_column("3"))),
        lambda: s.execute(insert(Visit).from_select(["doc_id", "path"], select(Folder.id, Folder.name))),
        lambda: s.execute(insert(Visit).values([{"doc_id": 3, "path": "/"}])),
    ]
    each_refused(tries, "give it a plain value")
    s.add(Visit(doc_id=literal_column("3"), path="/"))
    s.commit()


@case(KEYS, "by the part of an upsert that changes a row", "refused", advice="give it a plain value")
def _(world: World, s: Session) -> Any:
    visit = upsert(world).values(id=1, doc_id=1, path="/")
    s.execute(visit.on_conflict_do_update(index_elements=["id"], set_={"doc_id": 3}))


@case(
    KEYS,
    "by an upsert that takes the new row's values, to a hidden and to a visible row",
    "works",
    after=lambda w: w.raw("SELECT doc_id, path FROM visit WHERE id = 1") == [(2, "/upsert")],
)
def _(world: World, s: Session) -> Any:
    for number in (3, 2):
        visit = upsert(world).values(id=1, doc_id=number, path="/upsert")
        new = {"doc_id": visit.excluded.doc_id, "path": visit.excluded.path}
        try:
            s.execute(visit.on_conflict_do_update(index_elements=["id"], set_=new))
        except RowNotFound:
            assert number == 3
    s.commit()


@case(KEYS, "by an INSERT within a CTE", "refused", advice="are written within another statement", only="postgresql")
def _(world: World, s: Session) -> Any:
    new = insert(Visit).values(doc_id=3, path="/").returning(Visit.id).cte()
    return s.execute(select(new.c.id)).all()


@case(KEYS, "by the default of a column", "refused", error=RowNotFound, advice=NO_ROW)
def _(world: World, s: Session) -> Any:
    column: Any = Visit.__table__.c.doc_id
    column.default = default = ColumnDefault(3)
    default._set_parent(column)
    try:
        s.execute(insert(Visit).values(path="/"))
    finally:
        column.default = None


@case(
    KEYS,
    "through a relationship to an object that another principal has loaded",
    "refused",
    advice="use session.merge(obj)",
)
def _(world: World, s: Session) -> Any:
    with world.acting(world.other), world.session() as theirs:
        hidden = theirs.get_one(Doc, 3)
        theirs.expunge(hidden)
    s.add(Note(doc=hidden, text="planted"))


@case(KEYS, "to visible rows, to rows of the same flush, to nothing", "works", expect=[1, 1, None])
def _(world: World, s: Session) -> Any:
    new = Doc(
        env="prod", title="new", parent_id=1, notes=[Note(text="seen new")], children=[Doc(env="prod", title="kid")]
    )
    visit = Visit(doc_id=1, path="/")
    s.add_all([new, visit, Visit(path="/nowhere")])
    s.commit()
    visit.doc_id = None
    s.commit()
    return [len(new.notes), len(new.children), visit.doc_id]


@case(
    KEYS,
    "as text where the column is a number",
    "works",
    after=lambda w: w.raw("SELECT 1 FROM visit WHERE path = '/s'"),
    only="sqlite",
)
def _(world: World, s: Session) -> Any:
    s.get_one(Doc, 1)
    s.add(Visit(doc_id="2", path="/s"))
    s.commit()


@case(
    KEYS, "set by post_update, in a circle", "works", after=lambda w: w.raw("SELECT 1 FROM doc WHERE favourite_id > 0")
)
def _(world: World, s: Session) -> Any:
    doc = s.get_one(Doc, 1)
    doc.favourite = Note(doc=doc, text="seen best")
    s.commit()


@case(KEYS, "set by post_update to a hidden row", "refused", error=RowNotFound, advice=NO_ROW)
def _(world: World, s: Session) -> Any:
    s.get_one(Doc, 1).favourite_id = 3
    s.commit()


@case(CHILDREN, "select(Remark), and joined to its document", "refused", advice=DECIDE)
def _(world: World, s: Session) -> Any:
    each_refused([lambda: s.execute(select(Doc.title, Remark.text).join(Doc.remarks)).all()], DECIDE)
    return s.scalars(select(Remark)).all()


@case(CHILDREN, "loading them with their document", "refused", advice=DECIDE)
def _(world: World, s: Session) -> Any:
    doc = s.get_one(Doc, 1)
    each_refused([lambda: doc.remarks], DECIDE)
    return s.scalars(select(Doc).options(joinedload(Doc.remarks))).unique().all()


@case(CHILDREN, "adding, changing and deleting them", "refused", advice=DECIDE)
def _(world: World, s: Session) -> Any:
    each_refused([lambda: s.execute(update(Remark).values(text="x")), lambda: s.execute(delete(Remark))], DECIDE)
    s.add(Remark(doc_id=1, text="x"))
    s.commit()


@case(CHILDREN, "a table that was declared unprotected", "works", expect=["/public", "/seen"])
def _(world: World, s: Session) -> Any:
    return sorted(s.scalars(select(Visit.path)))


@case(CHILDREN, "the document of a row of such a table", "filtered", expect=[None, "seen a"])
def _(world: World, s: Session) -> Any:
    visits = s.scalars(select(Visit).order_by(Visit.path))
    return [visit.doc and visit.doc.title for visit in visits]


@case(LINKS, "appending and removing", "works", expect=["blue"], after=lambda w: (1, 2) in w.dump()["doc_tag"])
def _(world: World, s: Session) -> Any:
    doc = s.get_one(Doc, 1)
    doc.tags = [s.get_one(Tag, 2)]
    s.commit()
    return [tag.name for tag in doc.tags]


@case(LINKS, "from the other side, with new rows on both sides", "works", expect=["new", "seen a"])
def _(world: World, s: Session) -> Any:
    tag = Tag(name="green", docs=[s.get_one(Doc, 1), Doc(env="prod", title="new")])
    s.add(tag)
    s.commit()
    return sorted(doc.title for doc in tag.docs)


@case(
    LINKS,
    "deleting a row that is linked",
    "works",
    after=lambda w: [row[0] for row in w.dump()["doc_tag"]] == [1, 3, 3],
)
def _(world: World, s: Session) -> Any:
    world.raw("INSERT INTO doc_tag VALUES (7, 1)")
    s.delete(s.get_one(Doc, 7))
    s.commit()


@case(LINKS, "linking a new row that ends outside", "refused", error=Forbidden, expect="may not write")
def _(world: World, s: Session) -> Any:
    tag = s.get_one(Tag, 2)
    tag.docs.append(Doc(env="dev", title="planted"))
    s.commit()


@case(LINKS, "replacing the rows of a collection does not touch links to hidden rows", "filtered", expect=[])
def _(world: World, s: Session) -> Any:
    tag = s.get_one(Tag, 1)
    tag.docs = []
    s.commit()
    return list(tag.docs)


@case(
    LINKS,
    "with a grant for reading only",
    "refused",
    error=Forbidden,
    expect="may not change what is linked",
    who="reader",
)
def _(world: World, s: Session) -> Any:
    doc = s.get_one(Doc, 1)
    doc.tags.append(s.get_one(Tag, 2))
    s.commit()


@case(LINKS, "a mapper's event that links a hidden row in a flush", "refused", error=RowNotFound, advice=NO_ROW)
def _(world: World, s: Session) -> Any:
    def link(mapper: Any, connection: Any, target: Any) -> None:
        connection.execute(doc_tag.insert().values(doc_id=3, tag_id=2))

    event.listen(Tag, "after_insert", link)
    try:
        s.add(Tag(name="green"))
        s.commit()
    finally:
        event.remove(Tag, "after_insert", link)


@case(LINKS, "statements on the association table", "refused", advice="change the relationship of the mapped objects")
def _(world: World, s: Session) -> Any:
    advice = "change the relationship of the mapped objects"
    each_refused([lambda: s.execute(delete(doc_tag)), lambda: s.execute(update(doc_tag).values(doc_id=3))], advice)
    s.execute(insert(doc_tag).values(doc_id=3, tag_id=1))
