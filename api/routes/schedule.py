"""The schedule: an admin says when runs start by themselves; the next tick goes by it."""

from __future__ import annotations

from fastapi import APIRouter

from api.auth import ADMINS_ONLY, AdminKey
from api.errors import describe_problems
from api.schemas.schedule import Schedule, ScheduleUpdate
from api.services import ServicesDep
from db.schedule import get_schedule, put_schedule

router = APIRouter(tags=["admin"], responses=describe_problems(401, 403, 503))


@router.get("/v1/admin/schedule", dependencies=[ADMINS_ONLY])
def read_schedule(services: ServicesDep) -> Schedule:
    """The schedule; until an admin sets it, that of the server's settings."""
    settings = services.settings
    with services.database.reading() as session:
        return Schedule.model_validate(get_schedule(session, settings.schedule_s, settings.schedule_min_ratings))


@router.put("/v1/admin/schedule", responses=describe_problems(400, 413, 422))
def replace_schedule(body: ScheduleUpdate, key: AdminKey, services: ServicesDep) -> Schedule:
    """Set the schedule. It holds from the next tick on, without a restart."""
    with services.database.transaction() as session:
        return Schedule.model_validate(put_schedule(session, **body.model_dump(), updated_by=key.id))
