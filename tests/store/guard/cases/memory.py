"""Objects that are in a session already: the identity map, refreshing, one session for several principals."""

from __future__ import annotations

import pickle
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session, load_only, make_transient_to_detached
from sqlalchemy.orm.exc import DetachedInstanceError

from flask_archie_keys.errors import Forbidden, NobodyActs, RowNotFound

from ..models import Doc, Folder, Setting, SpecialDoc
from ..world import World
from . import case, each_refused
from .reading import titles

MAP = "identity map"
AGAIN = "read again"
SESSIONS = "one principal for a session's life"
OWN_SESSION = "use a session of its own"


@case(MAP, "session.get() of a hidden row is None", "filtered", expect=[None, "seen a", None])
def _(world: World, s: Session) -> Any:
    hidden, seen = s.get(Doc, 3), s.get(Doc, 1)
    return [hidden, seen and seen.title, s.get(SpecialDoc, 6)]


@case(MAP, "session.get() twice, with populate_existing, with_for_update", "filtered", expect=["seen a"] * 3)
def _(world: World, s: Session) -> Any:
    found = [s.get_one(Doc, 1), s.get_one(Doc, 1, populate_existing=True), s.get_one(Doc, 1, with_for_update=True)]
    return [doc.title for doc in found]


@case(MAP, "session.get() of an object that another principal has loaded", "refused", advice=OWN_SESSION)
def _(world: World, s: Session) -> Any:
    with world.acting(world.other):
        kept = s.get(Doc, 3)
    return kept, s.get(Doc, 3)


@case(MAP, "query.get() of an object that another principal has loaded", "refused", advice=OWN_SESSION)
def _(world: World, s: Session) -> Any:
    with world.acting(world.other):
        kept = s.get(Doc, 3)
    return kept, s.query(Doc).filter_by(id=3).first()


@case(
    MAP, "session.get() where nobody acts, of what a key has loaded", "refused", error=NobodyActs, advice="nobody acts"
)
def _(world: World, s: Session) -> Any:
    kept = s.get(Doc, 1)
    with world.acting(None):
        return kept, s.get(Doc, 1)


@case(MAP, "session.get() in an unrestricted block, and after it", "filtered", expect=["hidden a".upper(), None])
def _(world: World, s: Session) -> Any:
    with world.unrestricted():
        title = s.get_one(Doc, 3).title.upper()
    return [title, s.get(Doc, 3)]


@case(MAP, "many to one, from the identity map, of another principal", "refused", advice=OWN_SESSION)
def _(world: World, s: Session) -> Any:
    with world.acting(world.other):
        kept = s.scalars(select(Doc)).all()
    return kept, s.get_one(Doc, 7).parent


@case(AGAIN, "session.refresh()", "works", expect="changed")
def _(world: World, s: Session) -> Any:
    doc = s.get_one(Doc, 1)
    s.commit()
    world.raw("UPDATE doc SET title = 'changed' WHERE id = 1")
    s.refresh(doc)
    return doc.title


@case(
    AGAIN, "session.refresh() of some attributes, deferred ones, collections", "works", expect=["seen body", 1, "box"]
)
def _(world: World, s: Session) -> Any:
    doc = s.get_one(Doc, 1)
    s.refresh(doc, ["title", "tags", "folder"])
    assert doc.folder is not None
    return [doc.body, len(doc.tags), doc.folder.name]


@case(AGAIN, "session.refresh() with_for_update", "works", expect="seen a")
def _(world: World, s: Session) -> Any:
    doc = s.get_one(Doc, 1)
    s.refresh(doc, with_for_update=True)
    return doc.title


@case(
    AGAIN,
    "session.refresh() of a row that has moved out",
    "refused",
    error=RowNotFound,
    advice="there is no such row",
)
def _(world: World, s: Session) -> Any:
    doc = s.get_one(Doc, 1)
    s.commit()
    world.raw("UPDATE doc SET env = 'dev' WHERE id = 1")
    s.refresh(doc)
    return doc.title


@case(
    AGAIN,
    "an expired attribute of a row that has moved out",
    "refused",
    error=RowNotFound,
    advice="there is no such row",
)
def _(world: World, s: Session) -> Any:
    doc = s.get_one(Doc, 1)
    s.commit()
    world.raw("UPDATE doc SET env = 'dev', title = 'moved' WHERE id = 1")
    return doc.title


@case(
    AGAIN,
    "a deferred attribute of a row that has moved out",
    "refused",
    error=RowNotFound,
    advice="there is no such row",
)
def _(world: World, s: Session) -> Any:
    doc = s.scalars(select(Doc).options(load_only(Doc.title)).where(Doc.id == 1)).one()
    s.rollback()
    s.get(Doc, 1)
    world.raw("UPDATE doc SET env = 'dev' WHERE id = 1")
    return doc.body


@case(
    AGAIN,
    "an expired attribute of a derived class, which is read from its own table alone",
    "refused",
    error=RowNotFound,
    advice="there is no such row",
)
def _(world: World, s: Session) -> Any:
    doc = s.get_one(SpecialDoc, 5)
    s.expire(doc, ["extra"])
    s.connection().commit() if world.engine.dialect.name == "postgresql" else None
    world.raw("UPDATE doc SET env = 'dev' WHERE id = 5")
    return doc.extra


@case(AGAIN, "an expired attribute of a derived class", "works", expect=["seen extra", "seen extra", "seen special"])
def _(world: World, s: Session) -> Any:
    doc = s.get_one(SpecialDoc, 5)
    found = [doc.extra]
    s.expire(doc, ["extra"])
    found.append(doc.extra)  # type: ignore[arg-type]
    s.commit()
    return [*found, doc.title]


@case(
    AGAIN,
    "an object that has moved out leaves the session, and get() does not find it",
    "filtered",
    expect=[None, False],
)
def _(world: World, s: Session) -> Any:
    doc = s.get_one(Doc, 1)
    s.commit()
    world.raw("UPDATE doc SET env = 'dev', title = 'hidden now' WHERE id = 1")
    found = s.get(Doc, 1)
    world.raw("UPDATE doc SET env = 'prod', title = 'seen a' WHERE id = 1")
    return [found, doc in s]


@case(AGAIN, "an object that was deleted meanwhile", "refused", error=RowNotFound, advice="there is no such row")
def _(world: World, s: Session) -> Any:
    doc = s.get_one(Doc, 7)
    s.commit()
    world.raw("DELETE FROM doc WHERE id = 7")
    return doc.title


@case(AGAIN, "a stub with a hidden key, by make_transient_to_detached()", "refused", advice="use session.merge(obj)")
def _(world: World, s: Session) -> Any:
    stub = Doc(id=3)
    make_transient_to_detached(stub)
    s.add(stub)
    return stub.title


@case(AGAIN, "session.delete() of such a stub", "refused", advice="use session.merge(obj)")
def _(world: World, s: Session) -> Any:
    stub = Doc(id=3)
    make_transient_to_detached(stub)
    s.delete(stub)
    s.commit()


@case(AGAIN, "adding a detached object, as out of a cache", "refused", advice="use session.merge(obj)")
def _(world: World, s: Session) -> Any:
    with world.acting(world.other), world.session() as theirs:
        cached = pickle.dumps(theirs.get(Doc, 3))
    s.add(pickle.loads(cached))


@case(AGAIN, "a detached object that comes with one that is added", "refused", advice="use session.merge(obj)")
def _(world: World, s: Session) -> Any:
    stub = Doc(id=3)
    make_transient_to_detached(stub)
    s.add(Folder(name="mine", region="eu", docs=[stub]))


@case(AGAIN, "session.merge(obj, load=False)", "refused", advice="use session.merge(obj)")
def _(world: World, s: Session) -> Any:
    with world.acting(world.other), world.session() as theirs:
        cached = pickle.loads(pickle.dumps(theirs.get(Doc, 3)))
    return s.merge(cached, load=False)


@case(AGAIN, "session.merge(obj) of a row inside", "works", expect=["merged", True])
def _(world: World, s: Session) -> Any:
    with world.session() as before:
        doc = before.get_one(Doc, 1)
        before.expunge(doc)
    doc.title = "merged"
    merged = s.merge(doc)
    s.commit()
    return [merged.title, merged in s]


@case(AGAIN, "objects survive pickling without their criteria", "works", expect=["seen a", True])
def _(world: World, s: Session) -> Any:
    doc = s.scalars(select(Doc).where(Doc.id == 1)).one()
    copy = pickle.loads(pickle.dumps(doc))
    try:
        return [copy.title, bool(copy.notes)]
    except DetachedInstanceError:
        return [copy.title, True]


@case(SESSIONS, "a session of another principal", "refused", advice=OWN_SESSION)
def _(world: World, s: Session) -> Any:
    with world.acting(world.other):
        kept = s.scalars(select(Doc)).all()
    return kept, titles(s.scalars(select(Doc)))


@case(
    SESSIONS,
    "a session of another principal, emptied",
    "filtered",
    expect=["seen a", "seen b", "seen memo", "seen special"],
)
def _(world: World, s: Session) -> Any:
    with world.acting(world.other):
        kept = s.scalars(select(Doc)).all()
    s.rollback()
    s.expunge_all()
    assert kept
    return titles(s.scalars(select(Doc)))


@case(SESSIONS, "objects that another principal has added, not yet written", "refused", advice=OWN_SESSION)
def _(world: World, s: Session) -> Any:
    with world.acting(world.other):
        s.add(Doc(env="prod", title="planted"))
    s.commit()


@case(
    SESSIONS,
    "a collection that another principal has loaded, of an object that is not protected",
    "refused",
    advice=OWN_SESSION,
)
def _(world: World, s: Session) -> Any:
    with world.acting(world.other):
        kept = s.get_one(Folder, 1).docs
    each_refused([lambda: s.scalars(select(Folder)).all()], OWN_SESSION)
    return kept, titles(s.get_one(Folder, 1).docs)


@case(SESSIONS, "a column_property that another principal has loaded", "filtered", expect=[None, None])
def _(world: World, s: Session) -> Any:
    with world.acting(world.other):
        folder = s.get_one(Folder, 2)
        assert folder.titles == "hidden b"
    return [s.get_one(Folder, 2).titles, folder.titles]


@case(SESSIONS, "what has nothing to do with protected rows, in a session of another principal", "works", expect="doc")
def _(world: World, s: Session) -> Any:
    with world.acting(world.other):
        kept = s.scalars(select(Doc)).all()
        s.get(Setting, 1)
    assert kept
    return s.get_one(Setting, 1).doc


@case(
    SESSIONS,
    "a collection that was loaded in an unrestricted block",
    "filtered",
    expect=["seen a", "seen b", "seen special"],
)
def _(world: World, s: Session) -> Any:
    with world.unrestricted():
        folder = s.get_one(Folder, 1)
        assert len(folder.docs) == 5
    return titles(folder.docs)


@case(SESSIONS, "a column_property that was loaded in an unrestricted block", "filtered", expect=None)
def _(world: World, s: Session) -> Any:
    with world.unrestricted():
        folder = s.get_one(Folder, 2)
        assert folder.titles == "hidden b"
    return folder.titles


@case(
    SESSIONS,
    "an unrestricted block that ends with an error",
    "filtered",
    expect=[None, ["seen a", "seen b", "seen special"]],
)
def _(world: World, s: Session) -> Any:
    try:
        with world.unrestricted():
            folder = s.get_one(Folder, 1)
            folder.docs[0].title = "never written"
            raise LookupError
    except LookupError:
        pass
    return [s.get(Doc, 3), titles(s.get_one(Folder, 1).docs)]


@case(
    SESSIONS,
    "what is pending before an unrestricted block is not written by it",
    "refused",
    error=Forbidden,
    expect="may not write",
)
def _(world: World, s: Session) -> Any:
    s.add(Doc(env="dev", title="planted"))
    with world.unrestricted():
        s.scalars(select(Doc)).all()


@case(
    SESSIONS, "objects loaded before and in an unrestricted block keep their changes", "works", expect=["a", "changed"]
)
def _(world: World, s: Session) -> Any:
    mine = s.get_one(Doc, 1)
    with world.unrestricted():
        s.get_one(Doc, 3).size = 3
        mine.title = "a"
        s.get_one(Folder, 2).name = "changed"
    s.commit()
    return [mine.title, s.get_one(Folder, 2).name]
