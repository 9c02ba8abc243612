"""Runs: an admin starts, follows and cancels them."""

from __future__ import annotations

from operator import attrgetter

from fastapi import APIRouter, BackgroundTasks, status

from api.auth import ADMINS_ONLY
from api.errors import describe_problems
from api.pages import Cursor, PageLimit, cut_page
from api.schemas.fields import Page, PathIdentifier
from api.schemas.run import Run, RunCreate
from api.services import Services, ServicesDep
from data.recipe import build_recipe
from db.runs import create_run, get_run, list_runs, mark_nudged, request_cancel
from worker.queue import send_nudge

router = APIRouter(tags=["admin"], responses=describe_problems(401, 403, 503))


@router.post(
    "/v1/admin/runs",
    status_code=status.HTTP_202_ACCEPTED,
    dependencies=[ADMINS_ONLY],
    responses=describe_problems(400, 409, 413, 422),
)
def start_run(services: ServicesDep, background: BackgroundTasks, body: RunCreate | None = None) -> Run:
    """Queue a run. Only one may be active."""
    recipe = build_recipe(body.recipe if body else {})
    with services.database.transaction() as session:
        run = Run.model_validate(create_run(session, recipe.to_dict(), "admin"))
    background.add_task(_nudge, services, run.id)  # once the response has left: the broker may be slow
    return run


@router.get("/v1/admin/runs", dependencies=[ADMINS_ONLY], responses=describe_problems(404, 422))
def list_all_runs(services: ServicesDep, cursor: Cursor = None, limit: PageLimit = 50) -> Page[Run]:
    """All runs."""
    with services.database.reading() as session:
        runs, next_cursor = cut_page(list_runs(session, limit + 1, cursor), limit, attrgetter("id"))
    return Page[Run](data=[Run.model_validate(run) for run in runs], next_cursor=next_cursor)


@router.get("/v1/admin/runs/{run_id}", dependencies=[ADMINS_ONLY], responses=describe_problems(404, 422))
def read_run(run_id: PathIdentifier, services: ServicesDep) -> Run:
    """One run, with its progress."""
    with services.database.reading() as session:
        return Run.model_validate(get_run(session, run_id))


@router.post(
    "/v1/admin/runs/{run_id}/cancel",
    status_code=status.HTTP_202_ACCEPTED,
    dependencies=[ADMINS_ONLY],
    responses=describe_problems(404, 409, 422),
)
def cancel_run(run_id: PathIdentifier, services: ServicesDep) -> Run:
    """Cancel a run: at once if no worker holds it, else when its worker next looks."""
    with services.database.transaction() as session:
        return Run.model_validate(request_cancel(session, run_id))


def _nudge(services: Services, run_id: str) -> None:
    """Tell the workers; if the broker is down, the sweep will."""
    if send_nudge(run_id, services.celery):
        with services.database.transaction() as session:
            mark_nudged(session, run_id)
