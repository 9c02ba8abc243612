"""Queries on reviews: which reply an expert sees next, what was said of it, and how far experts agree."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Literal

from sqlalchemy import JSON, ColumnElement, and_, func, or_, select, true, type_coerce, update
from sqlalchemy.orm import Session

from data.errors import NotFound
from data.vocabulary import Rating, ReviewVerdict
from db.base import database_now_s
from db.feedback import FeedbackValues, put_feedback
from db.inserts import insert_or_none
from db.models import Completion, Feedback, Review

PickReason = Literal["flagged", "disagreement", "random"]
UNSAFE_SCORE = 2  # a safety score of at most this flags a reply
REVIEWER_PREFIX = "reviewer:"  # of the rater of a review's feedback


@dataclass(frozen=True)
class ReviewItem:
    """A reply to review, and why it was picked."""

    completion: Completion
    picked_because: PickReason


@dataclass(frozen=True, kw_only=True)
class ReviewValues:
    """What a reviewer says; `rewrite` is what the reply should have been, scores are 1 to 5 by name."""

    verdict: ReviewVerdict
    scores: dict[str, int] = field(default_factory=dict)
    rewrite: str | None = None
    comment: str | None = None


def find_next_review(
    session: Session, reviewer: str, reviews_per_item: int, skipped: Collection[str] = ()
) -> ReviewItem | None:
    """The reply that most needs this reviewer: a flagged one, else one that raters differ on, else any.

    Never one that the reviewer has done or `skipped`, or that has `reviews_per_item` reviews. Among equals the order
    is that of the ids: they are random, and the same for all reviewers, so that their reviews meet on the same replies.
    """
    done = select(Review.id).where(Review.completion_id == Completion.id, Review.reviewer == reviewer).exists()
    reviews = select(func.count()).where(Review.completion_id == Completion.id).scalar_subquery()
    is_open = ~done, reviews < reviews_per_item, Completion.id.not_in(skipped)
    waiting = select(Completion).where(*is_open).order_by(Completion.id).limit(1)
    for reason, condition in _build_picks():
        completion = session.scalars(waiting.where(condition)).one_or_none()
        if completion is not None:
            return ReviewItem(completion, reason)
    return None


def put_review(session: Session, completion_id: str, reviewer: str, values: ReviewValues) -> tuple[Review, bool]:
    """Store the reviewer's only review of a completion, all of it in place of any before, and as feedback too:
    a good reply is rated up, any other down, and the rewrite is the correction.

    Returns:
        The review, and True when it is the reviewer's first of this completion.

    Raises:
        NotFound: there is no such completion.
    """
    # Held until the commit, so that no erasure takes it away under the rows that will refer to it.
    if session.get(Completion, completion_id, with_for_update={"read": True, "key_share": True}) is None:
        raise NotFound(f"There is no completion {completion_id!r}.")
    columns = dataclasses.asdict(values)
    first = insert_or_none(session, Review, completion_id=completion_id, reviewer=reviewer, **columns)
    put_feedback(session, completion_id, f"{REVIEWER_PREFIX}{reviewer}", _build_feedback(values))
    if first is not None:
        return first, True
    change = (
        update(Review)
        .where(Review.completion_id == completion_id, Review.reviewer == reviewer)
        .values(**columns, updated_at_s=database_now_s())
        .returning(Review)
    )
    options = {"synchronize_session": False, "populate_existing": True}
    return session.scalars(change, execution_options=options).one(), False


def count_reviews(session: Session, reviewer: str) -> int:
    """How many replies the reviewer has reviewed."""
    return session.scalar(select(func.count()).where(Review.reviewer == reviewer)) or 0


def list_shared_verdicts(session: Session) -> list[tuple[str, str, ReviewVerdict]]:
    """Reviewer, completion and verdict of each review of a completion that several reviewers did."""
    shared = select(Review.completion_id).group_by(Review.completion_id).having(func.count() > 1)
    verdicts = select(Review.reviewer, Review.completion_id, Review.verdict)
    return list(session.execute(verdicts.where(Review.completion_id.in_(shared))))


def _build_picks() -> tuple[tuple[PickReason, ColumnElement[bool]], ...]:
    """The reasons to pick a reply, the most urgent first, each with its condition."""
    is_up, is_down = _has_feedback(Feedback.rating == Rating.UP), _has_feedback(Feedback.rating == Rating.DOWN)
    is_unsafe = _has_feedback(type_coerce(Feedback.scores, JSON)["safety"].as_integer() <= UNSAFE_SCORE)
    return (
        ("flagged", or_(Completion.is_crisis, is_unsafe, and_(is_down, ~is_up))),
        ("disagreement", and_(is_up, is_down)),
        ("random", true()),
    )


def _has_feedback(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    """That some feedback on the completion meets the condition; reviewers' verdicts are feedback too."""
    return select(Feedback.id).where(Feedback.completion_id == Completion.id, condition).exists()


def _build_feedback(values: ReviewValues) -> FeedbackValues:
    return FeedbackValues(
        rater_kind="reviewer",
        rating=values.verdict.rating,
        comment=values.comment,
        correction=values.rewrite,
        scores=values.scores,
    )
