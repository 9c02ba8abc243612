"""Promotions: an admin moves production by hand, or back."""

from __future__ import annotations

from fastapi import APIRouter

from api.auth import ADMINS_ONLY, AdminKey
from api.errors import describe_problems
from api.schemas.fields import Listing, VersionNumber
from api.schemas.promotion import Promotion, PromotionCreate, RollbackCreate
from api.services import ServicesDep
from db.promotions import list_promotions, promote, rollback

router = APIRouter(tags=["admin"], responses=describe_problems(401, 403, 503))


@router.get("/v1/admin/promotions", dependencies=[ADMINS_ONLY])
def list_all_promotions(services: ServicesDep) -> Listing[Promotion]:
    """Every move of production, with who made it and why."""
    with services.database.reading() as session:
        return Listing[Promotion](data=[Promotion.model_validate(row) for row in list_promotions(session)])


@router.post("/v1/admin/versions/{number}/promote", responses=describe_problems(400, 404, 409, 413, 422))
def promote_version(number: VersionNumber, body: PromotionCreate, key: AdminKey, services: ServicesDep) -> Promotion:
    """Put a version into production past the gate. It answers a moment later."""
    with services.database.transaction() as session:
        return Promotion.model_validate(promote(session, number, "manual", body.reason, actor=key.id))


@router.post("/v1/admin/rollback", responses=describe_problems(400, 409, 413, 422))
def roll_back(key: AdminKey, services: ServicesDep, body: RollbackCreate | None = None) -> Promotion:
    """Go back to the version that was in production before. It answers a moment later."""
    reason = (body or RollbackCreate()).reason
    with services.database.transaction() as session:
        return Promotion.model_validate(rollback(session, actor=key.id, reason=reason))
