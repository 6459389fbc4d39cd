"""The seam: who decides whether a key or a user may do something."""

from __future__ import annotations

from typing import Protocol

from ..audit.event import Request
from ..domain.permissions import Action, Allowed, Denied
from ..domain.principals import Principal


class PermissionsService(Protocol):
    """Decides. The roles in the database are one, :class:`~.authzen.AuthZenPermissions` is another; write your own for
    anything else.

    One object serves all threads of a process, and the processes that are forked from it.
    """

    def decide(
        self, principal: Principal, resource: str, action: Action, request: Request | None = None
    ) -> Allowed | Denied:
        """Say whether ``principal`` may do ``action`` with rows of ``resource``, and with which rows.

        What is not granted is denied: an unknown resource, a principal without roles, whatever the service does not
        know. ``Allowed(None)`` is every row, so it is never the answer to a doubt. ``Allowed(filters)`` is the rows
        that any of the filters lets through, each in the filter language and never an empty tuple; their variables are
        filled in later, and a filter that lacks one lets no row through.

        ``Denied`` has the reason ``"missing_grant"`` and the scope that would be needed, ``"orders:update"``. ``why``
        of either answer is one line for the audit log, and never shown to the caller.

        :param principal: a key or a user; the system is not asked about.
        :param resource: a protected table of the host, or ``api_keys``, ``roles`` or ``audit_events``.
        :param request: the facts of the request that this is decided for; ``None`` where there is none, as in threads
            and scripts.
        :raises PermissionsUnavailable: if it cannot decide. The caller answers 503: no answer is never a yes.
        """
        ...
