"""``flask keys``: keys and their audit log on the command line."""

from __future__ import annotations

from flask.cli import AppGroup

keys_command = AppGroup("keys", help="Make, look after and audit API keys.")

from . import audit, doctor, keys, openapi, roles, row_security, upkeep  # noqa: E402, F401 - each adds its commands to the group
