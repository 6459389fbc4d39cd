"""The permission matrix: checked as one types, with a preview of the rows that a key would see."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from flask_archie_keys import Grant

from .conftest import NewWindow, Site
from .watched import Watched, picture

HERE = "environment = $environment"


def open_role(window: Watched, site: Site, name: str, *grants: Grant) -> Page:
    with site.app.app_context():
        site.keys.roles.save(name, grants=grants)
    return window.open(f"{site.address}/settings/roles/{name}")


def test_a_filter_is_checked_as_one_types(window: Watched, example: Site) -> None:
    page = open_role(window, example, "typed", Grant("customers", read=True, filter=HERE))
    key = example.create("Typist", "typed").key
    page.reload()
    field = page.get_by_label("Filter of customers")
    field.fill(f"{HERE} AND regio = 'eu'")
    expect(page.get_by_text("there is no column regio; did you mean 'region'? (at character 32)")).to_be_visible()
    expect(field).to_have_attribute("aria-invalid", "true")
    picture(page, "role-mistake", whole=True)
    field.fill(f"{HERE} AND region = $context.region")
    expect(page.locator("[data-locked-out]")).to_contain_text(key.id)
    expect(page.locator("[data-locked-out]")).to_contain_text("Typist")
    expect(field).not_to_have_attribute("aria-invalid", "true")
    field.fill(f"{HERE} AND region = 'eu'")
    expect(page.locator("[data-locked-out]")).to_be_hidden()
    with example.app.app_context():
        assert example.keys.roles.get("typed").grants[0].filter == HERE, "nothing was saved"


def test_a_preview_follows_what_is_typed(window: Watched, example: Site) -> None:
    page = open_role(window, example, "watched", Grant("customers", read=True, filter=HERE))
    key = example.create("Seen by", "viewer").key
    page.get_by_label("Key id").fill(key.id)
    page.get_by_label("Filter of customers").fill(f"{HERE} AND name = 'Northwind Tools'")
    preview = page.locator("[data-preview]")
    expect(preview).to_contain_text("This key does not have the role")
    expect(preview.get_by_role("cell", name="Northwind Tools")).to_be_visible()
    picture(page, "role", whole=True, narrow_and_dark=True)


def test_a_grant_more_and_saved(window: Watched, example: Site) -> None:
    page = open_role(window, example, "grown", Grant("orders", read=True, filter=HERE))
    page.get_by_role("button", name="+ Add a grant").click()
    page.get_by_label("Resource", exact=True).first.select_option("orders")
    row = page.locator("[data-row]").last
    row.get_by_role("checkbox").nth(2).check()
    row.get_by_role("textbox").fill(f"{HERE} AND status = 'open'")
    page.get_by_role("button", name="Save").last.click()
    expect(page.get_by_text("The role was saved.")).to_be_visible()
    with example.app.app_context():
        grants = example.keys.roles.get("grown").grants
    assert [(grant.actions, grant.filter) for grant in grants] == [
        (("read",), HERE),
        (("update",), f"{HERE} AND status = 'open'"),
    ]


def test_without_scripts(new_window: NewWindow, logged_in: object, example: Site) -> None:
    window = new_window(storage_state=logged_in, java_script_enabled=False)
    page = open_role(window, example, "plain", Grant("orders", read=True, filter=HERE))
    page.get_by_role("button", name="+ Add a grant").click()
    expect(page.get_by_label("Resource", exact=True)).to_have_count(2)  # of the row, and of the preview
    page.get_by_role("button", name="Check").click()
    expect(page.get_by_text("This can be saved.")).to_be_visible()
    page.get_by_role("button", name="Copy to staging").click()
    expect(page.get_by_text("Copied to staging. Nothing is saved yet.")).to_be_visible()
