"""Versions: registered artifacts and their reports."""

from __future__ import annotations

from typing import TypeVar

from fastapi import APIRouter
from sqlalchemy.orm import Session

from api.auth import ADMINS_ONLY
from api.errors import describe_problems
from api.schemas.fields import Listing, VersionNumber
from api.schemas.version import Version, VersionDetail
from api.services import ServicesDep
from db import models
from db.promotions import find_latest_promotion
from db.versions import get_version, list_versions

Shown = TypeVar("Shown", Version, VersionDetail)

router = APIRouter(tags=["admin"], responses=describe_problems(401, 403, 503))


@router.get("/v1/admin/versions", dependencies=[ADMINS_ONLY])
def list_all_versions(services: ServicesDep) -> Listing[Version]:
    """All versions."""
    with services.database.reading() as session:
        production = _find_production(session)
        versions = list_versions(session)
    return Listing[Version](data=[_build(Version, row, production) for row in versions])


@router.get("/v1/admin/versions/{number}", dependencies=[ADMINS_ONLY], responses=describe_problems(404, 422))
def read_version(number: VersionNumber, services: ServicesDep) -> VersionDetail:
    """One version with its report."""
    with services.database.reading() as session:
        return _build(VersionDetail, get_version(session, number), _find_production(session))


def _find_production(session: Session) -> int | None:
    latest = find_latest_promotion(session)
    return latest.version_number if latest else None


def _build(schema: type[Shown], row: models.Version, production: int | None) -> Shown:
    return schema.model_validate({**vars(row), "is_production": row.number == production})
