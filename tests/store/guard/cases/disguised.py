"""Hidden rows in the disguise of something that is filtered, or is no table by its look."""

from __future__ import annotations

from functools import partial
from typing import Any

from sqlalchemy import (
    column,
    exists,
    func,
    literal,
    literal_column,
    quoted_name,
    select,
    text,
    union,
    update,
    values,
)
from sqlalchemy.orm import Session, aliased

from ..models import Doc, Folder, Setting, SpecialDoc, doc_tag
from ..world import World
from . import case, each_refused
from .core import A_TEXT, options_of

DISGUISED = "disguises"
special: Any = SpecialDoc.__table__
docs: Any = Doc.__table__


def extras(keys: Any) -> Any:
    """What the table of a derived class holds, by keys that a sub-query gives."""
    return select(special.c.extra).join(keys, keys.c.id == special.c.id)


@case(
    DISGUISED,
    "the table of a derived class, joined to keys that are named like the class's, and come from elsewhere",
    "refused",
    advice="the table special_doc is protected",
)
def _(world: World, s: Session) -> Any:
    tree: Any = select(Doc.id).cte(recursive=True)
    sources: list[Any] = [
        text("SELECT 6 AS id").columns(docs.c.id).subquery(),
        union(select(Doc.id), select(literal(6))).subquery(),
        union(select(Doc.id), union(select(Doc.id), select(literal(6)))).subquery(),
        tree.union_all(select(literal(6))),
        select(Doc.size.label("id")).subquery(),
    ]
    each_refused([partial(s.execute, extras(source)) for source in sources], "special_doc is protected")
    s.execute(extras(values(docs.c.id, name="keys").data([(6,)])))


@case(DISGUISED, "an association table, joined to such keys", "refused", advice="go by a relationship")
def _(world: World, s: Session) -> Any:
    keys = text("SELECT 3 AS id").columns(docs.c.id).subquery()
    return s.execute(select(doc_tag.c.tag_id).join(keys, keys.c.id == doc_tag.c.doc_id)).all()


@case(
    DISGUISED,
    "the table of a derived class, joined to keys that sub-queries of the class give",
    "filtered",
    expect=[["seen extra"]] * 5,
)
def _(world: World, s: Session) -> Any:
    tree: Any = select(Doc.id, Doc.parent_id).where(Doc.id == 5).cte(recursive=True)
    whole = select(Doc).subquery()
    sources: list[Any] = [
        select(Doc.title, Doc.id.label("id")).cte(),
        union(select(Doc.id), select(Doc.id).where(Doc.id > 4)).subquery(),
        tree.union_all(select(Doc.id, Doc.parent_id).where(Doc.parent_id == tree.c.id)),
        select(whole.c.id).subquery(),
        select(Doc.id).subquery().alias("again"),
    ]
    return [list(s.scalars(extras(source))) for source in sources]


@case(
    DISGUISED,
    "a statement that another principal has executed, once more with all that goes with it",
    "refused",
    advice="scoped for another principal",
)
def _(world: World, s: Session) -> Any:
    with world.acting(world.other), world.session() as theirs:
        result: Any = theirs.execute(select(Doc.title))
        options = options_of(result)
    return s.connection().execute(result.context.query, execution_options=options).all()


@case(DISGUISED, "the table once more, in a hint or an operator of a statement on the class", "refused", advice=A_TEXT)
def _(world: World, s: Session) -> Any:
    most = "(SELECT max(title) FROM doc)"
    statements: list[Any] = [
        select(Doc.title.op(f"|| {most} ||")("")),
        select(Doc.title).with_statement_hint("UNION ALL SELECT title FROM doc"),
        select(Doc.id, column(quoted_name(most, quote=False))),
        select(Doc.id.label(quoted_name(f"a, {most} AS b", quote=False))),
        select(Doc.id, text("(SELECT max(title)")).suffix_with("FROM doc)"),
        update(Doc).values(size=Doc.size.op("+ (SELECT max(size) FROM doc) +")(0)),
        update(Folder).where(exists().where(Doc.id.op("+ (SELECT max(size) FROM doc) +")(0) > 0)).values(name="x"),
    ]
    each_refused([partial(s.execute, statement) for statement in statements], A_TEXT)
    return s.scalars(select(func.max(Doc.title)).prefix_with(f"{most},")).all()


@case(DISGUISED, "the table's name as a literal, which SQLite takes for a name", "refused", advice=A_TEXT)
def _(world: World, s: Session) -> Any:
    tries = [text("SELECT * FROM main.'doc'"), select(Doc.id, literal_column("(SELECT max(title) FROM 'doc')"))]
    each_refused([partial(s.execute, attempt) for attempt in tries], A_TEXT)
    return s.execute(text("SELECT * FROM 'doc'")).all()


@case(
    DISGUISED,
    "a column that is named like the table, in IN (…) and functions that are named like statements",
    "works",
    expect=[["noc"], [1], ["noc"]],
)
def _(world: World, s: Session) -> Any:
    return [
        list(s.scalars(select(func.replace(Setting.doc, "d", "n")).where(Setting.id == 1))),
        list(s.scalars(select(Setting.id).where(literal("doc").in_([Setting.doc, Setting.doc])))),
        list(s.scalars(text("SELECT replace(doc, 'd', 'n'), doc FROM setting WHERE id IN (1) AND doc IN ('doc')"))),
    ]


@case(
    DISGUISED,
    "a class aliased by names to a sub-query that gives one column the name of another",
    "refused",
    advice="the table doc is protected",
)
def _(world: World, s: Session) -> Any:
    renamed = select(docs.c.id, docs.c.title, docs.c.kind.label("env")).subquery()
    return s.execute(select(aliased(Doc, renamed, adapt_on_names=True).title)).all()


@case(DISGUISED, "a block in a literal, and a name in Unicode escapes", "refused", advice=A_TEXT, only="postgresql")
def _(world: World, s: Session) -> Any:
    block = text("DO $$ BEGIN UPDATE doc SET size = 50; END $$")
    each_refused([partial(s.execute, block)], A_TEXT)
    return s.execute(text("""SELECT title FROM U&"d!006fc" UESCAPE '!'""")).all()
