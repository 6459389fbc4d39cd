"""The pages about keys: the list, making one, and one key with what can be done to it."""

from __future__ import annotations

import secrets
from typing import Any

from flask import Blueprint, flash, redirect, request

from ...context import current_environment, current_profile
from ...domain.permissions import Role
from ...domain.records import STATUSES, CreatedKey, Key
from ...errors import Conflict, Forbidden, KeyInUse, Replayed, ValidationFailed, VersionMismatch
from .access import may
from .forms import EXPIRIES, KeyForm, needed
from .rendering import link, page, translate

PER_PAGE = 50
Answer = Any


def add_to(blueprint: Blueprint) -> None:
    """Add the pages."""
    for rule, view, methods in (
        ("/api-keys", list_keys, ["GET"]),
        ("/api-keys", create_key, ["POST"]),
        ("/api-keys/new", new_key, ["GET"]),
        ("/api-keys/<key_id>", show_key, ["GET"]),
        ("/api-keys/<key_id>/edit", edit_key, ["GET", "POST"]),
        ("/api-keys/<key_id>/disable", disable_key, ["POST"]),
        ("/api-keys/<key_id>/enable", enable_key, ["POST"]),
        ("/api-keys/<key_id>/delete", delete_key, ["GET", "POST"]),
    ):
        blueprint.add_url_rule(rule, view_func=view, methods=methods)


def list_keys(form: KeyForm | None = None) -> Answer:
    """Keys, newest first, with their use in the last day; and the form for a new one."""
    environment = current_environment()
    asked = {name: request.args.get(name) or None for name in ("status", "role", "q")}
    environment.audit.drain(wait=0)  # so that the times of the last use fit the charts
    found = environment.service.find(limit=PER_PAGE, cursor=request.args.get("cursor"), **asked)  # type: ignore[arg-type]
    return page(
        "keys.html",
        keys=found,
        asked=asked,
        statuses=STATUSES,
        roles=known_roles(),
        activity=environment.audit.activity([key.id for key in found]),
        form=form or new_form(),
        **form_choices(),
    )


def new_key() -> Answer:
    """The form for a new key, as a page of its own."""
    current_environment().service.find(limit=1)  # whoever may not see keys gets the refusal here
    return page("new_key.html", form=new_form(), **form_choices())


def create_key() -> Answer:
    """Make a key; its secret is in this answer and in no other."""
    form = KeyForm.typed(request.form)
    try:
        wanted = {**form.wanted(), "prefix": form.prefix.strip() or None}
        created = current_environment().service.create(**wanted, idempotency_key=form.request_id or None)
    except Replayed as replayed:
        return made_before(replayed)
    except (ValidationFailed, Forbidden) as refused:
        keep(form, refused)
        shown = list_keys(form) if request.form.get("in_dialog") else page("new_key.html", form=form, **form_choices())
        return shown, refused.status
    return show_secret(created), 201


def keep(form: KeyForm, refused: ValidationFailed | Forbidden) -> None:
    """Show the form again with what was typed, and why it was refused.

    :raises Forbidden: for whoever lacks the grant, and has nothing to correct in a form.
    """
    if isinstance(refused, ValidationFailed):
        form.refuse(refused)
    elif refused.reason == "ceiling":
        form.errors["form"] = [refused.detail]
    else:
        raise refused
    form.add_needed(known_roles())


def made_before(replayed: Replayed) -> Answer:
    """A form that was sent twice, or a page that was loaded again: the key is there, its secret is not shown again."""
    return page("made_before.html", key=current_environment().service.get(replayed.key_id)), 409


def show_secret(created: CreatedKey, replaced: Key | None = None) -> str:
    """The one page that has a secret."""
    return page("secret.html", created=created, key=created.key, replaced=replaced, address=request.host_url)


def show_key(key_id: str) -> Answer:
    """One key."""
    environment = current_environment()
    key = environment.service.get(key_id)
    return page(
        "key.html",
        key=key,
        traffic=environment.traffic(key_id),
        roles=[role for role in known_roles() if role.name in key.roles],
        events=environment.audit.find(key=key_id, limit=10) if may("audit_events", "read") else None,
    )


def edit_key(key_id: str) -> Answer:
    """Rename a key and change what can be changed of it."""
    service = current_environment().service
    key = service.get(key_id)
    form = KeyForm.typed(request.form) if request.method == "POST" else KeyForm.of(key)
    if request.method == "POST":
        try:
            service.update(key_id, version=request.form.get("version", type=int), **_changes(form, key))
            flash(translate("The key was changed."))
            return redirect(link("show_key", key_id=key_id))
        except (ValidationFailed, Forbidden) as refused:
            keep(form, refused)
        except (Conflict, VersionMismatch) as error:
            form.errors["form"] = [error.detail]
            form.add_needed(known_roles())
    return page("edit_key.html", key=key, form=form, **form_choices()), 422 if form.errors else 200


def _changes(form: KeyForm, key: Key) -> dict[str, Any]:
    """What is not as it was: what nobody touched is not sent again, an expiry in the past least of all."""
    wanted, was = form.wanted(), KeyForm.of(key)
    if (form.expires, form.expires_on) == (was.expires, was.expires_on):
        del wanted["expires_at"]
    return wanted


def disable_key(key_id: str) -> Answer:
    """Stop a key."""
    current_environment().service.disable(key_id)
    flash(translate("The key is stopped. Enabling it undoes that."))
    return redirect(link("show_key", key_id=key_id))


def enable_key(key_id: str) -> Answer:
    """Let a key work again."""
    current_environment().service.enable(key_id)
    flash(translate("The key works again."))
    return redirect(link("show_key", key_id=key_id))


def delete_key(key_id: str) -> Answer:
    """Ask, then end a key; one that is still used only for whoever types its name."""
    environment = current_environment()
    key, traffic = environment.service.get(key_id), environment.traffic(key_id)
    wrong = None
    if request.method == "POST":
        named = request.form.get("name", "").strip() == key.name
        try:
            environment.service.delete(key_id, only_if_quiet=not named)
            flash(translate("The key was deleted. It never works again."))
            return redirect(link("show_key", key_id=key_id))
        except KeyInUse:
            wrong = translate("The key is still used: type its name to delete it all the same.")
    return page("delete_key.html", key=key, traffic=traffic, wrong=wrong), 409 if wrong else 200


# -- parts


def new_form() -> KeyForm:
    """An empty form, with an id of its own."""
    return KeyForm(request_id=secrets.token_urlsafe(16))


def known_roles() -> list[Role]:
    """The roles that the user can choose from: all that they may see, else their own."""
    environment = current_environment()
    if may("roles", "read"):
        return list(environment.roles.find())
    return list(current_profile().roles or ())


def form_choices() -> dict[str, Any]:
    """What the form offers."""
    config = current_environment().config
    return {
        "choices": known_roles(),
        "needed": needed,
        "expiries": EXPIRIES,
        "default_prefix": config.prefix,
        "max_age": config.max_age,
    }
