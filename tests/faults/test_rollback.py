"""A rollback brings the very replies of before."""

from __future__ import annotations

import time

from db.promotions import is_rolled_back
from db.session import Database
from settings import Settings
from tests.faults.conftest import Tell
from tests.faults.dose import choose_dose
from tests.unit.api.live import Artifacts, Live, add_first_version, start_app

QUESTIONS = choose_dose(8, 50)


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
