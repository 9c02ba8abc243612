"""A real browser for tests: Debian's Chromium, driven by Playwright, whose console must stay silent."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import axe_playwright_python
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

Look = Literal["light", "dark", "phone"]

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_SIZES: dict[Look, tuple[int, int]] = {"light": (1280, 800), "dark": (1280, 800), "phone": (390, 844)}
_SERIOUS = ("serious", "critical")
_AWAIT_MS = 15_000

expect.set_options(timeout=_AWAIT_MS)


@dataclass
class Tab:
    """A page in a browser context of its own, with what its console said."""

    page: Page
    address: str
    complaints: list[str] = field(default_factory=list)

    def open(self, path: str) -> Page:
        """Go to a page of ours, and wait until its places are filled."""
        self.page.goto(self.address + path)
        return self.settle()

    def settle(self) -> Page:
        """Wait until no place in the page waits any more."""
        expect(self.page.locator(".waiting")).to_have_count(0)
        return self.page

    def sign_in(self, secret: str, name: str = "") -> Page:
        """Sign in with a key."""
        self.page.goto(f"{self.address}/sign-in")
        self.page.get_by_label("Key").fill(secret)
        self.page.get_by_label("Your name").fill(name)
        self.page.get_by_role("button", name="Sign in").click()
        self.page.wait_for_url(lambda url: "sign-in" not in url)
        return self.page

    def find_faults(self) -> list[str]:
        """What axe-core holds to be serious or critical in the page as it stands."""
        self.page.evaluate(_read_axe())
        violations: list[dict[str, Any]] = self.page.evaluate("async () => (await axe.run()).violations")
        return [
            f"{item['id']}: {node['html'][:160]}"
            for item in violations
            if item["impact"] in _SERIOUS
            for node in item["nodes"]
        ]


@contextmanager
def open_browser() -> Iterator[Browser]:
    """A browser; it must be closed before anything else in this thread runs an event loop."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def open_tab(browser: Browser, address: str, look: Look = "light") -> Iterator[Tab]:
    """A tab without any cookie; at its end nothing may have gone wrong in it."""
    width, height = _SIZES[look]
    context = browser.new_context(
        color_scheme="dark" if look == "dark" else "light", viewport={"width": width, "height": height}
    )
    tab = Tab(context.new_page(), address)
    tab.page.set_default_timeout(_AWAIT_MS)

    def note(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            tab.complaints.append(f"{message.type}: {message.text}")

    tab.page.on("console", note)
    tab.page.on("pageerror", lambda error: tab.complaints.append(f"uncaught: {error}"))
    try:
        yield tab
    finally:
        context.close()
    assert tab.complaints == []


@lru_cache
def _read_axe() -> str:
    return (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text()
