"""Queries on feedback."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from data.errors import NotFound
from data.vocabulary import Rating
from db.base import database_now_s
from db.inserts import build_insert
from db.models import Feedback, RaterKind


@dataclass(frozen=True, kw_only=True)
class FeedbackValues:
    """What a rater says; `correction` is what the reply should have been, scores are 1 to 5 by name."""

    rater_kind: RaterKind
    rating: Rating
    reasons: tuple[str, ...] = ()
    comment: str | None = None
    correction: str | None = None
    scores: dict[str, int] = field(default_factory=dict)


def put_feedback(session: Session, completion_id: str, rater: str, values: FeedbackValues) -> tuple[Feedback, bool]:
    """Store the rater's only feedback on a completion that exists, all of it in place of any before.

    Returns:
        The row, and True when it is the rater's first: of several at once, exactly one is.
    """
    columns = dataclasses.asdict(values)
    statement = (
        build_insert(session, Feedback)
        .values(completion_id=completion_id, rater=rater, **columns)
        .on_conflict_do_update(
            index_elements=[Feedback.completion_id, Feedback.rater],
            set_={**columns, "times_given": Feedback.times_given + 1, "updated_at_s": database_now_s()},
        )
        .returning(Feedback)
    )
    row = session.scalars(statement, execution_options={"populate_existing": True}).one()
    return row, row.times_given == 1


def get_feedback(session: Session, completion_id: str, rater: str) -> Feedback:
    """What that rater says of the completion.

    Raises:
        NotFound: nothing.
    """
    given = select(Feedback).where(Feedback.completion_id == completion_id, Feedback.rater == rater)
    feedback = session.scalars(given).one_or_none()
    if feedback is None:
        raise NotFound(f"There is no feedback of {rater!r} on completion {completion_id!r}.")
    return feedback


def count_new_ratings(session: Session, since_s: float) -> int:
    """How many ratings were given or changed after `since_s` (seconds since 1970)."""
    return session.scalar(select(func.count()).where(Feedback.updated_at_s > since_s)) or 0
