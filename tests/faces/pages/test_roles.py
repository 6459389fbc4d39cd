"""The pages about roles: the list, the permission matrix, checking as one types, previews; and who may do what."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from flask_archie_keys import ArchieKeys, require_api_key
from flask_archie_keys.domain.permissions import Grant, Role

from ...conftest import MakeHost
from ...support.protected import alone
from .console import ALL, HOSTILE, OWN, ROLES, Console, links, ok, text_of


class Base(DeclarativeBase):
    pass


class Parcel(Base):
    __tablename__ = "console_parcels"
    id: Mapped[int] = mapped_column(primary_key=True)
    region: Mapped[str]
    label: Mapped[str]


@pytest.fixture(scope="module", autouse=True)
def protected() -> Iterator[None]:
    with alone():
        ArchieKeys().protect(Parcel, resource="parcels")
        yield


DECLARED = {**ROLES, "admin": {"grants": [*ROLES["admin"]["grants"], {"resource": "parcels", **ALL}]}}
BY_REGION = Grant("parcels", read=True, filter="region = $context.region")


@pytest.fixture
def console(make_host: MakeHost) -> Console:
    environments = {"ARCHIE_KEYS_ENVIRONMENTS": {"master": {}, "staging": {}}}
    return Console(make_host, ARCHIE_KEYS_ROLES=DECLARED, **environments)


def fill(console: Console) -> None:
    host = console.host
    with host.app.app_context(), host.keys.unrestricted("fill"):
        Base.metadata.create_all(host.db.engine)
        host.db.session.add_all(
            Parcel(id=n, region="eu" if n < 3 else "us", label=f"{HOSTILE} {n}") for n in range(1, 6)
        )
        host.db.session.commit()


def matrix(*rows: tuple[str, str, str], **fields: str) -> list[tuple[str, str]]:
    """The fields of the form: for each row its resource, its actions and its filter."""
    form = list(fields.items())
    for number, (resource, actions, filter) in enumerate(rows):
        form += [("grant", str(number)), (f"resource-{number}", resource), (f"filter-{number}", filter)]
        form += [(action, str(number)) for action in actions.split()]
    return form


def saved(console: Console, name: str, environment: str = "master") -> Role:
    with console.host.app.app_context():
        return console.host.keys.for_environment(environment).roles.get(name)


def fields_of(answer: Any) -> dict[str, list[str]]:
    """What a browser would send of the first matrix of a page."""
    form = answer.text.partition("data-matrix=")[2].partition("</form>")[0].partition("<template")[0]
    found: dict[str, list[str]] = {}
    for tag in re.findall(r"<input[^>]*>", form):
        attributes = dict(re.findall(r'([\w-]+)="([^"]*)"', tag))
        if attributes.get("type") != "checkbox" or " checked" in tag:
            found.setdefault(attributes.get("name", ""), []).append(attributes.get("value", ""))
    return found


# -- the list


def test_the_list_tells_what_each_role_grants_and_how_many_keys_have_it(console: Console) -> None:
    console.host.save("clerk", BY_REGION, description="Sells")
    for _ in range(3):
        console.host.create("key", ("clerk",), context={"region": "eu"})
    text = text_of(ok(console.get("/roles")))
    assert re.search(r"clerk Sells parcels : read where region = \$context.region 3 saved", text)
    assert re.search(r"viewer Looks\. no grants; for views that ask for this role 0 settings", text)


def test_roles_that_may_not_be_seen_are_not_there(console: Console) -> None:
    console.host.save("clerk", BY_REGION)
    console.host.save("hidden", BY_REGION)
    console.host.save("some", Grant("roles", read=True, filter="name = 'clerk'"))
    console.roles = ("some",)
    text = text_of(ok(console.get("/roles")))
    assert "clerk" in text and "hidden" not in text and "viewer" not in text and "+ Add new role" not in text
    assert "Keys" not in text, "nor how many keys there are"
    assert console.get("/roles/hidden").status_code == 404
    assert "Keys that have this role" not in text_of(ok(console.get("/roles/clerk")))


def test_an_empty_list_teaches(make_host: MakeHost) -> None:
    console = Console(make_host, ARCHIE_KEYS_ROLES={})
    console.host.save("only", Grant("roles", read=True, write=True, filter="name = 'none'"))
    console.roles = ("only",)
    assert "A role says what a key may do" in text_of(ok(console.get("/roles")))


# -- one role


def test_the_matrix_has_a_row_for_each_resource(console: Console) -> None:
    console.host.app.add_url_rule("/reports", "reports", require_api_key(resource="reports")(lambda: ""))
    console.host.save("clerk", BY_REGION, Grant("parcels", update=True, delete=True, filter="region = 'eu'"))
    answer = ok(console.get("/roles/clerk"))
    fields = fields_of(answer)
    resources = [fields[f"resource-{number}"][0] for number in fields["grant"]]
    assert resources == ["parcels", "parcels", "reports", *OWN]
    assert fields["read"] == ["0"] and fields["update"] == ["1"] and fields["delete"] == ["1"]
    assert "region = $context.region</textarea>" in answer.text and "region = &#39;eu&#39;</textarea>" in answer.text


@pytest.mark.parametrize("name", ["admin", "viewer", "worker"])
def test_roles_of_the_settings_and_of_views_are_shown_only(console: Console, name: str) -> None:
    console.host.app.add_url_rule("/work", "work", require_api_key(roles=["worker"])(lambda: ""))
    answer = ok(console.get(f"/roles/{name}"))
    assert "<textarea" not in answer.text and "Save" not in text_of(answer)
    assert ("ARCHIE_KEYS_ROLES" in text_of(answer)) is (name != "worker")
    assert not [link for link in links(answer) if link.endswith("/delete")]
    if name != "worker":
        refused = ok(console.post(f"/roles/{name}", matrix(("parcels", "read", ""))), 409)
        assert "declared in ARCHIE_KEYS_ROLES" in text_of(refused)


def test_a_role_that_views_name_can_be_given_grants_under_its_name(console: Console) -> None:
    console.host.app.add_url_rule("/work", "work", require_api_key(roles=["worker"])(lambda: ""))
    (link,) = [each for each in links(ok(console.get("/roles/worker"))) if "new-role" in each]
    assert 'name="name" value="worker"' in ok(console.client.get(link)).text


# -- saving


def test_a_new_role(console: Console) -> None:
    form = matrix(
        ("parcels", "read write", " region = 'eu' "),
        ("api_keys", "", ""),
        ("roles", "read", ""),
        name="clerk",
        description="Sells",
    )
    answer = console.post("/new-role", [*form, ("version", "0")])
    assert (answer.status_code, answer.location) == (302, "/settings/roles/clerk")
    assert saved(console, "clerk").grants == (
        Grant("parcels", read=True, write=True, filter="region = 'eu'"),
        Grant("roles", read=True),
    )
    assert "The role was saved" in text_of(ok(console.client.get(answer.location)))


def test_a_role_is_changed_as_it_was_shown(console: Console) -> None:
    console.host.save("clerk", BY_REGION)
    fields = fields_of(ok(console.get("/roles/clerk")))
    form = matrix(("parcels", "read", "region = 'us'"), ("parcels", "update", ""), version=fields["version"][0])
    assert console.post("/roles/clerk", form).status_code == 302
    assert saved(console, "clerk").grants == (
        Grant("parcels", read=True, filter="region = 'us'"),
        Grant("parcels", update=True),
    )


def test_a_change_of_somebody_else_is_not_lost(console: Console) -> None:
    console.host.save("clerk", BY_REGION)
    version = fields_of(ok(console.get("/roles/clerk")))["version"][0]
    console.host.save("clerk", Grant("parcels", read=True), description="newer")
    answer = ok(console.post("/roles/clerk", matrix(("parcels", "read", "region = 'mine'"), version=version)), 409)
    assert "Somebody else changed this role" in text_of(answer) and "region = &#39;mine&#39;" in answer.text
    assert saved(console, "clerk").description == "newer"
    answer = ok(console.post("/new-role", matrix(("parcels", "read", ""), name="clerk", version="0")), 409)
    assert "There is a role of this name already" in text_of(answer)


def test_mistakes_stand_in_their_rows_and_what_was_typed_stays(console: Console) -> None:
    form = matrix(
        ("api_keys", "read", ""),
        ("roles", "", ""),
        ("parcels", "read", "regio = 'eu'"),
        ("parcels", "", "id = 1"),
        name="Clerk!",
        description="d",
    )
    answer = ok(console.post("/new-role", form), 422)
    text = text_of(answer)
    assert "must be snake_case" in text and "must grant one of read, write, update, delete" in text
    assert 'value="Clerk!"' in answer.text and "regio = &#39;eu&#39;</textarea>" in answer.text
    answer = ok(
        console.post("/new-role", matrix(("roles", "", ""), ("parcels", "read", "regio = 'eu'"), name="clerk")), 422
    )
    row = answer.text.partition("regio = &#39;eu&#39;</textarea>")[2].partition("</tr>")[0]
    assert "there is no column regio; did you mean &#39;region&#39;?" in row and "at character 1" in row


@pytest.mark.parametrize(
    "form",
    [
        [("grant", "x"), ("grant", "-1"), ("grant", "99999999"), ("read", "x"), ("name", "clerk")],
        [("grant", "0"), ("read", "0"), ("name", "clerk")],
        [
            ("grant", "0"),
            ("resource-0", HOSTILE),
            ("read", "0"),
            ("filter-0", HOSTILE),
            ("name", HOSTILE),
            ("description", HOSTILE),
        ],
        [("name", "clerk"), ("version", "²"), ("do", "delete everything"), ("description", "x" * 3000)],
        [("name", "clerk"), ("description", "a\x00b")],
        [("name", "")],
        [("grant", str(n)) for n in range(1000)],
    ],
)
def test_forms_that_no_browser_sends(console: Console, form: list[tuple[str, str]]) -> None:
    answer = console.post("/new-role", form)
    assert answer.status_code in (302, 422)
    if answer.status_code == 422:
        ok(answer, 422)
        assert "<img" not in answer.text


def test_hostile_text_is_text(console: Console) -> None:
    console.host.save("clerk", Grant("parcels", read=True, filter="label = '<img src=x>{{7*7}}'"), description=HOSTILE)
    console.host.create(HOSTILE, ("clerk",))
    for path in ("/roles", "/roles/clerk", "/roles/clerk/delete"):
        ok(console.get(path))
    assert "49" not in re.sub(
        r"\d{2}:\d{2}|value=\"[^\"]*\"", "", text_of(console.get("/roles/clerk")).split("Keys that")[1]
    )


def test_a_row_more_without_scripts(console: Console) -> None:
    form = matrix(("parcels", "read", "id = 1"), name="clerk", description="kept", do="add")
    answer = ok(console.post("/new-role", form))
    fields = fields_of(answer)
    assert [name for name in fields if name.startswith("added-")] == ["added-4"]
    assert "id = 1</textarea>" in answer.text and 'value="kept"' in answer.text
    again = [*matrix(*[("parcels", "read", f"id = {n}") for n in range(2)], name="clerk"), ("added-1", "1")]
    answer = ok(console.post("/new-role", [*again, ("do", "add")]))
    assert answer.text.count('name="added-') == 3, "two rows, and the template"


# -- checking


def check(console: Console, *rows: tuple[str, str, str], **fields: str) -> Any:
    token = console.token
    answer = console.post("/check-role", matrix(*rows, **fields), token=None, X_CSRFToken=token)
    assert answer.status_code == 200, answer.text
    return answer.json


@pytest.fixture(autouse=True)
def header_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """``X_CSRFToken`` is the header ``X-CSRFToken``."""
    post = Console.post

    def with_header(self: Console, path: str, form: Any = (), *, token: str | None = "good", **headers: str) -> Any:
        return post(self, path, form, token=token, **{name.replace("_", "-"): text for name, text in headers.items()})

    monkeypatch.setattr(Console, "post", with_header)


def test_a_mistake_is_told_with_its_position(console: Console) -> None:
    found = check(console, ("api_keys", "read", ""), ("parcels", "read", "id = 1 AND regio = 'eu'"), name="clerk")
    assert list(found["rows"]) == ["1"] and "(at character 12)" in found["rows"]["1"][0]
    assert found["errors"] == [] and found["lockedOut"] == "" and found["preview"] == ""
    assert check(console, ("parcels", "read", "id ="))["rows"].keys() == {"0"}
    assert check(console, ("parcels", "read", "id = 1"))["rows"] == {}


def test_which_keys_would_be_locked_out(console: Console) -> None:
    console.host.save("clerk", Grant("parcels", read=True))
    key = console.host.create("Warehouse", ("clerk",)).key
    console.host.create("good", ("clerk",), context={"region": "eu"})
    said = check(console, ("parcels", "read", BY_REGION.filter or ""), name="clerk")["lockedOut"]
    assert key.id in said and "Warehouse" in said and "good" not in said
    console.host.save("half", Grant("roles", **ALL), Grant("parcels", **ALL))
    console.roles = ("half",)
    assert check(console, ("parcels", "read", BY_REGION.filter or ""), name="clerk")["lockedOut"] == "", (
        "no keys are told"
    )


def test_checking_changes_nothing(console: Console) -> None:
    console.host.save("clerk", BY_REGION)
    check(console, ("parcels", "read", "id = 1"), name="clerk")
    ok(console.post("/roles/clerk", matrix(("parcels", "read", "id = 1"), do="check")))
    assert saved(console, "clerk").grants == (BY_REGION,)


def test_checking_without_scripts(console: Console) -> None:
    console.host.save("clerk", Grant("parcels", read=True))
    key = console.host.create("Warehouse", ("clerk",)).key
    good = ok(console.post("/roles/clerk", matrix(("parcels", "read", "id = 1"), do="check")))
    assert "This can be saved." in text_of(good)
    locked = ok(console.post("/roles/clerk", matrix(("parcels", "read", BY_REGION.filter or ""), do="check")))
    assert key.id in text_of(locked) and "These keys lack a value" in text_of(locked)
    ok(console.post("/roles/clerk", matrix(("parcels", "read", "id ="), do="check")), 422)


# -- previews


def asked(key_id: str, resource: str = "parcels") -> dict[str, str]:
    return {"preview_key": key_id, "preview_resource": resource}


def test_a_preview_of_the_rows_that_a_key_would_see(console: Console) -> None:
    fill(console)
    key = console.host.create("eu", ("viewer",), context={"region": "eu"}).key
    html = check(console, ("parcels", "read", BY_REGION.filter or ""), name="clerk", **asked(key.id))["preview"]
    assert (
        "2 rows" in html and "region = &#39;eu&#39;" in html and "<img" not in html and "This key does not have" in html
    )
    console.host.save("clerk", Grant("parcels", read=True))
    form = matrix(("parcels", "read", "id = 5"), do="preview", **asked(f"archie_{key.id}_…"))
    answer = ok(console.post("/roles/clerk", form))
    assert "1 row where id = 5" in text_of(answer) and saved(console, "clerk").grants == (Grant("parcels", read=True),)


def test_no_preview_beyond_what_the_user_may_see(console: Console) -> None:
    fill(console)
    key = console.host.create("eu", ("viewer",)).key
    console.host.save(
        "manager", Grant("roles", **ALL), Grant("api_keys", read=True), Grant("parcels", **{**ALL, "read": False})
    )
    console.host.save(
        "half", Grant("roles", **ALL), Grant("api_keys", read=True), Grant("parcels", **ALL, filter="id < 2")
    )
    console.host.save("clerk", Grant("parcels", read=True))
    console.roles = ("manager",)
    page = ok(console.get("/roles/clerk"))
    assert "<option>parcels" not in page.text.partition("preview-resource")[2], "not offered"
    assert "console_parcels" not in check(console, ("api_keys", "read", ""), **asked(key.id))["preview"]
    assert "no grant" in check(console, ("api_keys", "read", ""), **asked(key.id))["preview"], "and refused"
    console.roles = ("half",)
    html = check(console, ("parcels", "read", "id < 2"), **asked(key.id))["preview"]
    assert "1 row" in html


@pytest.mark.parametrize(
    ("key_id", "resource"), [("0" * 12, "parcels"), (HOSTILE, "parcels"), ("", "parcels"), ("0" * 12, HOSTILE)]
)
def test_a_preview_of_what_is_not_there(console: Console, key_id: str, resource: str) -> None:
    fill(console)
    html = check(console, ("parcels", "read", ""), **asked(key_id, resource))["preview"]
    assert "<img" not in html and "<table" not in html


def test_keys_that_may_not_be_seen_have_no_preview(console: Console) -> None:
    fill(console)
    key = console.host.create("hidden", ("viewer",)).key
    console.host.save(
        "half", Grant("roles", **ALL), Grant("parcels", **ALL), Grant("api_keys", read=True, filter="name = 'mine'")
    )
    console.roles = ("half",)
    html = check(console, ("parcels", "read", ""), **asked(key.id))["preview"]
    assert "<table" not in html and "hidden" not in html


# -- deleting


def test_a_role_that_no_key_has_is_deleted(console: Console) -> None:
    console.host.save("clerk", BY_REGION)
    assert "No key that you can see has this role" in text_of(ok(console.get("/roles/clerk/delete")))
    assert console.post("/roles/clerk/delete").location == "/settings/roles"
    assert console.get("/roles/clerk").status_code == 404


def test_a_role_in_use_is_only_deleted_where_it_is_taken_from_the_keys(console: Console) -> None:
    console.host.save("clerk", BY_REGION)
    key = console.host.create("Warehouse", ("clerk", "viewer"), context={"region": "eu"}).key
    assert "Warehouse" in text_of(ok(console.get("/roles/clerk/delete")))
    refused = ok(console.post("/roles/clerk/delete"), 409)
    assert key.id in text_of(refused) and "Take it from these keys" in text_of(refused)
    assert console.post("/roles/clerk/delete", {"take": "1"}).status_code == 302
    with console.host.app.app_context():
        assert console.host.keys.service.get(key.id).roles == ("viewer",)


# -- copying


def test_a_copy_is_looked_at_before_it_is_saved(console: Console) -> None:
    console.host.save("clerk", BY_REGION, description="Sells")
    page = ok(console.get("/roles/clerk"))
    assert 'action="/settings/new-role?environment=staging"' in page.text
    form = matrix(("parcels", "read", BY_REGION.filter or ""), name="clerk", description="Sells", environment="master")
    answer = ok(console.post("/new-role?environment=staging", [*form, ("do", "copy")]))
    assert "Copied to staging. Nothing is saved yet." in text_of(answer)
    fields = fields_of(answer)
    assert fields["environment"] == ["staging"] and fields["version"] == ["0"]
    assert console.post(
        "/new-role", [*form[:-1], *[(n, v[0]) for n, v in fields.items() if n in ("environment", "version")]]
    )
    console.post("/new-role", matrix(("parcels", "read", ""), name="clerk", environment="staging", version="0"))
    assert saved(console, "clerk", "staging").name == "clerk"
    again = ok(console.post("/new-role?environment=staging", [*form, ("do", "copy")]))
    assert "saving replaces it" in text_of(again) and fields_of(again)["version"] == ["1"]


def test_a_copy_over_a_role_of_the_settings_is_not_offered_to_be_saved(console: Console) -> None:
    answer = console.post("/new-role?environment=staging", [("name", "viewer"), ("do", "copy")])
    assert answer.location == "/settings/roles/viewer?environment=staging"


def test_a_user_of_one_environment_copies_to_none(console: Console) -> None:
    console.host.save("clerk", BY_REGION)
    console.environment = "master"
    assert "Copy to" not in text_of(ok(console.get("/roles/clerk")))


# -- who may do what

CHANGES = ("/new-role", "/check-role", "/roles/clerk", "/roles/clerk/delete")


@pytest.mark.parametrize("path", ["/roles", "/new-role", "/roles/clerk", "/roles/clerk/delete"])
def test_without_a_grant_there_is_nothing(console: Console, path: str) -> None:
    console.host.save("clerk", BY_REGION)
    console.roles = ("viewer",)
    answer = console.get(path)
    assert answer.status_code == 403 and "region" not in answer.text
    console.roles = None
    assert console.get(path).status_code == 401


@pytest.mark.parametrize("path", CHANGES)
def test_no_change_without_a_grant(console: Console, path: str) -> None:
    console.host.save("clerk", BY_REGION)
    console.host.save("reader", Grant("roles", read=True))
    console.roles = ("reader",)
    page = ok(console.get("/roles/clerk"))
    assert "<textarea" not in page.text and "Copy" not in text_of(page) and "/roles/clerk/delete" not in page.text, (
        "not offered"
    )
    answer = console.post(path, matrix(("parcels", "read", ""), name="mine"))
    assert answer.status_code == 403 or answer.json["errors"], "and refused"
    console.roles = ("viewer",)
    assert console.post(path, matrix(("parcels", "read", ""), name="mine")).status_code == 403
    assert saved(console, "clerk").grants == (BY_REGION,)
    with console.host.app.app_context():
        assert "mine" not in [role.name for role in console.host.keys.roles.find()]


@pytest.mark.parametrize("path", CHANGES)
@pytest.mark.parametrize("token", [None, "", "forged", "of-the-tests"])
def test_no_change_from_elsewhere(console: Console, path: str, token: str | None) -> None:
    console.host.save("clerk", BY_REGION)
    answer = console.post(path, matrix(("parcels", "read", ""), name="mine"), token=token)
    assert answer.status_code == 400
    assert saved(console, "clerk").grants == (BY_REGION,)


def test_no_change_by_get(console: Console) -> None:
    console.host.save("clerk", BY_REGION)
    assert console.get("/check-role").status_code == 405
    ok(console.get("/roles/clerk?do=save&grant=0&resource-0=parcels&read=0"))
    ok(console.get("/roles/clerk/delete?take=1"))
    assert saved(console, "clerk").grants == (BY_REGION,)


def test_nobody_grants_more_than_they_have(console: Console) -> None:
    console.host.save("clerk", BY_REGION)
    console.host.save("keeper", Grant("roles", **ALL))
    console.roles = ("keeper",)
    answer = ok(console.post("/roles/clerk", matrix(("parcels", "read delete", ""))), 403)
    assert "parcels" in text_of(answer) and saved(console, "clerk").grants == (BY_REGION,)
    assert check(console, ("parcels", "read delete", ""), name="clerk")["errors"]
