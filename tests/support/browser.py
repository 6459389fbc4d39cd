"""The system's Chromium, driven by Playwright."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

NAMES = ("/usr/bin/chromium", "chromium", "chromium-browser", "google-chrome")
#: It runs as any user, and asks nobody outside for anything.
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


class Missing(Exception):
    """There is no Chromium."""


def find_chromium() -> str:
    """The path of the browser: ``CHROMIUM`` in the process environment, else the first of the usual names.

    :raises Missing: with what to install.
    """
    for name in (os.environ.get("CHROMIUM", ""), *NAMES):
        if found := shutil.which(name):
            return found
    raise Missing("the browser tests need Chromium: apt-get install chromium, or CHROMIUM=/path/to/it")


@contextmanager
def browsing() -> Iterator[Browser]:
    """A browser for as long as the block lasts."""
    path = find_chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        yield browser
        browser.close()
