"""Core statements and texts, in a session and past it."""

from __future__ import annotations

from functools import partial
from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    ColumnDefault,
    ColumnElement,
    Integer,
    MetaData,
    String,
    Table,
    column,
    func,
    insert,
    inspect,
    literal_column,
    select,
    table,
    text,
    union,
)
from sqlalchemy.exc import StatementError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session, aliased

from ..models import Doc, Folder, Note, Setting, SpecialDoc, Tag, doc_tag
from ..world import World
from . import case, each_refused
from .reading import titles

CORE = "Core in a session"
TEXT = "text"
PAST = "past the session"
CLASS = "select its mapped class through a session"
A_TEXT = "a text of SQL names the table doc"
docs: Any = Doc.__table__


@case(CORE, "select(table)", "refused", advice=CLASS)
def _(world: World, s: Session) -> Any:
    return s.execute(select(docs)).all()


@case(CORE, "select(table.c.title), session.query(table), count over the table", "refused", advice=CLASS)
def _(world: World, s: Session) -> Any:
    statements: list[Any] = [select(docs.c.title), select(func.count()).select_from(docs), select(docs.alias().c.id)]
    each_refused([partial(s.execute, statement) for statement in statements], CLASS)
    return s.query(docs).all()


@case(CORE, "a table joined to a class", "refused", advice=CLASS)
def _(world: World, s: Session) -> Any:
    return s.execute(select(Folder.name, docs.c.title).join(docs, docs.c.folder_id == Folder.id)).all()


@case(CORE, "an alias of the table beside the class", "refused", advice=CLASS)
def _(world: World, s: Session) -> Any:
    other = docs.alias()
    return s.execute(select(Doc.title, other.c.title).join(other, other.c.parent_id == Doc.id)).all()


@case(CORE, "a column of the table beside the class: the same FROM, which is filtered", "filtered", expect=["seen a"])
def _(world: World, s: Session) -> Any:
    return titles(s.execute(select(docs.c.title).select_from(Doc).where(Doc.id.in_([1, 3]))))


@case(CORE, "a sub-query, CTE, exists or union over the table", "refused", advice=CLASS)
def _(world: World, s: Session) -> Any:
    part = select(docs)
    statements: list[Any] = [
        select(part.subquery().c.title),
        select(part.cte().c.title),
        select(Folder.name).where(select(docs.c.id).where(docs.c.folder_id == Folder.id).exists()),
        select(Folder.name, select(func.max(docs.c.title)).scalar_subquery()),
        union(select(Doc.title), select(docs.c.title)),
        select(Doc).where(Doc.id.in_(select(docs.c.parent_id))),
    ]
    each_refused([partial(s.execute, statement) for statement in statements], CLASS)
    return s.execute(select(aliased(Doc, part.where(docs.c.id == 3).subquery()))).all()


@case(CORE, "a class aliased to a sub-query over the table, filtered from outside", "filtered", expect=["seen a"])
def _(world: World, s: Session) -> Any:
    return titles(s.scalars(select(aliased(Doc, select(docs).subquery())).where(text("id < 4 AND title <> 'seen b'"))))


@case(CORE, "… where the sub-query is more than the rows of the table", "refused", advice=CLASS)
def _(world: World, s: Session) -> Any:
    parts: list[Any] = [
        select(docs).distinct(),
        select(docs).limit(1),
        select(docs).where(docs.c.id == 3),
        select(docs).group_by(docs.c.id),
        select(docs, func.count().over().label("total")),
    ]
    statements = [select(aliased(Doc, part.subquery()).title) for part in parts]
    each_refused([partial(s.execute, statement) for statement in statements], CLASS)
    return s.execute(statements[0])


@case(CORE, "the same sub-query once more beside it", "refused", advice=CLASS)
def _(world: World, s: Session) -> Any:
    part = select(docs)
    filtered, plain = part.subquery(), part.subquery()
    again = aliased(Doc, part.cte())
    once_more = select(again.title, again.id, select(func.max(inspect(again).selectable.c.title)).scalar_subquery())
    each_refused([lambda: s.execute(once_more)], CLASS)
    return s.execute(select(aliased(Doc, filtered).title, plain.c.title).join(plain, plain.c.id > 0)).all()


@case(CORE, "… and filtered by a rule over a dotted path", "refused", advice="the table note is protected")
def _(world: World, s: Session) -> Any:
    notes: Any = Note.__table__
    return s.execute(select(aliased(Note, select(notes).limit(1).subquery()).text)).all()


@case(CORE, "the table of a derived class", "refused", advice="the table special_doc is protected")
def _(world: World, s: Session) -> Any:
    return s.execute(select(SpecialDoc.__table__)).all()


@case(CORE, "the table of a derived class, joined to the class", "filtered", expect=["seen extra"])
def _(world: World, s: Session) -> Any:
    special: Any = SpecialDoc.__table__
    return list(s.scalars(select(special.c.extra).select_from(Doc).join(special, special.c.id == Doc.id)))


@case(
    CORE,
    "the table of a derived class, joined by another column",
    "refused",
    advice="the table special_doc is protected",
)
def _(world: World, s: Session) -> Any:
    special: Any = SpecialDoc.__table__
    return list(s.scalars(select(special.c.extra).select_from(Doc).join(special, special.c.id == Doc.size)))


@case(
    CORE, "the table of a derived class, compared with itself", "refused", advice="the table special_doc is protected"
)
def _(world: World, s: Session) -> Any:
    special: Any = SpecialDoc.__table__
    return list(s.scalars(select(special.c.extra).where(special.c.id == special.c.id)))


@case(
    CORE,
    "the table of a derived class, on the side of an outer join that keeps all its rows",
    "refused",
    advice="special_doc",
)
def _(world: World, s: Session) -> Any:
    special: Any = SpecialDoc.__table__
    return list(s.scalars(select(special.c.extra).outerjoin(Doc, special.c.id == Doc.id)))


@case(CORE, "an association table", "refused", advice="go by a relationship of the mapped classes")
def _(world: World, s: Session) -> Any:
    return s.execute(select(doc_tag)).all()


@case(
    CORE, "an association table by a key of one's own, as loading a relationship does it", "refused", advice="doc_tag"
)
def _(world: World, s: Session) -> Any:
    return s.execute(select(doc_tag.c.tag_id).where(doc_tag.c.doc_id == 3)).all()


@case(CORE, "the same in a statement that names the class", "refused", advice="doc_tag")
def _(world: World, s: Session) -> Any:
    statement = select(Tag.name, doc_tag.c.tag_id).join(doc_tag, doc_tag.c.tag_id == Tag.id)
    return s.execute(statement.where(doc_tag.c.doc_id == 3, Tag.docs.any())).all()


@case(CORE, "an association table joined by the wrong column", "refused", advice="doc_tag")
def _(world: World, s: Session) -> Any:
    tags = select(Tag.id).subquery()
    each_refused([lambda: s.execute(select(doc_tag.c.tag_id).join(tags, tags.c.id == doc_tag.c.doc_id))], "doc_tag")
    return list(s.scalars(select(doc_tag.c.tag_id).join(Note, Note.id == doc_tag.c.doc_id)))


@case(CORE, "an association table joined to a sub-query of the class", "filtered", expect=[1])
def _(world: World, s: Session) -> Any:
    inside = select(Doc.id).where(Doc.id < 5).subquery()
    return list(s.scalars(select(doc_tag.c.tag_id).join(inside, inside.c.id == doc_tag.c.doc_id)))


@case(CORE, "an association table joined to the class", "filtered", expect=[1])
def _(world: World, s: Session) -> Any:
    return list(s.scalars(select(doc_tag.c.tag_id).join(Doc, Doc.id == doc_tag.c.doc_id)))


@case(CORE, "an association table that keeps its rows in an outer join", "refused", advice="doc_tag")
def _(world: World, s: Session) -> Any:
    return list(s.scalars(select(doc_tag.c.tag_id).outerjoin(Doc, Doc.id == doc_tag.c.doc_id)))


@case(
    CORE, "another Table object or table() of that name", "refused", advice="a table object that is not the mapped one"
)
def _(world: World, s: Session) -> Any:
    other = Table("doc", MetaData(), Column("id", Integer), Column("title", String))
    each_refused([lambda: s.execute(select(other)), lambda: s.execute(insert(other))], "is not the mapped one")
    return s.execute(select(table("DOC", column("title")))).all()


@case(
    CORE,
    "names of columns, labels, aliases and literals that are like the table's",
    "works",
    expect=[("doc", "doc", "doc")],
)
def _(world: World, s: Session) -> Any:
    setting = aliased(Setting, name="doc")
    statement = select(setting.doc, setting.doc.label("doc_tag"), literal_column("'doc'")).where(setting.id == 1)
    return [tuple(row) for row in s.execute(statement)]


@case(TEXT, "session.execute(text(…))", "refused", advice=A_TEXT)
def _(world: World, s: Session) -> Any:
    return s.execute(text("SELECT * FROM doc")).all()


@case(TEXT, "text with quotes, schema, case, comments, commas and joins", "refused", advice=A_TEXT)
def _(world: World, s: Session) -> Any:
    statements = [
        'SELECT * FROM "doc"',
        "select * from DOC",
        "SELECT * FROM/* all */doc",
        "SELECT * FROM folder, doc",
        "SELECT * FROM folder f JOIN doc d ON d.folder_id = f.id",
        "SELECT (SELECT max(title) FROM doc)",
        "WITH d AS (SELECT * FROM doc) SELECT * FROM d",
        "SELECT 1 UNION SELECT id FROM doc",
        "UPDATE doc SET title = 'x'",
        "DELETE FROM doc",
        "INSERT INTO doc (title) VALUES ('x')",
        "INSERT INTO folder (name) SELECT title FROM doc",
        r"SELECT '\' FROM doc WHERE '' = '",
    ]
    each_refused([partial(s.execute, text(statement)) for statement in statements], A_TEXT)
    return s.execute(text("SELECT * FROM main.doc")).all()


@case(TEXT, "select(Doc).from_statement(text(…))", "refused", advice="from_statement() with a text")
def _(world: World, s: Session) -> Any:
    return s.scalars(select(Doc).from_statement(text("SELECT * FROM doc"))).all()


@case(TEXT, "select(Doc).from_statement() of a view", "refused", advice="from_statement() with a text")
def _(world: World, s: Session) -> Any:
    return s.scalars(select(Doc).from_statement(text("SELECT * FROM some_view"))).all()


@case(TEXT, "text().columns() as a sub-query, and a class aliased to it", "refused", advice=A_TEXT)
def _(world: World, s: Session) -> Any:
    part = text("SELECT id, title, env FROM doc").columns(Doc.id, Doc.title, Doc.env).subquery()
    each_refused([lambda: s.execute(select(part.c.title))], A_TEXT)
    return s.scalars(select(aliased(Doc, part))).all()


@case(TEXT, "a class aliased to a text over a view", "filtered")
def _(world: World, s: Session) -> Any:
    part = text("SELECT 3 AS id, 'hidden a' AS title, 'dev' AS env").columns(Doc.id, Doc.title, Doc.env).subquery()
    other = aliased(Doc, part)
    return s.execute(select(other.id, other.title)).all()


@case(TEXT, "select(text(…)).select_from(text(…))", "refused", advice=A_TEXT)
def _(world: World, s: Session) -> Any:
    return s.execute(select(text("title")).select_from(text("doc"))).all()


@case(TEXT, "a text with a sub-select among the conditions of a class", "refused", advice=A_TEXT)
def _(world: World, s: Session) -> Any:
    return s.scalars(select(Doc).where(text("EXISTS (SELECT 1 FROM doc WHERE id = 3)"))).all()


@case(TEXT, "literal_column() with a sub-select", "refused", advice=A_TEXT)
def _(world: World, s: Session) -> Any:
    most = literal_column("(SELECT max(title) FROM doc)")
    each_refused([lambda: s.execute(select(Doc.title, most))], A_TEXT)
    return s.execute(select(most)).all()


@case(TEXT, "an operator with a sub-select in it", "refused", advice=A_TEXT)
def _(world: World, s: Session) -> Any:
    return s.execute(select(Folder.id.op("+ (SELECT max(id) FROM doc) +")(0))).all()


class Peek(ColumnElement[str]):
    """A construct of the application's own, which renders the table by itself."""

    inherit_cache = True
    type = String()


@compiles(Peek)
def _peek(element: Peek, compiler: Any, **kw: Any) -> str:
    return f"(SELECT max(title) FROM {compiler.process(docs, asfrom=True)})"


@case(TEXT, "a construct of the application's own that renders the table", "refused", advice=CLASS)
def _(world: World, s: Session) -> Any:
    return s.execute(select(Peek())).all()


class Changing(ColumnElement[bool]):
    """A construct that is written differently each time."""

    inherit_cache = True
    type = Boolean()
    times = 0


@compiles(Changing)
def _changing(element: Changing, compiler: Any, **kw: Any) -> str:
    Changing.times += 1
    return f"1 = {'1' if Changing.times % 2 else '2'}"


@case(TEXT, "a construct that is written differently each time", "refused", advice="use it through session.execute()")
def _(world: World, s: Session) -> Any:
    return s.execute(select(Doc).where(Changing())).all()


@case(TEXT, "a text that only mentions the name", "works", expect=["doc"])
def _(world: World, s: Session) -> Any:
    return list(s.scalars(text("SELECT doc FROM setting WHERE doc = 'doc' -- FROM doc")))


@case(PAST, "session.connection().execute(select(Doc))", "refused", advice=CLASS)
def _(world: World, s: Session) -> Any:
    return s.connection().execute(select(Doc)).all()


@case(PAST, "session.connection().exec_driver_sql(…)", "refused", advice=A_TEXT)
def _(world: World, s: Session) -> Any:
    return s.connection().exec_driver_sql("SELECT * FROM doc").all()


@case(PAST, "engine.connect()", "refused", advice=CLASS)
def _(world: World, s: Session) -> Any:
    with world.engine.connect() as connection:
        return connection.execute(select(docs)).all()


@case(PAST, "engine.connect(), text", "refused", advice=A_TEXT)
def _(world: World, s: Session) -> Any:
    with world.engine.connect() as connection:
        return connection.execute(text("SELECT * FROM doc")).all()


@case(
    PAST,
    "another session, which nothing was set up for",
    "filtered",
    expect=["seen a", "seen b", "seen memo", "seen special"],
)
def _(world: World, s: Session) -> Any:
    class Another(Session):
        pass

    with Another(world.engine.execution_options(logging_token="x")) as another:
        return titles(another.scalars(select(Doc)))


def options_of(result: Any) -> dict[str, Any]:
    """The execution options that the guard has left with a result, which is read to its end."""
    result.all()
    return dict(result.context.execution_options)


@case(PAST, "the mark of one statement on another", "refused", advice="keys.scope")
def _(world: World, s: Session) -> Any:
    options = options_of(s.execute(select(Doc.id)))
    return s.connection().execute(select(docs), execution_options=options).all()


@case(PAST, "the mark of one statement on the same one with other criteria", "refused", advice="session.execute()")
def _(world: World, s: Session) -> Any:
    options = options_of(s.execute(select(Doc.id)))
    with world.acting(world.other), world.session() as theirs:
        result: Any = theirs.execute(select(Doc.id))
        result.all()
    return s.connection().execute(result.context.query, execution_options=options).all()


@case(PAST, "a default of a column that reads the table, within the INSERT", "refused", advice=CLASS)
def _(world: World, s: Session) -> Any:
    most = ColumnDefault(select(func.max(docs.c.id)).scalar_subquery())
    folder = Table("folder", MetaData(), Column("id", Integer, primary_key=True), Column("name", Integer, most))
    with world.engine.begin() as connection:
        connection.execute(insert(folder))


@case(PAST, "a default of a column that reads the table, before the INSERT", "refused", advice=A_TEXT)
def _(world: World, s: Session) -> Any:
    most = ColumnDefault(select(func.max(docs.c.id)).scalar_subquery())
    folder = Table("folder", MetaData(), Column("id", Integer, most, primary_key=True), implicit_returning=False)
    with world.engine.begin() as connection:
        try:
            connection.execute(insert(folder))
        except StatementError as error:  # SQLAlchemy's own, around ours
            raise error.orig or error from error
