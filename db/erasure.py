"""Erasing an end user: every row, what was drawn from it, and the retrain that goes without.

`erase_end_user` takes the rows away in one transaction. What cannot be done in it is left to the sweep (see
`worker.erasure`): the files, and the retrain where a run that was drawing on the rows had to be interrupted.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any, cast

from sqlalchemy import ColumnElement, CursorResult, Select, and_, delete, exists, or_, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from data.errors import NotFound
from data.recipe import Recipe
from data.vocabulary import RunStatus
from db.base import Base, database_now_s
from db.models import Completion, Conversation, Erasure, Example, Feedback, Run, Snapshot, SnapshotRow, Version
from db.pseudonyms import hash_name, make_salt
from db.raters import forget_rater
from db.runs import create_run, find_active_run, get_run, request_cancel

_IDS_PER_QUERY = 5000
_ORIGINS: dict[str, InstrumentedAttribute[Any]] = {  # which id a row id names
    "example": Example.id,
    "feedback": Feedback.id,
    "correction": Feedback.id,
    "completion": Completion.id,
}


def erase_end_user(session: Session, user: str) -> Erasure:
    """Erase whom clients call `user`: their conversations, all that was said of these, and what they said of others.

    An exclusion of theirs holds on, without the name and the reason; see `db.raters.forget_rater`.

    Returns:
        The receipt; an empty one for a user who was erased before and has not come back.

    Raises:
        NotFound: nothing is known of such a user, nor ever was.
    """
    active = session.scalars(select(Run).where(Run.finished_at_s.is_(None)).with_for_update()).one_or_none()
    _lock(session, user)
    run_ids = _list_run_ids(session, user)
    counts = _delete_rows(session, user)
    was_excluded = forget_rater(session, user)
    if not any(counts.values()) and not was_excluded and not _was_erased(session, user):
        raise NotFound("Nothing is stored of such an end user; check the name.")
    salt = make_salt()
    erasure = Erasure(salt=salt, end_user_sha256=hash_name(salt, user), counts=counts, marked_versions=[], run_ids=[])
    session.add(erasure)
    _forget_in_runs(session, erasure, run_ids)
    _plan_retrain(session, erasure, active)
    session.flush()
    session.refresh(erasure)  # with what the database filled in
    return erasure


def settle_erasure(session: Session, erasure_id: str) -> Erasure | None:
    """Do what had to wait for the interrupted run; None while that has not ended.

    From then on nothing writes to the folders of `run_ids` any more, save for a process that is ending.
    """
    erasure = session.get_one(Erasure, erasure_id, with_for_update=True)
    if erasure.interrupted_run_id is not None and erasure.retrain_run_id is None:
        if get_run(session, erasure.interrupted_run_id).status.is_active:
            return None
        _forget_in_runs(session, erasure, [erasure.interrupted_run_id])  # it may have saved them after the erasure
        erasure.retrain_run_id = _find_or_queue_retrain(session)
        session.flush()
    return erasure


def finish_erasure(session: Session, erasure_id: str) -> None:
    """Note that the bytes have left the files and the database."""
    session.get_one(Erasure, erasure_id).finished_at_s = session.scalar(select(database_now_s()))
    session.flush()


def get_erasure(session: Session, erasure_id: str) -> Erasure:
    """The receipt of that id.

    Raises:
        NotFound: there is none.
    """
    erasure = session.get(Erasure, erasure_id)
    if erasure is None:
        raise NotFound("There is no such erasure; its id is in the answer to the DELETE.")
    return erasure


def list_unfinished_erasure_ids(session: Session) -> list[str]:
    """The erasures whose bytes may still be somewhere, oldest first."""
    unfinished = select(Erasure.id).where(Erasure.finished_at_s.is_(None))
    return list(session.scalars(unfinished.order_by(Erasure.created_at_s, Erasure.id)))


def list_erasure_ids_of_version(session: Session, number: int) -> list[str]:
    """The erasures of rows that this version's snapshot held."""
    erasures = session.execute(select(Erasure.id, Erasure.marked_versions).order_by(Erasure.created_at_s))
    return [erasure_id for erasure_id, marked in erasures if number in marked]


def list_gone_row_ids(session: Session, row_ids: Iterable[str]) -> set[str]:
    """Those of the row ids (`feedback:7`, and `feedback:7#2` for a part of it) whose row is not there any more.

    One that names no table counts as gone, so that nothing is kept of it.
    """
    by_origin: defaultdict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for row_id in row_ids:
        kind, _, number = row_id.partition(":")
        by_origin[kind][number.partition("#")[0]].append(row_id)
    gone: set[str] = set()
    for kind, by_id in by_origin.items():
        present = _list_present(session, kind, sorted(by_id))
        gone.update(row_id for name, named in by_id.items() if name not in present for row_id in named)
    return gone


def _list_present(session: Session, kind: str, names: list[str]) -> set[str]:
    column = _ORIGINS.get(kind)
    if column is None:
        return set()
    ids: list[Any] = names if kind == "completion" else [int(name) for name in names if name.isdecimal()]
    chunks = (ids[start : start + _IDS_PER_QUERY] for start in range(0, len(ids), _IDS_PER_QUERY))
    return {str(found) for chunk in chunks for found in session.scalars(select(column).where(column.in_(chunk)))}


def _completions_of(user: str) -> Select[str]:
    is_in = and_(Conversation.key_id == Completion.key_id, Conversation.id == Completion.conversation_id)
    return select(Completion.id).join(Conversation, is_in).where(Conversation.end_user == user)


def _feedback_of(user: str) -> ColumnElement[bool]:
    """Given by the user, or on a reply to the user."""
    return or_(Feedback.rater == user, Feedback.completion_id.in_(_completions_of(user)))


def _lock(session: Session, user: str) -> None:
    """Let no other transaction add to what is about to be deleted."""
    session.execute(select(Conversation.id).where(Conversation.end_user == user).with_for_update()).all()
    locked = select(Completion.id).where(Completion.id.in_(_completions_of(user)))
    session.execute(locked.with_for_update()).all()


def _list_run_ids(session: Session, user: str) -> list[str]:
    """Runs that drew on the user's rows; also those that ended before they recorded what they drew on."""
    feedback_ids = select(Feedback.id).where(_feedback_of(user))
    is_theirs = or_(SnapshotRow.feedback_id.in_(feedback_ids), SnapshotRow.completion_id.in_(_completions_of(user)))
    drew = select(Snapshot.run_id).join(SnapshotRow, SnapshotRow.snapshot_id == Snapshot.id).where(is_theirs)
    recorded_nothing = and_(Run.snapshot_id.is_(None), Run.attempt > 0, Run.finished_at_s.is_not(None))
    return list(session.scalars(select(Run.id).where(or_(Run.id.in_(drew), recorded_nothing))))


def _delete_rows(session: Session, user: str) -> dict[str, int]:
    """Delete those first that refer to others; returns how many of each table."""
    return {
        "feedback": _delete(session, Feedback, _feedback_of(user)),
        "completions": _delete(session, Completion, Completion.id.in_(_completions_of(user))),
        "conversations": _delete(session, Conversation, Conversation.end_user == user),
    }


def _delete(session: Session, model: type[Base], condition: ColumnElement[bool]) -> int:
    deleted = session.execute(delete(model).where(condition).execution_options(synchronize_session=False))
    return cast(CursorResult[Any], deleted).rowcount


def _forget_in_runs(session: Session, erasure: Erasure, run_ids: list[str]) -> None:
    """Remove from the runs' snapshots what names a row that is gone, and texts from reports; mark the versions."""
    snapshot_ids = select(Snapshot.id).where(Snapshot.run_id.in_(run_ids))
    forgotten = _delete(session, SnapshotRow, and_(SnapshotRow.snapshot_id.in_(snapshot_ids), _is_orphan()))
    versions = session.scalars(select(Version).where(Version.run_id.in_(run_ids))).all()
    for version in versions:
        if version.report:
            version.report = {**version.report, "samples": []}
    erasure.counts = {**erasure.counts, "snapshot_rows": erasure.counts.get("snapshot_rows", 0) + forgotten}
    erasure.marked_versions = sorted({*erasure.marked_versions, *(version.number for version in versions)})
    erasure.run_ids = sorted({*erasure.run_ids, *run_ids})


def _is_orphan() -> ColumnElement[bool]:
    """That the row which a snapshot row was drawn from is gone."""
    origins = (
        (SnapshotRow.completion_id, Completion.id),
        (SnapshotRow.feedback_id, Feedback.id),
        (SnapshotRow.example_id, Example.id),
    )
    return or_(*(and_(name.is_not(None), ~exists().where(origin == name)) for name, origin in origins))


def _plan_retrain(session: Session, erasure: Erasure, active: Run | None) -> None:
    """Have a run without the rows follow, at once unless a worker must first let go of one that draws on them."""
    if active is not None and (active.status is RunStatus.COLLECTING or active.id in erasure.run_ids):
        erasure.interrupted_run_id = active.id
        erasure.run_ids = sorted({*erasure.run_ids, active.id})
        if request_cancel(session, active.id).status.is_active:
            return
    if erasure.interrupted_run_id or erasure.marked_versions:
        erasure.retrain_run_id = _find_or_queue_retrain(session)


def _find_or_queue_retrain(session: Session) -> str:
    """An active run will do: one that draws on the rows has been interrupted."""
    run = find_active_run(session) or create_run(session, Recipe().to_dict(), "erasure")
    return run.id


def _was_erased(session: Session, user: str) -> bool:
    hashes = session.execute(select(Erasure.salt, Erasure.end_user_sha256))
    return any(hash_name(salt, user) == end_user_sha256 for salt, end_user_sha256 in hashes)
