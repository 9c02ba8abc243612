"""Lineage: from a reply to the rows behind it, and from feedback to the versions that it shaped."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from sqlalchemy.orm import Session

from api.auth import ADMINS_ONLY
from api.errors import describe_problems
from api.schemas.lineage import Cursor, Limit, Lineage, LineageCompletion, LineageRow, LineageVersion, Subject
from api.services import ServicesDep
from db.erasure import list_erasure_ids_of_version
from db.lineage import Origin, get_served_completion, list_origins, list_rows, list_versions_of_feedback
from db.versions import get_version

router = APIRouter(tags=["admin"], responses=describe_problems(401, 403, 503))


@router.get(
    "/v1/admin/lineage/{subject}",
    dependencies=[ADMINS_ONLY],
    responses=describe_problems(404, 422),
)
def trace(subject: Subject, services: ServicesDep, cursor: Cursor = None, limit: Limit = 100) -> Lineage:
    """Trace a reply to its weights, their run and its rows; a version to the same; feedback to its versions."""
    with services.database.reading() as session:
        if subject.startswith("feedback:"):
            return _trace_feedback(session, int(subject.removeprefix("feedback:")), cursor, limit)
        if not subject.startswith("chatcmpl-"):
            version = get_version(session, int(subject.removeprefix("ratchet-v")))
            return _trace_version(session, version.number, cursor, limit)
        completion = get_served_completion(session, subject)
        lineage = _trace_version(session, completion.version_number, cursor, limit)
        return lineage.model_copy(update={"completion": LineageCompletion.model_validate(completion)})


def _trace_version(session: Session, number: int | None, cursor: str | None, limit: int) -> Lineage:
    if number is None:  # no model wrote the reply
        return Lineage(completion=None, versions=[], rows=[], next_cursor=None)
    return _build(session, [number], cursor, limit, version_number=number)


def _trace_feedback(session: Session, feedback_id: int, cursor: str | None, limit: int) -> Lineage:
    numbers = list_versions_of_feedback(session, feedback_id)
    return _build(session, numbers, cursor, limit, feedback_id=feedback_id)


def _build(session: Session, numbers: list[int], cursor: str | None, limit: int, **wanted: int) -> Lineage:
    number, _, row_id = (cursor or "").partition(":")
    found = list_rows(session, limit + 1, (int(number), row_id) if cursor else None, **wanted)
    rows = [LineageRow.model_validate({**vars(row), "version_number": number}) for number, row in found[:limit]]
    last = rows[-1] if len(found) > limit else None
    origins = list_origins(session, numbers)
    return Lineage(
        completion=None,
        versions=[LineageVersion.model_validate(_describe(session, origin)) for origin in origins],
        rows=rows,
        next_cursor=f"{last.version_number}:{last.row_id}" if last else None,
    )


def _describe(session: Session, origin: Origin) -> dict[str, Any]:
    run, snapshot = origin.run, origin.snapshot
    return {
        **vars(origin.version),
        "run_status": run and run.status,
        "recipe": run and run.recipe,
        "snapshot_id": snapshot and snapshot.id,
        "snapshot_digest": snapshot and snapshot.digest,
        "counts": origin.counts,
        "erasure_ids": list_erasure_ids_of_version(session, origin.version.number),
    }
