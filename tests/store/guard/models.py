"""A small application's models: documents in folders, with all that may hang on them."""

from __future__ import annotations

from typing import Any, ClassVar

from sqlalchemy import Column, ForeignKey, Select, Table, func, select
from sqlalchemy.orm import (
    DeclarativeBase,
    DynamicMapped,
    Mapped,
    WriteOnlyMapped,
    column_property,
    mapped_column,
    query_expression,
    relationship,
)

from flask_archie_keys.store import guard


class Base(DeclarativeBase):
    pass


doc_tag = Table(
    "doc_tag",
    Base.metadata,
    Column("doc_id", ForeignKey("doc.id", ondelete="CASCADE"), primary_key=True),
    Column("tag_id", ForeignKey("tag.id"), primary_key=True),
)


class Folder(Base):
    """Not protected; it refers to nothing that is."""

    __tablename__ = "folder"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    region: Mapped[str]
    docs: Mapped[list[Doc]] = relationship(back_populates="folder", order_by="Doc.id")
    docs_dynamic: DynamicMapped[Doc] = relationship(viewonly=True)
    docs_write_only: WriteOnlyMapped[Doc] = relationship(viewonly=True)
    most: Mapped[str | None] = query_expression()
    titles: ClassVar[Any]


class Doc(Base):
    """Protected by ``env``."""

    __tablename__ = "doc"
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(default="doc")
    env: Mapped[str]
    title: Mapped[str] = mapped_column(unique=True)
    size: Mapped[int] = mapped_column(default=1)
    body: Mapped[str | None] = mapped_column(deferred=True)
    folder_id: Mapped[int | None] = mapped_column(ForeignKey("folder.id", ondelete="CASCADE"))
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("doc.id"))
    favourite_id: Mapped[int | None] = mapped_column(ForeignKey("note.id", use_alter=True, name="fk_favourite"))
    folder: Mapped[Folder | None] = relationship(back_populates="docs")
    notes: Mapped[list[Note]] = relationship(
        back_populates="doc", order_by="Note.id", cascade="all, delete-orphan", foreign_keys="Note.doc_id"
    )
    favourite: Mapped[Note | None] = relationship(foreign_keys=[favourite_id], post_update=True)
    parent: Mapped[Doc | None] = relationship(remote_side=[id], back_populates="children")  # noqa: A003
    children: Mapped[list[Doc]] = relationship(back_populates="parent")
    tags: Mapped[list[Tag]] = relationship(secondary=doc_tag, back_populates="docs", order_by="Tag.id")
    remarks: Mapped[list[Remark]] = relationship(back_populates="doc", passive_deletes="all")
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "doc"}  # noqa: RUF012


class SpecialDoc(Doc):
    """Joined-table inheritance."""

    __tablename__ = "special_doc"
    id: Mapped[int] = mapped_column(ForeignKey("doc.id", ondelete="CASCADE"), primary_key=True)
    extra: Mapped[str | None]
    __mapper_args__ = {"polymorphic_identity": "special"}  # noqa: RUF012


class MemoDoc(Doc):
    """Single-table inheritance."""

    __mapper_args__ = {"polymorphic_identity": "memo"}  # noqa: RUF012


class Note(Base):
    """Protected by a dotted path, over the documents' own rule."""

    __tablename__ = "note"
    id: Mapped[int] = mapped_column(primary_key=True)
    doc_id: Mapped[int] = mapped_column(ForeignKey("doc.id", ondelete="CASCADE"))
    text: Mapped[str]
    doc: Mapped[Doc] = relationship(back_populates="notes", foreign_keys=[doc_id])


class Tag(Base):
    __tablename__ = "tag"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    docs: Mapped[list[Doc]] = relationship(secondary=doc_tag, back_populates="tags", order_by="Doc.id")


class Remark(Base):
    """A child of documents that nobody has decided about."""

    __tablename__ = "remark"
    id: Mapped[int] = mapped_column(primary_key=True)
    doc_id: Mapped[int] = mapped_column(ForeignKey("doc.id", ondelete="CASCADE"))
    text: Mapped[str]
    doc: Mapped[Doc] = relationship(back_populates="remarks")


class Visit(Base):
    """A child of documents that was declared unprotected."""

    __tablename__ = "visit"
    id: Mapped[int] = mapped_column(primary_key=True)
    doc_id: Mapped[int | None] = mapped_column(ForeignKey("doc.id", ondelete="CASCADE"))
    path: Mapped[str]
    doc: Mapped[Doc | None] = relationship()


class Setting(Base):
    """Has nothing to do with documents, but for a column that is named like their table."""

    __tablename__ = "setting"
    id: Mapped[int] = mapped_column(primary_key=True)
    doc: Mapped[str]


class Public(Base):
    """Protected, and open where nobody acts."""

    __tablename__ = "public_page"
    id: Mapped[int] = mapped_column(primary_key=True)
    env: Mapped[str]
    title: Mapped[str]


def _titles() -> Select[Any]:
    return select(func.max(Doc.title)).where(Doc.folder_id == Folder.id).correlate_except(Doc)


Folder.titles = column_property(_titles().scalar_subquery(), deferred=True)

guard.protect(Doc, "docs")
guard.protect(Note, "notes")
guard.protect(Public, "pages", "allow")
guard.unprotected(Visit)

#: Their rows, as an application would have them; what a key for "prod" must not see says so.
ROWS: dict[str, list[tuple[Any, ...]]] = {
    "folder": [(1, "box", "eu"), (2, "bin", "us")],
    "tag": [(1, "red"), (2, "blue")],
    "setting": [(1, "doc"), (2, "hidden doc_tag")],
    "public_page": [(1, "prod", "seen page"), (2, "dev", "hidden page")],
    "doc": [
        # id, kind, env, title, size, body, folder, parent, favourite
        (1, "doc", "prod", "seen a", 1, "seen body", 1, None, None),
        (2, "doc", "prod", "seen b", 2, "seen body", 1, 1, None),
        (3, "doc", "dev", "hidden a", 3, "hidden body", 1, None, None),
        (4, "doc", "dev", "hidden b", 4, "hidden body", 2, 1, None),
        (5, "special", "prod", "seen special", 5, "seen body", 1, None, None),
        (6, "special", "dev", "hidden special", 6, "hidden body", 1, None, None),
        (7, "memo", "prod", "seen memo", 7, "seen body", None, 3, None),
        (8, "memo", "dev", "hidden memo", 8, "hidden body", None, None, None),
    ],
    "special_doc": [(5, "seen extra"), (6, "hidden extra")],
    "note": [(1, 1, "seen note"), (2, 1, "seen second note"), (3, 3, "hidden note"), (4, 4, "hidden other note")],
    "doc_tag": [(1, 1), (3, 1), (3, 2)],
    "remark": [(1, 1, "seen remark"), (2, 3, "hidden remark")],
    "visit": [(1, 1, "/seen"), (2, 3, "/public")],
}
