"""The pool that every run draws its snapshot from: all examples and all feedback."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import select
from sqlalchemy.orm import Session

from data.splitting import context_cluster
from data.vocabulary import Message, PoolRow, RowKind
from db.models import Completion, Example, Feedback


def list_pool_rows(session: Session) -> list[PoolRow]:
    """Examples, then each rater's view of each reply with the correction after it, in order of their ids.

    Reviewers come before other raters: of two that say the same, curation keeps the first.
    """
    return [*_build_example_rows(session), *_build_feedback_rows(session)]


def _build_example_rows(session: Session) -> Iterator[PoolRow]:
    for example in session.scalars(select(Example).order_by(Example.id)):
        yield PoolRow(
            row_id=f"example:{example.id}",
            kind=RowKind.EXAMPLE,
            cluster=context_cluster(example.context),
            messages=(Message(role="user", content=example.context),),
            reply=example.response,
            rating=example.rating,
            created_at_s=example.created_at_s,
        )


def _build_feedback_rows(session: Session) -> Iterator[PoolRow]:
    is_expert = Feedback.rater_kind == "reviewer"
    rated = select(Feedback, Completion).join(Completion, Completion.id == Feedback.completion_id)
    for feedback, completion in session.execute(rated.order_by(is_expert.desc(), Feedback.id)):
        messages = tuple(completion.messages)
        cluster = f"conversation:{completion.conversation_id}"
        yield PoolRow(
            row_id=f"feedback:{feedback.id}",
            kind=RowKind.REPLY,
            cluster=cluster,
            messages=messages,
            reply=completion.reply,
            rating=feedback.rating,
            rater=feedback.rater,
            is_expert=feedback.rater_kind == "reviewer",
            created_at_s=feedback.created_at_s,
        )
        if feedback.correction:
            yield PoolRow(
                row_id=f"correction:{feedback.id}",
                kind=RowKind.CORRECTION,
                cluster=cluster,
                messages=messages,
                reply=feedback.correction,
                rater=feedback.rater,
                is_expert=feedback.rater_kind == "reviewer",
                created_at_s=feedback.created_at_s,
            )
