"""Raters: an admin sees how far each can be believed, excludes one, and admits one again."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, status
from sqlalchemy.orm import Session

from api.auth import ADMINS_ONLY, AdminKey
from api.errors import describe_problems
from api.schemas.fields import Listing, PathIdentifier
from api.schemas.rater import Rater, RaterExclude, RaterExclusion, RaterName
from api.services import ServicesDep
from data.raters import RaterWeight
from db import models
from db.overview import RaterCount, list_raters
from db.promotions import find_latest_promotion
from db.raters import (
    admit_rater,
    exclude_rater,
    get_exclusion,
    list_exclusion_ids,
    list_exclusions,
    weigh_all_raters,
)
from db.runs import get_run

router = APIRouter(tags=["admin"], responses=describe_problems(401, 403, 503))


@router.get("/v1/admin/raters", dependencies=[ADMINS_ONLY], responses=describe_problems(422))
def list_all_raters(services: ServicesDep, limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> Listing[Rater]:
    """The raters with the most ratings, these first, with their weights and exclusions."""
    with services.database.reading() as session:
        weights = weigh_all_raters(session)
        counts = list_raters(session, limit)
        excluded = list_exclusion_ids(session, [count.rater for count in counts])
    return Listing[Rater](data=[_describe(item, weights, excluded) for item in counts])


@router.get("/v1/admin/rater-exclusions", dependencies=[ADMINS_ONLY])
def list_all_exclusions(services: ServicesDep) -> Listing[RaterExclusion]:
    """Every exclusion that there was, with who decided it and why."""
    with services.database.reading() as session:
        return Listing[RaterExclusion](data=[_build(session, row) for row in list_exclusions(session)])


@router.get(
    "/v1/admin/rater-exclusions/{exclusion_id}", dependencies=[ADMINS_ONLY], responses=describe_problems(404, 422)
)
def read_exclusion(exclusion_id: PathIdentifier, services: ServicesDep) -> RaterExclusion:
    """The receipt of an exclusion, as it stands now."""
    with services.database.reading() as session:
        return _build(session, get_exclusion(session, exclusion_id))


@router.post(
    "/v1/admin/raters/{rater:name}/exclude",  # a name may hold slashes
    status_code=status.HTTP_202_ACCEPTED,
    responses=describe_problems(400, 404, 409, 413, 422),
)
def exclude(rater: RaterName, body: RaterExclude, key: AdminKey, services: ServicesDep) -> RaterExclusion:
    """Leave a rater's rows out of every later snapshot.

    The versions trained on them are marked, and a run without them is queued; nothing is deleted.
    """
    with services.database.transaction() as session:
        return _build(session, exclude_rater(session, rater, body.reason, key.id))


@router.post("/v1/admin/raters/{rater:name}/admit", responses=describe_problems(404, 422))
def admit(rater: RaterName, key: AdminKey, services: ServicesDep) -> RaterExclusion:
    """Undo an exclusion: the rater's rows are in the next snapshot again."""
    with services.database.transaction() as session:
        return _build(session, admit_rater(session, rater, key.id))


def _describe(count: RaterCount, weights: dict[str, RaterWeight], excluded: dict[str, str]) -> Rater:
    weight = weights.get(count.rater) if count.kind != "reviewer" else None
    known = weight or RaterWeight()
    return Rater(
        **vars(count),
        weight=weight and weight.weight,
        compared=known.compared,
        agreed=known.agreed,
        is_quarantined=known.is_quarantined,
        exclusion_id=excluded.get(count.rater),
    )


def _build(session: Session, row: models.RaterExclusion) -> RaterExclusion:
    latest = find_latest_promotion(session)
    production = latest.version_number if latest else None
    retrain = get_run(session, row.retrain_run_id) if row.retrain_run_id else None
    session.refresh(row)  # with what the database filled in
    return RaterExclusion.model_validate(
        {
            **vars(row),
            "in_service": [number for number in row.marked_versions if number == production],
            "retrain_status": retrain and retrain.status,
            "retrain_pending": row.interrupted_run_id is not None and row.retrain_run_id is None,
        }
    )
