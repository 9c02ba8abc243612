"""Fixtures of the tests in a browser; where there is none they are skipped."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("playwright", reason="playwright is not installed")
pytest.importorskip("axe_playwright_python", reason="axe-playwright-python is not installed")

from playwright.sync_api import Browser

from tests.ui.browsing import CHROMIUM, open_browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser for one module."""
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed; `apt-get install chromium` brings it")
    with open_browser() as browser:
        yield browser
