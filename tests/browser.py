"""A real browser, Debian's Chromium, for pages and the demo."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, Page, sync_playwright


CHROMIUM = shutil.which("chromium")
# No sandbox, since tests may run as root; and nothing that asks the network.
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium here: make browser installs it")
PHONE, DESK = 390, 1280  # widths in pixels


@contextmanager
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield made
        made.close()


@contextmanager
def opened(browser: Browser, address: str, width: int = DESK) -> Iterator[Page]:
    """A page, without a network where it is a file of ours: there an error in its console fails the test."""
    context = browser.new_context(viewport={"width": width, "height": 900}, offline=address.startswith("file:"))
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("requestfailed", lambda request: said.append(f"{request.url[:100]} failed"))
    page.goto(address)
    yield page
    assert not said or not address.startswith("file:"), said
    context.close()
