"""Versions: registered artifacts and their reports."""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter
from typing import TypeVar

from fastapi import APIRouter
from sqlalchemy.orm import Session

from api.auth import ADMINS_ONLY
from api.errors import describe_problems
from api.pages import NumberCursor, PageLimit, cut_page
from api.schemas.fields import Page, VersionNumber
from api.schemas.version import Version, VersionDetail
from api.services import ServicesDep
from db import models
from db.promotions import find_latest_promotion
from db.schedule import list_awaiting_approval
from db.versions import get_version, list_versions

Shown = TypeVar("Shown", Version, VersionDetail)

router = APIRouter(tags=["admin"], responses=describe_problems(401, 403, 503))


@router.get("/v1/admin/versions", dependencies=[ADMINS_ONLY], responses=describe_problems(422))
def list_all_versions(services: ServicesDep, cursor: NumberCursor = None, limit: PageLimit = 50) -> Page[Version]:
    """All versions."""
    with services.database.reading() as session:
        standing = _find_standing(session)
        versions, next_cursor = cut_page(list_versions(session, limit + 1, cursor), limit, attrgetter("number"))
    return Page[Version](data=[_build(Version, row, standing) for row in versions], next_cursor=next_cursor)


@router.get("/v1/admin/versions/{number}", dependencies=[ADMINS_ONLY], responses=describe_problems(404, 422))
def read_version(number: VersionNumber, services: ServicesDep) -> VersionDetail:
    """One version with its report."""
    with services.database.reading() as session:
        return _build(VersionDetail, get_version(session, number), _find_standing(session))


@dataclass(frozen=True)
class _Standing:
    """Where the versions stand."""

    production: int | None
    awaiting: set[int]


def _find_standing(session: Session) -> _Standing:
    latest = find_latest_promotion(session)
    return _Standing(latest.version_number if latest else None, list_awaiting_approval(session))


def _build(schema: type[Shown], row: models.Version, standing: _Standing) -> Shown:
    return schema.model_validate(
        {
            **vars(row),
            "is_production": row.number == standing.production,
            "awaits_approval": row.number in standing.awaiting,
        }
    )
