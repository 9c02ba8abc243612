"""The schedule: one row, and what waits for approval."""

from __future__ import annotations

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from data.vocabulary import ScheduleMode, Verdict
from db.evaluations import finish_evaluation, start_evaluation
from db.models import Schedule
from db.promotions import promote, rollback
from db.schedule import get_schedule, list_awaiting_approval, needs_approval, put_schedule
from db.session import Database
from db.versions import ensure_base_version, register_version
from tests.rows import add_finished_run, run_at_once


def put(session: Session, interval_s: float = 60, mode: ScheduleMode = ScheduleMode.APPROVE) -> Schedule:
    return put_schedule(session, interval_s=interval_s, min_ratings=5, mode=mode, updated_by="key-1")


class TestGetSchedule:
    def test_begins_with_the_initial_values_and_does_not_store_them(self, database: Database) -> None:
        with database.transaction() as session:
            schedule = get_schedule(session, 3600, 50)
        assert (schedule.interval_s, schedule.min_ratings, schedule.mode) == (3600, 50, ScheduleMode.AUTO)
        assert schedule.updated_at_s is None
        with database.reading() as session:
            assert session.scalar(select(func.count(Schedule.id))) == 0

    def test_then_is_what_was_put(self, database: Database) -> None:
        with database.transaction() as session:
            put(session)
        with database.reading() as session:
            schedule = get_schedule(session, 3600, 50)
        assert (schedule.interval_s, schedule.min_ratings, schedule.updated_by) == (60, 5, "key-1")


class TestPutSchedule:
    def test_replaces_the_one_before(self, database: Database) -> None:
        with database.transaction() as session:
            first_s = put(session).updated_at_s
            second = put(session, interval_s=0, mode=ScheduleMode.AUTO)
        assert (second.interval_s, second.mode) == (0, ScheduleMode.AUTO)
        assert second.updated_at_s >= first_s

    def test_many_at_once_leave_one_row(self, database: Database) -> None:
        run_at_once(database, 8, put)
        with database.reading() as session:
            assert session.scalar(select(func.count(Schedule.id))) == 1


class TestNeedsApproval:
    def test_is_so_in_the_mode_approve_only(self, database: Database) -> None:
        with database.transaction() as session:
            assert not needs_approval(session)
            put(session)
            assert needs_approval(session)
            put(session, mode=ScheduleMode.AUTO)
            assert not needs_approval(session)


class TestListAwaitingApproval:
    @pytest.fixture
    def judged(self, database: Database) -> None:
        """Versions 1 and 2 passed against the base, 3 did not."""
        with database.transaction() as session:
            ensure_base_version(session, "d0", "base", "gpt2")
            for number, verdict in enumerate((Verdict.PROMOTE, Verdict.PROMOTE, Verdict.REFUSE), start=1):
                run_id = add_finished_run(session)
                register_version(session, run_id, f"d{number}", f"v{number}", "gpt2", None)
                start_evaluation(session, run_id, f"d{number}", production_version=0)
                finish_evaluation(session, run_id, {}, verdict)

    def test_lists_what_passed(self, database: Database, judged: None) -> None:
        with database.reading() as session:
            assert list_awaiting_approval(session) == {1, 2}

    def test_forgets_them_once_production_is_another(self, database: Database, judged: None) -> None:
        with database.transaction() as session:
            promote(session, 1, "manual", "Approved.", "admin")
            assert list_awaiting_approval(session) == set()

    def test_asks_again_for_those_that_never_were_in_production(self, database: Database, judged: None) -> None:
        with database.transaction() as session:
            promote(session, 1, "manual", "Approved.", "admin")
            rollback(session, "admin", "It was rude.")
            assert list_awaiting_approval(session) == {2}
