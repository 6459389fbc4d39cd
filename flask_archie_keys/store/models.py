"""The tables, as static models on a base of our own.

They are copied into the host's metadata (:func:`copy_tables`), where ``db.create_all()`` and Alembic's autogenerate
find them. Only plain column types, so that a migration needs no import of this package; every constraint and index is
named here, so that the host's naming convention cannot rename them.

Times are ``BIGINT`` microseconds since 1970-01-01 UTC: the one form that all databases store, compare and divide alike.
Lists and contexts are JSON in ``TEXT``.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.sql.schema import RETAIN_SCHEMA


class Base(DeclarativeBase):
    """The base of this package's models; it shares nothing with the host's."""


class ApiKey(Base):
    """A key's record. ``digest`` is NULL once the key is deleted."""

    __tablename__ = "archie_api_keys"
    __table_args__ = (
        PrimaryKeyConstraint("id", name="pk_archie_api_keys"),
        Index("ix_archie_api_keys_created", "project", "environment", "created_at", "id"),
    )

    id: Mapped[str] = mapped_column(String(12))
    project: Mapped[str] = mapped_column(String(64))
    environment: Mapped[str] = mapped_column(String(64))
    name: Mapped[str] = mapped_column(String(200))
    prefix: Mapped[str] = mapped_column(String(32))
    digest: Mapped[str | None] = mapped_column(String(255))
    roles: Mapped[str] = mapped_column(Text)
    context: Mapped[str] = mapped_column(Text)
    owner: Mapped[str | None] = mapped_column(String(200))
    allowed_networks: Mapped[str | None] = mapped_column(Text)
    rate_limit: Mapped[str | None] = mapped_column(String(64))
    created_at: Mapped[int] = mapped_column(BigInteger)
    created_by: Mapped[str] = mapped_column(String(255))
    expires_at: Mapped[int | None] = mapped_column(BigInteger)
    disabled_at: Mapped[int | None] = mapped_column(BigInteger)
    deleted_at: Mapped[int | None] = mapped_column(BigInteger)
    last_used_at: Mapped[int | None] = mapped_column(BigInteger)
    replaces: Mapped[str | None] = mapped_column(String(12))
    replaced_by: Mapped[str | None] = mapped_column(String(12))
    version: Mapped[int] = mapped_column(Integer)


class Role(Base):
    """A saved role."""

    __tablename__ = "archie_roles"
    __table_args__ = (PrimaryKeyConstraint("project", "environment", "name", name="pk_archie_roles"),)

    project: Mapped[str] = mapped_column(String(64))
    environment: Mapped[str] = mapped_column(String(64))
    name: Mapped[str] = mapped_column(String(63))
    description: Mapped[str] = mapped_column(Text)
    created_at: Mapped[int] = mapped_column(BigInteger)
    updated_at: Mapped[int] = mapped_column(BigInteger)
    version: Mapped[int] = mapped_column(Integer)


class Grant(Base):
    """One grant of a saved role, by its place in the role."""

    __tablename__ = "archie_grants"
    __table_args__ = (
        PrimaryKeyConstraint("project", "environment", "role", "position", name="pk_archie_grants"),
        ForeignKeyConstraint(
            ["project", "environment", "role"],
            ["archie_roles.project", "archie_roles.environment", "archie_roles.name"],
            name="fk_archie_grants_role",
        ),
    )

    project: Mapped[str] = mapped_column(String(64))
    environment: Mapped[str] = mapped_column(String(64))
    role: Mapped[str] = mapped_column(String(63))
    position: Mapped[int] = mapped_column(Integer)
    resource: Mapped[str] = mapped_column(String(63))
    read: Mapped[bool] = mapped_column(Boolean)
    write: Mapped[bool] = mapped_column(Boolean)
    update: Mapped[bool] = mapped_column(Boolean)
    delete: Mapped[bool] = mapped_column(Boolean)
    filter: Mapped[str | None] = mapped_column(Text)


class PolicyEpoch(Base):
    """When the roles of an environment last changed: read with each key; what was made of older ones is not used.

    Microseconds since the epoch, always growing; so a database that was put back from a copy has the epoch of its time.
    """

    __tablename__ = "archie_policy_epochs"
    __table_args__ = (PrimaryKeyConstraint("project", "environment", name="pk_archie_policy_epochs"),)

    project: Mapped[str] = mapped_column(String(64))
    environment: Mapped[str] = mapped_column(String(64))
    epoch: Mapped[int] = mapped_column(BigInteger)


class IdempotencyKey(Base):
    """A request that made a key, by the Idempotency-Key that its caller gave it."""

    __tablename__ = "archie_idempotency_keys"
    __table_args__ = (
        PrimaryKeyConstraint("project", "environment", "actor", "value", name="pk_archie_idempotency_keys"),
        Index("ix_archie_idempotency_keys_created", "created_at"),
    )

    project: Mapped[str] = mapped_column(String(64))
    environment: Mapped[str] = mapped_column(String(64))
    actor: Mapped[str] = mapped_column(String(255))
    value: Mapped[str] = mapped_column(String(255))
    key_id: Mapped[str] = mapped_column(String(12))
    created_at: Mapped[int] = mapped_column(BigInteger)


class AuditEvent(Base):
    """One entry of the audit log. The id is a UUIDv7 in hexadecimal, so each index also sorts by time."""

    __tablename__ = "archie_audit_events"
    __table_args__ = (
        PrimaryKeyConstraint("id", name="pk_archie_audit_events"),
        Index("ix_archie_audit_events_scope", "project", "environment", "id"),
        Index("ix_archie_audit_events_key", "project", "environment", "key_id", "id"),
    )

    id: Mapped[str] = mapped_column(String(32))
    occurred_at: Mapped[int] = mapped_column(BigInteger)
    project: Mapped[str] = mapped_column(String(64))
    environment: Mapped[str] = mapped_column(String(64))
    kind: Mapped[str] = mapped_column(String(32))
    key_id: Mapped[str | None] = mapped_column(String(12))
    actor: Mapped[str | None] = mapped_column(String(255))
    outcome: Mapped[str] = mapped_column(String(16))
    reason: Mapped[str | None] = mapped_column(String(64))
    method: Mapped[str | None] = mapped_column(String(32))
    route: Mapped[str | None] = mapped_column(String(1024))
    path: Mapped[str | None] = mapped_column(String(1024))
    status: Mapped[int | None] = mapped_column(Integer)
    duration_us: Mapped[int | None] = mapped_column(BigInteger)
    remote_address: Mapped[str | None] = mapped_column(String(64))
    user_agent: Mapped[str | None] = mapped_column(String(256))
    request_id: Mapped[str | None] = mapped_column(String(128))
    count: Mapped[int] = mapped_column(Integer)
    truncated: Mapped[bool] = mapped_column(Boolean)
    streamed: Mapped[bool] = mapped_column(Boolean)
    details: Mapped[str | None] = mapped_column(Text)


keys: Table = Base.metadata.tables[ApiKey.__tablename__]
roles: Table = Base.metadata.tables[Role.__tablename__]
grants: Table = Base.metadata.tables[Grant.__tablename__]
epochs: Table = Base.metadata.tables[PolicyEpoch.__tablename__]
idempotency_keys: Table = Base.metadata.tables[IdempotencyKey.__tablename__]
events: Table = Base.metadata.tables[AuditEvent.__tablename__]


def copy_tables(metadata: MetaData) -> None:
    """Copy our tables into ``metadata``, with its default schema; what is there already is left as it is."""
    for table in Base.metadata.sorted_tables:
        name = table.name if metadata.schema is None else f"{metadata.schema}.{table.name}"
        if name not in metadata.tables:
            table.to_metadata(metadata, schema=metadata.schema or RETAIN_SCHEMA)
