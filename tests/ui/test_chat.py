"""The chat page when something behind it fails: what it says, and that help is shown all the same."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect
from sqlalchemy import func, select, text

from data.vocabulary import KeyRole
from db.keys import create_key
from db.models import Completion
from db.session import Database
from tests.processes import run_api
from tests.ui.browsing import Tab, open_tab
from tests.ui.moody_api import BROKEN
from tests.unit.api.live import Artifacts, add_base_version, build_settings

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Serving:
    """A server in a process of its own, its database, the secret of a client's key, and what breaks its engine."""

    address: str
    broken: Path
    database: Database
    secret: str

    def count_replies(self) -> int:
        """How many were recorded."""
        with self.database.reading() as session:
            return session.scalar(select(func.count()).select_from(Completion)) or 0


@pytest.fixture(scope="module")
def serving(
    tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path, artifacts: Artifacts, broker_url: str
) -> Iterator[Serving]:
    settings = build_settings(tmp_path_factory.mktemp("var"), sqlite_template, artifacts, broker_url)
    database = Database(settings.database)
    add_base_version(database, artifacts)
    with database.transaction() as session:
        _, secret = create_key(session, KeyRole.CLIENT, "chat")
    log = tmp_path_factory.mktemp("log") / "api.log"
    with run_api(settings, log, program="tests.ui.moody_api") as (address, _):
        yield Serving(address, settings.var / BROKEN, database, secret)
    database.dispose()


@pytest.fixture
def tab(browser: Browser, serving: Serving) -> Iterator[Tab]:
    """The chat, of a client who has signed in."""
    with open_tab(browser, serving.address) as tab:
        tab.sign_in(serving.secret)
        tab.settle()
        yield tab


@contextmanager
def refuse_writes(database: Database) -> Iterator[None]:
    """A database that answers and cannot record a reply."""
    with database.transaction() as session:
        session.execute(text("ALTER TABLE completions RENAME TO away"))
    yield
    with database.transaction() as session:
        session.execute(text("ALTER TABLE away RENAME TO completions"))


def click_twice(button: Locator) -> None:
    """As a hand that trembles does: before the page can have heard from the server."""
    button.evaluate("element => { element.click(); element.click(); }")


def await_reply(page: Page) -> None:
    expect(page.locator(".turn").last.get_by_label("Reply", exact=True)).not_to_have_count(0)
    expect(page.locator('form[data-busy="false"]')).to_be_visible()


def send(page: Page, question: str) -> None:
    page.get_by_label("Your message").fill(question)
    page.keyboard.press("Enter")


class TestDatabaseFails:
    def test_the_resources_stay(self, tab: Tab, serving: Serving) -> None:
        with refuse_writes(serving.database):
            send(tab.page, "I want to kill myself.")
            expect(tab.page.locator(".reply.crisis")).to_contain_text("findahelpline.com")
            expect(tab.page.locator('form[data-busy="false"]')).to_be_visible()
            expect(tab.page.locator(".reply.crisis")).to_contain_text("findahelpline.com")
            expect(tab.page.get_by_role("alert")).to_have_count(0)
        assert "?c=" not in tab.page.url  # there is no such conversation


class TestDoubleClick:
    def test_asks_once(self, tab: Tab, serving: Serving) -> None:
        before = serving.count_replies()
        click_twice(tab.page.get_by_role("button", name="I cannot sleep before exams."))
        await_reply(tab.page)
        expect(tab.page.locator(".asked")).to_have_count(1)
        click_twice(tab.page.get_by_label("Answer again"))
        await_reply(tab.page)
        expect(tab.page.get_by_label("Reply", exact=True)).to_have_count(2)
        send(tab.page, "And now?")  # what was asked too often would have been answered by then
        expect(tab.page.locator(".asked")).to_have_count(2)
        await_reply(tab.page)
        assert serving.count_replies() == before + 3


class TestEngineFails:
    def test_says_so_and_tries_again(self, tab: Tab, serving: Serving) -> None:
        before = serving.count_replies()
        serving.broken.touch()
        send(tab.page, "I cannot sleep.")
        expect(tab.page.get_by_role("alert")).to_contain_text("Something went wrong on our side")
        expect(tab.page.get_by_text("Writing…")).to_have_count(0)
        serving.broken.unlink()
        click_twice(tab.page.get_by_role("button", name="Try again"))
        await_reply(tab.page)
        expect(tab.page.get_by_role("alert")).to_have_count(0)
        send(tab.page, "And now?")
        await_reply(tab.page)
        assert serving.count_replies() == before + 2
