"""The tour of the documentation: its pictures are taken here, of an application with a day of traffic."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect
from sqlalchemy import update

from flask_archie_keys.domain.clock import now_micros
from flask_archie_keys.domain.ids import new_event_id
from flask_archie_keys.store.audit import insert_event
from flask_archie_keys.store.models import events
from flask_archie_keys.store.models import keys as key_table

from .conftest import Site, example_site, log_in
from .watched import Watched, picture

HOUR = timedelta(hours=1) // timedelta(microseconds=1)
#: Name, role, context, requests in an hour at most, address and agent.
KEYS = (
    ("Web shop", "editor", {}, 9, "10.20.0.11", "shop/4.2"),
    ("Warehouse scanner", "regional_clerk", {"region": "eu"}, 6, "10.20.4.7", "scanner/1.9 (Android 14)"),
    ("Northwind Tools", "customer_orders", {"customer": "Northwind Tools"}, 3, "203.0.113.24", "python-httpx/0.28.1"),
    ("Monthly report", "viewer", {}, 0, "", ""),
)


def add_traffic(site: Site, key_id: str, most: int, address: str, agent: str) -> int:
    """A day of requests with a key, more of them by day than by night; how many."""
    chance = random.Random(key_id)
    now = now_micros()
    row = {column.name: None for column in events.c} | {"project": "orders", "environment": "master", "count": 1}
    row |= {"kind": "request", "method": "GET", "route": "/api/orders", "path": "/api/orders", "key_id": key_id}
    row |= {"truncated": False, "streamed": False, "remote_address": address, "user_agent": agent}
    moments = [now - hour * HOUR - chance.randrange(HOUR // 2) for hour in range(22) for _ in range(_busy(hour, most))]
    with site.app.app_context(), site.keys.for_environment("master").database.write() as connection:
        for moment in moments:
            good = chance.random() < 0.96
            told = {"outcome": "allowed", "status": 200} if good else {"outcome": "denied", "status": 403}
            told |= {} if good else {"reason": "missing_grant", "method": "DELETE"}
            insert_event(connection, {**row, **told, "id": new_event_id(moment * 1000), "occurred_at": moment})
        connection.execute(
            update(key_table).where(key_table.c.id == key_id).values(last_used_at=max(moments, default=None))
        )
    return len(moments)


def _busy(hour: int, most: int) -> int:
    return round(most * (1 - abs(12 - (hour + 9) % 24) / 13))


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The example application with keys that were used all day; its ``state`` has their ids by name, too."""
    with example_site(tmp_path_factory.mktemp("office")) as site:
        ids = {}
        for name, role, context, most, address, agent in reversed(KEYS):
            key = site.create(name, role, context=context).key
            add_traffic(site, key.id, most, address, agent)
            ids[name] = key.id
        site.ids = ids
        yield site


@pytest.fixture(scope="module")
def desk(chromium: Browser, office: Site) -> Iterator[Watched]:
    window = Watched(chromium, viewport={"width": 1180, "height": 740}, storage_state=log_in(chromium, office))
    yield window
    window.context.close()
    assert window.wrong == []


@pytest.fixture
def page(desk: Watched, office: Site) -> Page:
    return desk.open(office.keys_url)


def test_the_list(page: Page) -> None:
    assert page.locator("tbody th bdi").all_inner_texts() == [name for name, *_ in KEYS]
    picture(page, "tour-keys", narrow_and_dark=True)


def test_making_a_key(page: Page) -> None:
    page.get_by_role("link", name="+ Add new API key").click()
    page.get_by_label("Key Name").fill("Returns desk")
    page.get_by_label("Key Prefix").fill("returns")
    picture(page, "tour-create")
    page.get_by_role("checkbox", name=re.compile("^regional_clerk")).check()
    page.get_by_role("dialog").get_by_label("Value", exact=True).fill("us")
    page.get_by_role("button", name="Create Key").click()
    expect(page.locator("#secret")).to_have_value(re.compile("^returns_"))
    picture(page, "tour-secret")


def test_a_key_and_its_rotation(page: Page, office: Site) -> None:
    page.goto(f"{office.keys_url}/{office.ids['Warehouse scanner']}")
    expect(page.get_by_role("heading", name="Warehouse scanner")).to_be_visible()
    picture(page, "tour-key", whole=True)
    page.get_by_role("link", name="Rotate").click()
    page.get_by_role("button", name="Make the new key").click()
    new = page.locator("#secret").input_value()
    page.get_by_role("link", name="Watch the rotation").click()
    for _ in range(3):
        assert office.request("/api/orders", new, **{"User-Agent": "scanner/2.0 (Android 15)"}) == 200
    expect(page.locator("[data-side=new] [data-requests]")).to_have_text("3")
    expect(page.locator("[data-caller-agent]")).to_have_text("scanner/1.9 (Android 14)")
    picture(page, "tour-rotation", whole=True)


@pytest.mark.parametrize("part", ["roles", "audit"])
def test_the_other_pages(page: Page, office: Site, part: str) -> None:
    page.goto(f"{office.address}/settings/{part}")
    expect(page.locator("h1")).to_have_text({"roles": "Roles", "audit": "Audit log"}[part])
    picture(page, f"tour-{part}")


def test_a_role(page: Page, office: Site) -> None:
    page.goto(f"{office.address}/settings/roles/regional_clerk")
    expect(page.locator("[data-preview] tbody tr").first).to_be_visible()
    picture(page, "tour-role", whole=True)


def test_every_picture_of_the_documentation_is_taken_here() -> None:
    docs = Path(__file__).parents[2] / "docs"
    taken = set(re.findall(r'"(tour-\w+)"', Path(__file__).read_text())) | {"tour-roles", "tour-audit"}
    taken |= {"tour-keys-narrow-dark"}
    there = {path.stem for path in (docs / "pictures").glob("*.png")}
    shown = set(re.findall(r"pictures/([\w-]+)\.png", (docs / "console.rst").read_text()))
    assert there == shown <= taken
