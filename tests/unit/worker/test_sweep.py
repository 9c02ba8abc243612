"""The sweep, on both databases: lost nudges, dead runs, the schedule."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from data.vocabulary import Rating, RunStatus, ScheduleMode
from db.feedback import FeedbackValues, put_feedback
from db.runs import claim_run, create_run, finish_run, get_run, mark_nudged
from db.schedule import put_schedule
from db.session import Database
from settings import Settings
from tests.rows import add_client, add_completion
from worker.sweep import sweep_runs


def build_settings(tmp_path: Path, **values: object) -> Settings:
    return Settings(_env_file=None, var=tmp_path, **{"tick_s": 0.05, "max_attempts": 1, **values})  # type: ignore[arg-type]


def rate(database: Database) -> None:
    with database.transaction() as session:
        completion = add_completion(session, add_client(session))
        put_feedback(session, completion.id, "ann", FeedbackValues(rater_kind="end_user", rating=Rating.UP))


def end_run(database: Database, status: RunStatus) -> None:
    """A run from its beginning to that outcome."""
    with database.transaction() as session:
        run_id = create_run(session, {}, "admin").id
        claim_run(session, run_id, "worker", lease_s=60)
        finish_run(session, run_id, 1, status, "So it ended.")


class TestSweepRuns:
    def test_finds_a_run_whose_nudge_was_lost_and_once_a_tick(self, database: Database, tmp_path: Path) -> None:
        with database.transaction() as session:
            run_id = create_run(session, {}, "admin").id
        settings = build_settings(tmp_path, tick_s=60)
        assert sweep_runs(database, settings).waiting == [run_id]
        assert sweep_runs(database, settings).waiting == []

    def test_leaves_a_run_that_someone_holds(self, database: Database, tmp_path: Path) -> None:
        with database.transaction() as session:
            claim_run(session, create_run(session, {}, "admin").id, "worker", lease_s=60)
        sweep = sweep_runs(database, build_settings(tmp_path))
        assert (sweep.waiting, sweep.failed) == ([], [])

    def test_gives_up_a_run_that_died_too_often(self, database: Database, tmp_path: Path) -> None:
        with database.transaction() as session:
            run_id = create_run(session, {}, "admin").id
            mark_nudged(session, run_id)
            claim_run(session, run_id, "worker", lease_s=0.01)
        threading.Event().wait(0.05)  # the lease ends by the database's clock
        assert sweep_runs(database, build_settings(tmp_path)).failed == [run_id]
        with database.reading() as session:
            assert get_run(session, run_id).status is RunStatus.FAILED

    @pytest.mark.parametrize(("wanted", "starts"), [(1, True), (2, False)])
    def test_starts_the_scheduled_run_when_there_are_enough_ratings(
        self, database: Database, tmp_path: Path, wanted: int, starts: bool
    ) -> None:
        rate(database)
        settings = build_settings(tmp_path, schedule_s=3600, schedule_min_ratings=wanted)
        sweeps = [sweep_runs(database, settings) for _ in range(3)]  # three beats at once
        assert [bool(sweep.scheduled) for sweep in sweeps] == [starts, False, False]

    @pytest.mark.parametrize(("interval_s", "starts"), [(0, False), (3600, True)])
    def test_goes_by_what_an_admin_has_set_since(
        self, database: Database, tmp_path: Path, interval_s: int, starts: bool
    ) -> None:
        settings = build_settings(tmp_path, schedule_s=3600, schedule_min_ratings=2)
        rate(database)
        assert not sweep_runs(database, settings).scheduled
        with database.transaction() as session:
            put_schedule(session, interval_s=interval_s, min_ratings=1, mode=ScheduleMode.AUTO, updated_by="an admin")
        assert bool(sweep_runs(database, settings).scheduled) is starts

    @pytest.mark.parametrize(
        ("status", "starts"),
        [
            (RunStatus.SUCCEEDED, False),
            (RunStatus.REFUSED, False),
            (RunStatus.SKIPPED, False),
            (RunStatus.FAILED, True),
            (RunStatus.CANCELLED, True),
        ],
    )
    def test_ratings_of_a_run_that_came_to_nothing_count_again(
        self, database: Database, tmp_path: Path, status: RunStatus, starts: bool
    ) -> None:
        end_run(database, RunStatus.SUCCEEDED)
        rate(database)
        end_run(database, status)
        threading.Event().wait(0.05)
        settings = build_settings(tmp_path, schedule_s=0.05, schedule_min_ratings=1)
        assert bool(sweep_runs(database, settings).scheduled) is starts

    def test_a_run_that_failed_is_not_repeated_within_the_interval(self, database: Database, tmp_path: Path) -> None:
        rate(database)
        end_run(database, RunStatus.FAILED)
        settings = build_settings(tmp_path, schedule_s=3600, schedule_min_ratings=1)
        assert not sweep_runs(database, settings).scheduled
