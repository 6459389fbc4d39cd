"""Relationships, by each way of loading them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import (
    Session,
    contains_eager,
    immediateload,
    joinedload,
    lazyload,
    selectin_polymorphic,
    selectinload,
    subqueryload,
    with_expression,
)

from flask_archie_keys.errors import Forbidden

from ..models import Doc, Folder, Note, SpecialDoc, Tag
from ..world import World
from . import case
from .reading import titles

LOAD = "relationships"
IN_BOX = ["seen a", "seen b", "seen special"]


for loader in (lazyload, joinedload, selectinload, subqueryload, immediateload):

    @case(LOAD, f"{loader.__name__}: one to many", "filtered", expect=IN_BOX)
    def _(world: World, s: Session, loader: Any = loader) -> Any:
        statement = select(Folder).where(Folder.id == 1).options(loader(Folder.docs))
        return titles(s.scalars(statement).unique().one().docs)

    @case(LOAD, f"{loader.__name__}: many to one", "filtered", expect=[None, "seen a", None])
    def _(world: World, s: Session, loader: Any = loader) -> Any:
        docs = s.scalars(select(Doc).where(Doc.id.in_([1, 2, 7])).order_by(Doc.id).options(loader(Doc.parent)))
        return [None if doc.parent is None else doc.parent.title for doc in docs.unique()]

    @case(LOAD, f"{loader.__name__}: many to many", "filtered", expect=[("blue", []), ("red", ["seen a"])])
    def _(world: World, s: Session, loader: Any = loader) -> Any:
        tags = s.scalars(select(Tag).order_by(Tag.name).options(loader(Tag.docs)))
        return [(tag.name, titles(tag.docs)) for tag in tags.unique()]

    @case(LOAD, f"{loader.__name__}: many to many, from a protected row", "filtered", expect=[("seen a", ["red"])])
    def _(world: World, s: Session, loader: Any = loader) -> Any:
        docs = s.scalars(select(Doc).where(Doc.id.in_([1, 3])).options(loader(Doc.tags)))
        return [(doc.title, [tag.name for tag in doc.tags]) for doc in docs.unique()]

    @case(LOAD, f"{loader.__name__}: two deep, by rules over dotted paths", "filtered", expect=[["seen note"] * 2])
    def _(world: World, s: Session, loader: Any = loader) -> Any:
        statement = select(Folder).options(loader(Folder.docs).options(loader(Doc.notes))).order_by(Folder.id)
        folder = s.scalars(statement).unique().first()
        assert folder is not None
        return [["seen note" for doc in folder.docs for note in doc.notes if note.text.startswith("seen")]]

    @case(LOAD, f"{loader.__name__}: a derived class", "filtered", expect=["seen extra"])
    def _(world: World, s: Session, loader: Any = loader) -> Any:
        statement = select(Folder).where(Folder.id == 1).options(loader(Folder.docs.of_type(SpecialDoc)))
        folder = s.scalars(statement).unique().one()
        return [doc.extra for doc in folder.docs if isinstance(doc, SpecialDoc)]


@case(LOAD, "joinedload with LIMIT, which nests the statement", "filtered", expect=IN_BOX)
def _(world: World, s: Session) -> Any:
    statement = select(Folder).order_by(Folder.id).limit(1).options(joinedload(Folder.docs))
    return titles(s.scalars(statement).unique().one().docs)


@case(LOAD, "joinedload of a protected class with LIMIT", "filtered", expect=[("seen a", 2), ("seen b", 0)])
def _(world: World, s: Session) -> Any:
    statement = select(Doc).order_by(Doc.title).limit(2).options(joinedload(Doc.notes))
    return [(doc.title, len(doc.notes)) for doc in s.scalars(statement).unique()]


@case(LOAD, "joinedload with innerjoin", "filtered", expect=[("seen a", "box"), ("seen b", "box")])
def _(world: World, s: Session) -> Any:
    statement = select(Doc).where(Doc.id.in_([1, 2, 3])).options(joinedload(Doc.folder, innerjoin=True))
    return sorted((doc.title, doc.folder.name) for doc in s.scalars(statement) if doc.folder)


@case(LOAD, "joinedload with a wildcard", "filtered", expect=IN_BOX)
def _(world: World, s: Session) -> Any:
    statement = select(Folder).where(Folder.id == 1).options(joinedload(Folder.docs), lazyload("*"))
    return titles(s.scalars(statement).unique().one().docs)


@case(LOAD, "contains_eager()", "filtered", expect=IN_BOX)
def _(world: World, s: Session) -> Any:
    statement = select(Folder).join(Folder.docs).options(contains_eager(Folder.docs)).where(Folder.id == 1)
    return titles(s.scalars(statement).unique().one().docs)


for loader in (lazyload, joinedload, selectinload, subqueryload):

    @case(LOAD, f"{loader.__name__} with and_() that names another protected class", "filtered", expect=["seen a"])
    def _(world: World, s: Session, loader: Any = loader) -> Any:
        noted = Folder.docs.and_(Doc.id.in_(select(Note.doc_id)))
        folders = s.scalars(select(Folder).options(loader(noted))).unique()
        return [doc.title for folder in folders for doc in folder.docs]


@case(
    LOAD,
    "with_expression() over a protected class, where SQLAlchemy adds no criteria",
    "refused",
    advice="select its mapped class through a session",
)
def _(world: World, s: Session) -> Any:
    most = select(func.max(Doc.title)).where(Doc.folder_id == Folder.id).correlate_except(Doc).scalar_subquery()
    return s.scalars(select(Folder).options(with_expression(Folder.most, most))).all()


@case(LOAD, "selectin_polymorphic()", "filtered", expect=["seen extra"])
def _(world: World, s: Session) -> Any:
    docs = s.scalars(select(Doc).options(selectin_polymorphic(Doc, [SpecialDoc])))
    return [doc.__dict__["extra"] for doc in docs if isinstance(doc, SpecialDoc)]


@case(LOAD, "dynamic relationships", "filtered", expect=[IN_BOX, 3, []])
def _(world: World, s: Session) -> Any:
    folder = s.get_one(Folder, 1)
    docs: Any = folder.docs_dynamic
    return [titles(docs), docs.count(), titles(docs.filter(Doc.env == "dev"))]


@case(LOAD, "write-only relationships", "filtered", expect=IN_BOX)
def _(world: World, s: Session) -> Any:
    return titles(s.scalars(s.get_one(Folder, 1).docs_write_only.select()))


@case(LOAD, "a relationship of an object that was loaded by another statement", "filtered", expect=[None, "seen a"])
def _(world: World, s: Session) -> Any:
    s.scalars(select(Doc)).all()
    docs = [s.get_one(Doc, number) for number in (7, 2)]
    return [None if doc.parent is None else doc.parent.title for doc in docs]


@case(LOAD, "a deferred column_property over a protected class", "filtered", expect="seen special")
def _(world: World, s: Session) -> Any:
    return s.get_one(Folder, 1).titles


@case(
    LOAD,
    "an eager load of a class that the key has no grant for",
    "refused",
    error=Forbidden,
    expect="notes:read",
    advice="grant read on the related class, or do not load it",
    who="stranger",
)
def _(world: World, s: Session) -> Any:
    world.stranger.grants = {"docs": world.key.grants["docs"]}
    try:
        return s.scalars(select(Doc).options(joinedload(Doc.notes))).unique().all()
    finally:
        world.stranger.grants = {}


@case(
    LOAD,
    "a lazy load of a class that the key has no grant for",
    "refused",
    error=Forbidden,
    expect="notes:read",
    advice="grant read on the related class, or do not load it",
    who="stranger",
)
def _(world: World, s: Session) -> Any:
    world.stranger.grants = {"docs": world.key.grants["docs"]}
    try:
        return [doc.notes for doc in s.scalars(select(Doc))]
    finally:
        world.stranger.grants = {}


@case(LOAD, "a note's document, both by rules", "filtered", expect=["seen a", "seen a"])
def _(world: World, s: Session) -> Any:
    return [note.doc.title for note in s.scalars(select(Note).options(joinedload(Note.doc)))]
