"""blinker signals, sent after a change has been committed.

The sender is the Flask application; ``key`` is the :class:`~flask_archie_keys.Key` as it is now and ``actor`` is who
did it (``system``, ``key:…``, ``user:…``). No signal carries a secret. A receiver that raises is logged and does not
undo the change.
"""

from __future__ import annotations

from blinker import Namespace, Signal

_signals = Namespace()

key_created: Signal = _signals.signal("archie-key-created")
"""A key was made. Arguments: ``key``, ``actor``."""

key_updated: Signal = _signals.signal("archie-key-updated")
"""A key's name, roles, context, owner, expiry or networks were changed. Arguments: ``key``, ``actor``."""

key_rotated: Signal = _signals.signal("archie-key-rotated")
"""A key was rotated. Arguments: ``key`` (the old one), ``successor`` (the new one), ``actor``."""

key_disabled: Signal = _signals.signal("archie-key-disabled")
"""A key was disabled. Arguments: ``key``, ``actor``."""

key_enabled: Signal = _signals.signal("archie-key-enabled")
"""A disabled key was enabled. Arguments: ``key``, ``actor``."""

key_deleted: Signal = _signals.signal("archie-key-deleted")
"""A key was deleted. Arguments: ``key``, ``actor``."""

role_saved: Signal = _signals.signal("archie-role-saved")
"""A role was saved. Arguments: ``role``, a :class:`~flask_archie_keys.Role`, and ``actor``."""

role_deleted: Signal = _signals.signal("archie-role-deleted")
"""A role was deleted. Arguments: ``name``, ``actor``."""
