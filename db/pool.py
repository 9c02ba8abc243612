"""The pool that every run draws its snapshot from: all examples and all feedback, but for raters who are excluded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from sqlalchemy import and_, exists, select
from sqlalchemy.orm import Session

from data.sentences import cut_unfinished
from data.splitting import context_cluster
from data.vocabulary import Message, PoolRow, RowKind
from db.models import Completion, Conversation, Example, Feedback
from db.raters import is_excluded

_WHOLE = ("stop", "length")  # finish reasons
_CUT = ("length", "disconnect")  # those of a reply that may end in the middle of a sentence
_FILTERED = "content_filter"
_BY_CHUNKS = {"yield_per": 1000}  # else the driver's rows are all in memory beside what is made of them


def list_pool_rows(session: Session, unrated: int = 0) -> list[PoolRow]:
    """Examples, then each rater's view of each reply with the correction after it, in order of their ids.

    Reviewers come before other raters: of two that say the same, curation keeps the first. A reply is there only where
    a model wrote all of it: of one that a filter ended there is the correction alone, of a crisis nothing. Last come up
    to `unrated` replies of models that nobody has rated, the newest of them, oldest first.
    """
    rows = [*_build_example_rows(session), *_build_feedback_rows(session)]
    return [*rows, *_build_unrated_rows(session, unrated)] if unrated else rows


def _build_example_rows(session: Session) -> Iterator[PoolRow]:
    columns = (Example.id, Example.context, Example.response, Example.rating, Example.created_at_s)
    for example in session.execute(select(*columns).order_by(Example.id), execution_options=_BY_CHUNKS):
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
    is_expert = (Feedback.rater_kind == "reviewer").label("is_expert")
    said = (Feedback.id, Feedback.rating, Feedback.correction, Feedback.rater, Feedback.created_at_s, is_expert)
    served = (Completion.messages, Completion.reply, Completion.finish_reason, Completion.conversation_id)
    rated = select(*said, *served).join(Completion, Completion.id == Feedback.completion_id)
    rated = rated.where(~is_excluded(session, Feedback.rater), Completion.is_crisis.is_(False))
    rated = rated.order_by(is_expert.desc(), Feedback.id)
    for given in session.execute(rated, execution_options=_BY_CHUNKS):
        row = PoolRow(
            row_id=f"feedback:{given.id}",
            kind=RowKind.REPLY,
            cluster=f"conversation:{given.conversation_id}",
            messages=tuple(given.messages),
            reply=_finish(given.reply, given.finish_reason),
            rating=given.rating,
            rater=given.rater,
            is_expert=given.is_expert,
            created_at_s=given.created_at_s,
        )
        is_filtered = given.finish_reason == _FILTERED  # it ends with a notice that no model wrote
        if not is_filtered:
            yield row
        if given.correction:
            row_id, kind = f"correction:{given.id}", RowKind.CORRECTION
            original = None if is_filtered else row.reply
            yield replace(row, row_id=row_id, kind=kind, reply=given.correction, rating=None, original=original)


def _build_unrated_rows(session: Session, limit: int) -> Iterator[PoolRow]:
    """Whole replies only: not what a client broke off, nor what the crisis layer or a filter had a hand in."""
    is_in = and_(Conversation.key_id == Completion.key_id, Conversation.id == Completion.conversation_id)
    of_excluded = exists().where(is_in, is_excluded(session, Conversation.end_user))
    unrated = select(Completion).where(
        ~of_excluded,
        ~exists().where(Feedback.completion_id == Completion.id),
        Completion.version_number.is_not(None),
        Completion.is_crisis.is_(False),
        Completion.finish_reason.in_(_WHOLE),
    )
    newest = session.scalars(unrated.order_by(Completion.created_at_s.desc(), Completion.id.desc()).limit(limit))
    for completion in reversed(newest.all()):
        yield PoolRow(
            row_id=f"completion:{completion.id}",
            kind=RowKind.REPLY,
            cluster=f"conversation:{completion.conversation_id}",
            messages=tuple(completion.messages),
            reply=_finish(completion.reply, completion.finish_reason),
            created_at_s=completion.created_at_s,
        )


def _finish(reply: str, finish_reason: str) -> str:
    """The reply up to its last whole sentence: learned as it was cut, it would teach to stop in the middle of one."""
    return cut_unfinished(reply) if finish_reason in _CUT else reply
