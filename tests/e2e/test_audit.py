"""The audit log: a closer look by dragging and by keyboard, and what leads from one page to the next."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from .conftest import NewWindow, Site
from .watched import Watched, picture


def open_log(window: Watched, site: Site, name: str) -> Page:
    """The log of a new key with some requests."""
    made = site.create(name, "viewer")
    for path in ("/api/orders", "/api/orders?per_page=1"):
        site.request(path, made.secret)
    return window.open(f"{site.address}/settings/audit?key={made.key.id}")


def test_a_closer_look_by_keyboard(window: Watched, example: Site) -> None:
    page = open_log(window, example, "By keyboard")
    chart = page.get_by_role("slider", name="Range of time")
    chart.focus()
    page.keyboard.press("End")
    page.keyboard.press("Shift+Home")
    expect(chart).to_have_attribute("aria-valuetext", re.compile(": 3$"))
    picture(page, "audit", whole=True, narrow_and_dark=True)
    page.keyboard.press("Escape")
    expect(page.locator("[data-chosen]")).to_be_hidden()
    page.keyboard.press("Home")
    with page.expect_navigation():
        page.keyboard.press("Enter")
    since, until = (page.get_by_label(label).input_value() for label in ("From (UTC)", "Before (UTC)"))
    assert since and until and since < until
    assert "since=" in page.url and "key=" in page.url, "the other filters stay"


def test_a_closer_look_by_dragging(window: Watched, example: Site) -> None:
    page = open_log(window, example, "By dragging")
    box = page.locator("[data-chart]").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 2, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 2, box["y"] + 50, steps=4)
    with page.expect_navigation():
        page.mouse.up()
    assert "since=" in page.url
    expect(page.locator(".archie-events tbody tr")).to_have_count(3)


def test_from_a_key_to_its_events_to_one_of_them(window: Watched, example: Site) -> None:
    made = example.create("Followed", "viewer")
    example.request("/api/orders", made.secret, **{"User-Agent": "follower/1"})
    page = window.open(f"{example.keys_url}/{made.key.id}")
    page.get_by_role("link", name="All events of this key").click()
    expect(page.get_by_role("link", name="Followed")).to_be_visible()
    page.locator(".archie-events tbody tr").first.get_by_role("link").first.click()
    expect(page.get_by_role("heading", name="Permission decisions")).to_be_visible()
    expect(page.get_by_text("follower/1")).to_be_visible()
    picture(page, "event", whole=True)


def test_without_scripts(new_window: NewWindow, logged_in: object, example: Site) -> None:
    window = new_window(storage_state=logged_in, java_script_enabled=False)
    page = open_log(window, example, "Without scripts")
    page.get_by_label("Outcome").select_option("refused")
    page.get_by_role("button", name="Filter", exact=True).click()
    expect(page.get_by_text("No event is like that")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("link", name="Export CSV").click()
    assert download.value.suggested_filename == "audit.csv"
