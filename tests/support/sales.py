"""A protected table of a host, for tests of roles: mapped once, as in an application."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, ForeignKey
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from flask_archie_keys import ArchieKeys

#: The name of the protected resource.
SALES = "sales"


class Base(DeclarativeBase):
    """The host's own base."""


class Shopper(Base):
    """Not protected."""

    __tablename__ = "shoppers"
    id: Mapped[int] = mapped_column(primary_key=True)
    region: Mapped[str]


class Sale(Base):
    """A protected table."""

    __tablename__ = "sales"
    id: Mapped[int] = mapped_column(primary_key=True)
    region: Mapped[str | None]
    seller: Mapped[str | None]
    level: Mapped[int | None]
    open: Mapped[bool | None]
    notes: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    shopper_id: Mapped[int | None] = mapped_column(ForeignKey("shoppers.id"))
    shopper: Mapped[Shopper | None] = relationship()


ArchieKeys().unprotected(Shopper)
ArchieKeys().protect(Sale, resource=SALES)
