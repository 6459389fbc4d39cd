"""What others wrote is shown as text, wherever it is shown."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import Page, expect

from .conftest import NewWindow, Site

IMAGE = '"><img src=x onerror=alert(1)>'
CURLY = "{{777*777}}${777*777}"
RIGHT_TO_LEFT = "invoice\u202egnp.exe"
SCRIPT = "</script><script>alert(1)</script>"
TEXT = f"{IMAGE} {CURLY} {RIGHT_TO_LEFT} {SCRIPT}"


def in_path(text: str) -> str:
    """The text as one segment of a path."""
    return text.replace("/", "|")


def assert_text(page: Page, text: str) -> None:
    """It can be read as it was written, and did nothing."""
    expect(page.locator("body")).to_contain_text(text)
    assert page.locator("img, script:not([src])").count() == 0
    assert "603729" not in page.content()


@pytest.fixture(scope="module")
def hostile(example: Site) -> Any:
    """A key with all of it wherever there can be text."""
    with example.app.app_context():
        example.keys.roles.save("odd", description=TEXT, grants=[])
    made = example.create(TEXT, "odd", context={"said": TEXT, "many": [TEXT, 1]}, owner=TEXT)
    path = f"/api/orders/{quote(in_path(TEXT), safe='')}"
    example.request(path, made.secret, **{"User-Agent": TEXT.encode().decode("latin-1")})
    return made.key


def test_on_the_pages_of_a_key(page: Page, example: Site, hostile: Any) -> None:
    page.goto(f"{example.keys_url}/{hostile.id}")
    assert page.title() == f"{TEXT} · Settings"
    assert_text(page, TEXT)
    expect(page.locator("dd bdi", has_text=TEXT)).to_have_count(3)
    expect(page.get_by_role("row").filter(has_text=f"GET /api/orders/{in_path(TEXT)}")).to_have_count(1)
    for part in ("delete", "edit"):
        page.goto(f"{example.keys_url}/{hostile.id}/{part}")
        assert_text(page, TEXT)
    for label in ("Key Name", "Owner"):
        assert page.get_by_label(label).input_value() == TEXT


def test_in_a_rotation(page: Page, example: Site, hostile: Any) -> None:
    page.goto(f"{example.keys_url}/{hostile.id}/rotate")
    assert_text(page, TEXT)
    page.get_by_role("button", name="Make the new key").click()
    assert_text(page, TEXT)
    page.get_by_role("link", name="Watch the rotation").click()
    with page.expect_response("**/rotation.json"):
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(page.locator("[data-caller-request]")).to_have_text(f"GET /api/orders/{in_path(TEXT)}")
    assert_text(page, TEXT)


def test_in_lists_and_forms(page: Page, hostile: Any) -> None:
    page.get_by_role("searchbox").fill(TEXT)
    page.get_by_role("button", name="Search", exact=True).click()
    expect(page.get_by_role("searchbox")).to_have_value(TEXT)
    expect(page.locator("tbody th bdi").first).to_have_text(TEXT)
    assert_text(page, TEXT)
    page.get_by_role("link", name="+ Add new API key").first.click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text(TEXT)
    dialog.get_by_label("Key Name").fill(TEXT)
    dialog.get_by_label("Key Prefix").fill(CURLY)
    dialog.get_by_label("Allowed networks").fill(TEXT)
    dialog.get_by_role("button", name="Create Key").click()
    expect(dialog.get_by_role("alert")).to_be_visible()
    assert_text(page, TEXT)
    assert dialog.get_by_label("Key Name").input_value() == TEXT


def test_in_roles_and_the_audit_log(page: Page, example: Site, hostile: Any) -> None:
    for path in ("roles", "roles/odd", "roles/odd/delete", f"audit?key={hostile.id}"):
        page.goto(f"{example.address}/settings/{path}")
        assert_text(page, in_path(TEXT) if "audit" in path else TEXT)
    page.locator("tbody tr", has_text=IMAGE).get_by_role("link").first.click()
    expect(page.locator("dd", has_text=IMAGE).and_(page.locator("dd", has_text="777"))).to_have_count(3)
    assert_text(page, TEXT)


def test_a_direction_does_not_leak(page: Page, hostile: Any) -> None:
    """A name that turns the direction stands in an element of its own, so that what follows stays readable."""
    for name in page.locator("tbody th a").all():
        assert name.evaluate("each => each.firstElementChild && each.firstElementChild.tagName") == "BDI"


def test_in_addresses(new_window: NewWindow, plain: Site) -> None:
    window = new_window()
    page = window.open(f"{plain.address}/login/admin")
    for path in (
        f"/{quote(IMAGE, safe='')}",
        f"?status={quote(IMAGE)}",
        f"?cursor={quote(IMAGE)}",
        f"?q={quote(IMAGE)}",
    ):
        page.goto(plain.keys_url + path)
        assert page.locator("img, script:not([src])").count() == 0
