"""``flask keys``."""
from flask.cli import AppGroup
keys_command = AppGroup("keys")
