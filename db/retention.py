"""Queries on what may go when a deployment keeps things for a limited time only."""

from __future__ import annotations

from typing import Any, cast

from sqlalchemy import CursorResult, delete, exists, select, tuple_
from sqlalchemy.orm import Session

from db.base import database_now_s
from db.models import Completion, Conversation, Feedback, Review, Run, SnapshotRow, Version
from db.promotions import build_history, list_promotions
from db.runs import find_active_run
from db.versions import BASE_NUMBER


def delete_unrated_completions(session: Session, older_than_s: float, limit: int) -> int:
    """Delete up to `limit` completions that nobody rated or reviewed and no snapshot names, and emptied conversations.

    Returns:
        How many completions went.
    """
    is_used = [
        exists().where(Feedback.completion_id == Completion.id),
        exists().where(Review.completion_id == Completion.id),
        exists().where(SnapshotRow.completion_id == Completion.id),
    ]
    old = select(Completion.id, Completion.key_id, Completion.conversation_id)
    old = old.where(Completion.created_at_s < database_now_s() - older_than_s, *(~used for used in is_used))
    found = session.execute(old.order_by(Completion.created_at_s).limit(limit).with_for_update(skip_locked=True)).all()
    if not found:
        return 0
    ids = [completion_id for completion_id, _, _ in found]
    # Asked again now that they are locked: someone may have rated one in between.
    doomed = delete(Completion).where(Completion.id.in_(ids), *(~used for used in is_used))
    count = _execute(session, doomed)
    _delete_empty_conversations(session, {(key_id, conversation_id) for _, key_id, conversation_id in found})
    return count


def list_runs_beyond(session: Session, kept: int) -> list[str]:
    """The runs that have ended, except the `kept` newest of them and those whose version is protected."""
    protected = select(Version.run_id).where(Version.number.in_(list_protected(session)), Version.run_id.is_not(None))
    ended = select(Run.id).where(Run.finished_at_s.is_not(None)).order_by(Run.created_at_s.desc(), Run.id.desc())
    spared = set(session.scalars(protected))
    return [run_id for run_id in list(session.scalars(ended))[kept:] if run_id not in spared]


def list_version_folders_beyond(session: Session, kept: int) -> list[str]:
    """Folders that only versions beyond the `kept` newest name, none of them protected; none while a run is active.

    A run reads the artifacts that were in production when it began.
    """
    if find_active_run(session) is not None:
        return []
    versions = list(session.scalars(select(Version).order_by(Version.number.desc())))
    spared_numbers = list_protected(session) | {version.number for version in versions[:kept]}
    spared = {version.folder for version in versions if version.number in spared_numbers}
    return sorted({version.folder for version in versions} - spared)


def list_protected(session: Session) -> set[int]:
    """The base, and every version that was put into production and not rolled back.

    Production, what a rollback leads to, and the anchors of the gate are among these.
    """
    return {BASE_NUMBER, *build_history(reversed(list_promotions(session)))}


def _delete_empty_conversations(session: Session, names: set[tuple[str, str]]) -> None:
    name = tuple_(Conversation.key_id, Conversation.id)
    session.execute(select(Conversation.id).where(name.in_(names)).with_for_update()).all()
    is_empty = ~exists().where(Completion.key_id == Conversation.key_id, Completion.conversation_id == Conversation.id)
    _execute(session, delete(Conversation).where(name.in_(names), is_empty))


def _execute(session: Session, statement: Any) -> int:
    done = session.execute(statement.execution_options(synchronize_session=False))
    return cast(CursorResult[Any], done).rowcount
