"""The chat page when something behind it fails: what it says, and that help is shown all the same."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect
from sqlalchemy import text

from data.vocabulary import KeyRole
from db.keys import create_key
from db.session import Database
from tests.processes import run_api
from tests.ui.browsing import Tab, open_tab
from tests.unit.api.live import Artifacts, add_base_version, build_settings

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Serving:
    """A server in a process of its own, its database, and the secret of a client's key."""

    address: str
    database: Database
    secret: str


@pytest.fixture(scope="module")
def serving(
    tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path, artifacts: Artifacts, broker_url: str
) -> Iterator[Serving]:
    settings = build_settings(tmp_path_factory.mktemp("var"), sqlite_template, artifacts, broker_url)
    database = Database(settings.database)
    add_base_version(database, artifacts)
    with database.transaction() as session:
        _, secret = create_key(session, KeyRole.CLIENT, "chat")
    with run_api(settings, tmp_path_factory.mktemp("log") / "api.log") as (address, _):
        yield Serving(address, database, secret)
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
