"""A run whose trainer is killed goes on in its next attempt, on the same rows, and makes the same weights."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from data.vocabulary import Example, RunStatus
from db.examples import add_examples
from db.runs import create_run, get_run
from db.session import Database
from settings import Settings
from tests.deployments import build_deployment, open_deployment, read_samples
from tests.processes import await_value, list_children
from worker.execution import Outcome, execute_run

pytestmark = pytest.mark.slow
RECIPE = {
    "method": "sft",
    "preference_epochs": 0,
    "trainable": "last:1",
    "batch_size": 4,
    "max_tokens": 96,
    "reply_tokens": 4,
    "safety_items": 4,
    "max_holdout_rows": 8,
    "sft_epochs": 2,
    "save_steps": 20,
}


@pytest.fixture
def settings(tmp_path: Path, sqlite_template: Path) -> Settings:
    return build_deployment(tmp_path, sqlite_template)


@pytest.fixture
def database(settings: Settings) -> Iterator[Database]:
    with open_deployment(settings, read_samples()[:-1]) as database:
        yield database


def queue(database: Database) -> str:
    with database.transaction() as session:
        return create_run(session, RECIPE, "admin").id


def find_trainer() -> psutil.Process | None:
    return next(iter(list_children("trainer")), None)


def read_report(settings: Settings, run_id: str, attempt: int) -> dict[str, object]:
    return dict(json.loads((settings.runs / run_id / f"attempt-{attempt}" / "report.json").read_text()))


def read_log(settings: Settings, run_id: str) -> str:
    return "\n".join(path.read_text()[-2000:] for path in (settings.runs / run_id).glob("attempt-*/trainer.log"))


def list_checkpoints(settings: Settings, run_id: str) -> list[Path]:
    return list((settings.runs / run_id).glob("attempt-*/checkpoints/supervised-0*/manifest.json"))


def test_the_next_attempt_goes_on_and_makes_the_same_weights(settings: Settings, database: Database) -> None:
    whole = queue(database)
    assert execute_run(database, settings, whole) is not None, read_log(settings, whole)
    run_id = queue(database)
    ended: list[Outcome | None] = []
    attempt = threading.Thread(target=lambda: ended.append(execute_run(database, settings, run_id)))
    attempt.start()
    trainer = await_value(find_trainer, lambda found: found is not None)  # found before it can have ended
    await_value(lambda: list_checkpoints(settings, run_id), bool)
    trainer.kill()
    attempt.join()
    assert ended == [None]  # left to the next attempt
    with database.transaction() as session:  # what comes in meanwhile is for the next run
        add_examples(session, [Example(context="I am new here.", response="Welcome!")], "new.csv", "def")
    outcome = execute_run(database, settings, run_id)
    assert outcome is not None, read_log(settings, run_id)
    assert outcome.status in (RunStatus.SUCCEEDED, RunStatus.REFUSED), outcome.reason
    with database.reading() as session:
        assert get_run(session, run_id).attempt == 2
    resumed, straight = read_report(settings, run_id, 2), read_report(settings, whole, 1)
    assert resumed["snapshot_digest"] == straight["snapshot_digest"]
    assert resumed["digest"] == straight["digest"]
    stages = resumed["stages"]
    assert isinstance(stages, dict)
    assert stages["supervised"]["resumed_at_step"] >= 20
    assert not list(settings.runs.glob("*/attempt-*/checkpoints"))
