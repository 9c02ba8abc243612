"""A trainer that fails each time: so many attempts, then the run has failed and says why; the next one can begin."""

from __future__ import annotations

import csv
import threading
from collections.abc import Iterator

import pytest

from data.vocabulary import Example, RunStatus
from db.examples import add_examples
from db.models import Run
from db.promotions import get_production
from db.runs import create_run, get_run
from db.session import Database
from settings import Settings
from tests.faults.conftest import Tell
from tests.faults.dose import IS_FULL
from tests.processes import list_children
from tests.tiny import SAMPLES
from tests.unit.api.live import Artifacts, add_base_version
from worker.execution import execute_run

ATTEMPTS = 3
RECIPE = {
    "preference_epochs": 0,
    "trainable": "full",
    "sft_epochs": 1,
    "max_tokens": 256,
    "reply_tokens": 4,
    "max_holdout_rows": 8,
    "safety_items": 8,
}


@pytest.fixture
def database(settings: Settings, artifacts: Artifacts) -> Iterator[Database]:
    """With the samples as examples and the base model in production."""
    database = Database(settings.database)
    add_base_version(database, artifacts)
    with (SAMPLES / "support.csv").open(newline="") as file:
        examples = [Example(context=row["Context"], response=row["Response"]) for row in csv.DictReader(file)]
    with database.transaction() as session:
        add_examples(session, examples, "support.csv", "abc")
    yield database
    database.dispose()


def queue(database: Database, **recipe: object) -> str:
    with database.transaction() as session:
        return create_run(session, RECIPE | recipe, "admin").id


def check_end(database: Database, run_id: str) -> Run:
    """The run, which has failed; production is as it was, and the next run can be queued."""
    with database.reading() as session:
        run = get_run(session, run_id)
        assert get_production(session).number == 0
    assert run.status is RunStatus.FAILED
    queue(database)
    return run


def kill_trainers(stop: threading.Event) -> None:
    """As the kernel does when memory runs out: every trainer, as soon as it is there."""
    while not stop.wait(0.05):
        for trainer in list_children("trainer"):
            trainer.kill()


def test_memory_runs_out_each_time(settings: Settings, database: Database, tell: Tell) -> None:
    run_id, stop = queue(database), threading.Event()
    killer = threading.Thread(target=kill_trainers, args=(stop,))
    killer.start()
    outcomes = [execute_run(database, settings, run_id) for _ in range(ATTEMPTS)]
    stop.set()
    killer.join()
    assert [outcome is None for outcome in outcomes] == [True, True, False]
    run = check_end(database, run_id)
    assert run.attempt == ATTEMPTS
    assert run.reason is not None
    assert "SIGKILL" in run.reason
    tell(f"trainer killed at each attempt: {run.attempt} attempts, then {run.status}: {run.reason[:80]}")


@pytest.mark.slow
@pytest.mark.skipif(not IS_FULL, reason="only with FAULT_DOSE=full")
def test_the_loss_is_not_a_number(settings: Settings, database: Database, tell: Tell) -> None:
    run_id = queue(database, sft_learning_rate=0.1, sft_epochs=3)
    outcome = execute_run(database, settings, run_id)
    assert outcome is not None
    with database.reading() as session:
        run = get_run(session, run_id)
        assert get_production(session).number == 0
    assert run.status in (RunStatus.FAILED, RunStatus.REFUSED)
    assert run.reason
    tell(f"training that diverges: {run.attempt} attempt, {run.status}: {run.reason[:100]}")


def test_the_worker_has_no_room_for_the_snapshot(settings: Settings, database: Database, tell: Tell) -> None:
    run_id = queue(database)
    settings.runs.write_text("")  # where the folder of runs should be
    outcomes = [execute_run(database, settings, run_id) for _ in range(ATTEMPTS)]
    assert [outcome is None for outcome in outcomes] == [True, True, False]
    run = check_end(database, run_id)
    assert run.reason is not None
    assert "The worker could not use its disk" in run.reason
    tell(f"worker without its disk: {run.attempt} attempts, then {run.status}: {run.reason[:100]}")
