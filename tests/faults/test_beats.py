"""Three beats at once, and a beat that was away: one run a window, one to catch up."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from data.vocabulary import Rating, RunStatus
from db.feedback import FeedbackValues, put_feedback
from db.runs import claim_run, finish_run, list_runs
from db.session import Database
from settings import Settings
from tests.faults.conftest import Tell
from tests.faults.dose import choose_dose
from tests.rows import add_client, add_completion
from worker.sweep import sweep_runs

BEATS = 3
INTERVAL_S = 0.5
WINDOWS = choose_dose(4, 20)


@pytest.fixture
def databases(database_url: str) -> Iterator[list[Database]]:
    """One for each beat, as processes have."""
    databases = [Database(database_url) for _ in range(BEATS)]
    yield databases
    for database in databases:
        database.dispose()


def rate(database: Database) -> None:
    """A new rating, for which a scheduled run waits."""
    with database.transaction() as session:
        completion = add_completion(session, add_client(session))
        put_feedback(session, completion.id, "ann", FeedbackValues(rater_kind="end_user", rating=Rating.UP))


def beat_at_once(databases: list[Database], settings: Settings) -> list[str]:
    """The runs that all beats together started."""
    barrier = threading.Barrier(BEATS)

    def beat(database: Database) -> str | None:
        barrier.wait()
        return sweep_runs(database, settings).scheduled

    with ThreadPoolExecutor(BEATS) as threads:
        return [run_id for run_id in threads.map(beat, databases) if run_id]


def finish(database: Database, run_id: str) -> None:
    with database.transaction() as session:
        claim_run(session, run_id, "worker", lease_s=60)
        finish_run(session, run_id, 1, RunStatus.REFUSED, "A test.")


def await_next_window() -> None:
    """Wait for the next window in which an interval has passed since the last run."""
    threading.Event().wait(2 * INTERVAL_S - time.time() % INTERVAL_S)


def test_three_beats_and_a_beat_that_was_away(databases: list[Database], tmp_path: Path, tell: Tell) -> None:
    settings = Settings(_env_file=None, var=tmp_path, schedule_s=INTERVAL_S, schedule_min_ratings=1)
    database = databases[0]
    for _ in range(WINDOWS):
        rate(database)
        await_next_window()
        [run_id] = beat_at_once(databases, settings)
        assert beat_at_once(databases, settings) == []
        finish(database, run_id)
    for _ in range(3):  # nobody beats, but people go on rating
        rate(database)
        threading.Event().wait(INTERVAL_S)
    caught_up = beat_at_once(databases, settings)
    assert len(caught_up) == 1
    finish(database, caught_up[0])
    assert beat_at_once(databases, settings) == []  # three missed windows are not three runs
    with database.reading() as session:
        assert len(list_runs(session)) == WINDOWS + 1
    tell(f"{BEATS} beats at once over {WINDOWS} windows: {WINDOWS} runs; beat away for 3 intervals: 1 run to catch up")
