"""Everybody can use the pages: axe finds nothing, in both themes and on small screens, and nothing sticks out."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from .conftest import NewWindow, Site
from .watched import violations, violations_everywhere


@pytest.fixture(scope="package")
def ids(example: Site) -> dict[str, str]:
    """The ids of an old and a new key, with all that a key page can show, and of an event."""
    members = {"context": {"customer": "Northwind Tools", "limit": 7}, "owner": "42"}
    made = example.create("Old and new", "customer_orders", allowed_networks=["127.0.0.0/8"], **members)
    example.request("/api/orders", made.secret, **{"User-Agent": "importer/2.1"})
    with example.app.app_context():
        event = example.keys.audit.find(key=made.key.id, kind="request")[0].id
        return {"OLD": made.key.id, "NEW": example.keys.service.rotate(made.key.id).key.id, "EVENT": event}


PAGES = (
    "api-keys",
    "api-keys?q=nothing-is-like-that",
    "api-keys/new",
    "api-keys/OLD",
    "api-keys/NEW/edit",
    "api-keys/NEW/rotate",
    "api-keys/OLD/rotation",
    "api-keys/OLD/delete",
    "api-keys/0",
    "roles",
    "new-role",
    "roles/regional_clerk",
    "roles/viewer",
    "roles/regional_clerk/delete",
    "audit?key=OLD",
    "audit?method=TRACE&status=x",
    "audit/EVENT",
)


@pytest.mark.parametrize("path", PAGES)
def test_axe_finds_nothing(page: Page, example: Site, ids: dict[str, str], path: str) -> None:
    filled = re.sub("[A-Z]{3,}", lambda found: ids.get(found[0], found[0]), path)
    page.goto(f"{example.address}/settings/{filled}")
    expect(page.locator("h1")).to_be_visible()
    assert violations_everywhere(page) == []


def refused(page: Page) -> None:
    page.get_by_role("link", name="+ Add new API key").first.click()
    page.get_by_label("Key Name").fill("Refused")
    page.get_by_label("Key Prefix").fill("!")
    page.get_by_role("button", name="Create Key").click()
    expect(page.get_by_role("alert")).to_be_visible()


def shown(page: Page) -> None:
    page.get_by_role("link", name="+ Add new API key").first.click()
    page.get_by_label("Key Name").fill("Looked at by axe")
    page.get_by_role("button", name="Create Key").click()
    expect(page.locator("#secret")).to_be_visible()


@pytest.mark.parametrize("reach", [refused, shown], ids=["dialog with mistakes", "secret"])
def test_axe_finds_nothing_in_states(page: Page, reach: Callable[[Page], None]) -> None:
    reach(page)
    assert violations_everywhere(page) == []


def test_axe_finds_nothing_in_our_own_look(new_window: NewWindow, plain: Site) -> None:
    page = new_window().open(f"{plain.address}/login/admin")
    plain.create("In our own look", "viewer")
    page.goto(f"{plain.keys_url}?q=own+look")
    assert violations_everywhere(page) == []
    page.get_by_role("link", name="In our own look").click()
    page.get_by_role("button", name="Disable").click()
    expect(page.get_by_role("status").first).to_have_text(re.compile("^The key is stopped"))
    assert violations(page) == []
