"""Lineage: from a reply to weights, run and rows behind it, and from a row to the versions that it shaped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select, tuple_
from sqlalchemy.orm import Session

from data.errors import NotFound
from db.models import Completion, Feedback, Run, Snapshot, SnapshotRow, Version

Position = tuple[int, str]  # of a row in a list: number of the version, id of the row


@dataclass(frozen=True)
class Origin:
    """What a version was made from; run and snapshot are None for the base model."""

    version: Version
    run: Run | None
    snapshot: Snapshot | None
    counts: dict[str, dict[str, int]]  # rows of the snapshot by split and kind


def get_served_completion(session: Session, completion_id: str) -> Completion:
    """The completion, whichever client it was served to.

    Raises:
        NotFound: there is none.
    """
    completion = session.get(Completion, completion_id)
    if completion is None:
        raise NotFound(f"There is no completion {completion_id!r}; it may have been erased.")
    return completion


def list_versions_of_feedback(session: Session, feedback_id: int) -> list[int]:
    """Numbers of the versions whose snapshots hold the feedback.

    Raises:
        NotFound: there is no such feedback, nor is it in a snapshot.
    """
    numbers = (
        select(Version.number)
        .join(Snapshot, Snapshot.run_id == Version.run_id)
        .join(SnapshotRow, SnapshotRow.snapshot_id == Snapshot.id)
        .where(SnapshotRow.feedback_id == feedback_id)
        .order_by(Version.number)
    )
    found = list(session.scalars(numbers.distinct()))
    if not found and session.get(Feedback, feedback_id) is None:
        raise NotFound(f"There is no feedback {feedback_id}; it may have been erased.")
    return found


def list_origins(session: Session, numbers: Sequence[int]) -> list[Origin]:
    """What each of these versions was made from, in order of their numbers."""
    rows = session.execute(
        select(Version, Run, Snapshot)
        .outerjoin(Run, Run.id == Version.run_id)
        .outerjoin(Snapshot, Snapshot.run_id == Version.run_id)
        .where(Version.number.in_(numbers))
        .order_by(Version.number)
    ).all()
    return [Origin(version, run, snapshot, _count_rows(session, snapshot)) for version, run, snapshot in rows]


def list_rows(
    session: Session,
    limit: int,
    after: Position | None = None,
    version_number: int | None = None,
    feedback_id: int | None = None,
) -> list[tuple[int, SnapshotRow]]:
    """Rows of the snapshots behind versions, with the version's number: those of one version, or of one feedback."""
    rows = (
        select(Version.number, SnapshotRow)
        .join(Snapshot, Snapshot.run_id == Version.run_id)
        .join(SnapshotRow, SnapshotRow.snapshot_id == Snapshot.id)
        .order_by(Version.number, SnapshotRow.row_id)
        .limit(limit)
    )
    if after is not None:
        rows = rows.where(tuple_(Version.number, SnapshotRow.row_id) > tuple_(*after))
    if version_number is not None:
        rows = rows.where(Version.number == version_number)
    if feedback_id is not None:
        rows = rows.where(SnapshotRow.feedback_id == feedback_id)
    return [(number, row) for number, row in session.execute(rows)]


def _count_rows(session: Session, snapshot: Snapshot | None) -> dict[str, dict[str, int]]:
    counts: dict[str, dict[str, int]] = {}
    if snapshot is not None:
        kinds = select(SnapshotRow.split, SnapshotRow.kind, func.count()).where(SnapshotRow.snapshot_id == snapshot.id)
        for split, kind, count in session.execute(kinds.group_by(SnapshotRow.split, SnapshotRow.kind)):
            counts.setdefault(split, {})[kind] = count
    return counts
