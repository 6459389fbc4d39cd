"""Hidden rows in the disguise of something that is filtered, or is no table by its look."""

from __future__ import annotations

from functools import partial
from typing import Any

from sqlalchemy import literal, select, text, union, values
from sqlalchemy.orm import Session

from ..models import Doc, SpecialDoc, doc_tag
from ..world import World
from . import case, each_refused
from .core import options_of

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
