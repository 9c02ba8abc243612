"""Feedback: one row for a completion and a rater, whoever races."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from data.errors import NotFound
from data.vocabulary import Rating
from db.erasure import erase_end_user
from db.feedback import (
    FeedbackFilter,
    FeedbackValues,
    count_new_ratings,
    delete_feedback,
    get_feedback,
    list_feedback,
    list_feedback_on,
    put_feedback,
)
from db.models import Feedback, FeedbackHistory
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

    def test_keeps_what_was_said_before_and_not_what_is_said_again(
        self, database: Database, completion_id: str
    ) -> None:
        with database.transaction() as session:
            for values in (DOWN, DOWN, UP, UP):
                row, _ = put_feedback(session, completion_id, "ann", values)
            assert row.times_given == 2
            [before] = session.scalars(select(FeedbackHistory))
        assert (before.feedback_id, before.rating, before.reasons) == (row.id, Rating.DOWN, ["cold", "too long"])
        assert (before.correction, before.scores) == ("I hear you.", {"empathy": 1, "safety": 5})
        assert row.created_at_s <= before.given_at_s <= before.replaced_at_s

    def test_alternating_at_once_leave_one_row_and_every_change(self, database: Database, completion_id: str) -> None:
        def put_both(session: Session) -> None:
            put_feedback(session, completion_id, "ann", UP)
            put_feedback(session, completion_id, "ann", DOWN)

        run_at_once(database, 50, put_both)
        with database.reading() as session:
            row = session.scalars(select(Feedback)).one()
            history = session.scalars(select(FeedbackHistory.rating).order_by(FeedbackHistory.id)).all()
        assert (row.rating, row.times_given) == (Rating.DOWN, 100)
        assert list(history) == ([Rating.UP, Rating.DOWN] * 50)[:-1]

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


class TestDeleteFeedback:
    def test_takes_the_history_along(self, database: Database, completion_id: str) -> None:
        with database.transaction() as session:
            put_feedback(session, completion_id, "ann", UP)
            put_feedback(session, completion_id, "ann", DOWN)
            delete_feedback(session, completion_id, "ann")
            assert session.scalars(select(FeedbackHistory)).all() == []
            with pytest.raises(NotFound):
                delete_feedback(session, completion_id, "ann")

    def test_so_does_the_erasure_of_the_end_user(self, database: Database, completion_id: str) -> None:
        with database.transaction() as session:
            put_feedback(session, completion_id, "ann", DOWN)
            put_feedback(session, completion_id, "ann", UP)
            erase_end_user(session, "ann")
            assert session.scalars(select(FeedbackHistory)).all() == []


class TestListFeedback:
    def test_goes_back_page_by_page(self, database: Database, completion_id: str) -> None:
        with database.transaction() as session:
            ids = [put_feedback(session, completion_id, f"rater {number}", UP)[0].id for number in range(5)]
            first = list_feedback(session, FeedbackFilter(), limit=3)
            second = list_feedback(session, FeedbackFilter(), limit=3, before=first[-1][0].id)
        assert [row.id for row, _ in [*first, *second]] == ids[::-1]
        assert {completion.id for _, completion in first} == {completion_id}

    def test_filters(self, database: Database, completion_id: str) -> None:
        with database.transaction() as session:
            put_feedback(session, completion_id, "ann", UP)
            late, _ = put_feedback(session, completion_id, "bob", DOWN)

            def list_raters(**wanted: Any) -> list[str]:
                return [row.rater for row, _ in list_feedback(session, FeedbackFilter(**wanted), limit=9)]

            assert list_raters() == ["bob", "ann"]
            assert list_raters(rating=Rating.UP) == ["ann"]
            assert list_raters(rater="bob") == ["bob"]
            assert list_raters(version=0) == []  # no version wrote the reply
            assert list_raters(since_s=late.updated_at_s + 1) == []
            assert "bob" in list_raters(since_s=late.updated_at_s)


class TestListFeedbackOn:
    def test_lists_what_all_say_of_these(self, database: Database, completion_id: str) -> None:
        with database.transaction() as session:
            put_feedback(session, completion_id, "ann", UP)
            put_feedback(session, completion_id, "bob", DOWN)
            everybody = list_feedback_on(session, [completion_id], with_experts=True)
            others = list_feedback_on(session, [completion_id], with_experts=False)  # bob is one
            assert [[row.rater for row in rows] for rows in (everybody, others)] == [["ann", "bob"], ["ann"]]
            assert list_feedback_on(session, [], with_experts=True) == []


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
