"""Evaluations: every consultation of the hold-out is counted, once."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from data.errors import NotFound
from data.vocabulary import Verdict
from db.evaluations import finish_evaluation, start_evaluation
from db.models import Evaluation
from db.session import Database
from db.versions import ensure_base_version
from tests.rows import add_finished_run, run_at_once


@pytest.fixture
def run_ids(database: Database) -> list[str]:
    """Runs whose candidates want to be evaluated against the base."""
    with database.transaction() as session:
        ensure_base_version(session, "d0", "base", "gpt2")
        return [add_finished_run(session) for _ in range(4)]


class TestStartEvaluation:
    def test_counts_a_start_that_came_to_nothing(self, database: Database, run_ids: list[str]) -> None:
        with database.transaction() as session:
            assert start_evaluation(session, run_ids[0], "d1", 0) == 1
            assert start_evaluation(session, run_ids[1], "d2", 0) == 2

    def test_a_run_tried_again_keeps_its_number(self, database: Database, run_ids: list[str]) -> None:
        with database.transaction() as session:
            start_evaluation(session, run_ids[0], "d1", 0)
            start_evaluation(session, run_ids[1], "d2", 0)
            assert start_evaluation(session, run_ids[0], "d1 again", 0) == 1
            first = session.scalars(select(Evaluation).where(Evaluation.consultation == 1)).one()
            assert first.candidate_digest == "d1 again"

    def test_many_at_once_get_a_number_each(self, database: Database, run_ids: list[str]) -> None:
        waiting = iter(run_ids * 2)
        numbers = run_at_once(database, 8, lambda session: start_evaluation(session, next(waiting), "d", 0))
        assert sorted(numbers) == [1, 1, 2, 2, 3, 3, 4, 4]


class TestFinishEvaluation:
    def test_the_first_verdict_stands(self, database: Database, run_ids: list[str]) -> None:
        with database.transaction() as session:
            start_evaluation(session, run_ids[0], "d1", 0)
            finish_evaluation(session, run_ids[0], {"p": 0.4}, Verdict.REFUSE)
        with database.transaction() as session:
            start_evaluation(session, run_ids[0], "d2", 0)
            evaluation = finish_evaluation(session, run_ids[0], {"p": 0.001}, Verdict.PROMOTE)
        assert (evaluation.verdict, evaluation.decision) == (Verdict.REFUSE, {"p": 0.4})
        assert evaluation.candidate_digest == "d1"
        assert evaluation.finished_at_s is not None

    def test_needs_a_start(self, database: Database, run_ids: list[str]) -> None:
        with pytest.raises(NotFound), database.transaction() as session:
            finish_evaluation(session, run_ids[0], {}, Verdict.REFUSE)
