"""SELECT statements of the ORM, in all their forms."""

from __future__ import annotations

from typing import Any

from sqlalchemy import and_, exists, func, lambda_stmt, literal, not_, or_, select, text, true, union, union_all, update
from sqlalchemy.orm import Bundle, Session, aliased, join, joinedload, outerjoin, with_loader_criteria, with_polymorphic

from ..models import Doc, Folder, MemoDoc, Note, SpecialDoc, Tag
from ..world import World
from . import case

SELECT = "SELECT with mapped classes"
INHERITANCE = "inheritance"
TITLES = ["seen a", "seen b", "seen memo", "seen special"]


def titles(rows: Any) -> list[str]:
    return sorted(row.title for row in rows)


@case(SELECT, "session.scalars(select(Doc))", "filtered", expect=TITLES)
def _(world: World, s: Session) -> Any:
    return titles(s.scalars(select(Doc)))


@case(SELECT, "session.execute(select(Doc.title))", "filtered", expect=TITLES)
def _(world: World, s: Session) -> Any:
    return titles(s.execute(select(Doc.title)))


@case(SELECT, "select(Bundle(…))", "filtered", expect=TITLES)
def _(world: World, s: Session) -> Any:
    return sorted(row.b.title for row in s.execute(select(Bundle("b", Doc.id, Doc.title))))


@case(SELECT, "select(func.count()), in each form", "filtered", expect=[4] * 5)
def _(world: World, s: Session) -> Any:
    return [
        s.scalar(select(func.count(Doc.id))),
        s.scalar(select(func.count()).select_from(Doc)),
        s.scalar(select(func.count()).select_from(select(Doc).subquery())),
        s.scalar(select(func.count()).where(Doc.id > 0)),
        s.query(Doc).count(),
    ]


@case(SELECT, "an entity in WHERE only", "filtered", expect=[None, "x"])
def _(world: World, s: Session) -> Any:
    return [s.scalar(select(literal("x")).where(Doc.id == 3)), s.scalar(select(literal("x")).where(Doc.id == 1))]


@case(SELECT, "aggregates", "filtered", expect=[(15, "seen special")])
def _(world: World, s: Session) -> Any:
    return [tuple(row) for row in s.execute(select(func.sum(Doc.size), func.max(Doc.title)))]


@case(SELECT, "GROUP BY and HAVING", "filtered", expect=[("prod", 4)])
def _(world: World, s: Session) -> Any:
    statement = select(Doc.env, func.count(Doc.id)).group_by(Doc.env).having(func.count(Doc.id) > 1)
    return [tuple(row) for row in s.execute(statement)]


@case(SELECT, "window functions", "filtered", expect=[15] * 4)
def _(world: World, s: Session) -> Any:
    return [total for _, total in s.execute(select(Doc.id, func.sum(Doc.size).over()))]


@case(
    SELECT,
    "a window function and nothing else of the class, where SQLAlchemy adds no criteria",
    "refused",
    advice="with select_from(), join() or exists() where only an expression names it",
)
def _(world: World, s: Session) -> Any:
    return list(s.scalars(select(func.sum(Doc.size).over())))


@case(SELECT, "the same with select_from(Doc)", "filtered", expect=[15] * 4)
def _(world: World, s: Session) -> Any:
    return list(s.scalars(select(func.sum(Doc.size).over()).select_from(Doc)))


@case(SELECT, "DISTINCT, ORDER BY, LIMIT, OFFSET", "filtered", expect=["seen b", "seen memo"])
def _(world: World, s: Session) -> Any:
    return list(s.scalars(select(Doc.title).distinct().order_by(Doc.title).limit(2).offset(1)))


@case(SELECT, "WHERE with OR", "filtered", expect=["seen a"])
def _(world: World, s: Session) -> Any:
    return titles(s.scalars(select(Doc).where(or_(Doc.id == 1, Doc.env == "dev"))))


@case(SELECT, "WHERE true, and a condition that asks for hidden rows", "filtered", expect=[TITLES, [], []])
def _(world: World, s: Session) -> Any:
    wheres = [true(), Doc.env == "dev", and_(Doc.title.like("hidden%"), not_(Doc.env == "prod"))]
    return [titles(s.scalars(select(Doc).where(where))) for where in wheres]


@case(SELECT, "aliased(Doc), twice and with itself", "filtered", expect=[("seen b", "seen a")])
def _(world: World, s: Session) -> Any:
    one, two = aliased(Doc), aliased(Doc)
    return [tuple(row) for row in s.execute(select(one.title, two.title).where(one.parent_id == two.id))]


@case(SELECT, "scalar sub-query", "filtered", expect=[("bin", None), ("box", "seen special")])
def _(world: World, s: Session) -> Any:
    most = select(func.max(Doc.title)).where(Doc.folder_id == Folder.id).scalar_subquery()
    return sorted(tuple(row) for row in s.execute(select(Folder.name, most)))


@case(SELECT, "sub-query, and a class aliased to it", "filtered", expect=[TITLES, TITLES])
def _(world: World, s: Session) -> Any:
    part = select(Doc).subquery()
    return [titles(s.execute(select(part.c.title))), titles(s.scalars(select(aliased(Doc, part))))]


@case(SELECT, "IN with a sub-query", "filtered", expect=["box"])
def _(world: World, s: Session) -> Any:
    return sorted(s.scalars(select(Folder.name).where(Folder.id.in_(select(Doc.folder_id)))))


@case(SELECT, "LATERAL", "filtered", expect=[("box", "seen a")], only="postgresql")
def _(world: World, s: Session) -> Any:
    first = select(Doc.title).where(Doc.folder_id == Folder.id).order_by(Doc.title).limit(1).lateral()
    return [tuple(row) for row in s.execute(select(Folder.name, first.c.title).join(first, true()))]


@case(SELECT, "CTE", "filtered", expect=TITLES)
def _(world: World, s: Session) -> Any:
    return titles(s.execute(select(select(Doc).cte("docs").c.title)))


@case(SELECT, "recursive CTE", "filtered", expect=[1, 2])
def _(world: World, s: Session) -> Any:
    tree = select(Doc.id, Doc.parent_id).where(Doc.id == 1).cte(recursive=True)
    tree = tree.union_all(select(Doc.id, Doc.parent_id).where(Doc.parent_id == tree.c.id))
    return sorted(s.scalars(select(tree.c.id)))


@case(SELECT, "UNION, UNION ALL, and a class from them", "filtered", expect=[4, 8, TITLES, TITLES])
def _(world: World, s: Session) -> Any:
    one, two = select(Doc.id).where(Doc.id < 5), select(Doc.id)
    both = union(select(Doc).where(Doc.id < 5), select(Doc).where(Doc.id > 4))
    return [
        len(s.execute(union(one, two)).all()),
        len(s.execute(union_all(two, two)).all()),
        titles(s.scalars(select(aliased(Doc, both.subquery())))),
        titles(s.scalars(select(Doc).from_statement(both))),
    ]


@case(SELECT, "exists()", "filtered", expect=[["box"], False, True])
def _(world: World, s: Session) -> Any:
    return [
        list(s.scalars(select(Folder.name).where(exists().where(Doc.folder_id == Folder.id)))),
        s.scalar(select(exists().where(Doc.id == 3))),
        s.scalar(select(exists().where(Doc.id == 1))),
    ]


@case(SELECT, "any() and has()", "filtered", expect=[["box"], [], ["red"], ["seen note", "seen second note"]])
def _(world: World, s: Session) -> Any:
    return [
        list(s.scalars(select(Folder.name).where(Folder.docs.any()))),
        list(s.scalars(select(Folder.name).where(Folder.docs.any(Doc.title.like("hidden%"))))),
        list(s.scalars(select(Tag.name).where(Tag.docs.any()))),
        sorted(s.scalars(select(Note.text).where(Note.doc.has()))),
    ]


@case(
    SELECT,
    "any() and has() over a relationship of a class to itself, where SQLAlchemy adds no criteria",
    "refused",
    advice="with select_from(), join() or exists() where only an expression names it",
)
def _(world: World, s: Session) -> Any:
    return list(s.scalars(select(Doc.title).where(Doc.children.any())))


@case(SELECT, "the same with exists()", "filtered", expect=["seen a"])
def _(world: World, s: Session) -> Any:
    child = aliased(Doc)
    return list(s.scalars(select(Doc.title).where(exists().where(child.parent_id == Doc.id))))


@case(SELECT, "contains() and with_parent()", "filtered", expect=[["seen a"], ["seen a"]])
def _(world: World, s: Session) -> Any:
    folder, red = s.get(Folder, 1), s.get(Tag, 1)
    return [
        titles(s.scalars(select(Doc).where(Doc.tags.contains(red)))),
        titles(s.scalars(select(Doc).where(Doc.folder == folder, Doc.id == 1))),
    ]


@case(SELECT, "join(), by relationship and by key", "filtered", expect=[3, 3, 3, 1])
def _(world: World, s: Session) -> Any:
    statements: list[Any] = [
        select(Folder.name).join(Folder.docs),
        select(Folder.name).join(Doc, Doc.folder_id == Folder.id),
        select(Folder.name).select_from(Doc).join(Doc.folder),
        select(Tag.name).join(Tag.docs),
    ]
    return [len(s.execute(statement).all()) for statement in statements]


@case(SELECT, "outerjoin()", "filtered", expect=[("bin", None), ("box", "seen a"), ("box", "seen b")])
def _(world: World, s: Session) -> Any:
    statement = select(Folder.name, Doc.title).outerjoin(Folder.docs).where(or_(Doc.id < 5, Doc.id.is_(None)))
    return sorted(tuple(row) for row in s.execute(statement))


@case(SELECT, "full outer join", "refused", advice="select its mapped class through a session")
def _(world: World, s: Session) -> Any:
    return s.execute(select(Folder.name, Doc.title).join(Folder.docs, full=True)).all()


@case(
    SELECT,
    "select_from(orm.join(Folder, Doc)) without Doc among the columns, where SQLAlchemy adds no criteria",
    "refused",
    advice="select its mapped class through a session",
)
def _(world: World, s: Session) -> Any:
    return s.execute(select(Folder.name).select_from(join(Folder, Doc, Doc.folder_id == Folder.id))).all()


@case(SELECT, "select_from(orm.join(Folder, Doc)) with Doc among the columns", "filtered", expect=[3, 3])
def _(world: World, s: Session) -> Any:
    one = select(Folder.name, Doc.title).select_from(join(Folder, Doc, Doc.folder_id == Folder.id))
    two = select(Folder.name, Doc.title).select_from(outerjoin(Folder, Doc, Doc.folder_id == Folder.id))
    return [len(s.execute(statement).all()) for statement in (one, two)]


@case(SELECT, "correlated in a sub-query of itself", "filtered", expect=["seen b"])
def _(world: World, s: Session) -> Any:
    other = aliased(Doc)
    above = select(other.id).where(other.id == Doc.parent_id).exists()
    return titles(s.scalars(select(Doc).where(above)))


@case(SELECT, "column_property over a protected class", "filtered", expect=["seen special"])
def _(world: World, s: Session) -> Any:
    return list(s.scalars(select(Folder.titles).where(Folder.id == 1)))


@case(SELECT, "lambda statements", "filtered", expect=[TITLES, ["seen a"], []])
def _(world: World, s: Session) -> Any:
    found = [titles(s.scalars(lambda_stmt(lambda: select(Doc))))]
    for number in (1, 3):
        statement = lambda_stmt(lambda: select(Doc))
        statement += lambda q: q.where(Doc.id == number)  # noqa: B023
        found.append(titles(s.scalars(statement)))
    return found


@case(SELECT, "legacy session.query()", "filtered", expect=[TITLES, None, 4, ["seen a"], TITLES])
def _(world: World, s: Session) -> Any:
    return [
        titles(s.query(Doc)),
        s.query(Doc).filter_by(id=3).first(),
        s.query(func.count(Doc.id)).scalar(),
        titles(s.query(Doc).filter(Doc.folder.has(), Doc.id == 1)),
        titles(s.query(Doc).from_statement(select(Doc)).all()),
    ]


@case(SELECT, "query.union()", "filtered", expect=TITLES)
def _(world: World, s: Session) -> Any:
    return titles(s.query(Doc).filter(Doc.id < 5).union(s.query(Doc).filter(Doc.id > 4)))


@case(SELECT, "yield_per and partitions()", "filtered", expect=[TITLES, TITLES])
def _(world: World, s: Session) -> Any:
    one = s.scalars(select(Doc).execution_options(yield_per=2))
    two = [row for part in s.scalars(select(Doc)).partitions(2) for row in part]
    return [titles(one), titles(two)]


@case(SELECT, "stream_results", "filtered", expect=TITLES)
def _(world: World, s: Session) -> Any:
    return titles(s.scalars(select(Doc), execution_options={"stream_results": True}))


@case(SELECT, "with_for_update()", "filtered", expect=TITLES)
def _(world: World, s: Session) -> Any:
    return titles(s.scalars(select(Doc).with_for_update(of=Doc)))


@case(SELECT, "populate_existing, and without the cache of compiled statements", "filtered", expect=[TITLES, TITLES])
def _(world: World, s: Session) -> Any:
    return [
        titles(s.scalars(select(Doc), execution_options={"populate_existing": True})),
        titles(s.scalars(select(Doc), execution_options={"compiled_cache": None})),
    ]


@case(SELECT, "with_only_columns() after the entity", "filtered", expect=TITLES)
def _(world: World, s: Session) -> Any:
    return titles(s.execute(select(Doc).where(Doc.id > 0).with_only_columns(Doc.title)))


@case(SELECT, "with_loader_criteria() of the application's own", "filtered", expect=[["seen a"], []])
def _(world: World, s: Session) -> Any:
    narrower = with_loader_criteria(Doc, Doc.id == 1, include_aliases=True)
    other = with_loader_criteria(Doc, Doc.env == "dev", include_aliases=True)
    return [titles(s.scalars(select(Doc).options(option))) for option in (narrower, other)]


@case(SELECT, "with_loader_criteria() with a sub-query over a protected class", "filtered", expect=["box"])
def _(world: World, s: Session) -> Any:
    option = with_loader_criteria(Folder, Folder.id.in_(select(Doc.folder_id)))
    return list(s.scalars(select(Folder.name).options(option)))


@case(SELECT, "… on a class that has nothing else to do with it", "filtered", expect=["blue", "red"])
def _(world: World, s: Session) -> Any:
    option = with_loader_criteria(Tag, exists().where(Doc.size == Tag.id))
    return sorted(s.scalars(select(Tag.name).options(option)))


@case(
    SELECT,
    "a filter with a variable that the key has no value for",
    "filtered",
    expect=[[], None, 0, [], 0],
    who="empty",
)
def _(world: World, s: Session) -> Any:
    return [
        titles(s.scalars(select(Doc))),
        s.get(Doc, 1),
        s.scalar(select(func.count(Doc.id))),
        titles(s.scalars(select(Folder).options(joinedload(Folder.docs)).where(Folder.id == 1)).unique().one().docs),
        s.execute(update(Doc).values(size=50)).rowcount,  # type: ignore[attr-defined]
    ]


@case(SELECT, "a text among the conditions that names no table", "filtered", expect=["seen a"])
def _(world: World, s: Session) -> Any:
    return titles(s.scalars(select(Doc).where(text("doc.id < 4 AND doc.title <> 'seen b'"))))


@case(SELECT, "a rule over a dotted path", "filtered", expect=["seen note", "seen second note"])
def _(world: World, s: Session) -> Any:
    return sorted(note.text for note in s.scalars(select(Note)))


@case(
    SELECT,
    "a rule over a dotted path, through joins, aliases, any() and sub-queries",
    "filtered",
    expect=[2, 2, 1, 2, 2],
)
def _(world: World, s: Session) -> Any:
    note = aliased(Note)
    statements: list[Any] = [
        select(Doc.title, Note.text).join(Doc.notes),
        select(note.text),
        select(Doc.title).where(Doc.notes.any()),
        select(select(Note).subquery().c.text),
        select(aliased(Note, select(Note).subquery()).text),
    ]
    return [len(s.execute(statement).all()) for statement in statements]


@case(INHERITANCE, "joined tables: the class, its columns, its base", "filtered", expect=[["seen special"]] * 3)
def _(world: World, s: Session) -> Any:
    return [
        titles(s.scalars(select(SpecialDoc))),
        ["seen special" for _ in s.scalars(select(SpecialDoc.extra))],
        [row.title for row in s.scalars(select(Doc)) if isinstance(row, SpecialDoc)],
    ]


@case(INHERITANCE, "single table", "filtered", expect=[["seen memo"], 1])
def _(world: World, s: Session) -> Any:
    return [titles(s.scalars(select(MemoDoc))), s.scalar(select(func.count(MemoDoc.id)))]


@case(INHERITANCE, "with_polymorphic(), flat and aliased", "filtered", expect=[TITLES, TITLES, TITLES])
def _(world: World, s: Session) -> Any:
    kinds = [{}, {"flat": True}, {"aliased": True}]
    return [titles(s.scalars(select(with_polymorphic(Doc, "*", **kind)))) for kind in kinds]


@case(
    INHERITANCE,
    "columns of an aliased with_polymorphic() by a rule over a dotted path, which SQLAlchemy takes for any row",
    "refused",
    advice="select its mapped class through a session",
    who="dotted",
)
def _(world: World, s: Session) -> Any:
    other = with_polymorphic(Doc, "*", aliased=True, flat=True)
    return s.scalars(select(Folder.name).where(exists().where(other.id == Folder.id + 3))).all()


@case(
    INHERITANCE,
    "with_polymorphic() by a rule over a dotted path",
    "filtered",
    expect=["seen a", "seen b", "seen special"],
    who="dotted",
)
def _(world: World, s: Session) -> Any:
    other = with_polymorphic(Doc, "*", flat=True, aliased=True)
    return titles(s.scalars(select(other).where(other.env == "prod")))


@case(INHERITANCE, "aliased(SpecialDoc), joins to it, of_type()", "filtered", expect=[["seen special"], 1, ["box"]])
def _(world: World, s: Session) -> Any:
    special = aliased(SpecialDoc)
    return [
        titles(s.scalars(select(special))),
        len(s.execute(select(Folder.name).join(SpecialDoc, SpecialDoc.folder_id == Folder.id)).all()),
        list(s.scalars(select(Folder.name).join(Folder.docs.of_type(SpecialDoc)).where(SpecialDoc.extra.is_not(None)))),
    ]


@case(INHERITANCE, "attributes of a derived class, loaded later", "filtered", expect="seen extra")
def _(world: World, s: Session) -> Any:
    doc = s.scalars(select(Doc).where(Doc.id == 5)).one()
    assert isinstance(doc, SpecialDoc)
    return doc.extra
