"""API keys for Flask applications: make them, scope them, check them, see who used which, change them safely."""

from __future__ import annotations

from .authorization import require_api_key
from .context import current_api_key, current_principal
from .domain.permissions import Allowed, Denied, Grant, Role
from .domain.principals import Principal
from .domain.records import AuditEvent, CreatedKey, Key, Page, Traffic
from .errors import (
    ArchieKeysError,
    AuditUnavailable,
    BadRequest,
    ConfigurationError,
    Conflict,
    FieldError,
    Forbidden,
    KeyInUse,
    KeyNotFound,
    NobodyActs,
    NotFound,
    PermissionsUnavailable,
    RoleInUse,
    RoleNotFound,
    RowNotFound,
    ServiceError,
    StoreUnavailable,
    Unauthorized,
    Unavailable,
    Unguarded,
    ValidationFailed,
    VersionMismatch,
)
from .extension import ArchieKeys
from .permissions.authzen import AuthZenPermissions
from .permissions.service import PermissionsService
from .services.explain import Check, Explanation
from .signals import (
    key_created,
    key_deleted,
    key_disabled,
    key_enabled,
    key_rotated,
    key_updated,
    role_deleted,
    role_saved,
)

__all__ = [
    "Allowed",
    "ArchieKeys",
    "ArchieKeysError",
    "AuditEvent",
    "AuditUnavailable",
    "AuthZenPermissions",
    "BadRequest",
    "Check",
    "ConfigurationError",
    "Conflict",
    "CreatedKey",
    "Denied",
    "Explanation",
    "FieldError",
    "Forbidden",
    "Grant",
    "Key",
    "KeyInUse",
    "KeyNotFound",
    "NobodyActs",
    "NotFound",
    "Page",
    "PermissionsService",
    "PermissionsUnavailable",
    "Principal",
    "Role",
    "RoleInUse",
    "RoleNotFound",
    "RowNotFound",
    "ServiceError",
    "StoreUnavailable",
    "Traffic",
    "Unauthorized",
    "Unavailable",
    "Unguarded",
    "ValidationFailed",
    "VersionMismatch",
    "current_api_key",
    "current_principal",
    "key_created",
    "key_deleted",
    "key_disabled",
    "key_enabled",
    "key_rotated",
    "key_updated",
    "require_api_key",
    "role_deleted",
    "role_saved",
]
