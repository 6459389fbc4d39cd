"""API keys for Flask applications: make them, scope them, check them, see who used which, change them safely."""

from __future__ import annotations

from .authorization import require_api_key
from .context import current_api_key, current_principal
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
    ServiceError,
    StoreUnavailable,
    Unauthorized,
    Unavailable,
    ValidationFailed,
    VersionMismatch,
)
from .extension import ArchieKeys
from .signals import key_created, key_deleted, key_disabled, key_enabled, key_rotated, key_updated

__all__ = [
    "ArchieKeys",
    "ArchieKeysError",
    "AuditEvent",
    "AuditUnavailable",
    "BadRequest",
    "ConfigurationError",
    "Conflict",
    "CreatedKey",
    "FieldError",
    "Forbidden",
    "Key",
    "KeyInUse",
    "KeyNotFound",
    "Page",
    "Principal",
    "ServiceError",
    "StoreUnavailable",
    "Traffic",
    "Unauthorized",
    "Unavailable",
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
]
