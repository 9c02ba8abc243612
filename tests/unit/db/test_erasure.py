"""Erasure in the database: what goes, what is marked, and the retrain that follows."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, wait

import pytest
from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from data.errors import NotFound
from data.vocabulary import Example, PoolRow, Rating, RowKind, RunStatus
from db.base import Base
from db.erasure import (
    erase_end_user,
    finish_erasure,
    get_erasure,
    list_erasure_ids_of_version,
    list_gone_row_ids,
    list_unfinished_erasure_ids,
    settle_erasure,
)
from db.examples import add_examples
from db.feedback import FeedbackValues, put_feedback
from db.models import Completion, Conversation, Feedback, SnapshotRow
from db.pool import list_pool_rows
from db.raters import admit_rater, exclude_rater, list_exclusions
from db.runs import claim_run, create_run, finish_run, get_run, set_status
from db.session import Database
from db.versions import get_version, register_version
from tests.rows import add_client, add_completion, add_trained_version, draw_snapshot, run_at_once

LIKED = FeedbackValues(rater_kind="end_user", rating=Rating.UP)
CORRECTED = FeedbackValues(rater_kind="end_user", rating=Rating.DOWN, correction="I hear you.")


@pytest.fixture
def with_rows(database: Database) -> Database:
    """An example; Ann's reply that she corrected and Bob liked; Bob's reply that both liked."""
    with database.transaction() as session:
        add_examples(session, [Example(context="a", response="b")], "a.csv", "abc")
        key_id = add_client(session)
        of_ann = add_completion(session, key_id, end_user="ann")
        of_bob = add_completion(session, key_id, end_user="bob")
        put_feedback(session, of_ann.id, "ann", CORRECTED)
        put_feedback(session, of_ann.id, "bob", LIKED)
        put_feedback(session, of_bob.id, "ann", LIKED)
        put_feedback(session, of_bob.id, "bob", LIKED)
    return database


def count(session: Session, model: type[Base]) -> int:
    return session.scalar(select(func.count()).select_from(model)) or 0


def begin_run(database: Database, status: RunStatus) -> str:
    """A run that a worker holds; from its training on it has recorded what it draws on."""
    with database.transaction() as session:
        run_id = create_run(session, {}, "admin").id
        claim_run(session, run_id, "worker", lease_s=60)
        set_status(session, run_id, 1, status)
        if status is not RunStatus.COLLECTING:
            draw_snapshot(session, run_id)
    return run_id


class TestListGoneRowIds:
    def test_names_the_rows_that_are_not_there_any_more(self, with_rows: Database) -> None:
        with with_rows.reading() as session:
            completion_ids = sorted(session.scalars(select(Completion.id)))
            rows = [row.row_id for row in list_pool_rows(session)]
            named = [*rows, *(f"completion:{name}" for name in completion_ids), "feedback:4#2"]
            assert list_gone_row_ids(session, named) == set()
        with with_rows.transaction() as session:
            erase_end_user(session, "ann")
        with with_rows.reading() as session:
            (left,) = session.scalars(select(Completion.id))
            (gone,) = set(completion_ids) - {left}
            expected = {"feedback:1", "correction:1", "feedback:2", "feedback:3", f"completion:{gone}"}
            assert list_gone_row_ids(session, [*named, "feedback:1#2"]) == {*expected, "feedback:1#2"}

    def test_takes_what_names_no_row_for_gone(self, with_rows: Database) -> None:
        odd = {"feedback:x", "feedback:", "pair:1", "", "example:99"}
        with with_rows.reading() as session:
            assert list_gone_row_ids(session, odd) == odd


class TestEraseEndUser:
    def test_deletes_the_conversations_and_all_that_was_said_of_them_or_by_the_user(self, with_rows: Database) -> None:
        with with_rows.transaction() as session:
            erasure = erase_end_user(session, "ann")
        assert erasure.counts == {"conversations": 1, "completions": 1, "feedback": 3, "snapshot_rows": 0}
        with with_rows.reading() as session:
            assert [row.end_user for row in session.scalars(select(Conversation))] == ["bob"]
            assert [row.rater for row in session.scalars(select(Feedback))] == ["bob"]
            assert count(session, Completion) == 1
            assert [row.row_id for row in list_pool_rows(session)] == ["example:1", "feedback:4"]

    def test_marks_the_versions_and_takes_the_rows_from_their_lineage(self, with_rows: Database) -> None:
        with with_rows.transaction() as session:
            marked = add_trained_version(session)
        with with_rows.transaction() as session:
            erasure = erase_end_user(session, "ann")
        assert erasure.counts["snapshot_rows"] == 4
        assert (erasure.marked_versions, erasure.run_ids) == ([marked.number], [marked.run_id])
        with with_rows.reading() as session:
            assert set(session.scalars(select(SnapshotRow.row_id))) == {"example:1", "feedback:4"}
            assert get_version(session, marked.number).report == {"samples": [], "pool_rows": 3}
            assert list_erasure_ids_of_version(session, marked.number) == [erasure.id]

    def test_reaches_an_unrated_reply_that_was_trained_on(self, with_rows: Database) -> None:
        with with_rows.transaction() as session:
            reply = add_completion(session, add_client(session), end_user="eve")
            run_id = create_run(session, {}, "admin").id
            claim_run(session, run_id, "worker", lease_s=60)
            row = PoolRow(
                row_id=f"completion:{reply.id}",
                kind=RowKind.REPLY,
                cluster="c",
                messages=tuple(reply.messages),
                reply=reply.reply,
            )
            draw_snapshot(session, run_id, [row])
            version = register_version(session, run_id, "weights", run_id, "tiny", {"samples": []})
            finish_run(session, run_id, 1, RunStatus.SUCCEEDED, None, version.number)
        with with_rows.transaction() as session:
            erasure = erase_end_user(session, "eve")
        assert (erasure.counts["snapshot_rows"], erasure.marked_versions) == (1, [version.number])

    def test_leaves_versions_alone_that_never_saw_the_user(self, with_rows: Database) -> None:
        with with_rows.transaction() as session:
            add_trained_version(session)
            add_completion(session, add_client(session), end_user="eve")
        with with_rows.transaction() as session:
            erasure = erase_end_user(session, "eve")
        assert (erasure.marked_versions, erasure.retrain_run_id) == ([], None)

    def test_queues_a_retrain(self, with_rows: Database) -> None:
        with with_rows.transaction() as session:
            add_trained_version(session)
        with with_rows.transaction() as session:
            erasure = erase_end_user(session, "ann")
            run = get_run(session, str(erasure.retrain_run_id))
        assert (run.status, run.trigger) == (RunStatus.QUEUED, "erasure")

    def test_a_run_that_has_not_drawn_on_the_rows_is_the_retrain(self, with_rows: Database) -> None:
        with with_rows.transaction() as session:
            add_trained_version(session)
            run_id = create_run(session, {}, "admin").id
        with with_rows.transaction() as session:
            erasure = erase_end_user(session, "ann")
        assert (erasure.retrain_run_id, erasure.interrupted_run_id) == (run_id, None)

    @pytest.mark.parametrize("status", [RunStatus.COLLECTING, RunStatus.TRAINING])
    def test_interrupts_a_run_that_may_have_drawn_on_them(self, with_rows: Database, status: RunStatus) -> None:
        run_id = begin_run(with_rows, status)
        with with_rows.transaction() as session:
            erasure = erase_end_user(session, "ann")
            assert get_run(session, run_id).cancel_requested
        assert (erasure.interrupted_run_id, erasure.run_ids) == (run_id, [run_id])
        assert erasure.retrain_run_id is None

    def test_a_run_that_nobody_holds_makes_way_at_once(self, with_rows: Database) -> None:
        with with_rows.transaction() as session:
            run_id = create_run(session, {}, "admin").id
            claim_run(session, run_id, "worker", lease_s=-1)
            draw_snapshot(session, run_id)
        with with_rows.transaction() as session:
            erasure = erase_end_user(session, "ann")
            assert get_run(session, run_id).status is RunStatus.CANCELLED
            assert get_run(session, str(erasure.retrain_run_id)).status is RunStatus.QUEUED

    def test_looks_into_runs_that_ended_before_they_told_what_they_drew_on(self, with_rows: Database) -> None:
        run_id = begin_run(with_rows, RunStatus.COLLECTING)
        with with_rows.transaction() as session:
            finish_run(session, run_id, 1, RunStatus.FAILED, "The disk is full.")
        with with_rows.transaction() as session:
            assert erase_end_user(session, "ann").run_ids == [run_id]

    def test_does_not_keep_the_name(self, with_rows: Database) -> None:
        with with_rows.transaction() as session:
            erasure = erase_end_user(session, "ann")
        assert "ann" not in str(vars(erasure))
        assert len(erasure.end_user_sha256) == 64

    def test_takes_name_and_reason_from_every_exclusion(self, with_rows: Database) -> None:
        with with_rows.transaction() as session:
            exclude_rater(session, "ann", "Ann pushes.", "key-1")
            admit_rater(session, "ann", "key-1")
            exclude_rater(session, "ann", "Ann pushes again.", "key-1")
            exclude_rater(session, "bob", "Bob pushes.", "key-1")
        with with_rows.transaction() as session:
            erase_end_user(session, "ann")
        with with_rows.reading() as session:
            bob, *of_ann = sorted(list_exclusions(session), key=lambda row: row.rater)
        assert (bob.rater, bob.reason) == ("bob", "Bob pushes.")
        assert len({row.rater for row in of_ann}) == 2  # nothing links the two
        for row in of_ann:
            assert row.rater.startswith("erased:")
            assert (row.reason, row.actor) == ("", "key-1")

    def test_finds_someone_of_whom_only_an_exclusion_is_left(self, with_rows: Database) -> None:
        with with_rows.transaction() as session:
            exclude_rater(session, "ann", "Ann pushes.", "key-1")
            erase_end_user(session, "bob")
            for model in (Feedback, Completion, Conversation):  # as retention does in time
                session.execute(delete(model))
        with with_rows.transaction() as session:
            erasure = erase_end_user(session, "ann")
            assert not any(erasure.counts.values())
            assert [row.reason for row in list_exclusions(session)] == [""]

    def test_waits_for_an_exclusion_that_is_being_written(self, with_rows: Database) -> None:
        def erase() -> None:
            with with_rows.transaction() as session:
                erase_end_user(session, "ann")

        with ThreadPoolExecutor(1) as thread:
            with with_rows.transaction() as session:
                exclude_rater(session, "ann", "Ann pushes.", "key-1")
                erasing = thread.submit(erase)
                wait([erasing], timeout=0.5)
                assert not erasing.done()
            erasing.result()
        with with_rows.reading() as session:
            assert [row.reason for row in list_exclusions(session)] == [""]

    def test_the_second_receipt_is_empty(self, with_rows: Database) -> None:
        with with_rows.transaction() as session:
            first = erase_end_user(session, "ann")
            second = erase_end_user(session, "ann")
        assert not any(second.counts.values())
        assert (second.marked_versions, second.retrain_run_id) == ([], None)
        assert second.end_user_sha256 != first.end_user_sha256  # the salt differs

    def test_several_at_once_make_one_full_receipt(self, with_rows: Database) -> None:
        with with_rows.transaction() as session:
            add_trained_version(session)
        receipts = run_at_once(with_rows, 4, lambda session: erase_end_user(session, "ann"))
        assert sorted(receipt.counts["feedback"] for receipt in receipts) == [0, 0, 0, 3]
        assert len([receipt for receipt in receipts if receipt.retrain_run_id]) == 1

    def test_knows_no_other_user(self, with_rows: Database) -> None:
        with pytest.raises(NotFound) as caught, with_rows.transaction() as session:
            erase_end_user(session, "eve")
        assert "eve" not in caught.value.message


class TestSettleErasure:
    def test_waits_for_the_interrupted_run_and_queues_the_retrain(self, with_rows: Database) -> None:
        run_id = begin_run(with_rows, RunStatus.TRAINING)
        with with_rows.transaction() as session:
            erasure_id = erase_end_user(session, "ann").id
        with with_rows.transaction() as session:
            assert settle_erasure(session, erasure_id) is None
            finish_run(session, run_id, 1, RunStatus.CANCELLED, None)
        for _ in range(2):  # two sweeps at once
            with with_rows.transaction() as session:
                settled = settle_erasure(session, erasure_id)
                assert settled is not None
                retrain_id = str(settled.retrain_run_id)
        with with_rows.reading() as session:
            assert get_run(session, retrain_id).status is RunStatus.QUEUED
            assert get_run(session, retrain_id).trigger == "erasure"

    def test_marks_the_version_of_a_run_that_was_too_fast(self, with_rows: Database) -> None:
        run_id = begin_run(with_rows, RunStatus.COLLECTING)
        with with_rows.reading() as session:
            drawn = list_pool_rows(session)
        with with_rows.transaction() as session:
            erasure_id = erase_end_user(session, "ann").id
        with with_rows.transaction() as session:
            draw_snapshot(session, run_id, drawn)
            version = register_version(session, run_id, "d1", "f1", "tiny", None)
            finish_run(session, run_id, 1, RunStatus.SUCCEEDED, None, version.number)
        with with_rows.transaction() as session:
            settled = settle_erasure(session, erasure_id)
        assert settled is not None
        assert (settled.marked_versions, settled.run_ids) == ([version.number], [run_id])
        assert settled.counts["snapshot_rows"] == 4
        with with_rows.reading() as session:
            assert set(session.scalars(select(SnapshotRow.row_id))) == {"example:1", "feedback:4"}


class TestFinishErasure:
    def test_takes_it_from_the_list(self, with_rows: Database) -> None:
        with with_rows.transaction() as session:
            erasure_id = erase_end_user(session, "ann").id
            assert list_unfinished_erasure_ids(session) == [erasure_id]
            finish_erasure(session, erasure_id)
            assert list_unfinished_erasure_ids(session) == []
            assert get_erasure(session, erasure_id).finished_at_s is not None


class TestGetErasure:
    def test_finds_no_other(self, database: Database) -> None:
        with pytest.raises(NotFound), database.reading() as session:
            get_erasure(session, "erasure-none")
