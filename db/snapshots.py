"""Queries on snapshots."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import delete, insert, select, update
from sqlalchemy.orm import Session

from data import vocabulary
from data.vocabulary import RowKind
from db.models import Feedback, Run, Snapshot, SnapshotRow


def save_snapshot_rows(
    session: Session, run_id: str, manifest: dict[str, Any], rows: Sequence[vocabulary.SnapshotRow]
) -> Snapshot:
    """Store which rows the run draws on; `manifest["digest"]` identifies them.

    Saving the same again changes nothing; another draw, by a later attempt, takes the place of the earlier:
    lineage tells what was trained on. Call `set_status` in the same transaction, so only the holder can save.
    """
    snapshot = find_snapshot(session, run_id)
    if snapshot is None:
        snapshot = Snapshot(run_id=run_id)
        session.add(snapshot)
    elif snapshot.digest == manifest["digest"]:
        return snapshot
    snapshot.digest, snapshot.manifest = manifest["digest"], manifest
    session.flush()
    session.execute(delete(SnapshotRow).where(SnapshotRow.snapshot_id == snapshot.id))
    if rows:
        session.execute(insert(SnapshotRow), list(_build_records(session, snapshot.id, rows)))
    session.execute(update(Run).where(Run.id == run_id).values(snapshot_id=snapshot.id))
    return snapshot


def find_snapshot(session: Session, run_id: str) -> Snapshot | None:
    """The snapshot of the run, once it has one."""
    return session.scalars(select(Snapshot).where(Snapshot.run_id == run_id)).one_or_none()


def _build_records(
    session: Session, snapshot_id: str, rows: Sequence[vocabulary.SnapshotRow]
) -> Iterator[dict[str, Any]]:
    completion_ids = dict(session.execute(select(Feedback.id, Feedback.completion_id)).all())
    for snapshot_row in rows:
        row = snapshot_row.row
        origin = row.row_id.partition(":")[2]
        example_id = int(origin) if row.kind is RowKind.EXAMPLE else None
        feedback_id = None if row.kind is RowKind.EXAMPLE or row.is_unrated else int(origin)
        yield {
            "snapshot_id": snapshot_id,
            "row_id": row.row_id,
            "split": snapshot_row.split,
            "kind": row.kind,
            "example_id": example_id,
            "feedback_id": feedback_id,
            "completion_id": origin if row.is_unrated else completion_ids.get(feedback_id or 0),  # ids begin at 1
        }
