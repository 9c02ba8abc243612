"""Sums of feedback for the dashboard, on both databases."""

from __future__ import annotations

from sqlalchemy import update
from sqlalchemy.orm import Session

from data.vocabulary import Rating
from db.feedback import FeedbackValues, put_feedback
from db.models import Feedback
from db.overview import (
    DayCount,
    VersionCount,
    count_consultations,
    count_feedback,
    count_raters,
    count_ratings_by_day,
    count_ratings_by_version,
    list_raters,
)
from db.session import Database
from tests.rows import add_client, add_completion, add_trained_version

DAY_S = 86_400.0


def rate(session: Session, completion_id: str, rater: str, rating: Rating, at_s: float) -> None:
    row, _ = put_feedback(session, completion_id, rater, FeedbackValues(rater_kind="end_user", rating=rating))
    times = {"created_at_s": at_s, "updated_at_s": at_s}
    session.execute(update(Feedback).where(Feedback.id == row.id).values(times))


class TestCountRatings:
    def test_by_day_from_midnight_to_midnight(self, database: Database) -> None:
        with database.transaction() as session:
            completion = add_completion(session, add_client(session))
            moments = (10 * DAY_S - 1, 10 * DAY_S, 10.6 * DAY_S, 11 * DAY_S - 1, 12 * DAY_S)
            for number, at_s in enumerate(moments):
                rating = Rating.DOWN if number == 2 else Rating.UP
                rate(session, completion.id, f"rater {number}", rating, at_s)
        with database.reading() as session:
            assert count_ratings_by_day(session, 10 * DAY_S) == [DayCount(10, 2, 1), DayCount(12, 1, 0)]
            assert count_feedback(session) == 5

    def test_by_version_the_newest_first_and_no_version_last(self, database: Database) -> None:
        with database.transaction() as session:
            version = add_trained_version(session).number
            key_id = add_client(session)
            for number, rating in ((version, Rating.UP), (version, Rating.DOWN), (None, Rating.UP)):
                rate(session, add_completion(session, key_id, version_number=number).id, "ann", rating, 5 * DAY_S)
            rate(session, add_completion(session, key_id, version_number=version).id, "ann", Rating.UP, 4 * DAY_S)
        with database.reading() as session:
            wanted = [VersionCount(version, 1, 1), VersionCount(None, 1, 0)]
            assert count_ratings_by_version(session, 5 * DAY_S) == wanted


class TestListRaters:
    def test_those_with_most_ratings_first(self, database: Database) -> None:
        with database.transaction() as session:
            key_id = add_client(session)
            for number in range(3):
                completion = add_completion(session, key_id)
                rate(session, completion.id, "ben", Rating.DOWN if number else Rating.UP, number * DAY_S)
            rate(session, completion.id, "ann", Rating.UP, 9 * DAY_S)
        with database.reading() as session:
            ben, ann = list_raters(session, 10)
            assert (ben.rater, ben.kind, ben.ups, ben.downs) == ("ben", "end_user", 1, 2)
            assert (ben.first_at_s, ben.last_at_s) == (0, 2 * DAY_S)
            assert ann.rater == "ann"
            assert [item.rater for item in list_raters(session, 1)] == ["ben"]
            assert count_raters(session) == 2

    def test_nobody(self, database: Database) -> None:
        with database.reading() as session:
            assert (list_raters(session, 10), count_raters(session), count_consultations(session)) == ([], 0, 0)
