"""Making a key, as an administrator sees it."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import Error, Page, expect

from flask_archie_keys.domain.keytext import parse

from .conftest import NewWindow, Site
from .watched import Watched, picture


def open_dialog(page: Page) -> None:
    page.get_by_role("link", name="+ Add new API key").first.click()
    expect(page.get_by_role("dialog")).to_be_visible()


def secret_of(page: Page) -> str:
    """The secret that a page shows."""
    return page.locator("#secret").input_value()


def test_a_key_is_made_in_the_dialog(page: Page, example: Site) -> None:
    picture(page, "keys", narrow_and_dark=True)
    open_dialog(page)
    dialog = page.get_by_role("dialog", name="Create API Key")
    dialog.get_by_label("Key Name").fill("Warehouse")
    preview = dialog.locator("[data-prefix-preview]")
    expect(preview).to_have_text("archie_7f3Kq2Zt9bXa_…")
    dialog.get_by_label("Key Prefix").press_sequentially("shop")
    expect(preview).to_have_text("shop_7f3Kq2Zt9bXa_…")
    dialog.get_by_role("checkbox", name=re.compile("^customer_orders")).check()
    row = dialog.locator("[data-row]:visible")
    expect(row.get_by_label("Name of the value")).to_have_value("customer")
    row.get_by_label("Value", exact=True).fill("Northwind Tools")
    picture(page, "create")
    dialog.get_by_role("button", name="Create Key").click()
    expect(page.get_by_role("heading", name="Your new API key")).to_be_visible()
    picture(page, "secret")
    secret = secret_of(page)
    assert parse(secret) is not None and secret.startswith("shop_")
    assert f"Bearer {secret}" in page.locator("pre").inner_text()
    assert example.request("/api/orders", secret) == 200
    (key,) = example.named("Warehouse")
    assert (key.roles, dict(key.context), key.created_by) == (
        ("customer_orders",),
        {"customer": "Northwind Tools"},
        "user:1",
    )


def test_rows_come_and_go(page: Page) -> None:
    open_dialog(page)
    dialog = page.get_by_role("dialog")
    rows = dialog.locator("[data-row]:visible")
    expect(rows).to_have_count(1)
    dialog.get_by_role("button", name="+ Add a value").click()
    expect(rows).to_have_count(2)
    expect(rows.nth(1).get_by_label("Name of the value")).to_be_focused()
    rows.nth(0).get_by_role("button", name="Remove this value").click()
    rows.nth(0).get_by_role("button", name="Remove this value").click()
    expect(rows).to_have_count(0)
    expect(dialog.get_by_role("button", name="+ Add a value")).to_be_focused()
    dialog.get_by_role("checkbox", name=re.compile("^regional_clerk")).check()
    dialog.get_by_role("checkbox", name=re.compile("^customer_orders")).check()
    names = [rows.nth(number).get_by_label("Name of the value").input_value() for number in range(2)]
    assert names == ["region", "customer"]
    expect(dialog.locator("[data-marked]")).to_have_count(2)
    expect(dialog.get_by_role("status")).to_have_text("The chosen roles need: customer, region")
    rows.nth(1).get_by_label("Value", exact=True).fill("Northwind Tools")
    for role in ("regional_clerk", "customer_orders"):
        dialog.get_by_role("checkbox", name=re.compile(f"^{role}")).uncheck()
    expect(dialog.locator("[data-marked]")).to_have_count(0)
    expect(rows).to_have_count(1)  # what was typed stays
    expect(dialog.get_by_role("status")).to_have_text("")


def test_mistakes_stand_beside_their_fields_and_what_was_typed_stays(page: Page) -> None:
    open_dialog(page)
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Key Name").fill("Half done")
    dialog.get_by_label("Key Prefix").fill("Shop!")
    dialog.get_by_role("checkbox", name=re.compile("^viewer")).check()
    row = dialog.locator("[data-row]:visible")
    row.get_by_label("Name of the value").fill("limit")
    row.get_by_label("Kind of the value").select_option("number")
    row.get_by_label("Value", exact=True).fill("many")
    dialog.get_by_label("Allowed networks").fill("10.0.0.0/8\nnowhere")
    dialog.get_by_role("button", name="Create Key").click()
    expect(dialog.get_by_role("alert")).to_have_text("Some fields need another look.")
    expect(dialog.locator("#context-mistake1")).to_have_text("limit: must be a number")
    row.get_by_label("Value", exact=True).fill("7")
    dialog.get_by_role("button", name="Create Key").click()
    for label in ("Key Prefix", "Allowed networks"):
        expect(dialog.get_by_label(label)).to_have_accessible_description(re.compile("."))
        expect(dialog.get_by_label(label)).to_have_attribute("aria-invalid", "true")
    picture(page, "mistakes", whole=True)
    expect(dialog.get_by_label("Key Name")).to_have_value("Half done")
    expect(dialog.get_by_role("checkbox", name=re.compile("^viewer"))).to_be_checked()
    expect(row.get_by_label("Value", exact=True)).to_have_value("7")
    dialog.get_by_label("Key Prefix").fill("shop")
    dialog.get_by_label("Allowed networks").fill("10.0.0.0/8")
    dialog.get_by_role("button", name="Create Key").click()
    expect(page.locator("#secret")).to_have_value(re.compile("^shop_"))


def make(page: Page, name: str) -> str:
    """The secret of a key that is made in the dialog."""
    open_dialog(page)
    page.get_by_role("dialog").get_by_label("Key Name").fill(name)
    page.get_by_role("button", name="Create Key").click()
    page.wait_for_selector("#secret")
    return secret_of(page)


def test_the_secret_is_copied_and_gone_when_the_page_is(window: Watched, page: Page, example: Site) -> None:
    window.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=example.address)
    secret = make(page, "Copied")
    page.get_by_role("button", name="Copy").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    expect(page.locator("[data-copy-status]")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == secret
    second = window.open(page.url)
    assert second.url == example.keys_url and secret not in second.content()
    page.reload()
    expect(page.get_by_role("heading", name="This key was made already")).to_be_visible()
    assert secret not in page.content()
    assert len(example.named("Copied")) == 1


def test_the_secret_is_not_there_after_going_back(page: Page) -> None:
    secret = make(page, "Left")
    page.get_by_role("link", name="I have stored it").click()
    expect(page.get_by_role("heading", name="Left")).to_be_visible()
    assert secret not in page.content()
    with pytest.raises(Error, match="ERR_CACHE_MISS"):  # the browser has kept nothing, and asks before it sends again
        page.go_back()
    expect(page.locator("#secret")).to_have_count(0)


def test_a_form_that_is_sent_twice_makes_one_key_and_shows_it(page: Page, example: Site) -> None:
    open_dialog(page)
    page.get_by_role("dialog").get_by_label("Key Name").fill("Doubled")
    page.get_by_role("button", name="Create Key").dblclick()
    expect(page.locator("#secret")).to_have_value(re.compile("^archie_"))
    assert len(example.named("Doubled")) == 1


def test_with_the_keyboard_alone(page: Page, example: Site) -> None:
    opener = page.get_by_role("link", name="+ Add new API key").first
    page.keyboard.press("Tab")
    while not opener.evaluate("each => each === document.activeElement"):
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(opener).to_be_focused()
    page.keyboard.press("Enter")
    expect(dialog.get_by_label("Key Name")).to_be_focused()
    page.keyboard.type("By hand")
    page.keyboard.press("Tab")
    page.keyboard.type("hand")
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    for _ in range(40):
        if page.evaluate("document.activeElement.textContent") == "Create Key":
            break
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#secret")).to_have_value(re.compile("^hand_"))
    (key,) = example.named("By hand")
    assert len(key.roles) == 1


def test_without_scripts(new_window: NewWindow, logged_in: Any, example: Site) -> None:
    page = new_window(storage_state=logged_in, java_script_enabled=False).open(example.keys_url)
    page.get_by_role("link", name="+ Add new API key").first.click()
    expect(page).to_have_url(f"{example.keys_url}/new")
    picture(page, "create-without-scripts", whole=True)
    page.get_by_label("Key Name").fill("Without scripts")
    page.get_by_role("checkbox", name=re.compile("^customer_orders")).check()
    page.get_by_role("button", name="Create Key").click()
    expect(page.get_by_role("alert")).to_have_text("Some fields need another look.")
    row = page.locator("[data-row]").first
    expect(row.get_by_label("Name of the value")).to_have_value("customer")
    row.get_by_label("Value", exact=True).fill("Northwind Tools")
    page.get_by_role("button", name="Create Key").click()
    assert example.request("/api/orders", secret_of(page)) == 200
    page.get_by_role("link", name="I have stored it").click()
    page.get_by_role("button", name="Disable").click()
    expect(page.locator(".archie-status")).to_have_text("disabled")
    page.get_by_role("button", name="Enable").click()
    page.get_by_role("link", name="Rotate").click()
    page.get_by_role("button", name="Make the new key").click()
    new = secret_of(page)
    assert example.request("/api/orders", new) == 200
    page.get_by_role("link", name="Watch the rotation").click()
    expect(page.locator("[data-side=new] [data-requests]")).to_have_text("1")
    page.get_by_role("link", name="Delete the old key").click()
    page.get_by_label("Type its name").fill("Without scripts")
    page.get_by_role("button", name="Delete").click()
    expect(page.locator(".archie-status").first).to_have_text("deleted")
    assert example.request("/api/orders", new) == 200


def test_the_environment_is_switched_and_kept(page: Page, example: Site) -> None:
    page.get_by_role("navigation", name="Environment").get_by_role("link", name="staging").click()
    expect(page).to_have_url(f"{example.keys_url}?environment=staging")
    open_dialog(page)
    expect(page.locator("[data-prefix-preview]")).to_have_text("archie_test_7f3Kq2Zt9bXa_…")
    page.get_by_role("dialog").get_by_label("Key Name").fill("Elsewhere")
    page.get_by_role("button", name="Create Key").click()
    expect(page.locator("#secret")).to_have_value(re.compile("^archie_test_"))
    page.get_by_role("link", name="I have stored it").click()
    expect(page.get_by_role("heading", name="Elsewhere")).to_be_visible()
    assert page.url.endswith("?environment=staging")
    assert example.named("Elsewhere") == []
