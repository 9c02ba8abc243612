"""End users of a client: an admin erases one, and follows what comes of it."""

from __future__ import annotations

from fastapi import APIRouter, status
from sqlalchemy.orm import Session

from api.auth import ADMINS_ONLY
from api.errors import describe_problems
from api.schemas.erasure import EndUser, Erasure
from api.schemas.fields import PathIdentifier
from api.services import ServicesDep
from db import models
from db.erasure import erase_end_user, get_erasure
from db.promotions import find_latest_promotion
from db.runs import get_run

router = APIRouter(tags=["admin"], responses=describe_problems(401, 403, 404, 422, 503))


@router.delete(
    "/v1/admin/end-users/{user:name}",  # a name may hold slashes
    status_code=status.HTTP_202_ACCEPTED,
    dependencies=[ADMINS_ONLY],
    responses=describe_problems(409),
)
def erase(user: EndUser, services: ServicesDep) -> Erasure:
    """Erase an end user of whichever client: conversations, replies, feedback, and what was drawn from them.

    The rows are gone when this answers; the files of runs and the bytes in the database follow within two sweeps. The
    versions trained on the rows are marked, and a run without them is queued. Keep the id: the receipt tells when the
    last marked version is out of service.
    """
    with services.database.transaction(is_long=True) as session:
        return _build(session, erase_end_user(session, user))


@router.get("/v1/admin/erasures/{erasure_id}", dependencies=[ADMINS_ONLY])
def read_erasure(erasure_id: PathIdentifier, services: ServicesDep) -> Erasure:
    """The receipt of an erasure, as it stands now."""
    with services.database.reading() as session:
        return _build(session, get_erasure(session, erasure_id))


def _build(session: Session, row: models.Erasure) -> Erasure:
    latest = find_latest_promotion(session)
    production = latest.version_number if latest else None
    retrain = get_run(session, row.retrain_run_id) if row.retrain_run_id else None
    return Erasure.model_validate(
        {
            **vars(row),
            "in_service": [number for number in row.marked_versions if number == production],
            "retrain_status": retrain and retrain.status,
            "retrain_pending": row.interrupted_run_id is not None and row.retrain_run_id is None,
        }
    )
