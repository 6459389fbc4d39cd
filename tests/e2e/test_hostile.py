"""What others wrote is shown as text, wherever it is shown."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import Page, expect

from .conftest import NewWindow, Site
from .watched import Watched

IMAGE = '"><img src=x onerror=alert(1)>'
CURLY = "{{777*777}}${777*777}"
RIGHT_TO_LEFT = "invoice\u202egnp.exe"
SCRIPT = "</script><script>alert(1)</script>"
TEXTS = (IMAGE, CURLY, RIGHT_TO_LEFT, SCRIPT)


def in_path(text: str) -> str:
    """The text as one segment of a path."""
    return text.replace("/", "|")


def assert_text(page: Page, text: str) -> None:
    """It can be read as it was written, and did nothing."""
    expect(page.locator("body")).to_contain_text(text)
    assert page.locator("img, script:not([src])").count() == 0
    assert "603729" not in page.content()


@pytest.fixture(scope="module")
def hostile(example: Site) -> dict[str, Any]:
    """A key for each text, with the text wherever there can be one."""
    made = {}
    with example.app.app_context():
        example.keys.roles.save("odd", description=" ".join(TEXTS), grants=[])
    for text in TEXTS:
        made[text] = example.create(text, "odd", context={"said": text, "many": [text]}, owner=text)
        path = f"/api/orders/{quote(in_path(text), safe='')}"
        agent = text.encode().decode("latin-1")
        example.request(path, made[text].secret, **{"User-Agent": agent})
    return made


@pytest.mark.parametrize("text", TEXTS, ids=["image", "curly", "right to left", "script"])
def test_on_the_pages_of_a_key(window: Watched, example: Site, hostile: dict[str, Any], text: str) -> None:
    key_id = hostile[text].key.id
    page = window.open(f"{example.keys_url}/{key_id}")
    assert page.title() == f"{text} · Settings"
    assert_text(page, text)
    expect(page.locator("dd bdi", has_text=text)).to_have_count(3)
    expect(page.get_by_role("row").filter(has_text=f"GET /api/orders/{in_path(text)}")).to_have_count(1)
    for part in ("edit", "rotate", "delete"):
        page.goto(f"{example.keys_url}/{key_id}/{part}")
        assert_text(page, text)
    page.goto(f"{example.keys_url}/{key_id}/edit")
    assert page.get_by_label("Key Name").input_value() == text
    page.goto(f"{example.keys_url}/{key_id}/rotate")
    page.get_by_role("button", name="Make the new key").click()
    assert_text(page, text)
    page.get_by_role("link", name="Watch the rotation").click()
    with page.expect_response("**/rotation.json"):
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(page.locator("[data-caller-request]")).to_have_text(f"GET /api/orders/{in_path(text)}")
    assert_text(page, text)


def test_in_lists_and_forms(page: Page, hostile: dict[str, Any]) -> None:
    for text in hostile:
        page.get_by_role("searchbox").fill(text)
        page.get_by_role("button", name="Search", exact=True).click()
        expect(page.get_by_role("searchbox")).to_have_value(text)
        expect(page.locator("tbody th bdi").first).to_have_text(text)
        assert_text(page, text)
    page.get_by_role("link", name="+ Add new API key").first.click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text(RIGHT_TO_LEFT)
    dialog.get_by_label("Key Name").fill(IMAGE)
    dialog.get_by_label("Key Prefix").fill(CURLY)
    dialog.get_by_label("Allowed networks").fill(IMAGE)
    dialog.get_by_role("button", name="Create Key").click()
    expect(dialog.get_by_role("alert")).to_be_visible()
    assert_text(page, IMAGE)
    assert dialog.get_by_label("Key Name").input_value() == IMAGE


def test_a_direction_does_not_leak(page: Page, hostile: dict[str, Any]) -> None:
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
