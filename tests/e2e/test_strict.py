"""Other sites cannot use the pages: not in a frame, not by a form, not by a link that leads away."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from playwright.sync_api import expect

from .conftest import NewWindow, Site


@pytest.fixture
def elsewhere() -> Iterator[tuple[str, dict[str, str]]]:
    """Another site: its address, and its pages by path, to be filled."""
    pages: dict[str, str] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = pages.get(self.path, "").encode()
            self.send_response(200 if body else 204)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://localhost:{server.server_port}", pages
        server.shutdown()
        thread.join()


def test_no_frame_shows_the_pages(new_window: NewWindow, plain: Site, elsewhere: tuple[str, dict[str, str]]) -> None:
    address, pages = elsewhere
    window = new_window()
    page = window.open(f"{plain.address}/login/admin")
    pages["/"] = f"<!doctype html><title>x</title><iframe src='{plain.keys_url}'></iframe>"
    page.goto(f"{address}/")
    frame = page.frames[1]
    frame.wait_for_load_state()
    assert "API Keys" not in frame.content()
    assert [each for each in window.wrong if "frame-ancestors 'none'" in each] == window.wrong != []
    window.wrong.clear()


def test_a_form_of_another_site_changes_nothing(
    new_window: NewWindow, plain: Site, elsewhere: tuple[str, dict[str, str]]
) -> None:
    address, pages = elsewhere
    page = new_window().open(f"{plain.address}/login/admin")
    pages["/"] = (
        f"<!doctype html><title>x</title><form method=post action='{plain.keys_url}'>"
        "<input name=name value=Forged><button>Win</button></form>"
    )
    page.goto(f"{address}/")
    page.get_by_role("button").click()
    expect(page).to_have_url(plain.keys_url)
    expect(page.get_by_text("this form is too old, or not from here")).to_be_visible()
    assert plain.named("Forged") == []


@pytest.mark.parametrize("path", ["//example.com", "/\\example.com", "https://example.com", "%2F%2Fexample.com"])
def test_nothing_leads_away(new_window: NewWindow, example: Site, path: str) -> None:
    """After the login one is where one wanted to go, if that is here."""
    page = new_window().open(f"{example.address}/login?next={path}")
    page.get_by_label("User name").fill("admin")
    page.get_by_label("Password").fill(example.state)
    page.get_by_role("button", name="Log in").click()
    expect(page).to_have_url(f"{example.address}/")


def test_what_one_may_not_do_is_not_offered(new_window: NewWindow, plain: Site) -> None:
    made = plain.create("Only looked at", "viewer").key
    page = new_window().open(f"{plain.address}/login/reader")
    expect(page.get_by_role("heading", name="API Keys")).to_be_visible()
    expect(page.get_by_role("link", name="+ Add new API key")).to_have_count(0)
    assert page.get_by_role("navigation", name="Settings").get_by_role("link").all_inner_texts() == ["API Keys"]
    page.goto(f"{plain.keys_url}/{made.id}")
    expect(page.get_by_role("heading", name="Only looked at")).to_be_visible()
    for name in ("Edit", "Rotate", "Delete", "Disable"):
        expect(page.get_by_text(name, exact=True)).to_have_count(0)
    expect(page.get_by_role("heading", name="Recent events")).to_have_count(0)
    for path in ("/roles", "/audit"):
        page.goto(f"{plain.address}/settings{path}")
        expect(page.get_by_role("heading", name="Forbidden")).to_be_visible()


def test_nobody_gets_in(new_window: NewWindow, plain: Site) -> None:
    page = new_window().context.new_page()
    answer = page.goto(plain.keys_url)
    assert answer is not None and answer.status == 401
