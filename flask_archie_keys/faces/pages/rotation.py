"""Rotation, step by step: the new key is made, both work, the old one goes quiet, it is deleted."""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import Any

from flask import Blueprint, jsonify, request

from ...context import current_environment
from ...domain.records import AuditEvent, Key, Traffic
from ...errors import Conflict, KeyNotFound, Replayed, ValidationFailed
from .. import schemas
from ..times import span_text
from .access import may
from .keys import made_before, show_secret
from .rendering import ago, page, requests_label, translate

OVERLAPS = {"0": "no overlap", "3600": "1 hour", "86400": "1 day", "604800": "7 days"}
Answer = Any


def add_to(blueprint: Blueprint) -> None:
    """Add the pages."""
    blueprint.add_url_rule("/api-keys/<key_id>/rotate", view_func=rotate_key, methods=["GET", "POST"])
    blueprint.add_url_rule("/api-keys/<key_id>/rotation", view_func=watch_key)
    blueprint.add_url_rule("/api-keys/<key_id>/rotation.json", view_func=watched_key)


def rotate_key(key_id: str) -> Answer:
    """Choose an overlap, then make the key that replaces this one."""
    environment = current_environment()
    key = environment.service.get(key_id)
    wrong = None
    if request.method == "POST":
        try:
            overlap = timedelta(seconds=_seconds(request.form.get("overlap", "")))
            created = environment.service.rotate(
                key_id, overlap=overlap, idempotency_key=request.form.get("request_id") or None
            )
            return show_secret(created, environment.service.get(key_id)), 201
        except Replayed as replayed:
            return made_before(replayed)
        except (Conflict, ValidationFailed) as error:
            wrong = error.detail
    chosen = int(environment.config.rotation_overlap.total_seconds())
    overlaps = {str(chosen): span_text(timedelta(seconds=chosen)), **OVERLAPS}
    shown = page(
        "rotate_key.html", key=key, overlaps=overlaps, chosen=str(chosen), wrong=wrong, request_id=_new_request_id()
    )
    return shown, 409 if wrong else 200


def watch_key(key_id: str) -> Answer:
    """Where a rotation is: requests of the old key and of the new one, and whether the old one can be deleted."""
    old, new = _pair(key_id)
    return page("rotation.html", old=old, new=new, **_watched(old, new))


def watched_key(key_id: str) -> Answer:
    """The same as data, for the page to show while it goes on."""
    old, new = _pair(key_id)
    watched = _watched(old, new)
    caller: AuditEvent | None = watched["last_caller"]
    return jsonify(
        old=_side(old, watched["old_traffic"]),
        new=_side(new, watched["new_traffic"]),
        lastCaller=None if caller is None else schemas.plain(schemas.event(caller)),
        sentence=watched["sentence"],
        step=watched["step"],
        safeToDelete=watched["old_traffic"].safe_to_delete,
    )


def _pair(key_id: str) -> tuple[Key, Key]:
    """The old key and the new one of a rotation, whichever of the two was asked for."""
    service = current_environment().service
    key = service.get(key_id)
    if key.replaced_by is not None:
        return key, service.get(key.replaced_by)
    if key.replaces is not None:
        return service.get(key.replaces), key
    raise KeyNotFound(translate("This key was not rotated."))


def _watched(old: Key, new: Key) -> dict[str, Any]:
    environment = current_environment()
    traffic = environment.traffic(old.id)
    callers = environment.audit.find(key=old.id, kind="request", limit=1) if may("audit_events", "read") else ()
    return {
        "old_traffic": traffic,
        "new_traffic": environment.traffic(new.id),
        "last_caller": callers[0] if callers else None,
        "sentence": _sentence(old, traffic),
        "step": _step(old, traffic),
    }


def _step(old: Key, traffic: Traffic) -> int:
    """How far it is: 2 while the old key is used, 3 when it is quiet, 4 when it is deleted."""
    if old.status == "deleted":
        return 4
    return 3 if traffic.safe_to_delete else 2


def _sentence(old: Key, traffic: Traffic) -> str:
    if old.status == "deleted":
        return translate("The old key is deleted. The rotation is done.")
    span = span_text(traffic.quiet)
    if traffic.safe_to_delete:
        return translate("Quiet for %(span)s, safe to delete.", span=span)
    if traffic.last_used_at is None:
        return translate("The old key was never used so far; it is too early to say more.")
    return translate("The old key is still used: last %(ago)s.", ago=ago(traffic.last_used_at))


def _side(key: Key, traffic: Traffic) -> dict[str, Any]:
    shape = schemas.plain(schemas.traffic(traffic))
    requests = sum(count.requests for count in traffic.counts)
    return {**shape, "status": key.status, "requests": requests, "label": requests_label(requests)}


def _seconds(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 9:
        raise ValidationFailed.one("overlap", "type", translate("choose how long both keys work"))
    return int(text)


def _new_request_id() -> str:
    return secrets.token_urlsafe(16)
