"""Feedback: one row for a completion and a rater, whoever races."""

from __future__ import annotations

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from data.errors import NotFound
from data.vocabulary import Rating
from db.feedback import FeedbackValues, count_new_ratings, get_feedback, put_feedback
from db.models import Feedback
from db.session import Database
from tests.rows import add_client, add_completion, run_at_once

UP = FeedbackValues(rater_kind="end_user", rating=Rating.UP)
DOWN = FeedbackValues(
    rater_kind="reviewer",
    rating=Rating.DOWN,
    reasons=("cold", "too long"),
    comment="Rather stiff.",
    correction="I hear you.",
    scores={"empathy": 1, "safety": 5},
)


@pytest.fixture
def completion_id(database: Database) -> str:
    """A completion to rate."""
    with database.transaction() as session:
        return add_completion(session, add_client(session)).id


class TestPutFeedback:
    def test_stores_the_first(self, database: Database, completion_id: str) -> None:
        with database.transaction() as session:
            _, created = put_feedback(session, completion_id, "ann", DOWN)
        assert created
        with database.reading() as session:
            row = get_feedback(session, completion_id, "ann")
        assert (row.rater_kind, row.rating, row.reasons) == ("reviewer", Rating.DOWN, ["cold", "too long"])
        assert (row.comment, row.correction) == ("Rather stiff.", "I hear you.")
        assert row.scores == {"empathy": 1, "safety": 5}

    def test_a_repeat_replaces_all_of_it(self, database: Database, completion_id: str) -> None:
        with database.transaction() as session:
            first, _ = put_feedback(session, completion_id, "ann", DOWN)
            first_id, first_s = first.id, first.created_at_s
            second, created = put_feedback(session, completion_id, "ann", UP)
        assert not created
        assert (second.id, second.created_at_s) == (first_id, first_s)
        assert second.updated_at_s >= first_s
        assert (second.rating, second.reasons, second.correction, second.scores) == (Rating.UP, [], None, {})

    def test_raters_do_not_overwrite_each_other(self, database: Database, completion_id: str) -> None:
        with database.transaction() as session:
            put_feedback(session, completion_id, "ann", UP)
            _, created = put_feedback(session, completion_id, "bob", DOWN)
            assert created
            assert get_feedback(session, completion_id, "ann").rating is Rating.UP

    def test_fifty_at_once_make_one_row(self, database: Database, completion_id: str) -> None:
        def put(session: Session) -> tuple[int, bool]:
            row, created = put_feedback(session, completion_id, "ann", UP)
            return row.id, created

        outcomes = run_at_once(database, 50, put)
        assert len({row_id for row_id, _ in outcomes}) == 1
        assert sum(created for _, created in outcomes) == 1
        with database.reading() as session:
            assert session.scalar(select(func.count(Feedback.id))) == 1

    def test_never_gives_the_id_of_a_deleted_row_to_another(self, database: Database, completion_id: str) -> None:
        with database.transaction() as session:
            deleted, _ = put_feedback(session, completion_id, "ann", UP)
            session.delete(deleted)
            session.flush()
            again, created = put_feedback(session, completion_id, "ann", UP)
            assert created
            assert again.id > deleted.id


class TestGetFeedback:
    def test_knows_no_other_rater(self, database: Database, completion_id: str) -> None:
        with database.transaction() as session:
            put_feedback(session, completion_id, "ann", UP)
            with pytest.raises(NotFound):
                get_feedback(session, completion_id, "bob")


class TestCountNewRatings:
    def test_counts_what_was_given_or_changed_since(self, database: Database, completion_id: str) -> None:
        with database.transaction() as session:
            assert count_new_ratings(session, since_s=0) == 0
            first, _ = put_feedback(session, completion_id, "ann", UP)
            assert count_new_ratings(session, since_s=0) == 1
            assert count_new_ratings(session, since_s=first.updated_at_s) == 0
            before_s = first.updated_at_s - 1
            put_feedback(session, completion_id, "ann", DOWN)
            assert count_new_ratings(session, since_s=before_s) == 1
