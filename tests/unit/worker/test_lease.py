"""Holding a run, on both databases: renewed, stored, stopped when cancelled, lost or shutting down."""

from __future__ import annotations

import threading

import pytest

from data.vocabulary import RunStatus
from db.errors import LeaseLost
from db.runs import claim_run, create_run, get_run, request_cancel
from db.session import Database
from worker.errors import RunCancelled, WorkerStopping
from worker.lease import LeaseKeeper, move_on, stop_all_runs

LEASE_S = 0.4
WAIT_S = 30


@pytest.fixture
def run_id(database: Database) -> str:
    with database.transaction() as session:
        run = create_run(session, {}, "admin")
        claim_run(session, run.id, "worker", LEASE_S)
        return run.id


class TestLeaseKeeper:
    def test_renews_and_stores_the_progress(self, database: Database, run_id: str) -> None:
        with LeaseKeeper(database, run_id, 1, LEASE_S) as keeper:
            keeper.report({"stage": "training", "step": 3})
            keeper.check()
            for _ in range(100):
                with database.reading() as session:
                    run = get_run(session, run_id)
                if run.progress:
                    break
                threading.Event().wait(0.05)
        assert run.progress == {"stage": "training", "step": 3}

    def test_stops_a_cancelled_run(self, database: Database, run_id: str) -> None:
        stopped = threading.Event()
        with LeaseKeeper(database, run_id, 1, LEASE_S) as keeper:
            keeper.watch(stopped.set)
            with database.transaction() as session:
                request_cancel(session, run_id)
            assert stopped.wait(WAIT_S)
            with pytest.raises(RunCancelled):
                keeper.check()

    def test_stops_a_run_that_another_took_over(self, database: Database, run_id: str) -> None:
        stopped = threading.Event()
        with LeaseKeeper(database, run_id, 0, LEASE_S) as keeper:  # an attempt of the past
            keeper.watch(stopped.set)
            assert stopped.wait(WAIT_S)
            with pytest.raises(LeaseLost):
                keeper.check()

    def test_stops_when_the_process_does_and_tells_late_watchers_at_once(self, database: Database, run_id: str) -> None:
        stopped = threading.Event()
        with LeaseKeeper(database, run_id, 1, LEASE_S) as keeper:
            stop_all_runs()
            keeper.watch(stopped.set)
            assert stopped.is_set()
            with pytest.raises(WorkerStopping):
                keeper.check()


class TestMoveOn:
    def test_sets_the_status_of_the_holder(self, database: Database, run_id: str) -> None:
        with database.transaction() as session:
            move_on(session, run_id, 1, RunStatus.TRAINING)
        with database.reading() as session:
            assert get_run(session, run_id).status is RunStatus.TRAINING

    def test_undoes_all_when_the_run_is_to_be_cancelled(self, database: Database, run_id: str) -> None:
        with database.transaction() as session:
            request_cancel(session, run_id)
        with pytest.raises(RunCancelled), database.transaction() as session:
            move_on(session, run_id, 1, RunStatus.TRAINING)
        with database.reading() as session:
            assert get_run(session, run_id).status is RunStatus.QUEUED

    def test_is_for_the_holder_alone(self, database: Database, run_id: str) -> None:
        with pytest.raises(LeaseLost), database.transaction() as session:
            move_on(session, run_id, 0, RunStatus.TRAINING)
