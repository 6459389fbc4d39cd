"""What an application does all day."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from flask_sqlalchemy.pagination import SelectPagination
from sqlalchemy import MetaData, create_engine, event, func, inspect, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, joinedload, selectinload, sessionmaker

from flask_archie_keys.errors import Forbidden, NobodyActs

from ..models import Base, Doc, Folder, MemoDoc, Note, Public, Setting, SpecialDoc, Tag
from ..world import World
from . import case
from .reading import TITLES, titles

WORK = "everyday work"
NOBODY = "where nobody acts"
UNRESTRICTED = "unrestricted blocks"


@case(WORK, "Flask-SQLAlchemy's paginate(), with its total", "filtered", expect=[["seen a", "seen b"], 4, 2])
def _(world: World, s: Session) -> Any:
    page = SelectPagination(select=select(Doc).order_by(Doc.title), session=s, page=1, per_page=2)
    return [titles(page.items), page.total, page.pages]


@case(WORK, "eager loading two deep", "filtered", expect={"box": 3, "bin": 0})
def _(world: World, s: Session) -> Any:
    statement = select(Folder).options(selectinload(Folder.docs).options(joinedload(Doc.notes), selectinload(Doc.tags)))
    return {folder.name: len(folder.docs) for folder in s.scalars(statement)}


@case(WORK, "a unit of work with several objects", "works", expect=["memo", "new", "renamed"])
def _(world: World, s: Session) -> Any:
    folder = Folder(name="new", region="eu")
    folder.docs = [
        Doc(env="prod", title="new", notes=[Note(text="a"), Note(text="b")]),
        MemoDoc(env="prod", title="memo"),
    ]
    s.add(folder)
    s.get_one(Doc, 1).title = "renamed"
    s.get_one(Doc, 1).folder = folder
    s.commit()
    return titles(folder.docs)


@case(WORK, "cascades inside the filter", "works", after=lambda w: not w.raw("SELECT 1 FROM note WHERE doc_id = 1"))
def _(world: World, s: Session) -> Any:
    doc = s.get_one(Doc, 1)
    doc.notes = []
    s.commit()


@case(WORK, "savepoints, kept and rolled back", "works", expect=["kept", "seen b"])
def _(world: World, s: Session) -> Any:
    one, two = s.get_one(Doc, 1), s.get_one(Doc, 2)
    with s.begin_nested():
        one.title = "kept"
    try:
        with s.begin_nested():
            two.env = "dev"
    except Forbidden:
        pass
    s.commit()
    return [one.title, two.title]


@case(WORK, "another try after a rollback", "works", expect="second")
def _(world: World, s: Session) -> Any:
    for title, env in (("first", "dev"), ("seen b", "prod"), ("second", "prod")):
        try:
            s.add(Doc(env=env, title=title))
            s.commit()
        except (Forbidden, IntegrityError):
            s.rollback()
    return s.scalars(select(Doc.title).where(Doc.id >= 9).order_by(Doc.id.desc())).first()


@case(WORK, "a bulk operation after a flush that failed", "refused", advice="use session.add()")
def _(world: World, s: Session) -> Any:
    try:
        s.add(Doc(env="dev", title="planted"))
        s.flush()
    except Forbidden:
        s.rollback()
    s.bulk_insert_mappings(Doc, [{"env": "dev", "title": "planted"}])  # type: ignore[arg-type]


@case(WORK, "a bulk operation after a flush that another listener broke off", "refused", advice="has no row filter")
def _(world: World, s: Session) -> Any:
    def fail(*_: Any) -> None:
        raise LookupError

    event.listen(s, "before_flush", fail)
    s.get_one(Doc, 1).size = 2
    with pytest.raises(LookupError):
        s.flush()
    s.bulk_update_mappings(Doc, [{"id": 1, "env": "dev"}])  # type: ignore[arg-type]


@case(WORK, "autoflush in the middle", "filtered", expect=5)
def _(world: World, s: Session) -> Any:
    s.add(Doc(env="prod", title="new"))
    return s.scalar(select(func.count(Doc.id)))


@case(WORK, "several flushes in one transaction, deleting what was added", "works", expect=TITLES)
def _(world: World, s: Session) -> Any:
    doc = SpecialDoc(env="prod", title="new", extra="x")
    s.add(doc)
    s.flush()
    doc.extra = "y"
    s.flush()
    s.delete(doc)
    s.commit()
    return titles(s.scalars(select(Doc)))


@case(WORK, "tables that are not protected", "works", expect=["doc", "hidden doc_tag", "new"])
def _(world: World, s: Session) -> Any:
    s.add(Setting(doc="new"))
    s.commit()
    s.bulk_insert_mappings(Tag, [{"name": "green"}])  # type: ignore[arg-type]
    s.execute(text("SELECT 1 FROM tag"))
    return sorted(s.scalars(select(Setting.doc)))


@case(WORK, "two sessions of two principals side by side", "filtered", expect=[TITLES, 4])
def _(world: World, s: Session) -> Any:
    theirs = world.session()
    with world.acting(world.other):
        count = len(theirs.scalars(select(Doc)).all())
    found = titles(s.scalars(select(Doc)))
    with world.acting(world.other):
        assert theirs.get(Doc, 1) is None
    return [found, count]


@case(WORK, "a session that is joined to a transaction of one's own", "works", expect=["seen a", "x"])
def _(world: World, s: Session) -> Any:
    with world.engine.connect() as connection, connection.begin():
        inner = Session(connection, join_transaction_mode="create_savepoint")
        doc = inner.get_one(Doc, 1)
        found = [doc.title]
        doc.title = "x"
        inner.commit()
        found.append(inner.get_one(Doc, 1).title)
        inner.close()
    return found


@case(WORK, "a session with autobegin=False, and begin()", "works", expect="x")
def _(world: World, s: Session) -> Any:
    make = sessionmaker(world.engine, autobegin=False, expire_on_commit=False)
    with make.begin() as mine:
        doc = mine.get_one(Doc, 1)
        doc.title = "x"
    return doc.title


@case(WORK, "create_all(), inspect() and DDL", "works", expect=True)
def _(world: World, s: Session) -> Any:
    Base.metadata.create_all(world.engine)
    Base.metadata.create_all(empty := create_engine("sqlite://"))
    empty.dispose()
    MetaData().reflect(world.engine, only=["doc"])
    return "doc" in inspect(world.engine).get_table_names()


@case(WORK, "a schema_translate_map", "filtered", expect=TITLES)
def _(world: World, s: Session) -> Any:
    name = "main" if world.engine.dialect.name == "sqlite" else "public"
    with Session(world.engine.execution_options(schema_translate_map={None: name})) as mine:
        mine.get_one(Doc, 1).size = 9
        mine.flush()
        return titles(mine.scalars(select(Doc)))


@case(WORK, "listeners of the application's own that change SQL texts", "filtered", expect=TITLES)
def _(world: World, s: Session) -> Any:
    def comment(connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool) -> Any:
        return f"/* app */ {statement}", parameters

    event.listen(world.engine, "before_cursor_execute", comment, retval=True)
    try:
        s.get_one(Doc, 1).size = 9
        s.flush()
        return titles(s.scalars(select(Doc)))
    finally:
        event.remove(world.engine, "before_cursor_execute", comment)


@case(WORK, "a listener that puts another statement in the place of one", "refused", advice="no row filter reaches")
def _(world: World, s: Session) -> Any:
    def replace(state: Any) -> None:
        state.statement = select(Doc.title)

    event.listen(s, "do_orm_execute", replace)
    return s.scalars(select(Doc)).all()


@case(WORK, "AsyncSession", "filtered", expect=TITLES, only="postgresql")
def _(world: World, s: Session) -> Any:
    from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

    async def work() -> list[str]:
        engine = create_async_engine(world.engine.url)
        async with AsyncSession(engine) as mine:
            found = titles(await mine.scalars(select(Doc)))
            doc = await mine.get_one(Doc, 1)
            doc.size = 9
            await mine.commit()
        await engine.dispose()
        return found

    return asyncio.run(work())


@case(WORK, "an event of a mapper that writes Core statements in a flush", "refused", advice="has no row filter")
def _(world: World, s: Session) -> Any:
    table: Any = Doc.__table__

    def touch(mapper: Any, connection: Any, target: Any) -> None:
        connection.execute(table.update().where(table.c.id == 3).values(size=50))

    event.listen(Doc, "before_update", touch)
    try:
        s.get_one(Doc, 1).size = 2
        s.commit()
    finally:
        event.remove(Doc, "before_update", touch)


@case(WORK, "an event of a mapper that does a bulk operation in a flush", "refused", advice="use session.add()")
def _(world: World, s: Session) -> Any:
    def insert_more(mapper: Any, connection: Any, target: Any) -> None:
        rows = [{"env": "dev", "title": "planted", "kind": "doc"}]
        s.bulk_insert_mappings(Doc, rows)  # type: ignore[arg-type]

    event.listen(Doc, "before_insert", insert_more)
    try:
        s.add(Doc(env="prod", title="new"))
        s.commit()
    finally:
        event.remove(Doc, "before_insert", insert_more)


@case(WORK, "many new rows in one flush, which the driver gets in batches", "works", expect=2504)
def _(world: World, s: Session) -> Any:
    s.add_all([Doc(env="prod", title=f"new {number}") for number in range(2500)])
    s.commit()
    return s.scalar(select(func.count(Doc.id)))


@case(NOBODY, "a protected class", "refused", error=NobodyActs, advice='keys.unrestricted("why")', who=None)
def _(world: World, s: Session) -> Any:
    return s.scalars(select(Doc)).all()


@case(
    NOBODY,
    "its table, a text, a flush, a table that refers to it",
    "refused",
    error=NobodyActs,
    advice="nobody acts",
    who=None,
)
def _(world: World, s: Session) -> Any:
    from ..models import Remark

    for statement in (select(Doc.__table__), text("SELECT * FROM doc"), select(Remark)):  # type: ignore[arg-type]
        with pytest.raises(NobodyActs):
            s.execute(statement)  # type: ignore[call-overload]
    s.add(Doc(env="prod", title="planted"))
    s.commit()


@case(
    NOBODY, "another thread, which inherits no principal", "refused", error=NobodyActs, advice="keys.act_as(principal)"
)
def _(world: World, s: Session) -> Any:
    from contextvars import ContextVar

    acting: ContextVar[Any] = ContextVar("acting", default=None)
    acting.set(world.who)
    errors: list[Exception] = []

    def work() -> None:
        try:
            with world.acting(acting.get()):
                s.scalars(select(Doc)).all()
        except NobodyActs as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    raise errors[0]


@case(NOBODY, 'a class with unscoped="allow"', "works", expect=["hidden page", "seen page"], who=None)
def _(world: World, s: Session) -> Any:
    s.add(Public(env="prod", title="seen page"))
    s.flush()
    s.rollback()
    assert len(s.execute(select(Public.__table__)).all()) == 2  # type: ignore[arg-type]
    return titles(s.scalars(select(Public)))


@case(NOBODY, "the same class under a key", "filtered", expect=["seen page"])
def _(world: World, s: Session) -> Any:
    return titles(s.scalars(select(Public)))


@case(NOBODY, "what was loaded where nobody acts, under a key", "refused", advice="use a session of its own")
def _(world: World, s: Session) -> Any:
    with world.acting(None):
        kept = s.scalars(select(Public)).all()
    return kept, s.get(Public, 2)


@case(NOBODY, "create_all() and migrations", "works", who=None)
def _(world: World, s: Session) -> Any:
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE doc ADD COLUMN more TEXT")
        connection.exec_driver_sql("CREATE TRIGGER t AFTER INSERT ON doc BEGIN DELETE FROM note; END")
        with pytest.raises(NobodyActs):
            connection.exec_driver_sql("CREATE TABLE copy AS SELECT * FROM doc")
        with pytest.raises(NobodyActs):
            connection.exec_driver_sql("DROP TABLE note; SELECT * FROM doc")
    engine.dispose()


@case(UNRESTRICTED, "everything passes", "works", expect=8)
def _(world: World, s: Session) -> Any:
    table: Any = Doc.__table__
    with world.unrestricted():
        assert len(s.execute(text("SELECT * FROM doc")).all()) == len(s.execute(select(table)).all()) == 8
        s.execute(table.insert().values(env="dev", title="tmp", kind="doc", size=1))
        s.rollback()
        return len(s.scalars(select(Doc)).all())


@case(
    UNRESTRICTED,
    "what is written there",
    "works",
    after=lambda w: w.raw("SELECT 1 FROM doc WHERE title = 'by the system'"),
)
def _(world: World, s: Session) -> Any:
    with world.unrestricted():
        s.add(Doc(env="dev", title="by the system"))
    assert s.get(Doc, 100) is None
    s.commit()


@case(UNRESTRICTED, "a key that acts within one", "refused", advice="use a session of its own")
def _(world: World, s: Session) -> Any:
    with world.unrestricted():
        kept = s.scalars(select(Doc)).all()
        with world.acting(world.key):
            return kept, s.scalars(select(Doc)).all()


@case(UNRESTRICTED, "… that has used the session before", "refused", advice="use a session of its own")
def _(world: World, s: Session) -> Any:
    s.get(Doc, 1)
    with world.unrestricted():
        kept = s.scalars(select(Doc)).all()
        with world.acting(world.key):
            return kept, s.scalars(select(Doc)).all()


@case(
    UNRESTRICTED,
    "… for an object that is not protected, with its collection",
    "refused",
    advice="use a session of its own",
)
def _(world: World, s: Session) -> Any:
    s.get(Doc, 1)
    with world.unrestricted():
        folder = s.get_one(Folder, 1)
        assert len(folder.docs) == 5
        with world.acting(world.key):
            return s.get_one(Folder, 1).docs


@case(
    UNRESTRICTED,
    "one that fails: what was added in it is forgotten, what was changed is still to be written",
    "works",
    expect="x",
)
def _(world: World, s: Session) -> Any:
    doc = s.get_one(Doc, 1)
    with pytest.raises(LookupError), world.unrestricted():
        s.add(Doc(env="dev", title="planted"))
        doc.title = "x"
        raise LookupError
    s.commit()
    return doc.title


@case(UNRESTRICTED, "objects of the key stay in the session", "works", expect=["seen a", True])
def _(world: World, s: Session) -> Any:
    doc = s.get_one(Doc, 1)
    with world.unrestricted():
        s.scalars(select(Doc)).all()
    return [doc.title, doc in s]


@case(WORK, "a Flask-SQLAlchemy application's own session", "filtered", expect=TITLES)
def _(world: World, s: Session) -> Any:
    app = Flask("host")
    app.config["SQLALCHEMY_DATABASE_URI"] = world.engine.url.render_as_string(hide_password=False)
    db = SQLAlchemy(app)
    with app.app_context():
        found = titles(db.session.scalars(select(Doc)))
        db.session.remove()
        db.engine.dispose()
    return found
