"""Every page on a deployment with a history: how it looks, whether all can use it, and that no text in it runs.

With RATCHET_SCREENSHOTS set, the pictures in `docs/img` are made anew (`make screenshots`).
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, expect

from data.vocabulary import KeyRole
from db.session import Database
from tests.processes import run_api
from tests.ui.browsing import Look, Tab, open_tab
from tests.ui.scenery import USER, Scenery, furnish, plant
from tests.unit.api.live import Artifacts, build_settings

PICTURES = Path(__file__).parents[2] / "docs" / "img"
COLOURS = 200  # of a picture, so that it stays small
TALLEST = 1700  # pixels of a picture
PAGES: dict[str, tuple[KeyRole | None, str]] = {
    "sign-in": (None, "/sign-in"),
    "chat": (KeyRole.CLIENT, "/?c={conversation_id}"),
    "review": (KeyRole.REVIEWER, "/review"),
    "overview": (KeyRole.ADMIN, "/dashboard"),
    "runs": (KeyRole.ADMIN, "/dashboard/runs"),
    "report": (KeyRole.ADMIN, "/dashboard/runs/{run_id}"),
    "versions": (KeyRole.ADMIN, "/dashboard/versions"),
    "data": (KeyRole.ADMIN, "/dashboard/data"),
}
LOOKS: tuple[Look, ...] = ("light", "dark", "phone")
PAYLOADS = (
    "<script>window.ran=1</script>",
    "</script><script>window.ran=1</script>",
    '<img src=x onerror="window.ran=1">',
    "<svg onload=window.ran=1><script>window.ran=1</script></svg>",
    '"><b autofocus tabindex=1 onfocus=window.ran=1>x</b>',
    "<iframe srcdoc='<script>parent.ran=1</script>'></iframe>",
    "[a link](javascript:window.ran=1) <javascript:window.ran=1> ![a picture](https://localhost:1/x.png)",
    "{{constructor.constructor('window.ran=1')()}} ${window.ran=1} `+(window.ran=1)+`",
    '<math><mtext><table><mglyph><style><!--</style><img title="--&gt;&lt;img src=1 onerror=window.ran=1&gt;">',
    "<a href='java&#115;cript:window.ran=1'>x</a><form action='javascript:window.ran=1'><button>x</button></form>",
)
pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Deployment:
    """A server in a process of its own, its database, and what is in it."""

    address: str
    database: Database
    scenery: Scenery

    def sign_in(self, tab: Tab, role: KeyRole) -> None:
        """Let the holder of a key of that role be at the browser."""
        form = {"key": self.scenery.secrets[role], "name": USER if role is KeyRole.CLIENT else ""}
        answer = tab.page.request.post(f"{self.address}/sign-in", form=form, max_redirects=0)
        assert answer.status == 303

    def go(self, tab: Tab, name: str) -> None:
        """Show a page to somebody who may see it."""
        role, path = PAGES[name]
        if role is not None:
            self.sign_in(tab, role)
        tab.open(path.format(conversation_id=self.scenery.conversation_id, run_id=self.scenery.run_id))


@pytest.fixture(scope="module")
def deployment(
    tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path, artifacts: Artifacts, broker_url: str
) -> Iterator[Deployment]:
    settings = build_settings(tmp_path_factory.mktemp("var"), sqlite_template, artifacts, broker_url)
    scenery = furnish(settings, artifacts.folders, artifacts.digests)
    database = Database(settings.database)
    with run_api(settings, tmp_path_factory.mktemp("log") / "api.log") as (address, _):
        yield Deployment(address, database, scenery)
    database.dispose()


@pytest.fixture(params=LOOKS)
def look(request: pytest.FixtureRequest) -> Look:
    chosen: Look = request.param
    return chosen


class TestPictures:
    @pytest.mark.parametrize("name", PAGES)
    def test_fits_and_can_be_used_by_all(self, browser: Browser, deployment: Deployment, name: str, look: Look) -> None:
        with open_tab(browser, deployment.address, look) as tab:
            deployment.go(tab, name)
            width, shown = tab.page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
            assert width <= shown
            if look != "phone":
                assert tab.find_faults() == []
            if "RATCHET_SCREENSHOTS" in os.environ:
                save_picture(tab, PICTURES / f"{name}-{look}.png")

    def test_is_reached_with_the_keyboard(self, browser: Browser, deployment: Deployment) -> None:
        with open_tab(browser, deployment.address) as tab:
            deployment.go(tab, "versions")
            tab.page.keyboard.press("Tab")
            expect(tab.page.get_by_text("Skip to the content")).to_be_focused()
            tab.page.keyboard.press("Enter")
            tab.page.keyboard.press("Tab")
            focused = tab.page.evaluate("document.activeElement.closest('#content') !== null")
            assert focused


class TestHostileTexts:
    def test_run_nothing_anywhere(self, browser: Browser, deployment: Deployment) -> None:
        conversation_id = plant(deployment.database, deployment.scenery.run_id, PAYLOADS)
        with open_tab(browser, deployment.address) as tab:
            deployment.sign_in(tab, KeyRole.CLIENT)
            tab.open(f"/?c={conversation_id}")
            expect(tab.page.locator(".asked")).to_have_text([*PAYLOADS])
            check_nothing_ran(tab)
            tab.sign_in(deployment.scenery.secrets[KeyRole.ADMIN], PAYLOADS[0])  # as a name
            for name in ("review", "runs", "report", "versions", "data"):
                _, path = PAGES[name]
                tab.open(path.format(run_id=deployment.scenery.run_id))
                shown = tab.page.locator("body").inner_text()
                for payload in PAYLOADS:
                    assert payload[:40] in shown, name
                check_nothing_ran(tab)


def check_nothing_ran(tab: Tab) -> None:
    """No script ran, and nothing stands there that would run when it is touched."""
    assert tab.page.evaluate("window.ran") is None
    found = (
        "iframe, [onerror], [onload], [onfocus], #content script, a[href^='javascript' i], form[action^='javascript' i]"
    )
    expect(tab.page.locator(found)).to_have_count(0)
    expect(tab.page.locator("#content img")).to_have_count(0)


def save_picture(tab: Tab, file: Path) -> None:
    """The picture of the page, in few colours."""
    tab.page.wait_for_timeout(200)  # the fonts and the last frame
    picture = Image.open(io.BytesIO(tab.page.screenshot(full_page="phone" not in file.name)))
    file.parent.mkdir(parents=True, exist_ok=True)
    shown = picture.convert("RGB").crop((0, 0, picture.width, min(picture.height, TALLEST)))
    shown.quantize(COLOURS, Image.Quantize.MAXCOVERAGE).save(file, optimize=True)
