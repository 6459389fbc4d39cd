"""What callers may send: the shapes of bodies and queries. The rules for their values are the services'."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, structs

from ..domain import role_rules, rules
from ..domain.permissions import Action
from ..domain.records import ContextValue, Scalar, Status
from ..errors import ValidationFailed
from .schemas import Key as KeyShape

LIMIT_DEFAULT = 50
Limit = Annotated[int, Meta(ge=1, le=200)]
Moment = Annotated[
    datetime, Meta(description="ISO 8601, with its time zone.", extra_json_schema={"format": "date-time"})
]


def _told(**schema: Any) -> Meta:
    """What the OpenAPI document says of a value. It is the services that check it, in words of their own."""
    return Meta(extra_json_schema=schema)


Text = Annotated[str, _told(minLength=1, maxLength=rules.NAME_MAX)]
RoleName = Annotated[str, _told(pattern="^[a-z][a-z0-9_]{0,62}$")]
Roles = Annotated[list[RoleName], _told(maxItems=rules.ROLES_MAX)]
KeyPrefix = Annotated[str, _told(pattern="^[a-z]([a-z0-9_]{0,30}[a-z0-9])?$")]
KeyId = Annotated[str, _told(pattern="^[0-9A-Za-z]{12}$")]
Networks = Annotated[
    list[str], _told(minItems=1, maxItems=rules.NETWORKS_MAX, description="Addresses and networks in CIDR form.")
]
_CONTEXT = _told(maxProperties=rules.CONTEXT_MAX_NAMES, propertyNames={"pattern": "^[A-Za-z_][A-Za-z0-9_]{0,63}$"})
Context = Annotated[dict[str, Scalar | list[Scalar]], _CONTEXT]
ContextPatch = Annotated[dict[str, Scalar | list[Scalar] | None], _CONTEXT]
Search = Annotated[str, _told(maxLength=1024, pattern="^[^\u0000]*$")]
#: The members of a key that are there to be read.
READ_ONLY = frozenset(field.encode_name for field in structs.fields(KeyShape))


class Input(Struct, rename="camel", kw_only=True, forbid_unknown_fields=True):
    """The base of all inputs."""


# -- bodies


class NewKey(Input):
    """A key that is to be made."""

    name: Text
    roles: Roles = []
    context: Context = {}
    prefix: KeyPrefix | UnsetType = UNSET
    expires_at: Moment | None = None
    owner: Text | None = None
    allowed_networks: Networks | None = None

    def wanted(self) -> dict[str, Any]:
        """The arguments of the service."""
        given = {name: value for name, value in structs.asdict(self).items() if value is not UNSET}
        if self.expires_at is not None:
            given["expires_at"] = moment("expires_at", self.expires_at)
        return given


class KeyPatch(Input):
    """What is to be changed of a key (RFC 7396): what is left out stays, null takes away."""

    name: Text | UnsetType = UNSET
    roles: Roles | UnsetType = UNSET
    context: ContextPatch | UnsetType = UNSET
    expires_at: Moment | UnsetType | None = UNSET
    owner: Text | UnsetType | None = UNSET
    allowed_networks: Networks | UnsetType | None = UNSET

    def changes(self, context: Mapping[str, ContextValue]) -> dict[str, Any]:
        """The changes, as the service takes them.

        :param context: what there is, which the context that is given is merged into.
        """
        given = {name: value for name, value in structs.asdict(self).items() if value is not UNSET}
        if "context" in given:
            merged = {**context, **given["context"]}
            given["context"] = {name: value for name, value in merged.items() if value is not None}
        if isinstance(given.get("expires_at"), datetime):
            given["expires_at"] = moment("expires_at", given["expires_at"])
        return given


class Rotation(Input):
    """How a key is to be rotated."""

    overlap_seconds: Annotated[int, Meta(ge=0)] | None = None

    @property
    def overlap(self) -> timedelta | None:
        """How long both keys work; ``None`` for what the settings say."""
        if self.overlap_seconds is None:
            return None
        try:
            return timedelta(seconds=self.overlap_seconds)
        except OverflowError:
            raise ValidationFailed.one("overlap_seconds", "range", "is too long") from None


class NewGrant(Input):
    """A grant of a role that is to be saved."""

    resource: RoleName
    read: bool = False
    write: bool = False
    update: bool = False
    delete: bool = False
    filter: str | None = None


class SavedRole(Input):
    """A whole role: what it does not grant here it grants no more."""

    description: Annotated[str, _told(maxLength=role_rules.DESCRIPTION_MAX)] = ""
    grants: Annotated[list[NewGrant], _told(maxItems=role_rules.GRANTS_MAX)] = []

    def wanted(self) -> dict[str, Any]:
        """The arguments of the service, but the name."""
        return {"description": self.description, "grants": [structs.asdict(grant) for grant in self.grants]}


class NewRole(SavedRole, kw_only=True):
    """A role that is to be made."""

    name: RoleName


class Question(Input):
    """What ``/explain`` is asked."""

    key_id: KeyId
    roles: list[str] = []
    match: Literal["any", "all"] = "any"
    resource: str | None = None
    action: Action | None = None
    remote_address: str | None = None


# -- queries


class PageQuery(Input):
    """A part of a list."""

    limit: Limit = LIMIT_DEFAULT
    cursor: str | None = None


class KeyQuery(PageQuery):
    """Which keys."""

    status: Status | None = None
    role: Search | None = None
    prefix: Search | None = None
    q: Search | None = None


class EventFilter(Input):
    """Which audit events."""

    key: KeyId | None = None
    lineage: bool = False
    kind: Search | None = None
    outcome: Literal["allowed", "denied", "refused"] | None = None
    reason: Search | None = None
    status: Annotated[int, Meta(ge=0, le=999)] | None = None
    method: Search | None = None
    route: Search | None = None
    since: Moment | None = None
    until: Moment | None = None


class EventQuery(EventFilter):
    """Which audit events, and how many."""

    limit: Limit = LIMIT_DEFAULT
    cursor: str | None = None


class DeleteKeyQuery(Input):
    """How a key is to be deleted."""

    only_if_quiet: bool = False


class DeleteRoleQuery(Input):
    """How a role is to be deleted."""

    take_from_keys: bool = False


def moment(field: str, given: datetime) -> datetime:
    """A time that was given, as the services take it.

    :raises ValidationFailed: if it does not say its time zone.
    """
    if given.utcoffset() is None:
        raise ValidationFailed.one(field, "timezone", "must say its time zone, as in 2030-01-31T00:00:00Z")
    try:
        return given.astimezone(UTC)
    except OverflowError:
        raise ValidationFailed.one(field, "range", "is too far away") from None
