"""Versions: numbered 0, 1, 2 … without gaps or doubles."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait

import pytest
from sqlalchemy.orm import Session

from data.errors import Conflict, NotFound
from data.vocabulary import Verdict
from db.evaluations import finish_evaluation, start_evaluation
from db.promotions import get_production, list_promotions, promote
from db.session import Database
from db.versions import (
    ensure_base_version,
    find_version_of_run,
    get_version,
    list_versions,
    register_version,
)
from tests.rows import add_finished_run, run_at_once


def ensure_base(session: Session) -> int:
    """Number of the base version."""
    return ensure_base_version(session, "d0", "base", "gpt2").number


def register(session: Session, run_id: str) -> int:
    """Number of the version of the run."""
    return register_version(session, run_id, "d", f"of-{run_id}", "gpt2", {"bleu": 1.5}).number


def judge(session: Session, run_id: str) -> None:
    start_evaluation(session, run_id, "d", 0)
    finish_evaluation(session, run_id, {}, Verdict.REFUSE)


def put_into_production(session: Session, run_id: str) -> None:
    promote(session, 1, "manual", "I like it.", "ann")


class TestEnsureBaseVersion:
    def test_puts_the_base_into_production_once(self, database: Database) -> None:
        for _ in range(2):
            with database.transaction() as session:
                assert ensure_base(session) == 0
        with database.reading() as session:
            assert get_production(session).number == 0
            assert [promotion.kind for promotion in list_promotions(session)] == ["initial"]

    def test_keeps_the_base_that_is_there(self, database: Database) -> None:
        with database.transaction() as session:
            ensure_base(session)
            assert ensure_base_version(session, "other", "other", "gpt2-medium").digest == "d0"

    def test_many_at_once_make_one(self, database: Database) -> None:
        assert run_at_once(database, 8, ensure_base) == [0] * 8
        with database.reading() as session:
            assert len(list_promotions(session)) == 1


class TestRegisterVersion:
    def test_counts_on(self, database: Database) -> None:
        with database.transaction() as session:
            ensure_base(session)
            assert register(session, add_finished_run(session)) == 1
            assert register(session, add_finished_run(session)) == 2
            assert [version.number for version in list_versions(session)] == [2, 1, 0]
            assert [version.number for version in list_versions(session, limit=1, before=2)] == [1]

    def test_a_run_keeps_its_version(self, database: Database) -> None:
        with database.transaction() as session:
            run_id = add_finished_run(session)
            assert register(session, run_id) == register(session, run_id) == 1
            assert get_version(session, 1).report == {"bleu": 1.5}

    def test_a_run_that_is_tried_again_keeps_its_number_for_other_weights(self, database: Database) -> None:
        with database.transaction() as session:
            ensure_base(session)
            run_id = add_finished_run(session)
            register(session, run_id)
            start_evaluation(session, run_id, "d", 0)  # which came to nothing
            assert register_version(session, run_id, "d2", "f2", "gpt2", {"bleu": 2.5}).number == 1
        with database.reading() as session:
            version = find_version_of_run(session, run_id)
        assert version is not None
        assert (version.digest, version.folder, version.report) == ("d2", "f2", {"bleu": 2.5})

    @pytest.mark.parametrize("settle", [judge, put_into_production])
    def test_keeps_weights_that_were_judged_or_in_production(
        self, database: Database, settle: Callable[[Session, str], None]
    ) -> None:
        with database.transaction() as session:
            ensure_base(session)
            run_id = add_finished_run(session)
            register(session, run_id)
            settle(session, run_id)
        with database.transaction() as session:
            assert register_version(session, run_id, "d", "f2", "gpt2", None).report == {"bleu": 1.5}
            with pytest.raises(Conflict, match="other weights as version 1"):
                register_version(session, run_id, "d2", "f2", "gpt2", None)
        with database.reading() as session:
            assert get_version(session, 1).digest == "d"

    def test_other_weights_wait_for_a_promotion_that_is_being_committed(self, database: Database) -> None:
        with database.transaction() as session:
            ensure_base(session)
            run_id = add_finished_run(session)
            register(session, run_id)

        def register_others() -> None:
            with database.transaction() as session:
                register_version(session, run_id, "d2", "f2", "gpt2", None)

        with ThreadPoolExecutor(1) as thread:
            with database.transaction() as session:
                put_into_production(session, run_id)
                registering = thread.submit(register_others)
                assert not wait([registering], timeout=0.5).done
            with pytest.raises(Conflict):
                registering.result()

    def test_many_runs_at_once_get_a_number_each(self, database: Database) -> None:
        with database.transaction() as session:
            run_ids = [add_finished_run(session) for _ in range(4)]
        waiting = iter(run_ids * 2)
        numbers = run_at_once(database, 8, lambda session: register(session, next(waiting)))
        assert sorted(numbers) == [1, 1, 2, 2, 3, 3, 4, 4]


class TestGetVersion:
    def test_knows_no_other(self, database: Database) -> None:
        with pytest.raises(NotFound), database.reading() as session:
            get_version(session, 7)
