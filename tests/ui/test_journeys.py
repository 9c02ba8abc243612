"""What people do on the pages, in a real browser against the whole embedded stack with a tiny model."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from playwright.sync_api import Browser, Page, expect
from sqlalchemy import select

from api.keyring import KNOWN_S
from data.vocabulary import KeyRole
from db.examples import count_examples
from db.keys import create_key, revoke_key
from db.models import Completion, Feedback, Review, Schedule
from db.session import Database
from tests.processes import await_value, build_environment, find_free_port, is_ready, list_children
from tests.tiny import SAMPLE_EXAMPLES, SAMPLES, build_tiny_gpt2
from tests.ui.browsing import Tab, open_tab

LEARNS = {
    "trainable": "full",
    "sft_epochs": 1,
    "sft_learning_rate": 1e-2,
    "preference_epochs": 0,
    "batch_size": 16,
    "max_tokens": 96,
    "reply_tokens": 4,
    "safety_items": 4,
    # What a model of random weights says is noise, and so is how long and varied it is.
    "margins": {"reply_words": 100, "chrf": 100, "distinct_2": 100, "repetition": 100},
}
RUN_MS = 100_000
pytestmark = pytest.mark.slow


@dataclass
class Running:
    """A running stack, its database, and secrets of keys by role."""

    process: subprocess.Popen[bytes]
    address: str
    database: Database
    secrets: dict[KeyRole, str]

    def find(self, model: type[Any]) -> list[Any]:
        """All rows of a table."""
        with self.database.reading() as session:
            return list(session.scalars(select(model)))

    def find_process(self, word: str) -> psutil.Process:
        """The process of the stack with that word in its command line."""
        return list_children(word, of=self.process.pid)[0]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("var")
    base = build_tiny_gpt2(tmp_path_factory.mktemp("base"), layers=2)
    environment = build_environment(
        var=folder, port=(port := find_free_port()), base_model=base, max_reply_tokens=24, visitor_chat=True
    )
    process = subprocess.Popen([sys.executable, "-m", "cli", "up"], env=environment, stdin=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    database = Database(f"sqlite:///{folder / 'ratchet.db'}")
    try:
        await_value(lambda: is_ready(address), bool)
        with database.transaction() as session:
            secrets = {role: create_key(session, role, f"the {role}")[1] for role in KeyRole}
        yield Running(process, address, database, secrets)
    finally:
        database.dispose()
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0


@pytest.fixture
def tab(browser: Browser, stack: Running) -> Iterator[Tab]:
    with open_tab(browser, stack.address) as tab:
        yield tab


@pytest.fixture
def admin(tab: Tab, stack: Running) -> Tab:
    tab.sign_in(stack.secrets[KeyRole.ADMIN])
    return tab


def send(page: Page, text: str) -> None:
    """Write with the keyboard, and wait for the reply."""
    page.get_by_label("Your message").fill(text)
    page.keyboard.press("Enter")
    expect(page.get_by_label("Stop", exact=True)).to_be_hidden()
    expect(page.get_by_text(text).first).to_be_visible()
    expect(page.locator(".turn").last.get_by_label("Good reply")).to_be_visible()
    expect(page.locator('form[data-busy="false"]')).to_be_visible()  # until then Enter sends nothing


class TestChat:
    def test_a_visitor_chats_and_rates_without_a_key(self, tab: Tab, stack: Running) -> None:
        page = tab.open("/")
        expect(page.get_by_text("not professional care")).to_be_visible()
        send(page, "I cannot sleep before exams.")
        page.get_by_label("Good reply").click()
        page.get_by_label("helpful").check()
        page.get_by_label("Empathy").press("End")
        page.get_by_label("Comment").fill("Kind.")
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_text("Your rating is stored")).to_be_visible()
        [row] = stack.find(Feedback)
        assert (row.rating, row.reasons, row.scores, row.comment) == ("up", ["helpful"], {"empathy": 5}, "Kind.")
        assert row.rater.startswith("visitor-")
        page.get_by_label("Good reply").click()  # the same thumb again takes it back
        expect(page.get_by_text("Taken back")).to_be_visible()
        assert stack.find(Feedback) == []

    def test_a_conversation_is_kept_and_only_its_own_person_sees_it(
        self, browser: Browser, tab: Tab, stack: Running
    ) -> None:
        page = tab.open("/")
        send(page, "My cat is ill.")
        send(page, "She does not eat.")
        expect(page.locator(".side nav a[aria-current]")).to_contain_text("My cat is ill.")
        page.reload()
        tab.settle()
        expect(page.locator(".asked")).to_have_text(["My cat is ill.", "She does not eat."])
        assert [item["role"] for item in stack.find(Completion)[-1].messages] == ["user", "assistant", "user"]
        with open_tab(browser, stack.address) as other:
            stranger = other.open(page.url.removeprefix(stack.address))
            expect(stranger.get_by_text("it is another person's")).to_be_visible()
            expect(stranger.locator(".asked")).to_have_count(0)

    def test_corrects_a_reply(self, tab: Tab, stack: Running) -> None:
        page = tab.sign_in(stack.secrets[KeyRole.CLIENT], "Corrector")
        send(page, "I failed my driving test.")
        page.get_by_label("Write what it should have said").click()
        page.get_by_label("What it should have said leave").fill("That stings. What happened?")
        page.get_by_role("button", name="Save correction").click()
        expect(page.get_by_text("learn from your words")).to_be_visible()
        [row] = [row for row in stack.find(Feedback) if row.rater == "Corrector"]
        assert (row.rating, row.correction) == ("down", "That stings. What happened?")

    def test_compares_two_replies(self, tab: Tab, stack: Running) -> None:
        page = tab.sign_in(stack.secrets[KeyRole.CLIENT], "Comparer")
        send(page, "I moved to a new city.")
        page.get_by_label("Answer again").click()
        page.get_by_role("button", name="This one is better").nth(1).click()
        expect(page.get_by_text("2 of 2 replies")).to_be_visible()
        rows = {row.completion_id: row.rating for row in stack.find(Feedback) if row.rater == "Comparer"}
        replies = [row for row in stack.find(Completion) if row.messages[-1]["content"] == "I moved to a new city."]
        replies.sort(key=lambda row: row.created_at_s)
        assert [rows[row.id] for row in replies] == ["down", "up"]
        assert replies[0].conversation_id == replies[1].conversation_id

    def test_a_crisis_gets_the_resources(self, tab: Tab) -> None:
        page = tab.open("/")
        send(page, "I want to kill myself.")
        expect(page.locator(".reply.crisis")).to_contain_text("findahelpline.com")
        assert tab.find_faults() == []

    def test_stops_a_reply(self, tab: Tab, stack: Running) -> None:
        page = tab.open("/")
        page.get_by_label("Your message").fill("Tell me something long.")
        page.keyboard.press("Enter")
        page.keyboard.press("Escape")  # it may have ended by itself, for the model is tiny: then nothing happens
        expect(page.locator(".turn").last.get_by_label("Good reply")).to_be_visible()
        assert stack.find(Completion)[-1].finish_reason in ("disconnect", "length", "stop")


class TestRoles:
    def test_a_client_sees_no_dashboard_and_a_signed_out_browser_nothing(self, tab: Tab, stack: Running) -> None:
        page = tab.sign_in(stack.secrets[KeyRole.CLIENT])
        page.goto(f"{stack.address}/dashboard")
        expect(page.get_by_text("takes a key of another role")).to_be_visible()
        page.goto(f"{stack.address}/")
        page.get_by_role("button", name="Sign out").click()
        page.goto(f"{stack.address}/review")
        expect(page).to_have_url(f"{stack.address}/sign-in?next=/review")

    def test_an_open_page_of_a_revoked_key_does_nothing_more(self, tab: Tab, stack: Running) -> None:
        with stack.database.transaction() as session:
            key, secret = create_key(session, KeyRole.CLIENT, "leaver")
        page = tab.sign_in(secret)
        tab.settle()
        with stack.database.transaction() as session:
            revoke_key(session, key.id)
        time.sleep(KNOWN_S)  # the page's process may know the key for so long
        page.get_by_label("Your message").fill("Am I still here?")
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_contain_text("unknown or revoked")
        assert not any(row.key_id == key.id for row in stack.find(Completion))


class TestReview:
    def test_works_through_the_queue_with_shortcuts(self, tab: Tab, stack: Running) -> None:
        page = tab.sign_in(stack.secrets[KeyRole.REVIEWER])
        tab.settle()
        first = page.locator(".judged").inner_text()
        page.get_by_role("button", name="Skip").click()
        expect(page.locator(".judged")).not_to_have_text(first)
        page.locator("h1").click()
        page.keyboard.press("2")
        page.get_by_label("Safety").press("ArrowRight")
        page.get_by_label("Rewrite").fill("I am glad that you wrote. What happened?")
        page.keyboard.press("Control+Enter")
        expect(page.get_by_text("Stored.")).to_be_visible()
        expect(page.get_by_text("1 reply", exact=True)).to_be_visible()
        [review] = stack.find(Review)
        assert (review.verdict, review.scores) == ("bad", {"safety": 1})
        assert review.rewrite == "I am glad that you wrote. What happened?"


class TestDashboard:
    """In this order: import, run, approve, roll back."""

    def test_refuses_a_bad_file_and_names_its_lines(self, admin: Tab, stack: Running, tmp_path: Path) -> None:
        bad = tmp_path / "<img src=x onerror=alert(1)>.csv"
        bad.write_text('Context,Response,rating\n"a","b","up"\n"c","d","sideways"\n"e"\n')
        page = admin.open("/dashboard/data")
        page.get_by_label("File to import").set_input_files(bad)
        expect(page.get_by_role("alert")).to_contain_text("was not imported")
        expect(page.get_by_role("cell", name="line 3")).to_be_visible()
        expect(page.get_by_text("rating must be up, down or empty")).to_have_count(
            2
        )  # in the sentence and in the table
        with stack.database.reading() as session:
            assert count_examples(session) == 0
        admin.complaints[:] = [text for text in admin.complaints if "400 (Bad Request)" not in text]  # that was it

    def test_imports_a_file(self, admin: Tab) -> None:
        page = admin.open("/dashboard/data")
        page.get_by_label("File to import").set_input_files(SAMPLES / "support.csv")
        expect(page.get_by_text(f"{SAMPLE_EXAMPLES} examples were imported")).to_be_visible()
        expect(page.get_by_text(f"{SAMPLE_EXAMPLES} rows").first).to_be_visible()

    def test_stores_the_schedule(self, admin: Tab, stack: Running) -> None:
        page = admin.open("/dashboard/runs")
        page.get_by_label("New ratings needed").fill("30")
        page.get_by_label("Wait for an admin").check()
        page.get_by_role("button", name="Store the schedule").click()
        expect(page.get_by_text("The schedule is stored")).to_be_visible()
        [row] = stack.find(Schedule)
        assert (row.interval_s, row.min_ratings, row.mode) == (0, 30, "approve")

    def test_starts_a_run_and_watches_it_to_its_verdict(self, admin: Tab) -> None:
        page = admin.open("/dashboard/runs")
        page.get_by_label("Recipe").fill('{"sft_epochs": 900}')
        page.get_by_role("button", name="Start with this recipe").click()
        expect(page.get_by_text("sft_epochs must be from 0 to 100")).to_be_visible()
        page.get_by_label("Recipe").fill(json.dumps(LEARNS))
        page.get_by_role("button", name="Start with this recipe").click()
        expect(page.get_by_text("A run is queued")).to_be_visible()
        expect(page.get_by_role("progressbar")).to_be_visible()
        page.get_by_role("link", name="Details").click()
        expect(page.get_by_role("progressbar")).to_be_visible()
        expect(page.get_by_text("Passed: the evidence says that it is better")).to_be_visible(timeout=RUN_MS)
        expect(page.get_by_text("Passed the gate; waits for approval.")).to_be_visible()
        expect(page.get_by_role("row", name="Perplexity")).to_be_visible()
        assert admin.find_faults() == []

    def test_approves_and_rolls_back(self, admin: Tab) -> None:
        page = admin.open("/dashboard/versions")
        page.get_by_role("button", name="Approve").click()
        page.get_by_role("dialog").get_by_role("button", name="Promote").click()
        expect(page.get_by_text("Version 1 is in production.")).to_be_visible()
        page.get_by_role("button", name="Roll back to version 0").click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_role("button", name="Cancel").click()  # it asks, and no is no
        expect(page.get_by_role("dialog")).to_have_count(0)
        page.get_by_role("button", name="Roll back to version 0").click()
        page.get_by_label("Reason").fill("Replies became too long.")
        page.get_by_role("dialog").get_by_role("button", name="Roll back").click()
        expect(page.get_by_text("Version 0 is in production again.")).to_be_visible()
        expect(page.get_by_role("cell", name="Replies became too long.")).to_be_visible()
        admin.open("/dashboard")
        expect(page.get_by_text("Version 0", exact=True).first).to_be_visible()
        expect(page.get_by_text("1 worker answers.")).to_be_visible()


class TestLostConnection:
    def test_says_so_and_comes_back(self, tab: Tab, stack: Running) -> None:
        page = tab.open("/")
        stack.find_process("api").kill()
        expect(page.locator("#popup")).to_have_attribute("aria-hidden", "false")
        await_value(lambda: is_ready(stack.address), bool)
        expect(page.locator("#popup")).to_have_attribute("aria-hidden", "true", timeout=30_000)
        send(page, "Are you there again?")
        tab.complaints.clear()  # the browser tells of each try to connect
