"""Every error that this package raises.

::

    ArchieKeysError
    ├── ConfigurationError          wrong settings or a wrong set-up; raised at start-up
    ├── Unguarded                   a use of the database that cannot be kept inside the rows of who acts
    │   └── NobodyActs              a protected table is used, and nobody acts
    └── ServiceError                what a caller did or met; has an HTTP status and a type
        ├── BadRequest              400  /errors/bad-request
        │   └── ContentTooLarge     413  /errors/bad-request
        ├── Unauthorized            401  /errors/unauthorized
        ├── Forbidden               403  /errors/forbidden
        ├── NotFound                404  /errors/not-found
        │   ├── KeyNotFound
        │   ├── RoleNotFound
        │   └── RowNotFound
        ├── MethodNotAllowed        405  /errors/method-not-allowed
        ├── Conflict                409  /errors/conflict
        │   ├── KeyInUse            409  /errors/key-in-use
        │   ├── RoleInUse           409  /errors/conflict
        │   └── Replayed            409  /errors/conflict
        ├── VersionMismatch         412  /errors/precondition-failed
        ├── UnsupportedMediaType    415  /errors/unsupported-media-type
        ├── ValidationFailed        422  /errors/validation-failed
        ├── PreconditionRequired    428  /errors/precondition-required
        └── Unavailable             503  /errors/unavailable
            ├── StoreUnavailable
            ├── AuditUnavailable
            └── PermissionsUnavailable

``status`` and ``type`` stand on the class: they are the HTTP status (RFC 9110) and the problem type (RFC 9457) that
every face answers with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple

from .domain.keytext import redact


class ArchieKeysError(Exception):
    """The base of all errors of this package."""


class ConfigurationError(ArchieKeysError):
    """A setting or the set-up of the application is wrong; the message names the mend."""


class Unguarded(ArchieKeysError):
    """A statement, session or mapping cannot be kept inside the rows of who acts; the message says what to do instead.

    A mistake of the application, not of its caller: the request ends with 500, and nothing was read or written.
    """


class NobodyActs(Unguarded):
    """A protected table is used where there is neither a key nor a user, nor an ``unrestricted`` block."""


class ServiceError(ArchieKeysError):
    """An operation was refused or could not be done.

    :param detail: one sentence for the caller; it never holds a secret.
    """

    status: ClassVar[int] = 500
    type: ClassVar[str] = "about:blank"
    title: ClassVar[str] = "Error"

    def __init__(self, detail: str) -> None:
        self.detail = redact(detail)  # callers paste whole keys where ids belong
        super().__init__(self.detail)


class BadRequest(ServiceError):
    """The request cannot be understood (RFC 6750 section 3.1, ``invalid_request``)."""

    status = 400
    type = "/errors/bad-request"
    title = "Bad Request"
    reason: ClassVar[str] = "invalid_request"


class ContentTooLarge(BadRequest):
    """The body is longer than any that could be meant."""

    status = 413
    title = "Content Too Large"


class Unauthorized(ServiceError):
    """The request carries no key, or one that is not good.

    :param reason: why, for the audit log only; the client is told one thing for every bad key.
    :param key_id: the id of the key's record, if there is one.
    """

    status = 401
    type = "/errors/unauthorized"
    title = "Unauthorized"

    def __init__(self, detail: str, *, reason: str, key_id: str | None = None) -> None:
        super().__init__(detail)
        self.reason = reason
        self.key_id = key_id


class Forbidden(ServiceError):
    """The key is good, and may not do this.

    :param reason: why, for the audit log.
    :param scope: what would be needed, for the ``scope`` attribute of the challenge.
    :param key_id: the key.
    :param details: what else the audit log should hold, by name.
    """

    status = 403
    type = "/errors/forbidden"
    title = "Forbidden"

    def __init__(
        self,
        detail: str,
        *,
        reason: str,
        scope: str | None = None,
        key_id: str | None = None,
        details: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(detail)
        self.reason = reason
        self.scope = scope
        self.key_id = key_id
        self.details = details


class NotFound(ServiceError):
    """There is nothing by that name, or nothing that the caller may see."""

    status = 404
    type = "/errors/not-found"
    title = "Not Found"


class KeyNotFound(NotFound):
    """No key of this project and environment has that id."""


class RoleNotFound(NotFound):
    """No role of this project and environment has that name."""


class RowNotFound(NotFound):
    """A row that is not there, or that who acts may not see; the two cannot be told apart."""


class MethodNotAllowed(ServiceError):
    """There is something there, and it has no such method.

    :param allowed: the methods that it has.
    """

    status = 405
    type = "/errors/method-not-allowed"
    title = "Method Not Allowed"

    def __init__(self, detail: str, *, allowed: Sequence[str]) -> None:
        super().__init__(detail)
        self.allowed = tuple(allowed)


class Conflict(ServiceError):
    """The key's state does not allow the change: deleted, expired, already rotated."""

    status = 409
    type = "/errors/conflict"
    title = "Conflict"


class KeyInUse(Conflict):
    """The key was used within the quiet period, and the caller asked not to delete such a key."""

    type = "/errors/key-in-use"


class RoleInUse(Conflict):
    """Keys have the role, and the caller did not ask to take it from them."""


class Replayed(Conflict):
    """A request with this idempotency key has made a key before; its secret is not shown again.

    :param key_id: that key.
    """

    def __init__(self, detail: str, *, key_id: str) -> None:
        super().__init__(detail)
        self.key_id = key_id


class VersionMismatch(ServiceError):
    """The key was changed by somebody else since the caller read it."""

    status = 412
    type = "/errors/precondition-failed"
    title = "Precondition Failed"


class UnsupportedMediaType(ServiceError):
    """The body is not JSON in UTF-8."""

    status = 415
    type = "/errors/unsupported-media-type"
    title = "Unsupported Media Type"


class PreconditionRequired(ServiceError):
    """A change must say which version it was made for (RFC 6585 section 3)."""

    status = 428
    type = "/errors/precondition-required"
    title = "Precondition Required"


class FieldError(NamedTuple):
    """One refused field: its name, the rule that it breaks and a sentence for people."""

    field: str
    rule: str
    message: str


class ValidationFailed(ServiceError):
    """Input was refused; nothing was changed.

    :param errors: one entry for each refused field, in the order of the input.
    :param as_given: the fields have the names that the caller gave them, and not those of Python.
    """

    status = 422
    type = "/errors/validation-failed"
    title = "Validation Failed"

    def __init__(self, errors: Sequence[FieldError], *, as_given: bool = False) -> None:
        self.as_given = as_given
        self.errors = tuple(error._replace(message=redact(error.message)) for error in errors)
        super().__init__("; ".join(f"{error.field}: {error.message}" for error in self.errors))

    @classmethod
    def one(cls, field: str, rule: str, message: str) -> ValidationFailed:
        """Refuse a single field."""
        return cls([FieldError(field, rule, message)])


class Unavailable(ServiceError):
    """Something that this package needs cannot be reached; trying again later may help.

    :param retry_after: seconds after which a client may try again.
    """

    status = 503
    type = "/errors/unavailable"
    title = "Service Unavailable"

    def __init__(self, detail: str, *, retry_after: int = 1) -> None:
        super().__init__(detail)
        self.retry_after = retry_after

    @property
    def cause(self) -> str | None:
        """What the database or the system said, for logs and the command line; clients are not told."""
        cause = getattr(self.__cause__, "orig", None) or self.__cause__
        return None if cause is None else redact(str(cause)).strip()


class StoreUnavailable(Unavailable):
    """The database that holds the keys cannot be reached, is locked or has no tables."""

    reason: ClassVar[str] = "unavailable"


class PermissionsUnavailable(Unavailable):
    """The service that decides who may do what cannot be reached, is slow or answers nonsense."""

    reason: ClassVar[str] = "unavailable"


class AuditUnavailable(Unavailable):
    """The audit event cannot be written down, and the set-up says to serve nothing unrecorded."""
