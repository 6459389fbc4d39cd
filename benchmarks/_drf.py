"""djangorestframework-api-key, with Django configured in this process.

As lean as Django goes: no middleware, no sessions, JSON only, and a database connection that stays
open (``CONN_MAX_AGE=None``), SQLite in WAL mode.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ._wsgi import BODY, PATH, Client, environ

NAME = "djangorestframework-api-key, SQLite"


def _configure(folder: Path) -> None:
    import django
    from django.conf import settings

    settings.configure(
        SECRET_KEY="k" * 50,
        ALLOWED_HOSTS=["*"],
        DEBUG=False,
        ROOT_URLCONF="benchmarks._drf_urls",
        MIDDLEWARE=[],
        INSTALLED_APPS=["rest_framework", "rest_framework_api_key"],
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": str(folder / "drf.db"),
                "CONN_MAX_AGE": None,
                "OPTIONS": {"init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;"},
            }
        },
        REST_FRAMEWORK={
            "DEFAULT_AUTHENTICATION_CLASSES": [],
            "UNAUTHENTICATED_USER": None,
            "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
        },
        USE_TZ=True,
        LOGGING_CONFIG=None,
    )
    django.setup()


def view() -> Any:
    """The view that all contenders have, for the URL configuration."""
    from rest_framework.decorators import api_view, permission_classes
    from rest_framework.response import Response
    from rest_framework_api_key.permissions import HasAPIKey

    def items(request: Any) -> Any:
        return Response(BODY)

    return api_view(["GET"])(permission_classes([HasAPIKey])(items))


def drf(folder: Path) -> Client:
    """djangorestframework-api-key: the key is found by its prefix and its SHA-512 compared, at
    every request.

    Keys of this library have no roles, so none is checked.
    """
    _configure(folder)
    from django.core.management import call_command
    from django.core.wsgi import get_wsgi_application
    from rest_framework_api_key.models import APIKey

    call_command("migrate", verbosity=0)
    _, key = APIKey.objects.create_key(name="bench")
    headers = {"Authorization": f"Api-Key {key}"}
    return Client(NAME, get_wsgi_application(), [environ(headers)], close=_close)


def _close() -> None:
    """Close the connection that Django keeps, before its file is removed."""
    from django.db import connections

    connections.close_all()


__all__ = ["NAME", "PATH", "drf", "view"]
