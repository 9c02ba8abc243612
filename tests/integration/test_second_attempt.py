"""A worker that dies at the verdict: its next attempt trains on newer rows, and what it judges is what is promoted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from data.vocabulary import Example, RunStatus
from db.evaluations import find_evaluation
from db.examples import add_examples
from db.promotions import get_production
from db.runs import create_run, release_lease
from db.session import Database
from db.versions import get_version
from serving.artifact import load_artifact
from settings import Settings
from tests.deployments import build_deployment, open_deployment, read_samples
from tests.stacks import LEARNS
from worker.execution import execute_run

pytestmark = pytest.mark.slow
RECIPE = LEARNS | {"method": "sft", "sft_epochs": 1, "reply_tokens": 8}


@pytest.fixture
def settings(tmp_path: Path, sqlite_template: Path) -> Settings:
    return build_deployment(tmp_path, sqlite_template)


@pytest.fixture
def database(settings: Settings) -> Iterator[Database]:
    with open_deployment(settings, read_samples()) as database:
        yield database


def add(database: Database, *examples: Example) -> None:
    with database.transaction() as session:
        add_examples(session, examples, "support.csv", "abc")


def execute(database: Database, statement: str) -> None:
    with database.transaction() as session:
        session.execute(text(statement))


def read_report(settings: Settings, run_id: str, attempt: int) -> dict[str, object]:
    return dict(json.loads((settings.runs / run_id / f"attempt-{attempt}" / "report.json").read_text()))


def test_promotes_what_it_judged_itself(settings: Settings, database: Database) -> None:
    with database.transaction() as session:
        run_id = create_run(session, RECIPE, "admin").id
    fault = "BEFORE UPDATE OF verdict ON evaluations BEGIN SELECT RAISE(ABORT, 'the worker dies'); END"
    execute(database, f"CREATE TRIGGER fault {fault}")
    with pytest.raises(IntegrityError, match="the worker dies"):
        execute_run(database, settings, run_id)
    execute(database, "DROP TRIGGER fault")
    with database.transaction() as session:
        release_lease(session, run_id, 1)  # as time does
    add(database, Example(context="I am new here, and shy.", response="Welcome! Take all the time that you need."))
    outcome = execute_run(database, settings, run_id)
    assert outcome is not None
    assert (outcome.status, outcome.version_number) == (RunStatus.SUCCEEDED, 1), outcome.reason
    first, second = (read_report(settings, run_id, attempt) for attempt in (1, 2))
    assert first["digest"] != second["digest"]  # the rows were collected anew
    with database.reading() as session:
        production, evaluation = get_production(session), find_evaluation(session, run_id)
        assert get_version(session, 1) is production
    assert production.digest == second["digest"]
    assert load_artifact(settings.artifacts / production.folder).digest == second["digest"]
    assert production.report is not None and production.report["attempt"] == 2
    assert evaluation is not None
    assert (evaluation.candidate_digest, evaluation.consultation) == (second["digest"], 1)
