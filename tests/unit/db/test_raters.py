"""Exclusions in the database, on both: what leaves the pool, what is marked, the retrain, and the way back."""

from __future__ import annotations

import pytest

from data.errors import Conflict, NotFound
from data.vocabulary import Rating, RunStatus
from db.erasure import erase_end_user
from db.feedback import FeedbackValues, put_feedback
from db.pool import list_pool_rows
from db.raters import (
    admit_rater,
    count_rated,
    exclude_rater,
    get_exclusion,
    list_exclusion_ids,
    list_exclusions,
    settle_exclusions,
    weigh_all_raters,
)
from db.runs import claim_run, create_run, finish_run, get_run, set_status
from db.session import Database
from tests.rows import add_client, add_completion, add_trained_version, draw_snapshot

LIKED = FeedbackValues(rater_kind="end_user", rating=Rating.UP, correction="Better.")


@pytest.fixture
def rated(database: Database) -> Database:
    """Ann and Bob have each liked and corrected a reply to Ann."""
    with database.transaction() as session:
        reply = add_completion(session, add_client(session), end_user="ann")
        for rater in ("ann", "bob"):
            put_feedback(session, reply.id, rater, LIKED)
    return database


def exclude(database: Database, rater: str = "bob") -> str:
    with database.transaction() as session:
        return exclude_rater(session, rater, "pushes", "key-1").id


class TestExcludeRater:
    def test_leaves_the_rows_out_and_admits_them_again(self, rated: Database) -> None:
        exclusion_id = exclude(rated)
        with rated.reading() as session:
            assert {row.rater for row in list_pool_rows(session)} == {"ann"}
            row = get_exclusion(session, exclusion_id)
            assert (row.reason, row.actor, row.marked_versions, row.retrain_run_id) == ("pushes", "key-1", [], None)
            assert set(weigh_all_raters(session)) == {"ann"}
        with rated.transaction() as session:
            assert admit_rater(session, "bob", "key-2").admitted_by == "key-2"
        with rated.reading() as session:
            assert {row.rater for row in list_pool_rows(session)} == {"ann", "bob"}
            assert list_exclusions(session, in_force=True) == []
        assert exclude(rated) != exclusion_id
        with rated.reading() as session:
            assert len(list_exclusions(session)) == 2

    def test_marks_versions_and_queues_a_retrain(self, rated: Database) -> None:
        with rated.transaction() as session:
            number = add_trained_version(session).number
        with rated.transaction() as session:
            row = exclude_rater(session, "bob", "pushes", "key-1")
            assert row.marked_versions == [number]
            assert get_run(session, str(row.retrain_run_id)).trigger == "exclusion"

    def test_refuses_strangers_and_a_second_time(self, rated: Database) -> None:
        with pytest.raises(NotFound), rated.transaction() as session:
            exclude_rater(session, "eve", "x", "key-1")
        exclude(rated)
        with pytest.raises(Conflict), rated.transaction() as session:
            exclude_rater(session, "bob", "x", "key-1")

    def test_leaves_out_unrated_replies_to_the_rater(self, rated: Database) -> None:
        with rated.transaction() as session:
            number = add_trained_version(session).number
            reply = add_completion(session, add_client(session), end_user="eve", version_number=number)
            assert reply.id in {row.row_id.partition(":")[2] for row in list_pool_rows(session, unrated=9)}
            assert count_rated(session) == (1, 0)
        exclude(rated, "eve")
        with rated.reading() as session:
            assert reply.id not in {row.row_id.partition(":")[2] for row in list_pool_rows(session, unrated=9)}

    def test_waits_for_a_run_that_draws_on_the_rows(self, rated: Database) -> None:
        with rated.transaction() as session:
            run_id = create_run(session, {}, "admin").id
            claim_run(session, run_id, "worker", lease_s=60)
            set_status(session, run_id, 1, RunStatus.TRAINING)
            draw_snapshot(session, run_id)
        exclusion_id = exclude(rated)
        with rated.transaction() as session:
            assert get_run(session, run_id).cancel_requested
            assert settle_exclusions(session) == []
            finish_run(session, run_id, 1, RunStatus.CANCELLED, None)
        with rated.transaction() as session:
            assert settle_exclusions(session) == [exclusion_id]
            row = get_exclusion(session, exclusion_id)
            assert (row.interrupted_run_id, get_run(session, str(row.retrain_run_id)).trigger) == (run_id, "exclusion")
            assert settle_exclusions(session) == []


class TestErasedRater:
    """Bob was excluded and then erased, and has rated and chatted again under the same name."""

    @pytest.fixture
    def returned(self, rated: Database) -> Database:
        exclude(rated)
        with rated.transaction() as session:
            erase_end_user(session, "bob")
        with rated.transaction() as session:
            number = add_trained_version(session).number
            key_id = add_client(session)
            reply = add_completion(session, key_id, end_user="ann")
            add_completion(session, key_id, end_user="bob", version_number=number)
            for rater in ("bob", "eve"):
                put_feedback(session, reply.id, rater, LIKED)
        return rated

    def test_is_still_left_out(self, returned: Database) -> None:
        with returned.reading() as session:
            rows = list_pool_rows(session, unrated=9)
            assert {row.rater for row in rows} == {"ann", "eve"}
            assert set(weigh_all_raters(session)) == {"ann", "eve"}
            (exclusion,) = list_exclusions(session, in_force=True)
            assert list_exclusion_ids(session, ["ann", "bob", "eve"]) == {"bob": exclusion.id}

    def test_cannot_be_excluded_twice(self, returned: Database) -> None:
        with pytest.raises(Conflict), returned.transaction() as session:
            exclude_rater(session, "bob", "x", "key-1")

    def test_can_be_admitted(self, returned: Database) -> None:
        with returned.transaction() as session:
            assert admit_rater(session, "bob", "key-2").reason == ""
        with returned.reading() as session:
            rows = list_pool_rows(session, unrated=9)
            assert {row.rater for row in rows} == {"ann", "bob", "eve", None}  # None: the unrated reply to Bob

    def test_a_name_that_looks_like_a_hash_is_a_name(self, returned: Database) -> None:
        with returned.reading() as session:
            kept = list_exclusions(session)[0].rater
            assert list_exclusion_ids(session, ["erased:", "erased:a:b", kept.upper()]) == {}


class TestMissing:
    def test_are_not_found(self, database: Database) -> None:
        with pytest.raises(NotFound), database.transaction() as session:
            admit_rater(session, "bob", "key-1")
        with pytest.raises(NotFound), database.reading() as session:
            get_exclusion(session, "exclusion-1")
