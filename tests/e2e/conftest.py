from __future__ import annotations

import http.client
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from flask import Flask, redirect, session
from flask.typing import ResponseReturnValue
from playwright.sync_api import Browser, Page

from example_app import create_app
from example_app.administrators import ensure_administrator
from example_app.database import close, create_tables
from example_app.extensions import keys as example_keys
from example_app.roles import ensure_roles
from example_app.seed import seed
from example_app.server import served_in_background
from flask_archie_keys import ArchieKeys, Grant, Principal, require_api_key

from ..conftest import PEPPER
from ..support.browser import Missing, browsing
from ..support.protected import shown
from .watched import Watched

#: In staging, a key is quiet at once: a rotation can be followed to its end.
ENVIRONMENTS = {"master": {}, "staging": {"PREFIX": "archie_test", "QUIET_PERIOD": timedelta(seconds=1)}}
OURS = ("api_keys", "roles", "audit_events")
ROLES: dict[str, Any] = {
    "admin": {"grants": [Grant(each, read=True, write=True, update=True, delete=True) for each in OURS]},
    "reader": {"grants": [Grant("api_keys", read=True)]},
    "viewer": {"description": "Sees the shop."},
    "clerk": {"grants": [Grant("shops", read=True, filter="region = $context.region AND size < $context.size")]},
}


class Site:
    """A served application.

    :ivar address: its URL, without a slash at the end.
    :ivar keys: its ArchieKeys.
    :ivar state: what a test needs to log in.
    :ivar ids: of keys, by their names.
    """

    def __init__(self, app: Flask, keys: ArchieKeys, address: str) -> None:
        self.app = app
        self.keys = keys
        self.address = address
        self.keys_url = f"{address}/settings/api-keys"
        self.state: Any = None
        self.ids: dict[str, str] = {}

    def create(self, name: str, *roles: str, environment: str = "", **members: Any) -> Any:
        """A key that the system has made."""
        with self.app.app_context():
            service = self.keys.for_environment(environment or "master").service
            return service.create(name=name, roles=roles, **members)

    def named(self, name: str) -> list[Any]:
        """The keys of a name."""
        with self.app.app_context():
            return [key for key in self.keys.service.find(q=name) if key.name == name]

    def request(self, path: str, secret: str | None = None, **headers: str) -> int:
        """A real request over the network, with no more headers than these; its status."""
        if secret is not None:
            headers["Authorization"] = f"Bearer {secret}"
        parts = urlsplit(self.address)
        connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=10)
        try:
            connection.request("GET", path, headers=headers)
            return connection.getresponse().status
        finally:
            connection.close()


@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    """One browser for all; it ends with the package, so that no other test meets its event loop."""
    with ExitStack() as stack:
        try:
            browser = stack.enter_context(browsing())
        except Missing as missing:
            if os.environ.get("CI") == "true":
                raise
            pytest.skip(str(missing))
        yield browser


@contextmanager
def example_site(folder: Path) -> Iterator[Site]:
    """The example application with its sample data; its ``state`` is the password of its administrator."""
    with shown(), _clean_environment():
        config = {"ARCHIE_KEYS_ENVIRONMENTS": ENVIRONMENTS, "ARCHIE_KEYS_AUDIT": {"background": False}}
        app = create_app(config, instance_path=folder / "instance")
        with app.app_context():
            create_tables()
            ensure_roles()
            seed()
            password = ensure_administrator()
        with served_in_background(app) as address:
            site = Site(app, example_keys, address)
            site.state = password
            yield site
        close(app)


@pytest.fixture(scope="package")
def example(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One for all tests, who look at keys of their own."""
    with example_site(tmp_path_factory.mktemp("example")) as site:
        yield site


@pytest.fixture(scope="package")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """An application of a few lines, in our own look; ``/login/<name>`` is all that it takes to log in."""
    app, keys = plain_host(tmp_path_factory.mktemp("plain"))
    with served_in_background(app) as address:
        yield Site(app, keys, address)
    keys.close(app)


def plain_host(folder: Path, **config: Any) -> tuple[Flask, ArchieKeys]:
    """A host without templates of its own. The user ``nobody`` is not logged in; others have the role of their name."""
    app = Flask("plain", instance_path=str(folder))
    app.secret_key = "for-the-" + "tests-only"
    app.config.update(ARCHIE_KEYS_PEPPERS=[PEPPER], ARCHIE_KEYS_ROLES=ROLES)
    app.config.update(ARCHIE_KEYS_AUDIT={"background": False}, **config)
    keys = ArchieKeys(app)

    @keys.user_loader
    def user() -> Principal | None:
        name = session.get("user")
        return None if name is None else Principal.user(name, roles=list(ROLES) if name == "admin" else [name])

    @app.get("/login/<name>")
    def login(name: str) -> ResponseReturnValue:
        session["user"] = name
        return redirect("/settings/api-keys")

    @app.get("/work/<path:what>")
    @require_api_key
    def work(what: str) -> str:
        return "done"

    return app, keys


@contextmanager
def _clean_environment() -> Iterator[None]:
    """Settings of whoever runs the tests do not reach the application."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("DATABASE_URL", "SECRET_KEY", "ARCHIE_KEYS_PEPPERS", "ARCHIE_KEYS_ROW_SECURITY", "FLASK_APP"):
            patch.delenv(name, raising=False)
        yield


NewWindow = Callable[..., Watched]


@pytest.fixture
def new_window(chromium: Browser) -> Iterator[NewWindow]:
    """Opens windows, and sees to it in the end that no page of theirs complained."""
    opened: list[Watched] = []

    def new(**options: Any) -> Watched:
        opened.append(Watched(chromium, **options))
        return opened[-1]

    yield new
    wrong = [each for window in opened for each in window.wrong]
    for window in opened:
        window.context.close()
    assert wrong == []


def log_in(browser: Browser, site: Site) -> Any:
    """The cookies of the administrator of the example application, who has logged in on its page."""
    window = Watched(browser)
    page = window.open(site.keys_url)
    assert page.url == f"{site.address}/login?next=/settings/api-keys"
    page.get_by_label("User name").fill("admin")
    page.get_by_label("Password").fill(site.state)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url(site.keys_url)
    assert window.wrong == []
    kept = window.context.storage_state()
    window.context.close()
    return kept


@pytest.fixture(scope="package")
def logged_in(chromium: Browser, example: Site) -> Any:
    """The cookies of the administrator."""
    return log_in(chromium, example)


@pytest.fixture(scope="package")
def _one_window(chromium: Browser, logged_in: Any) -> Iterator[Watched]:
    """Opening a window takes a third of a second."""
    window = Watched(chromium, storage_state=logged_in)
    window.context.new_page()
    yield window
    window.context.close()


@pytest.fixture
def window(_one_window: Watched) -> Iterator[Watched]:
    """The window of the administrator of the example application, one for all tests; no page of it complained."""
    yield _one_window
    for page in _one_window.context.pages[1:]:
        page.close()
    wrong = _one_window.wrong[:]
    _one_window.wrong.clear()
    assert wrong == []


@pytest.fixture
def page(window: Watched, example: Site) -> Page:
    """The list of keys in the example application."""
    page = window.context.pages[0]
    page.goto(example.keys_url)
    return page
