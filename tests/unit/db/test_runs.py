"""Runs: one at a time, one holder at a time, and no word from a holder of the past."""

from __future__ import annotations

import pytest
from sqlalchemy.orm import Session

from data.errors import Conflict, NotFound
from data.recipe import Recipe
from data.vocabulary import RunStatus
from db.errors import LeaseLost
from db.models import Run
from db.runs import (
    claim_run,
    create_run,
    fail_exhausted_runs,
    find_active_run,
    finish_run,
    get_run,
    list_run_ids_to_nudge,
    list_runs,
    mark_nudged,
    release_lease,
    renew_lease,
    request_cancel,
    set_status,
)
from db.session import Database
from tests.rows import add_finished_run, run_at_once

EXPIRED_S = -1.0  # a lease that is over as soon as it begins
LONG_S = 3600.0


@pytest.fixture
def run_id(database: Database) -> str:
    """A queued run."""
    with database.transaction() as session:
        return create_run(session, Recipe().to_dict(), "admin").id


def claim(database: Database, run_id: str, lease_s: float = LONG_S) -> Run:
    """Claim the run, which must be free."""
    with database.transaction() as session:
        run = claim_run(session, run_id, "worker", lease_s)
    assert run is not None
    return run


class TestCreateRun:
    def test_queues_it_with_its_recipe(self, database: Database, run_id: str) -> None:
        with database.reading() as session:
            run = get_run(session, run_id)
        assert run.id.startswith("run-")
        assert (run.status, run.attempt, run.trigger) == (RunStatus.QUEUED, 0, "admin")
        assert run.recipe == Recipe().to_dict()
        assert (run.started_at_s, run.finished_at_s, run.lease_until_s) == (None, None, None)

    def test_refuses_a_second_while_one_is_active(self, database: Database, run_id: str) -> None:
        claim(database, run_id)
        with pytest.raises(Conflict, match=run_id), database.transaction() as session:
            create_run(session, {}, "admin")

    def test_allows_the_next_when_one_has_ended(self, database: Database) -> None:
        with database.transaction() as session:
            add_finished_run(session)
            add_finished_run(session)
            assert find_active_run(session) is None

    def test_a_window_has_one_run(self, database: Database) -> None:
        with database.transaction() as session:
            first = create_run(session, {}, "schedule", window_key="monday")
            request_cancel(session, first.id)
            with pytest.raises(Conflict, match="monday"):
                create_run(session, {}, "schedule", window_key="monday")
            create_run(session, {}, "schedule", window_key="tuesday")

    def test_many_at_once_make_one(self, database: Database) -> None:
        def create(session: Session) -> bool:
            try:
                create_run(session, {}, "admin")
            except Conflict:
                return False
            return True

        assert sum(run_at_once(database, 8, create)) == 1


class TestGetRun:
    def test_knows_no_other(self, database: Database) -> None:
        with pytest.raises(NotFound), database.reading() as session:
            get_run(session, "run-none")


class TestListRuns:
    def test_begins_with_the_newest(self, database: Database) -> None:
        with database.transaction() as session:
            first = add_finished_run(session)
        with database.transaction() as session:
            second = add_finished_run(session)
        with database.reading() as session:
            assert [run.id for run in list_runs(session)] == [second, first]
            assert [run.id for run in list_runs(session, limit=1)] == [second]
            assert [run.id for run in list_runs(session, before=second)] == [first]
            assert list_runs(session, before=first) == []
            with pytest.raises(NotFound):
                list_runs(session, before="run-none")


class TestFindActiveRun:
    def test_finds_the_one_that_has_not_ended(self, database: Database, run_id: str) -> None:
        with database.reading() as session:
            run = find_active_run(session)
        assert run is not None and run.id == run_id


class TestClaimRun:
    def test_makes_the_caller_the_holder(self, database: Database, run_id: str) -> None:
        run = claim(database, run_id)
        assert (run.attempt, run.lease_owner) == (1, "worker")
        assert run.started_at_s is not None and run.lease_until_s is not None
        assert run.lease_until_s - run.started_at_s == pytest.approx(LONG_S, abs=1)

    def test_refuses_a_run_that_is_held(self, database: Database, run_id: str) -> None:
        claim(database, run_id)
        with database.transaction() as session:
            assert claim_run(session, run_id, "another", LONG_S) is None
            assert get_run(session, run_id).lease_owner == "worker"

    def test_takes_over_when_the_lease_is_over(self, database: Database, run_id: str) -> None:
        first = claim(database, run_id, EXPIRED_S)
        second = claim(database, run_id)
        assert second.attempt == 2
        assert second.started_at_s == first.started_at_s

    def test_refuses_a_run_that_has_ended_or_never_was(self, database: Database) -> None:
        with database.transaction() as session:
            assert claim_run(session, add_finished_run(session), "worker", LONG_S) is None
            assert claim_run(session, "run-none", "worker", LONG_S) is None

    def test_of_sixteen_at_once_exactly_one_gets_it(self, database: Database, run_id: str) -> None:
        claims = run_at_once(database, 16, lambda session: claim_run(session, run_id, "worker", LONG_S))
        assert len([run for run in claims if run is not None]) == 1
        with database.reading() as session:
            assert get_run(session, run_id).attempt == 1


class TestRenewLease:
    def test_holds_on_and_stores_the_progress(self, database: Database, run_id: str) -> None:
        claim(database, run_id, lease_s=1)
        progress = {"stage": "training", "step": 3, "of": 10, "loss": 2.5, "eta_s": None}
        with database.transaction() as session:
            assert renew_lease(session, run_id, 1, LONG_S, progress) == "held"
            assert renew_lease(session, run_id, 1, LONG_S, None) == "held"
        with database.reading() as session:
            run = get_run(session, run_id)
        assert run.progress == progress
        assert run.lease_until_s is not None and run.started_at_s is not None
        assert run.lease_until_s - run.started_at_s > LONG_S - 1

    def test_tells_a_holder_of_the_past(self, database: Database, run_id: str) -> None:
        claim(database, run_id, EXPIRED_S)
        claim(database, run_id)
        with database.transaction() as session:
            assert renew_lease(session, run_id, 1, LONG_S, {"step": 1}) == "lost"
            assert get_run(session, run_id).progress is None

    def test_tells_of_a_wish_to_cancel(self, database: Database, run_id: str) -> None:
        claim(database, run_id)
        with database.transaction() as session:
            request_cancel(session, run_id)
            assert renew_lease(session, run_id, 1, LONG_S, None) == "cancel"

    def test_tells_when_the_run_has_ended(self, database: Database) -> None:
        with database.transaction() as session:
            assert renew_lease(session, add_finished_run(session), 1, LONG_S, None) == "lost"


class TestReleaseLease:
    def test_lets_another_claim_at_once(self, database: Database, run_id: str) -> None:
        claim(database, run_id)
        with database.transaction() as session:
            release_lease(session, run_id, 1)
        assert claim(database, run_id).attempt == 2

    def test_is_not_undone_by_a_renewal_that_was_under_way(self, database: Database, run_id: str) -> None:
        claim(database, run_id)
        with database.transaction() as session:
            release_lease(session, run_id, 1)
            assert renew_lease(session, run_id, 1, LONG_S, None) == "lost"
        assert claim(database, run_id).attempt == 2

    def test_of_a_stopped_worker_happens_once(self, database: Database, run_id: str) -> None:
        claim(database, run_id)
        with database.transaction() as session:
            for _ in range(2):
                release_lease(session, run_id, 1, counts=False)
            assert get_run(session, run_id).stops == 1
            release_lease(session, run_id, 0, counts=False)
            assert get_run(session, run_id).stops == 1

    def test_does_nothing_for_a_holder_of_the_past(self, database: Database, run_id: str) -> None:
        claim(database, run_id, EXPIRED_S)
        claim(database, run_id)
        with database.transaction() as session:
            release_lease(session, run_id, 1)
            assert get_run(session, run_id).lease_owner == "worker"


class TestSetStatus:
    def test_moves_the_run_on_and_sets_other_columns(self, database: Database, run_id: str) -> None:
        claim(database, run_id)
        with database.transaction() as session:
            set_status(session, run_id, 1, RunStatus.TRAINING, progress={"stage": "training"})
        with database.reading() as session:
            run = get_run(session, run_id)
        assert (run.status, run.progress) == (RunStatus.TRAINING, {"stage": "training"})

    def test_undoes_what_a_holder_of_the_past_wrote_beside_it(self, database: Database, run_id: str) -> None:
        claim(database, run_id, EXPIRED_S)
        claim(database, run_id)
        with pytest.raises(LeaseLost), database.transaction() as session:
            mark_nudged(session, run_id)
            set_status(session, run_id, 1, RunStatus.PROMOTING)
        with database.reading() as session:
            run = get_run(session, run_id)
        assert (run.status, run.nudged_at_s) == (RunStatus.QUEUED, None)

    def test_cannot_wake_a_run_that_has_ended(self, database: Database) -> None:
        with pytest.raises(LeaseLost), database.transaction() as session:
            set_status(session, add_finished_run(session), 1, RunStatus.TRAINING)

    def test_is_not_for_outcomes(self, database: Database, run_id: str) -> None:
        with pytest.raises(ValueError, match="finish_run"), database.transaction() as session:
            set_status(session, run_id, 0, RunStatus.SUCCEEDED)


class TestFinishRun:
    def test_records_the_outcome_and_gives_the_lease_up(self, database: Database, run_id: str) -> None:
        claim(database, run_id)
        with database.transaction() as session:
            finish_run(session, run_id, 1, RunStatus.REFUSED, "No better.", version_number=4)
        with database.reading() as session:
            run = get_run(session, run_id)
        assert (run.status, run.reason, run.version_number) == (RunStatus.REFUSED, "No better.", 4)
        assert (run.lease_owner, run.lease_until_s) == (None, None)
        assert run.finished_at_s is not None and run.finished_at_s >= run.created_at_s

    def test_is_not_for_a_holder_of_the_past(self, database: Database, run_id: str) -> None:
        claim(database, run_id, EXPIRED_S)
        claim(database, run_id)
        with pytest.raises(LeaseLost), database.transaction() as session:
            finish_run(session, run_id, 1, RunStatus.FAILED, "Too late.")

    def test_happens_once(self, database: Database) -> None:
        with pytest.raises(LeaseLost), database.transaction() as session:
            finish_run(session, add_finished_run(session), 1, RunStatus.FAILED, "Again.")

    def test_is_for_outcomes_only(self, database: Database, run_id: str) -> None:
        with pytest.raises(ValueError, match="set_status"), database.transaction() as session:
            finish_run(session, run_id, 0, RunStatus.TRAINING, None)


class TestRequestCancel:
    @pytest.mark.parametrize("attempts", [0, 1])
    def test_ends_a_run_that_nobody_holds(self, database: Database, run_id: str, attempts: int) -> None:
        for _ in range(attempts):
            claim(database, run_id, EXPIRED_S)
        with database.transaction() as session:
            run = request_cancel(session, run_id)
            assert (run.status, run.finished_at_s is None) == (RunStatus.CANCELLED, False)
            assert find_active_run(session) is None

    def test_leaves_the_end_of_a_held_run_to_its_holder(self, database: Database, run_id: str) -> None:
        claim(database, run_id)
        with database.transaction() as session:
            run = request_cancel(session, run_id)
            assert (run.status, run.cancel_requested) == (RunStatus.QUEUED, True)
            finish_run(session, run_id, 1, RunStatus.CANCELLED, "An admin stopped it.")

    def test_refuses_when_there_is_nothing_to_cancel(self, database: Database) -> None:
        with database.transaction() as session:
            with pytest.raises(Conflict, match="succeeded"):
                request_cancel(session, add_finished_run(session))
            with pytest.raises(NotFound):
                request_cancel(session, "run-none")


class TestListRunIdsToNudge:
    def test_names_a_run_that_was_never_nudged_or_long_ago(self, database: Database, run_id: str) -> None:
        with database.transaction() as session:
            assert list_run_ids_to_nudge(session, older_than_s=30) == [run_id]
            mark_nudged(session, run_id)
            assert list_run_ids_to_nudge(session, older_than_s=30) == []
            assert list_run_ids_to_nudge(session, older_than_s=-1) == [run_id]

    def test_leaves_out_runs_that_are_held_or_ended(self, database: Database, run_id: str) -> None:
        claim(database, run_id)
        with database.transaction() as session:
            assert list_run_ids_to_nudge(session, older_than_s=-1) == []
            finish_run(session, run_id, 1, RunStatus.SKIPPED, "Too few ratings.")
            assert list_run_ids_to_nudge(session, older_than_s=-1) == []

    def test_names_a_run_whose_holder_fell_silent(self, database: Database, run_id: str) -> None:
        claim(database, run_id, EXPIRED_S)
        with database.reading() as session:
            assert list_run_ids_to_nudge(session, older_than_s=30) == [run_id]


class TestFailExhaustedRuns:
    def test_fails_a_run_after_its_last_attempt_fell_silent(self, database: Database, run_id: str) -> None:
        claim(database, run_id, EXPIRED_S)
        claim(database, run_id, EXPIRED_S)
        with database.transaction() as session:
            assert fail_exhausted_runs(session, max_attempts=3) == []
            assert fail_exhausted_runs(session, max_attempts=2) == [run_id]
            run = get_run(session, run_id)
            assert run.status is RunStatus.FAILED
            assert run.reason is not None and "2 attempts" in run.reason
            assert fail_exhausted_runs(session, max_attempts=2) == []

    def test_counts_no_attempt_that_ended_as_its_worker_was_stopped(self, database: Database, run_id: str) -> None:
        for attempt in (1, 2, 3):
            claim(database, run_id)
            with database.transaction() as session:
                release_lease(session, run_id, attempt, counts=False)
        claim(database, run_id, EXPIRED_S)
        with database.transaction() as session:
            assert fail_exhausted_runs(session, max_attempts=2) == []
        assert claim(database, run_id, EXPIRED_S).attempt == 5  # still a token that no other attempt has
        with database.transaction() as session:
            assert fail_exhausted_runs(session, max_attempts=2) == [run_id]

    def test_spares_a_run_that_is_held_or_was_released(self, database: Database, run_id: str) -> None:
        claim(database, run_id)
        with database.transaction() as session:
            assert fail_exhausted_runs(session, max_attempts=1) == []
            release_lease(session, run_id, 1)
            assert fail_exhausted_runs(session, max_attempts=1) == []
