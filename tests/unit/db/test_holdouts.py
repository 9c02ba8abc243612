"""Which hold-out is in use, and how a new one follows it."""

from __future__ import annotations

import pytest

from data.errors import Conflict
from data.splitting import DEFAULT_SALT
from db.evaluations import start_evaluation
from db.holdouts import get_holdout, open_holdout
from db.promotions import promote, rollback
from db.runs import create_run
from db.session import Database
from db.versions import ensure_base_version
from tests.rows import add_finished_run, add_trained_version


@pytest.fixture
def used(database: Database) -> Database:
    """A hold-out with two consultations, one promotion and one way back."""
    with database.transaction() as session:
        ensure_base_version(session, "d0", "base", "gpt2")
        version = add_trained_version(session)
        start_evaluation(session, str(version.run_id), version.digest, 0)
        start_evaluation(session, add_finished_run(session), "d2", 0)
        promote(session, version.number, "gate", "Better.", "gate")
        rollback(session, "ann", "Worse after all.")
    return database


class TestGetHoldout:
    def test_counts_consultations_and_decided_promotions(self, used: Database) -> None:
        with used.reading() as session:
            holdout = get_holdout(session)
        assert (holdout.number, holdout.salt) == (1, DEFAULT_SALT)
        assert (holdout.budget.consultations, holdout.budget.promotions) == (2, 1)


class TestOpenHoldout:
    def test_begins_a_new_budget(self, used: Database) -> None:
        with used.transaction() as session:
            holdout = open_holdout(session, "ann", "It is used up.")
            assert (holdout.number, holdout.budget.consultations, holdout.budget.promotions) == (2, 0, 0)
            assert holdout.salt != DEFAULT_SALT
            assert start_evaluation(session, add_finished_run(session), "d3", 0) == 1
            assert get_holdout(session).budget.consultations == 1
            assert open_holdout(session, "ann", "Again.").salt != holdout.salt

    def test_waits_for_the_active_run(self, used: Database) -> None:
        with used.transaction() as session:
            create_run(session, {}, "admin")
        with pytest.raises(Conflict, match="wait for its end"), used.transaction() as session:
            open_holdout(session, "ann", "Now.")
