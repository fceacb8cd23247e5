"""Pages opened in the machine's Chromium, without network."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Page, Request, Route, sync_playwright

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
LAPTOP, PHONE = (1366, 768), (390, 844)
needs_browser = pytest.mark.skipif(PROGRAM is None, reason="no Chromium")


@contextmanager
def opened(address: str, size: tuple[int, int] = LAPTOP) -> Iterator[Page]:
    """The page at ``address`` (``file://...`` or a loopback server).

    An error of its scripts or a request to another machine, which is refused, fails the test at the end.
    """
    errors: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=PROGRAM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": size[0], "height": size[1]}, has_touch=size == PHONE)
        page.on("pageerror", lambda error: errors.append(str(error)))

        def refuse(route: Route, request: Request) -> None:
            errors.append(f"request to {request.url}")
            route.abort()

        page.route(lambda url: not url.startswith(("file:", "data:", "blob:", "http://127.0.0.1")), refuse)
        page.goto(address)
        yield page
        browser.close()
    assert not errors, errors


def wider_than_screen(page: Page) -> bool:
    """Whether the page scrolls sideways."""
    return bool(page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"))
