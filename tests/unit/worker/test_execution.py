"""Attempts that end before any training; whole runs are in `tests/integration/test_loop.py`."""

from __future__ import annotations

from pathlib import Path
from threading import Event, Thread

import pytest

from data.ingestion import read_examples
from data.vocabulary import RunStatus
from db.examples import add_examples
from db.holdouts import open_holdout
from db.promotions import promote
from db.runs import create_run, get_run
from db.session import Database
from db.versions import ensure_base_version
from settings import Settings
from tests.rows import add_trained_version
from tests.tiny import SAMPLES
from worker.execution import Outcome, execute_run
from worker.lease import stop_all_runs


def run_once(database: Database, settings: Settings) -> Outcome | None:
    with database.transaction() as session:
        run_id = create_run(session, {}, "admin").id
    return execute_run(database, settings, run_id)


def test_a_retired_hold_out_judges_nobody_until_a_new_one_is_drawn(database: Database, tmp_path: Path) -> None:
    settings = Settings(_env_file=None, var=tmp_path)
    with database.transaction() as session:
        ensure_base_version(session, "d0", "base", "tiny")
        number = add_trained_version(session).number
        for turn in range(20):
            promote(session, 0 if turn % 2 else number, "manual", "To and fro.", "ann")
    outcome = run_once(database, settings)
    assert outcome is not None and outcome.status is RunStatus.SKIPPED
    assert outcome.reason == (
        "The hold-out is retired after 0 consultations and 20 promotions; "
        "an admin draws a new one with `ratchet holdout renew`."
    )
    assert not list(tmp_path.glob("runs/*/*"))
    with database.transaction() as session:
        open_holdout(session, "ann", "It is used up.")
    outcome = run_once(database, settings)
    assert outcome is not None and outcome.status is RunStatus.SKIPPED  # nobody has rated anything
    assert "retired" not in str(outcome.reason)
    assert list(tmp_path.glob("runs/*/*/snapshot"))


@pytest.fixture
def without_store(tmp_path: Path) -> Settings:
    """Settings by which a run gets two attempts, and no artifact."""
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    return Settings(  # type: ignore[call-arg]
        var=tmp_path, artifacts_url=f"file://{blocked}/artifacts", max_attempts=2, _env_file=None
    )


@pytest.fixture
def run_id(database: Database) -> str:
    """A queued run that has enough to train on."""
    with database.transaction() as session:
        ensure_base_version(session, "0" * 64, "base", "tiny")
        add_examples(session, read_examples(SAMPLES / "support.csv", "support.csv").examples, "support.csv", "0" * 64)
        return create_run(session, {"method": "sft"}, "admin").id


def test_a_store_that_is_away_takes_an_attempt_and_not_the_run(
    database: Database, without_store: Settings, run_id: str
) -> None:
    """The run is free for the next attempt at once, and failed after the last with the reason."""
    assert execute_run(database, without_store, run_id) is None
    outcome = execute_run(database, without_store, run_id)
    assert outcome is not None
    assert outcome.status is RunStatus.FAILED
    assert "Given up after 2 attempts: The store" in str(outcome.reason)
    with database.reading() as session:
        assert get_run(session, run_id).attempt == 2


def test_a_worker_that_is_stopped_takes_no_attempt(database: Database, without_store: Settings, run_id: str) -> None:
    """Three attempts are begun, and the two that count are the run's whole share."""
    has_ended = Event()

    def stop_in_the_midst() -> None:
        while not has_ended.wait(0.05):
            stop_all_runs()

    stopper = Thread(target=stop_in_the_midst)
    stopper.start()
    assert execute_run(database, without_store, run_id) is None
    has_ended.set()
    stopper.join()
    assert execute_run(database, without_store, run_id) is None
    outcome = execute_run(database, without_store, run_id)
    assert outcome is not None
    assert "Given up after 2 attempts: The store" in str(outcome.reason)
    with database.reading() as session:
        run = get_run(session, run_id)
    assert (run.attempt, run.stops) == (3, 1)
