"""One key: what can be done to it, and its rotation from the first step to the last."""

from __future__ import annotations

import re
from typing import Any
from zoneinfo import ZoneInfo

from playwright.sync_api import Page, expect

from .conftest import NewWindow, Site
from .watched import Watched, picture

IMPORTER = {"User-Agent": "importer/2.1 (night shift)"}


def open_key(window: Watched, site: Site, key_id: str, environment: str = "") -> Page:
    return window.open(f"{site.keys_url}/{key_id}{environment and f'?environment={environment}'}")


def test_a_key_is_found_and_looked_at(page: Page, example: Site) -> None:
    made = example.create("Looked at", "customer_orders", context={"customer": "Northwind Tools"}, owner="42")
    for path in ("/api/orders", "/api/orders?per_page=1", "/api/nothing"):
        example.request(path, made.secret, **IMPORTER)
    page.get_by_role("searchbox").fill("looked")
    page.get_by_label("Status").select_option("active")
    page.get_by_label("Role", exact=True).select_option("customer_orders")
    page.get_by_role("button", name="Search").click()
    row = page.get_by_role("row", name=re.compile("Looked at"))
    expect(row).to_contain_text("customer: Northwind Tools")
    expect(row).to_contain_text(made.key.hint)
    expect(row.get_by_role("img")).to_have_accessible_name("2 requests in 24 hours")
    picture(page, "search")
    row.get_by_role("link").click()
    expect(page.get_by_role("heading", name="Looked at")).to_be_visible()
    expect(page.locator(".archie-figure")).to_have_text("2")
    expect(page.get_by_text("customer.name = $context.customer").first).to_be_visible()
    expect(page.get_by_role("row", name=re.compile("GET .api.orders"))).to_have_count(2)
    picture(page, "key", whole=True, narrow_and_dark=True)


def test_times_are_the_readers_with_the_exact_utc_on_hover(window: Watched, example: Site) -> None:
    made = example.create("Timed").key
    page = open_key(window, example, made.id)
    time = page.locator("dd time").first
    exact = made.created_at.strftime("%Y-%m-%d %H:%M:%S.") + f"{made.created_at.microsecond // 1000:03} UTC"
    expect(time).to_have_attribute("title", exact)
    shown = made.created_at.astimezone(ZoneInfo("Europe/Berlin"))
    expect(time).to_have_text(f"{shown.day} {shown:%b %Y, %H:%M}")


def test_a_key_is_edited(window: Watched, example: Site) -> None:
    made = example.create("Misnamed", "viewer")
    page = open_key(window, example, made.key.id)
    page.get_by_role("link", name="Edit").click()
    expect(page.get_by_label("Key Name")).to_have_value("Misnamed")
    page.get_by_label("Key Name").fill("Named")
    page.get_by_role("checkbox", name=re.compile("^customer_orders")).check()
    row = page.locator("[data-row]:visible")
    row.get_by_label("Value", exact=True).fill("Northwind Tools")
    page.get_by_label("Expiry").select_option("date")
    page.get_by_label("Ends on (UTC)").fill("2099-01-31T12:00")
    picture(page, "edit", whole=True)
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("heading", name="Named")).to_be_visible()
    expect(page.get_by_role("status").first).to_have_text("The key was changed.")
    expect(page.get_by_text("The key was changed.")).to_have_count(1)
    (key,) = example.named("Named")
    assert (sorted(key.roles), dict(key.context)) == (["customer_orders", "viewer"], {"customer": "Northwind Tools"})
    assert key.expires_at.isoformat() == "2099-01-31T12:00:00+00:00"


def test_of_two_who_edit_at_once_the_second_is_told(window: Watched, example: Site) -> None:
    key = example.create("Contended").key
    first, second = (window.open(f"{example.keys_url}/{key.id}/edit") for _ in range(2))
    for page, name in ((first, "Contended 1"), (second, "Contended 2")):
        page.get_by_label("Key Name").fill(name)
        page.get_by_role("button", name="Save").click()
    expect(second.get_by_role("alert").first).to_contain_text("version")
    expect(second.get_by_label("Key Name")).to_have_value("Contended 2")
    assert [len(example.named(name)) for name in ("Contended 1", "Contended 2")] == [1, 0]


def test_a_key_is_stopped_and_works_again(window: Watched, example: Site) -> None:
    made = example.create("Switched", "viewer")
    page = open_key(window, example, made.key.id)
    page.get_by_role("button", name="Disable").click()
    expect(page.locator(".archie-status").first).to_have_text("disabled")
    assert example.request("/api/orders", made.secret) == 401
    page.get_by_role("button", name="Enable").click()
    expect(page.locator(".archie-status").first).to_have_text("active")
    assert example.request("/api/orders", made.secret) == 200


def test_a_key_that_is_used_is_deleted_by_its_name_only(window: Watched, example: Site) -> None:
    made = example.create("Still used", "viewer")
    example.request("/api/orders", made.secret)
    page = open_key(window, example, made.key.id)
    page.get_by_role("link", name="Delete").click()
    expect(page.locator(".archie-warning")).to_contain_text("This key is still used")
    page.get_by_role("button", name="Delete").click()
    field = page.get_by_label("Type its name")
    expect(field).to_have_accessible_description(re.compile("^The key is still used"))
    picture(page, "delete")
    field.fill("still used")
    page.get_by_role("button", name="Delete").click()
    assert example.request("/api/orders", made.secret) == 200
    field.fill("Still used")
    page.get_by_role("button", name="Delete").click()
    expect(page.locator(".archie-status").first).to_have_text("deleted")
    assert example.request("/api/orders", made.secret) == 401


def test_a_guided_rotation_live(window: Watched, example: Site) -> None:
    made = example.create("Rotated", "viewer", environment="staging")
    old = made.secret
    page = open_key(window, example, made.key.id, "staging")
    page.get_by_role("link", name="Rotate").click()
    page.get_by_label("Overlap").select_option("7 days")
    picture(page, "rotate")
    page.get_by_role("button", name="Make the new key").click()
    new = page.locator("#secret").input_value()
    page.get_by_role("link", name="Watch the rotation").click()
    sides = {side: page.locator(f"[data-side={side}]") for side in ("old", "new")}
    for side in sides.values():
        expect(side.locator("[data-requests]")).to_have_text("0")
    expect(page.locator("[data-caller]")).to_be_hidden()
    for secret, times in ((old, 2), (new, 3)):
        for _ in range(times):
            assert example.request("/api/orders?page=1", secret, environment="staging", **IMPORTER) == 200
    # nobody loads the page anew
    expect(sides["old"].locator("[data-requests]")).to_have_text("2")
    expect(sides["new"].locator("[data-requests]")).to_have_text("3")
    expect(sides["old"].get_by_role("img")).to_have_accessible_name("2 requests in 24 hours")
    expect(page.locator("[data-caller-agent]")).to_have_text("importer/2.1 (night shift)")
    expect(page.locator("[data-caller-address]")).to_have_text("127.0.0.1")
    expect(page.locator("[data-caller-request]")).to_have_text("GET /api/orders")
    picture(page, "rotation", whole=True, narrow_and_dark=True)
    expect(page.locator("[data-sentence]")).to_have_text(re.compile("^Quiet for .*, safe to delete\\.$"))
    expect(page.locator("li[aria-current=step]")).to_have_text("See that the old one has gone quiet")
    page.get_by_role("link", name="Delete the old key").click()
    expect(page.locator(".archie-good")).to_contain_text("safe to delete")
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("link", name="Rotation").click()
    expect(page.locator("[data-sentence]")).to_have_text("The old key is deleted. The rotation is done.")
    assert [example.request("/api/orders", each, environment="staging") for each in (old, new)] == [401, 200]


def test_a_hidden_page_asks_nothing(new_window: NewWindow, logged_in: Any, example: Site) -> None:
    """The page of a rotation rests while its tab is in the background, and looks at once when it comes back."""
    made = example.create("Resting", "viewer")
    page = new_window(storage_state=logged_in).context.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "rotation.json" in request.url else None)
    page.clock.install()
    page.goto(f"{example.keys_url}/{made.key.id}/rotate")
    page.get_by_role("button", name="Make the new key").click()
    page.get_by_role("link", name="Watch the rotation").click()
    page.evaluate("Object.defineProperty(document, 'hidden', {get: () => window.away})")
    with page.expect_request("**/rotation.json"):
        page.clock.run_for(2100)
    page.evaluate("window.away = true")
    before = len(asked)
    page.clock.run_for(20_000)
    assert len(asked) == before
    page.evaluate("window.away = false")
    with page.expect_response("**/rotation.json"):
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")


def test_pages_of_a_long_list(new_window: NewWindow, plain: Site) -> None:
    page = new_window().open(f"{plain.address}/login/admin")
    expect(page.get_by_role("heading", name="No API keys in master yet")).to_be_visible()
    picture(page, "empty", narrow_and_dark=True)
    for number in range(60):
        plain.create(f"Number {number}", "viewer")
    page.reload()
    names = page.locator("tbody th bdi").all_inner_texts()
    page.get_by_role("link", name="Older keys").click()
    page.wait_for_url(re.compile("cursor="))
    names += page.locator("tbody th bdi").all_inner_texts()
    assert names == [f"Number {number}" for number in reversed(range(60))]
    page.get_by_role("link", name="First page").click()
    expect(page.locator("tbody th bdi").first).to_have_text("Number 59")
