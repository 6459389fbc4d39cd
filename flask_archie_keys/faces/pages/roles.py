"""The pages about roles: the list, and one role as a matrix of what it permits."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, flash, jsonify, redirect, request

from ...context import current_environment, note_denied
from ...domain.permissions import ACTIONS, Role
from ...domain.records import Key
from ...errors import (
    Conflict,
    Forbidden,
    NotFound,
    RoleNotFound,
    ServiceError,
    ValidationFailed,
    VersionMismatch,
)
from . import access
from .access import may
from .audit_forms import id_in
from .rendering import link, page, translate
from .role_forms import RoleForm

Answer = Any
HOLDERS = 50


def add_to(blueprint: Blueprint) -> None:
    """Add the pages."""
    for rule, view, methods in (
        ("/roles", list_roles, ["GET"]),
        ("/new-role", new_role, ["GET", "POST"]),
        ("/check-role", check_role, ["POST"]),
        ("/roles/<name>", show_role, ["GET", "POST"]),
        ("/roles/<name>/delete", delete_role, ["GET", "POST"]),
    ):
        blueprint.add_url_rule(rule, view_func=view, methods=methods)


def list_roles() -> Answer:
    """All roles, by name, with how many keys have each."""
    service = current_environment().roles
    return page("roles.html", roles=service.find(), holders=service.holders() if may("api_keys", "read") else None)


def show_role(name: str) -> Answer:
    """One role, and its matrix to change it where that may be."""
    role = current_environment().roles.get(name)
    if request.method == "GET":
        return _editor(RoleForm.of(role), role)
    return _sent(RoleForm.typed(request.form, name), role)


def new_role() -> Answer:
    """The matrix of a role that is not there yet; also for one that is copied from another environment."""
    service = current_environment().roles
    service.find()  # whoever may not see roles gets the refusal here
    if request.method == "GET":
        return _editor(RoleForm(name=request.args.get("name", ""), version=0), None)
    form = RoleForm.typed(request.form)
    if request.form.get("do") == "copy":
        return _copied(form)
    return _sent(form, None)


def _copied(form: RoleForm) -> Answer:
    """What another environment has, to be looked at and saved in this one: nothing is changed yet."""
    try:
        there = current_environment().roles.get(form.name)
    except RoleNotFound:
        form.version = 0
        return _editor(form, None, copied=True)
    if there.source == "settings":
        flash(translate("This environment has a role of that name in its settings."))
        return redirect(link("show_role", name=form.name))
    form.version = there.version
    return _editor(form, there if there.source == "saved" else None, copied=True)


def _sent(form: RoleForm, role: Role | None) -> Answer:
    """What becomes of a matrix by the button that sent it."""
    wanted = request.form.get("do", "save")
    if wanted == "add":
        form.add()
        return _editor(form, role)
    if wanted in ("check", "preview"):
        tried = _try(form)
        shown = _previewed(form, tried) if wanted == "preview" else {}
        return _editor(form, role, tried=tried, **shown), 422 if form.is_wrong else 200
    return _saved(form, role)


def _saved(form: RoleForm, role: Role | None) -> Answer:
    try:
        saved = current_environment().roles.save(form.name, version=form.version, **form.wanted())
    except ValidationFailed as refused:
        form.refuse(refused)
        return _editor(form, role), 422
    except VersionMismatch:
        form.errors["form"] = [_why_mismatched(form)]
        return _editor(form, role), 409
    except (Conflict, Forbidden) as error:
        note_denied(error)
        form.errors["form"] = [error.detail]
        return _editor(form, role), error.status
    flash(translate("The role was saved. It holds from the next request on."))
    if saved.locked_out:
        flash(locked_out(saved))
    return redirect(link("show_role", name=saved.name))


def _why_mismatched(form: RoleForm) -> str:
    if form.version:
        return translate(
            "Somebody else changed this role since you opened it. What you typed is still here: open the role in "
            "another tab to see what it is now, and load it again before you save."
        )
    return translate("There is a role of this name already.")


def delete_role(name: str) -> Answer:
    """Ask, then delete a role; one that keys have only where it is taken from them."""
    service = current_environment().roles
    role = service.get(name)
    wrong, status = None, 200
    if request.method == "POST":
        try:
            service.delete(name, take_from_keys="take" in request.form)
            flash(translate("The role was deleted."))
            return redirect(link("list_roles"))
        except (Conflict, Forbidden) as error:
            note_denied(error)
            wrong, status = error.detail, error.status
    return page("delete_role.html", role=role, holders=_holders(name), wrong=wrong), status


# -- checking while one types


def check_role() -> Answer:
    """What saving a matrix would say, for scripts: mistakes by row, keys that would be locked out, and a preview."""
    current_environment().roles.find()  # whoever may not see roles gets the refusal here
    form = RoleForm.typed(request.form)
    tried = _try(form)
    shown = _previewed(form, tried)
    return jsonify(
        rows={row.number: row.errors for row in form.rows if row.errors},
        errors=[message for messages in form.errors.values() for message in messages],
        lockedOut=locked_out(tried) if tried is not None and tried.locked_out else "",
        preview=page("preview.html", **shown) if shown else "",
    )


def _try(form: RoleForm) -> Role | None:
    """The role as it would be saved; ``None`` with the mistakes in the form."""
    try:
        return current_environment().roles.check(form.name or "new_role", **form.wanted())
    except ValidationFailed as refused:
        form.refuse(refused)
    except (Conflict, Forbidden) as error:
        form.errors["form"] = [error.detail]
    return None


def _previewed(form: RoleForm, tried: Role | None) -> dict[str, Any]:
    """What templates need for the preview that was asked for."""
    key_id, resource = id_in(request.form.get("preview_key", "")), request.form.get("preview_resource", "")
    if tried is None or not key_id or not resource or not may("api_keys", "read"):
        return {}
    try:
        return {"preview": current_environment().previews.show(key_id, resource, tried)}
    except (NotFound, Forbidden) as error:
        return {"no_preview": error.detail}
    except ServiceError as error:
        return {"no_preview": error.title}


def locked_out(role: Role) -> str:
    """Which keys have the role and lack what its filters need; names keep their direction to themselves."""
    names = {key.id: key.name for key in _holders(role.name)}
    said = [f"\u2068{names[key_id]}\u2069 ({key_id})" if key_id in names else key_id for key_id in role.locked_out[:5]]
    shown = ", ".join(said) + (", …" if len(role.locked_out) > 5 else "")
    return translate("These keys lack a value that the filters need, and see nothing by it: %(keys)s", keys=shown)


# -- parts


def _editor(form: RoleForm, role: Role | None, tried: Role | None = None, **values: Any) -> str:
    """The page of one role. What may not be changed is shown without anything to change it by."""
    environment = current_environment()
    resources = environment.roles.resources()
    editable = may("roles", "write") if role is None else role.source == "saved" and may("roles", "update")
    if editable:
        form.fill(resources)
    elif role is not None:
        form.rows = RoleForm.of(role).rows
    previewed = [resource for resource in resources if environment.previews.offers(resource)]
    return page(
        "role.html",
        form=form,
        role=role,
        editable=editable,
        actions=ACTIONS,
        resources=resources,
        holders=_holders(role.name) if role is not None else [],
        holders_max=HOLDERS,
        previewed=previewed if editable and may("api_keys", "read") else [],
        locked_out=locked_out(tried) if tried is not None and tried.locked_out else None,
        checked=tried is not None,
        others=[name for name in access.environments() if name != environment.config.environment],
        **{"preview": None, "no_preview": None, "copied": False, **values},
    )


def _holders(name: str) -> list[Key]:
    """Some of the keys that have a role, as far as the user may see them."""
    return current_environment().roles.keys_with(name, limit=HOLDERS) if may("api_keys", "read") else []
