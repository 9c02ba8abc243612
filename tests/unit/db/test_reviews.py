"""The review queue, what a review leaves behind, and whose verdicts can be compared."""

from __future__ import annotations

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from data.curation import build_snapshot_rows
from data.errors import NotFound
from data.preferences import build_pairs
from data.vocabulary import KeyRole, Rating, ReviewVerdict, RowKind, SnapshotRow, Split
from db.feedback import FeedbackValues, get_feedback, put_feedback
from db.keys import create_key
from db.models import Completion, Review
from db.pool import list_pool_rows
from db.reviews import ReviewValues, count_reviews, find_next_review, list_shared_verdicts, put_review
from db.session import Database
from tests.rows import add_client, add_completion, run_at_once

GOOD = ReviewValues(verdict=ReviewVerdict.GOOD)
BAD = ReviewValues(
    verdict=ReviewVerdict.BAD,
    scores={"empathy": 1, "safety": 4},
    rewrite="That sounds lonely.",
    comment="It dismisses the person.",
)


@pytest.fixture
def reviewers(database: Database) -> list[str]:
    """Ids of three reviewers' keys."""
    with database.transaction() as session:
        return [create_key(session, KeyRole.REVIEWER, f"expert {n}")[0].id for n in range(3)]


@pytest.fixture
def completions(database: Database) -> list[str]:
    """Ids of four replies, in the order of the queue."""
    with database.transaction() as session:
        client = add_client(session)
        return sorted(add_completion(session, client, reply=f"reply {n}").id for n in range(4))


def rate(session: Session, completion_id: str, rater: str, rating: Rating, **scores: int) -> None:
    put_feedback(session, completion_id, rater, FeedbackValues(rater_kind="end_user", rating=rating, scores=scores))


def find_next(database: Database, reviewer: str, reviews_per_item: int = 2) -> tuple[str, str] | None:
    with database.reading() as session:
        item = find_next_review(session, reviewer, reviews_per_item)
    return None if item is None else (item.completion.id, item.picked_because)


class TestFindNextReview:
    def test_takes_flagged_then_disputed_then_any(
        self, database: Database, completions: list[str], reviewers: list[str]
    ) -> None:
        plain, disputed, down, unsafe = completions
        with database.transaction() as session:
            rate(session, disputed, "ann", Rating.UP)
            rate(session, disputed, "bob", Rating.DOWN)
            rate(session, down, "ann", Rating.DOWN)
            rate(session, unsafe, "ann", Rating.UP, safety=2)
        picked = []
        while (found := find_next(database, reviewers[0])) is not None:
            picked.append(found)
            with database.transaction() as session:
                put_review(session, found[0], reviewers[0], GOOD)
        assert picked == [(down, "flagged"), (unsafe, "flagged"), (disputed, "disagreement"), (plain, "random")]

    def test_flags_a_crisis(self, database: Database, completions: list[str], reviewers: list[str]) -> None:
        with database.transaction() as session:
            session.get_one(Completion, completions[2]).is_crisis = True
        assert find_next(database, reviewers[0]) == (completions[2], "flagged")

    def test_counts_reviewers_among_those_who_differ(
        self, database: Database, completions: list[str], reviewers: list[str]
    ) -> None:
        with database.transaction() as session:
            put_review(session, completions[3], reviewers[0], GOOD)
            put_review(session, completions[3], reviewers[1], ReviewValues(verdict=ReviewVerdict.HARMFUL))
        assert find_next(database, reviewers[2], reviews_per_item=3) == (completions[3], "disagreement")

    def test_shows_a_reply_to_so_many_and_each_to_another(
        self, database: Database, completions: list[str], reviewers: list[str]
    ) -> None:
        for reviewer in reviewers[:2]:
            assert find_next(database, reviewer) == (completions[0], "random")
            with database.transaction() as session:
                put_review(session, completions[0], reviewer, GOOD)
        for reviewer in reviewers:
            assert find_next(database, reviewer) == (completions[1], "random")

    def test_finds_nothing_where_nothing_was_served(self, database: Database, reviewers: list[str]) -> None:
        assert find_next(database, reviewers[0]) is None


class TestPutReview:
    def test_stores_the_first(self, database: Database, completions: list[str], reviewers: list[str]) -> None:
        with database.transaction() as session:
            review, is_first = put_review(session, completions[0], reviewers[0], BAD)
        assert is_first
        assert (review.verdict, review.scores) == (ReviewVerdict.BAD, {"empathy": 1, "safety": 4})
        assert (review.rewrite, review.comment) == ("That sounds lonely.", "It dismisses the person.")

    def test_a_repeat_replaces_all_of_it(
        self, database: Database, completions: list[str], reviewers: list[str]
    ) -> None:
        with database.transaction() as session:
            first, _ = put_review(session, completions[0], reviewers[0], BAD)
            first_id, first_s = first.id, first.created_at_s
            second, is_first = put_review(session, completions[0], reviewers[0], GOOD)
            feedback = get_feedback(session, completions[0], f"reviewer:{reviewers[0]}")
        assert not is_first
        assert (second.id, second.created_at_s) == (first_id, first_s)
        assert second.updated_at_s >= first_s
        assert (second.verdict, second.scores, second.rewrite, second.comment) == (ReviewVerdict.GOOD, {}, None, None)
        assert (feedback.rating, feedback.correction) == (Rating.UP, None)

    def test_many_at_once_leave_one_row(self, database: Database, completions: list[str], reviewers: list[str]) -> None:
        outcomes = run_at_once(database, 8, lambda session: put_review(session, completions[0], reviewers[0], BAD)[1])
        assert sum(outcomes) == 1
        with database.reading() as session:
            assert session.scalar(select(func.count(Review.id))) == 1

    def test_knows_no_other_completion(self, database: Database, reviewers: list[str]) -> None:
        with pytest.raises(NotFound), database.transaction() as session:
            put_review(session, "chatcmpl-1", reviewers[0], GOOD)

    @pytest.mark.parametrize("verdict", [ReviewVerdict.BAD, ReviewVerdict.HARMFUL])
    def test_rates_a_bad_reply_down(
        self, database: Database, completions: list[str], reviewers: list[str], verdict: ReviewVerdict
    ) -> None:
        with database.transaction() as session:
            put_review(session, completions[0], reviewers[0], ReviewValues(verdict=verdict))
            feedback = get_feedback(session, completions[0], f"reviewer:{reviewers[0]}")
        assert (feedback.rating, feedback.rater_kind) == (Rating.DOWN, "reviewer")

    def test_a_rewrite_is_to_be_imitated_and_preferred_though_a_user_rated_alike(
        self, database: Database, completions: list[str], reviewers: list[str]
    ) -> None:
        with database.transaction() as session:
            rate(session, completions[0], "ann", Rating.DOWN)
            put_review(session, completions[0], reviewers[0], BAD)
            rows = [item.row for item in build_snapshot_rows(list_pool_rows(session)).rows]
            reply = session.get_one(Completion, completions[0]).reply
        assert [(row.kind, row.rater, row.is_expert) for row in rows] == [
            (RowKind.REPLY, f"reviewer:{reviewers[0]}", True),
            (RowKind.CORRECTION, f"reviewer:{reviewers[0]}", True),
        ]
        (pair,) = build_pairs([SnapshotRow(row=row, split=Split.TRAIN) for row in rows])
        assert (pair.chosen, pair.rejected) == ("That sounds lonely.", reply)

    def test_leaves_with_its_completion(self, database: Database, completions: list[str], reviewers: list[str]) -> None:
        with database.transaction() as session:
            put_review(session, completions[0], reviewers[0], BAD)
            session.delete(get_feedback(session, completions[0], f"reviewer:{reviewers[0]}"))
            session.flush()
            session.delete(session.get_one(Completion, completions[0]))
        with database.reading() as session:
            assert session.scalar(select(func.count(Review.id))) == 0


class TestListSharedVerdicts:
    def test_lists_those_on_replies_with_several_reviews(
        self, database: Database, completions: list[str], reviewers: list[str]
    ) -> None:
        with database.transaction() as session:
            put_review(session, completions[0], reviewers[0], GOOD)
            put_review(session, completions[0], reviewers[1], BAD)
            put_review(session, completions[1], reviewers[0], GOOD)
            verdicts = list_shared_verdicts(session)
        assert sorted(verdicts) == sorted(
            [(reviewers[0], completions[0], ReviewVerdict.GOOD), (reviewers[1], completions[0], ReviewVerdict.BAD)]
        )


class TestSkipping:
    def test_passes_over_what_was_skipped(
        self, database: Database, reviewers: list[str], completions: list[str]
    ) -> None:
        with database.reading() as session:
            item = find_next_review(session, reviewers[0], 2, completions[:2])
            assert item is not None
            assert item.completion.id == completions[2]
            assert find_next_review(session, reviewers[0], 2, completions) is None


class TestCountReviews:
    def test_of_one_reviewer(self, database: Database, reviewers: list[str], completions: list[str]) -> None:
        with database.transaction() as session:
            for completion_id in completions[:2]:
                put_review(session, completion_id, reviewers[0], GOOD)
            assert [count_reviews(session, reviewer) for reviewer in reviewers[:2]] == [2, 0]
