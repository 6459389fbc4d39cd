"""What all templates have: texts in the reader's language, times, links, and what the user may do."""

from __future__ import annotations

import functools
import gettext
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from flask import current_app, render_template, url_for
from markupsafe import Markup, escape

from ..._version import __version__
from ...context import app_state, current_environment
from ...domain.clock import isoformat, utcnow
from ..times import span_text
from . import access

_TRANSLATIONS = Path(__file__).with_name("translations")


def page(template: str, **values: Any) -> str:
    """One of our templates, or the host's of the same name."""
    return render_template(f"archie_keys/{template}", **values)


def framed(title: Markup, body: Markup) -> Markup:
    """A page in the base template, which may be the host's."""
    return Markup(page("frame.html", archie_title=title, archie_body=body))  # noqa: S704 - a template has escaped it


def names() -> dict[str, Any]:
    """What our templates use. Flask asks for it once for each template."""
    config = current_environment().config
    return {
        "base_template": config.base_template,
        "csrf_field": csrf_field,
        "environment": config.environment,
        "environments": access.environments,
        "framed": framed,
        "link": link,
        "may": access.may,
        "menu": menu,
        "n_": ngettext,
        "t": translate,
        "time_of": time_of,
        "version": __version__,
        "ago": ago,
        "bars": bars,
        "requests_label": requests_label,
        "value_of": value_of,
        "span_text": span_text,
    }


def link(endpoint: str, **values: Any) -> str:
    """The address of one of our pages, in the environment that this one is about."""
    config = current_environment().config
    if config.environment != app_state().default:
        values.setdefault("environment", config.environment)
    return url_for(f"archie_keys.{endpoint}", **values)


def menu() -> list[tuple[str, str, str]]:
    """The pages that the user may see: endpoint, label and the beginning of the endpoints of that part."""
    parts = (
        ("api_keys", "list_keys", translate("API Keys"), "key"),
        ("roles", "list_roles", translate("Roles"), "role"),
        ("audit_events", "list_events", translate("Audit log"), "event"),
    )
    return [(endpoint, label, part) for resource, endpoint, label, part in parts if access.may(resource, "read")]


def csrf_field() -> Markup:
    """The hidden fields of each form: the token, and the environment that it is about."""
    from flask_wtf.csrf import generate_csrf

    environment = current_environment().config.environment
    return Markup(
        '<input type="hidden" name="csrf_token" value="{}"><input type="hidden" name="environment" value="{}">'
    ).format(generate_csrf(), environment)


def time_of(moment: datetime | None, otherwise: str = "–") -> Markup:
    """A time: for scripts to show in the reader's zone, with the exact UTC on hover."""
    if moment is None:
        return escape(otherwise)
    exact = isoformat(moment)
    shown = f"{exact[:10]} {exact[11:16]} UTC"
    return Markup('<time datetime="{}" title="{}">{}</time>').format(exact, f"{exact[:10]} {exact[11:23]} UTC", shown)


def value_of(value: object) -> str:
    """A value of a context as people read it."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return translate("true") if value else translate("false")
    if isinstance(value, (list, tuple)):
        return ", ".join(value_of(each) for each in value)
    return str(value)


def ago(moment: datetime | None) -> str:
    """How long ago, in words; ``never`` for no time."""
    if moment is None:
        return translate("never")
    return translate("%(span)s ago", span=span_text(utcnow() - moment))


def requests_label(n: int) -> str:
    """What a chart of one day shows."""
    return ngettext("%(n)s request in 24 hours", "%(n)s requests in 24 hours", n)


def bars(counts: Sequence[int], label: str, width: int = 120, height: int = 24) -> Markup:
    """A small bar chart as SVG, without any style of its own.

    :param label: what it shows, for those who do not see it.
    """
    most = max(counts, default=0) or 1
    step = width / max(len(counts), 1)
    drawn = Markup().join(
        Markup('<rect x="{:.2f}" y="{:.2f}" width="{:.2f}" height="{:.2f}"></rect>').format(
            number * step, height - max(count * height / most, 1), max(step - 1, 0.5), max(count * height / most, 1)
        )
        for number, count in enumerate(counts)
        if count
    )
    return Markup(
        '<svg class="archie-bars" viewBox="0 0 {w} {h}" width="{w}" height="{h}" role="img" aria-label="{l}">'
        '<line x1="0" y1="{y}" x2="{w}" y2="{y}"></line>{d}</svg>'
    ).format(w=width, h=height, y=height - 0.5, l=label, d=drawn)


# -- languages


def translate(text: str, **values: object) -> str:
    """A text in the reader's language, where Flask-Babel tells it; with ``%(name)s`` filled in."""
    found = _catalogue(_language()).gettext(text)
    return found % values if values else found


def ngettext(one: str, many: str, n: int) -> str:
    """A text with a number, ``%(n)s``, in its plural."""
    return _catalogue(_language()).ngettext(one, many, n) % {"n": n}


def _language() -> str:
    if "babel" not in current_app.extensions:
        return "en"
    from flask_babel import get_locale

    return str(get_locale() or "en")


@functools.cache
def _catalogue(language: str) -> gettext.NullTranslations:
    return gettext.translation("archie_keys", _TRANSLATIONS, [language], fallback=True)
