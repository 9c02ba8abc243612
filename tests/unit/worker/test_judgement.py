"""From a candidate to the end of its run, whatever comes between: what is promoted is what was judged, once."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from data.errors import Conflict
from data.recipe import Recipe
from data.vocabulary import Rating, RunStatus, ScheduleMode, Verdict
from db.erasure import erase_end_user, settle_erasure
from db.errors import LeaseLost
from db.evaluations import find_evaluation, finish_evaluation, start_evaluation
from db.feedback import FeedbackValues, put_feedback
from db.models import Erasure, Evaluation, RaterExclusion, Run, Version
from db.promotions import get_production, list_promotions, promote
from db.raters import exclude_rater, get_exclusion, settle_exclusions
from db.runs import claim_run, finish_run, get_run, release_lease, request_cancel, set_status
from db.schedule import put_schedule
from db.session import Database
from db.versions import ensure_base_version, find_version_of_run, list_versions
from serving.artifact import load_artifact
from settings import Settings
from tests.processes import await_value
from tests.rows import add_client, add_completion, draw_snapshot
from tests.unit.worker.candidates import BETTER, WORSE, claim, leave_candidate, queue
from worker.collection import Attempt
from worker.errors import RunCancelled
from worker.execution import execute_run
from worker.judgement import Outcome, judge, register
from worker.patience import PatientDatabase

Act = Callable[[Session, str], Erasure | RaterExclusion | None]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(_env_file=None, var=tmp_path)


@pytest.fixture
def run_id(database: Database) -> str:
    """A run that waits; the base is in production, and Ann and Bob have rated a reply to Ann."""
    with database.transaction() as session:
        ensure_base_version(session, "d0", "base", "tiny")
        reply = add_completion(session, add_client(session), end_user="ann")
        for rater in ("ann", "bob"):
            put_feedback(session, reply.id, rater, FeedbackValues(rater_kind="end_user", rating=Rating.UP))
    return queue(database)


@pytest.fixture
def patient(database: Database) -> PatientDatabase:
    return PatientDatabase(database, lambda: None)


def cancel(session: Session, run_id: str) -> None:
    request_cancel(session, run_id)


def erase(session: Session, run_id: str) -> Erasure:
    return erase_end_user(session, "ann")


def exclude(session: Session, run_id: str) -> RaterExclusion:
    return exclude_rater(session, "bob", "He pushes.", "key-1")


def read(database: Database, run_id: str) -> tuple[Run, Version | None, Evaluation | None]:
    with database.reading() as session:
        return get_run(session, run_id), find_version_of_run(session, run_id), find_evaluation(session, run_id)


def read_production(database: Database) -> Version:
    with database.reading() as session:
        return get_production(session)


def record(database: Database, run_id: str, digest: str, verdict: Verdict) -> None:
    """The verdict of an attempt that was killed before it ended the run."""
    reason = {"sentence": f"The evidence says {verdict}."}
    with database.transaction() as session:
        start_evaluation(session, run_id, digest, 0)
        finish_evaluation(session, run_id, {"reasons": [reason]}, verdict)


class TestRetry:
    def test_promotes_the_weights_that_it_judged_and_not_those_of_a_killed_attempt(
        self, database: Database, patient: PatientDatabase, settings: Settings, run_id: str
    ) -> None:
        first = claim(database, settings, run_id)
        leave_candidate(first, "first", WORSE)
        register(patient, settings, first)  # and then the worker is killed
        second = claim(database, settings, run_id)
        digest = leave_candidate(second, "second", BETTER)
        outcome = judge(patient, second, register(patient, settings, second), production=0)
        assert (outcome.status, outcome.version_number) == (RunStatus.SUCCEEDED, 1)
        production = read_production(database)
        assert (production.number, production.digest) == (1, digest)
        assert load_artifact(settings.artifacts / production.folder).digest == digest
        assert production.report is not None and production.report["attempt"] == 2
        run, _, evaluation = read(database, run_id)
        assert (run.status, run.version_number) == (RunStatus.SUCCEEDED, 1)
        assert evaluation is not None
        assert (evaluation.candidate_digest, evaluation.consultation) == (digest, 1)
        with database.reading() as session:
            assert [version.number for version in list_versions(session)] == [1, 0]
            assert session.scalar(select(func.count(Evaluation.id))) == 1

    def test_of_the_same_weights_goes_on_where_the_killed_attempt_stopped(
        self, database: Database, patient: PatientDatabase, settings: Settings, run_id: str
    ) -> None:
        for _ in range(2):
            attempt = claim(database, settings, run_id)
            digest = leave_candidate(attempt, "the same", BETTER)
            version = register(patient, settings, attempt)
        assert judge(patient, attempt, version, production=0).status is RunStatus.SUCCEEDED
        assert read_production(database).digest == digest

    def test_does_not_change_weights_that_an_admin_has_put_into_production_meanwhile(
        self, database: Database, patient: PatientDatabase, settings: Settings, run_id: str
    ) -> None:
        first = claim(database, settings, run_id)
        digest = leave_candidate(first, "first", WORSE)
        register(patient, settings, first)
        with database.transaction() as session:
            promote(session, 1, "manual", "I like it.", "ann")
        second = claim(database, settings, run_id)
        leave_candidate(second, "second", BETTER)
        with pytest.raises(Conflict, match="An earlier attempt of this run registered other weights as version 1"):
            register(patient, settings, second)
        assert read_production(database).digest == digest

    def test_that_comes_after_a_former_attempt_woke_up_is_the_only_one_to_write(
        self, database: Database, patient: PatientDatabase, settings: Settings, run_id: str
    ) -> None:
        first, second = (claim(database, settings, run_id) for _ in range(2))
        digest = leave_candidate(second, "second", BETTER)
        version = register(patient, settings, second)
        leave_candidate(first, "first", BETTER)
        with pytest.raises(LeaseLost):
            register(patient, settings, first)
        with pytest.raises(LeaseLost):
            judge(patient, first, version, production=0)
        assert judge(patient, second, version, production=0).status is RunStatus.SUCCEEDED
        assert read_production(database).digest == digest


class TestVerdict:
    @pytest.mark.parametrize(("gains", "status"), [(BETTER, RunStatus.SUCCEEDED), (WORSE, RunStatus.REFUSED)])
    def test_ends_the_run_whatever_it_is(
        self,
        database: Database,
        patient: PatientDatabase,
        settings: Settings,
        run_id: str,
        gains: dict[str, float],
        status: RunStatus,
    ) -> None:
        attempt = claim(database, settings, run_id)
        leave_candidate(attempt, "weights", gains)
        outcome = judge(patient, attempt, register(patient, settings, attempt), production=0)
        run, _, evaluation = read(database, run_id)
        assert (run.status, run.reason, run.version_number) == (status, outcome.reason, 1)
        assert evaluation is not None and evaluation.decision is not None
        assert outcome.reason == evaluation.decision["reasons"][0]["sentence"]
        with database.transaction() as session:  # so no attempt comes after it
            assert claim_run(session, run_id, "another", lease_s=60) is None
        report, page = json.loads((attempt.folder / "report.json").read_text()), attempt.folder / "report.html"
        assert report["version"] == 1
        assert bool(report["metrics"]) is ("ROUGE-L 0.4" in page.read_text()) is (status is RunStatus.SUCCEEDED)

    @pytest.mark.parametrize(("gains", "status"), [(BETTER, RunStatus.SUCCEEDED), (WORSE, RunStatus.REFUSED)])
    def test_stands_where_the_reports_cannot_be_written(
        self,
        database: Database,
        patient: PatientDatabase,
        settings: Settings,
        run_id: str,
        gains: dict[str, float],
        status: RunStatus,
    ) -> None:
        attempt = claim(database, settings, run_id)
        leave_candidate(attempt, "weights", gains)
        version = register(patient, settings, attempt)
        report, page = attempt.folder / "report.json", attempt.folder / "report.html"
        with ThreadPoolExecutor(1) as thread:
            with database.transaction() as session:
                set_status(session, run_id, attempt.number, RunStatus.PROMOTING)  # so that the verdict has to wait
                judging = thread.submit(judge, patient, attempt, version, 0)
                await_value(page.read_text, lambda text: "ROUGE-L" not in text)
                page.unlink()
                page.mkdir()
            assert judging.result().status is status
        run, _, _ = read(database, run_id)
        assert run.status is status
        assert bool(json.loads(report.read_text())["metrics"]) is (status is RunStatus.SUCCEEDED)

    def test_that_was_not_reached_shows_no_scores(
        self, database: Database, patient: PatientDatabase, settings: Settings, run_id: str
    ) -> None:
        attempt = claim(database, settings, run_id)
        leave_candidate(attempt, "weights", BETTER)
        version = register(patient, settings, attempt)
        claim(database, settings, run_id)
        with pytest.raises(LeaseLost):
            judge(patient, attempt, version, production=0)
        assert json.loads((attempt.folder / "report.json").read_text())["metrics"] == {}
        assert "ROUGE-L" not in (attempt.folder / "report.html").read_text()

    def test_in_the_mode_approve_leaves_production_to_an_admin(
        self, database: Database, patient: PatientDatabase, settings: Settings, run_id: str
    ) -> None:
        with database.transaction() as session:
            put_schedule(session, interval_s=0, min_ratings=1, mode=ScheduleMode.APPROVE, updated_by="ann")
        attempt = claim(database, settings, run_id)
        leave_candidate(attempt, "weights", BETTER)
        outcome = judge(patient, attempt, register(patient, settings, attempt), production=0)
        assert (outcome.status, outcome.awaits_approval) == (RunStatus.SUCCEEDED, True)
        assert read_production(database).number == 0


class TestRecordedVerdict:
    """Of an attempt that was killed between its verdict and the end of the run, when these were two transactions."""

    @pytest.fixture
    def version(self, database: Database, patient: PatientDatabase, settings: Settings, run_id: str) -> Version:
        attempt = claim(database, settings, run_id)
        leave_candidate(attempt, "judged", BETTER)
        return register(patient, settings, attempt)

    def execute(self, database: Database, settings: Settings, run_id: str) -> Outcome:
        outcome = execute_run(database, settings, run_id)
        assert outcome is not None
        with database.reading() as session:
            run = get_run(session, run_id)
            assert session.scalar(select(func.count(Evaluation.id))) == 1
        assert (run.status, run.reason) == (outcome.status, outcome.reason)
        assert not (settings.runs / run_id / "attempt-2").exists()  # nothing was collected again
        return outcome

    @pytest.mark.parametrize("verdict", [Verdict.REFUSE, Verdict.NOT_ENOUGH_EVIDENCE])
    def test_to_refuse_is_taken_and_not_asked_for_again(
        self,
        database: Database,
        settings: Settings,
        run_id: str,
        version: Version,
        verdict: Verdict,
    ) -> None:
        record(database, run_id, version.digest, verdict)
        outcome = self.execute(database, settings, run_id)
        assert (outcome.status, outcome.version_number) == (RunStatus.REFUSED, 1)
        assert outcome.reason == f"The evidence says {verdict}."
        assert read_production(database).number == 0

    def test_to_promote_is_carried_out_on_what_was_judged(
        self, database: Database, settings: Settings, run_id: str, version: Version
    ) -> None:
        record(database, run_id, version.digest, Verdict.PROMOTE)
        assert self.execute(database, settings, run_id).status is RunStatus.SUCCEEDED
        assert read_production(database).digest == version.digest
        with database.reading() as session:
            assert [(p.kind, p.run_id) for p in list_promotions(session)] == [("gate", run_id), ("initial", None)]

    def test_to_promote_other_weights_fails_the_run(
        self, database: Database, settings: Settings, run_id: str, version: Version
    ) -> None:
        record(database, run_id, "0" * 64, Verdict.PROMOTE)
        self.check_failure(database, settings, run_id)

    @pytest.mark.parametrize("spoil", ["remove", "replace"])
    def test_to_promote_files_that_are_gone_fails_the_run(
        self, database: Database, settings: Settings, run_id: str, version: Version, spoil: str
    ) -> None:
        record(database, run_id, version.digest, Verdict.PROMOTE)
        shutil.rmtree(settings.artifacts / version.folder)
        if spoil == "replace":
            other = Attempt(run_id, 9, Recipe(), settings.var)
            leave_candidate(other, "other", BETTER)
            (settings.var / "artifact").rename(settings.artifacts / version.folder)
        self.check_failure(database, settings, run_id)

    def check_failure(self, database: Database, settings: Settings, run_id: str) -> None:
        outcome = self.execute(database, settings, run_id)
        assert outcome.status is RunStatus.FAILED
        assert outcome.reason is not None
        assert outcome.reason.endswith("but the weights that were judged are gone; start a new run.")
        assert read_production(database).number == 0

    def test_to_promote_a_run_that_is_to_be_cancelled_is_not_carried_out(
        self, database: Database, settings: Settings, run_id: str, version: Version
    ) -> None:
        record(database, run_id, version.digest, Verdict.PROMOTE)
        ask_to_cancel(database, settings, run_id)
        assert self.execute(database, settings, run_id).status is RunStatus.CANCELLED
        assert read_production(database).number == 0


def ask_to_cancel(database: Database, settings: Settings, run_id: str) -> None:
    """While a worker holds the run that is killed before it hears of it."""
    attempt = claim(database, settings, run_id, lease_s=60)
    with database.transaction() as session:
        request_cancel(session, run_id)
        release_lease(session, run_id, attempt.number)


class TestCancel:
    """It comes when training is over, and the lease is not renewed again before the verdict."""

    @pytest.fixture
    def attempt(self, database: Database, settings: Settings, run_id: str) -> Attempt:
        """One that draws on all that was rated, and has a candidate that would be promoted."""
        attempt = claim(database, settings, run_id, lease_s=60)
        with database.transaction() as session:
            draw_snapshot(session, run_id)
        leave_candidate(attempt, "weights", BETTER)
        return attempt

    @pytest.fixture
    def version(self, patient: PatientDatabase, settings: Settings, attempt: Attempt) -> Version:
        return register(patient, settings, attempt)

    @pytest.mark.parametrize("act", [cancel, erase, exclude])
    def test_keeps_the_candidate_out_of_production(
        self, database: Database, patient: PatientDatabase, attempt: Attempt, version: Version, act: Act
    ) -> None:
        with database.transaction() as session:
            act(session, attempt.run_id)
        with pytest.raises(RunCancelled):
            judge(patient, attempt, version, production=0)
        assert read_production(database).number == 0
        run, _, evaluation = read(database, attempt.run_id)
        assert (run.status, evaluation) == (RunStatus.PROMOTING, None)

    @pytest.mark.parametrize("act", [cancel, erase, exclude])
    def test_keeps_it_from_being_registered(
        self, database: Database, patient: PatientDatabase, settings: Settings, attempt: Attempt, act: Act
    ) -> None:
        with database.transaction() as session:
            act(session, attempt.run_id)
        with pytest.raises(RunCancelled):
            register(patient, settings, attempt)
        _, version, _ = read(database, attempt.run_id)
        assert version is None

    @pytest.mark.parametrize("act", [cancel, erase, exclude])
    def test_that_is_being_committed_is_waited_for(
        self, database: Database, patient: PatientDatabase, attempt: Attempt, version: Version, act: Act
    ) -> None:
        with ThreadPoolExecutor(1) as thread:
            with database.transaction() as session:
                act(session, attempt.run_id)
                judging = thread.submit(judge, patient, attempt, version, 0)
                assert not wait([judging], timeout=0.5).done
            with pytest.raises(RunCancelled):
                judging.result()
        assert read_production(database).number == 0

    def test_by_an_erasure_is_followed_by_a_run_without_the_rows(
        self, database: Database, patient: PatientDatabase, attempt: Attempt, version: Version
    ) -> None:
        with database.transaction() as session:
            erasure_id = erase_end_user(session, "ann").id
        end_cancelled(database, patient, attempt, version)
        with database.transaction() as session:
            erasure = settle_erasure(session, erasure_id)
            assert erasure is not None
            assert erasure.marked_versions == [version.number]
            assert erasure.retrain_run_id not in (None, attempt.run_id)

    def test_by_an_exclusion_is_followed_by_a_run_without_the_rows(
        self, database: Database, patient: PatientDatabase, attempt: Attempt, version: Version
    ) -> None:
        with database.transaction() as session:
            exclusion_id = exclude_rater(session, "bob", "He pushes.", "key-1").id
        end_cancelled(database, patient, attempt, version)
        with database.transaction() as session:
            assert settle_exclusions(session) == [exclusion_id]
            exclusion = get_exclusion(session, exclusion_id)
            assert exclusion.marked_versions == [version.number]
            assert exclusion.retrain_run_id not in (None, attempt.run_id)

    @pytest.mark.parametrize("act", [erase, exclude])
    def test_that_comes_after_the_verdict_finds_a_version_to_mark(
        self, database: Database, patient: PatientDatabase, attempt: Attempt, version: Version, act: Act
    ) -> None:
        assert judge(patient, attempt, version, production=0).status is RunStatus.SUCCEEDED
        with database.transaction() as session:
            row = act(session, attempt.run_id)
            assert row is not None
            assert (row.marked_versions, row.interrupted_run_id) == ([version.number], None)
            assert row.retrain_run_id is not None


def end_cancelled(database: Database, patient: PatientDatabase, attempt: Attempt, version: Version) -> None:
    """As the worker does once it hears of it."""
    with pytest.raises(RunCancelled):
        judge(patient, attempt, version, production=0)
    with database.transaction() as session:
        finish_run(session, attempt.run_id, attempt.number, RunStatus.CANCELLED, None)
