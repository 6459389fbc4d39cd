"""Browser windows that note what went wrong in their pages."""

from __future__ import annotations

import itertools
import os
import re
from pathlib import Path
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Response

#: Where the pictures of pages and states go, for the documentation.
PICTURES = "E2E_PICTURES"
#: The browser names every document that it got with an error status, also those that we mean to get.
DOCUMENT_STATUS = re.compile(r"Failed to load resource: the server responded with a status of \d+ ")
WIDTHS = {"narrow": {"width": 360, "height": 740}, "wide": {"width": 1280, "height": 850}}
NOTE_VIOLATIONS = """
document.addEventListener("securitypolicyviolation", (event) => {
  console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`);
});
"""


class Watched:
    """A browser context, with all that its pages complain about.

    :ivar wrong: messages on the console, errors of scripts, violations of the policy, files that are not there.
    """

    def __init__(self, browser: Browser, **options: Any) -> None:
        self.wrong: list[str] = []
        options = {"viewport": WIDTHS["wide"], "locale": "en-GB", "timezone_id": "Europe/Berlin", **options}
        options = {"reduced_motion": "reduce", **options}
        self.context: BrowserContext = browser.new_context(**options)
        self.context.set_default_timeout(5000)
        self.context.add_init_script(NOTE_VIOLATIONS)
        self.context.on("console", self._console)
        self.context.on("weberror", lambda error: self.wrong.append(f"script: {error.error}"))
        self.context.on("response", self._response)
        self.context.on("dialog", lambda dialog: (self.wrong.append(f"dialog: {dialog.message}"), dialog.dismiss()))

    def open(self, url: str) -> Page:
        """A new page."""
        page = self.context.new_page()
        page.goto(url)
        return page

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not DOCUMENT_STATUS.match(message.text):
            self.wrong.append(f"{message.type}: {message.text}")

    def _response(self, response: Response) -> None:
        if response.status >= 400 and not response.request.is_navigation_request():
            self.wrong.append(f"{response.status}: {response.url}")


#: What depends on colours and on the width of the window; all else is the same everywhere.
OF_LOOKS = ["color-contrast", "link-in-text-block", "scrollable-region-focusable", "target-size"]
RUN = """async (rules) => {
  const options = {resultTypes: ["violations"], ...(rules && {runOnly: {type: "rule", values: rules}})};
  return (await axe.run(document, options)).violations;
}"""


def violations(page: Page, rules: list[str] | None = None) -> list[str]:
    """What axe finds in a page as it is now: rule, element and why.

    :param rules: only these.
    """
    if page.evaluate("typeof axe") == "undefined":
        page.evaluate(Axe().axe_script)
    found = page.evaluate(RUN, rules)
    return [f"{each['id']}: {node['target']} {node['failureSummary']}" for each in found for node in each["nodes"]]


def violations_everywhere(page: Page) -> list[str]:
    """The same in both themes and both widths; and the page is not wider than its window."""
    found = []
    for theme, width in itertools.product(("light", "dark"), WIDTHS):
        page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
        page.set_viewport_size(WIDTHS[width])  # type: ignore[arg-type]
        rules = None if (theme, width) in (("light", "wide"), ("dark", "narrow")) else OF_LOOKS
        found += [f"{theme} {width}: {each}" for each in violations(page, rules)]
        over = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        found += [f"{theme} {width}: {over} px wider than the window"] if over > 0 else []
    page.emulate_media(color_scheme="light")
    page.set_viewport_size(WIDTHS["wide"])  # type: ignore[arg-type]
    return found


def picture(page: Page, name: str, *, whole: bool = False, narrow_and_dark: bool = False) -> None:
    """Keep a picture of a page, if somebody wants pictures.

    :param whole: also what is below the window.
    :param narrow_and_dark: another one of a small screen at night.
    """
    folder = os.environ.get(PICTURES)
    if not folder:
        return
    page.screenshot(path=Path(folder) / f"{name}.png", full_page=whole)
    if narrow_and_dark:
        before = page.viewport_size
        page.emulate_media(color_scheme="dark")
        page.set_viewport_size(WIDTHS["narrow"])  # type: ignore[arg-type]
        page.screenshot(path=Path(folder) / f"{name}-narrow-dark.png", full_page=True)
        page.emulate_media(color_scheme="light")
        page.set_viewport_size(before)  # type: ignore[arg-type]
