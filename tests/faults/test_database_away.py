"""PostgreSQL that restarts again and again during a run costs the run time, and none of its attempts."""

from __future__ import annotations

import csv
import random
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from data.vocabulary import Example
from db.examples import add_examples
from db.runs import create_run, get_run
from db.session import Database
from migrations.upgrade import upgrade_database
from settings import Settings
from tests.faults.conftest import Tell, crash_and_start
from tests.faults.dose import SEED, TAKES_MINUTES, choose_dose
from tests.faults.test_failing_trainer import RECIPE
from tests.tiny import SAMPLES
from tests.unit.api.live import Artifacts, add_base_version
from worker.execution import execute_run

PAUSE_S = choose_dose(0.5, 2.0)  # between restarts, at most
DOWN_S = choose_dose(1.0, 10.0)
MAX_ATTEMPTS = 3


@pytest.mark.slow
@TAKES_MINUTES
def test_a_run_outlives_restarts(server: Any, settings: Settings, artifacts: Artifacts, tell: Tell) -> None:
    settings = settings.model_copy(update={"database_url": server.get_uri(), "max_attempts": MAX_ATTEMPTS})
    upgrade_database(settings.database)
    database, draw = Database(settings.database), random.Random(SEED)
    add_base_version(database, artifacts)
    with (SAMPLES / "support.csv").open(newline="") as file:
        examples = [Example(context=row["Context"], response=row["Response"]) for row in csv.DictReader(file)]
    with database.transaction() as session:
        add_examples(session, examples, "support.csv", "abc")
        run_id = create_run(session, RECIPE, "admin").id
    ends: Counter[str] = Counter()
    with ThreadPoolExecutor() as threads:
        running = threads.submit(execute_run, database, settings, run_id)
        while not running.done():
            threading.Event().wait(draw.uniform(0, PAUSE_S))
            ends[crash_and_start(server, draw, DOWN_S)] += 1
    outcome = running.result()
    assert outcome is not None
    assert ends.total() > MAX_ATTEMPTS
    with database.reading() as session:
        run = get_run(session, run_id)
    assert (run.status, run.reason, run.attempt) == (outcome.status, outcome.reason, 1)
    database.dispose()
    tell(f"PostgreSQL {dict(ends)} during one run: {run.attempt} attempt, {run.status}: {str(run.reason)[:80]}")
