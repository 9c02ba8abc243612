"""A rollback brings the very replies of before; one key that floods does not keep the others waiting."""

from __future__ import annotations

import threading
import time

import httpx
import pytest

from db.promotions import is_rolled_back
from db.session import Database
from settings import Settings
from tests.faults.clients import Caller
from tests.faults.conftest import Tell
from tests.faults.dose import choose_dose
from tests.unit.api.live import Artifacts, Live, add_first_version, serve, start_app

QUESTIONS = choose_dose(8, 50)
FLOOD = choose_dose(200, 2000)
FLOODERS = 8


def ask_all(live: Live) -> list[tuple[str, str]]:
    """Version and text of a greedy reply to each question."""
    answers = []
    for number in range(QUESTIONS):
        question = [{"role": "user", "content": f"I feel alone on day {number}."}]
        reply = live.chat(messages=question, max_tokens=24)
        answers.append((reply["model"], reply["choices"][0]["message"]["content"]))
    return answers


def test_replies_are_those_of_before(settings: Settings, artifacts: Artifacts, tell: Tell) -> None:
    database = Database(settings.database)
    with start_app(settings, artifacts) as live:
        add_first_version(database, artifacts)
        watch, admin = live.services.watch, live.callers.admin
        before = ask_all(live)
        live.http.post("/v1/admin/versions/1/promote", json={"reason": "A test."}, headers=admin).raise_for_status()
        watch.look()
        between = ask_all(live)
        started_s = time.monotonic()
        live.http.post("/v1/admin/rollback", json={"reason": "It was rude."}, headers=admin).raise_for_status()
        watch.look()
        seconds = time.monotonic() - started_s
        assert ask_all(live) == before
    assert all(now != then for now, then in zip(between, before, strict=True))
    with database.reading() as session:
        assert is_rolled_back(session, artifacts.digests[1])
        assert not is_rolled_back(session, artifacts.digests[0])
    database.dispose()
    tell(f"rollback: {QUESTIONS} of {QUESTIONS} greedy replies byte-equal to before, serving after {seconds:.2f} s")


def flood(caller: Caller, count: int, statuses: list[int]) -> None:
    """As fast as it goes."""
    with httpx.Client(base_url=caller.address, headers=caller.headers, timeout=60) as http:
        for _ in range(count):
            statuses.append(http.get("/v1/models").status_code)


def measure(caller: Caller, count: int) -> float:
    """The slowest of so many short replies to a polite client, in seconds."""
    slowest_s = 0.0
    with httpx.Client(base_url=caller.address, headers=caller.headers, timeout=60) as http:
        body = {"messages": [{"role": "user", "content": "I cannot sleep."}], "max_tokens": 8, "temperature": 0}
        for _ in range(count):
            started_s = time.monotonic()
            http.post("/v1/chat/completions", json=body).raise_for_status()
            slowest_s = max(slowest_s, time.monotonic() - started_s)
    return slowest_s


@pytest.mark.slow
def test_a_flood_by_one_key(settings: Settings, artifacts: Artifacts, tell: Tell) -> None:
    burst = 30
    settings = settings.model_copy(update={"rate_burst": burst, "rate_per_minute": 60})
    with start_app(settings, artifacts) as live, serve(live.app) as address:
        polite, flooder = Caller(address, live.callers.other_client), Caller(address, live.callers.client)
        quiet_s = measure(polite, 10)
        statuses: list[int] = []
        args = (flooder, FLOOD // FLOODERS, statuses)
        threads = [threading.Thread(target=flood, args=args) for _ in range(FLOODERS)]
        started_s = time.monotonic()
        for thread in threads:
            thread.start()
        flooded_s = measure(polite, 10)
        for thread in threads:
            thread.join()
        lasted_s = time.monotonic() - started_s
    assert set(statuses) == {200, 429}
    assert statuses.count(200) <= burst + lasted_s + 1  # one a second comes again
    tell(
        f"{FLOOD} calls by one key: {statuses.count(429)} got 429; slowest of 10 replies to another key "
        f"{quiet_s * 1000:.0f} ms quiet, {flooded_s * 1000:.0f} ms in the flood"
    )
