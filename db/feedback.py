"""Queries on feedback."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Select, delete, func, select
from sqlalchemy.orm import Session

from data.errors import NotFound
from data.vocabulary import Rating
from db.base import database_now_s
from db.inserts import insert_or_none
from db.models import Completion, Feedback, FeedbackHistory, RaterKind


@dataclass(frozen=True, kw_only=True)
class FeedbackValues:
    """What a rater says; `correction` is what the reply should have been, scores are 1 to 5 by name."""

    rater_kind: RaterKind
    rating: Rating
    reasons: tuple[str, ...] = ()
    comment: str | None = None
    correction: str | None = None
    scores: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class FeedbackFilter:
    """Which feedback is wanted; what is None does not matter."""

    rating: Rating | None = None
    version: int | None = None  # that wrote the reply
    rater: str | None = None
    since_s: float | None = None  # last said then or later


def put_feedback(session: Session, completion_id: str, rater: str, values: FeedbackValues) -> tuple[Feedback, bool]:
    """Store the rater's only feedback on a completion that exists, all of it in place of any before.

    What was said before goes into the history. Saying the same again changes nothing.

    Returns:
        The row, and True when it is the rater's first: of several at once, exactly one is.
    """
    columns = dataclasses.asdict(values) | {"reasons": list(values.reasons)}
    while True:
        first = insert_or_none(session, Feedback, completion_id=completion_id, rater=rater, **columns)
        if first is not None:
            return first, True
        given = _select_given(completion_id, rater).with_for_update()
        row = session.scalars(given, execution_options={"populate_existing": True}).one_or_none()
        if row is not None:
            _replace(session, row, columns)
            return row, False
        # Another transaction has deleted it this instant: begin again.


def get_feedback(session: Session, completion_id: str, rater: str) -> Feedback:
    """What that rater says of the completion.

    Raises:
        NotFound: nothing.
    """
    feedback = session.scalars(_select_given(completion_id, rater)).one_or_none()
    if feedback is None:
        raise NotFound(f"There is no feedback of {rater!r} on completion {completion_id!r}.")
    return feedback


def delete_feedback(session: Session, completion_id: str, rater: str) -> None:
    """Take back what that rater said of the completion, with its history.

    Raises:
        NotFound: nothing was said.
    """
    session.execute(delete(Feedback).where(Feedback.id == get_feedback(session, completion_id, rater).id))


def list_feedback(
    session: Session, wanted: FeedbackFilter, limit: int, before: int | None = None
) -> list[tuple[Feedback, Completion]]:
    """The newest feedback with its reply, newest first; with `before`, that with a lower id."""
    rated = select(Feedback, Completion).join(Completion, Completion.id == Feedback.completion_id)
    if before is not None:
        rated = rated.where(Feedback.id < before)
    rows = session.execute(rated.where(*_build_conditions(wanted)).order_by(Feedback.id.desc()).limit(limit))
    return [(feedback, completion) for feedback, completion in rows]


def list_feedback_on(session: Session, completion_ids: Sequence[str], *, with_experts: bool) -> list[Feedback]:
    """What raters say of these completions, oldest first; what reviewers say only with `with_experts`."""
    given = select(Feedback).where(Feedback.completion_id.in_(completion_ids)).order_by(Feedback.id)
    return list(session.scalars(given if with_experts else given.where(Feedback.rater_kind != "reviewer")))


def count_new_ratings(session: Session, since_s: float) -> int:
    """How many ratings were given or changed after `since_s` (seconds since 1970)."""
    return session.scalar(select(func.count()).where(Feedback.updated_at_s > since_s)) or 0


def _select_given(completion_id: str, rater: str) -> Select[Feedback]:
    return select(Feedback).where(Feedback.completion_id == completion_id, Feedback.rater == rater)


def _replace(session: Session, row: Feedback, columns: dict[str, Any]) -> None:
    """Change the locked row, and keep what it said; unless that is the same."""
    before = {name: getattr(row, name) for name in columns}
    if before == columns:
        return
    session.add(FeedbackHistory(feedback_id=row.id, given_at_s=row.updated_at_s, **before))
    for name, value in columns.items():
        setattr(row, name, value)
    row.times_given += 1
    row.updated_at_s = session.scalars(select(database_now_s())).one()
    session.flush()


def _build_conditions(wanted: FeedbackFilter) -> list[ColumnElement[bool]]:
    equals = (
        (Feedback.rating, wanted.rating),
        (Completion.version_number, wanted.version),
        (Feedback.rater, wanted.rater),
    )
    conditions = [column == value for column, value in equals if value is not None]
    return conditions if wanted.since_s is None else [*conditions, Feedback.updated_at_s >= wanted.since_s]
