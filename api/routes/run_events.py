"""The life of one run as server-sent events: each change, and the outcome last."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse

from api.auth import ADMINS_ONLY
from api.errors import describe_problems
from api.events import build_event
from api.schemas.fields import PathIdentifier
from api.schemas.run import Run
from api.services import ServicesDep
from db.runs import get_run
from db.session import Database

POLL_S = 0.5
KEEP_ALIVE_S = 15.0  # proxies close a stream that says nothing for long

_EVENT = {
    "type": "object",
    "properties": {"event": {"const": "run"}, "data": {"type": "string", "description": "The run as JSON."}},
    "required": ["event", "data"],
}
_EVENTS: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {"text/event-stream": {"itemSchema": _EVENT}},
        "description": "One `run` event for each change.",
    }
}

router = APIRouter(tags=["admin"], responses=describe_problems(401, 403, 503))


@router.get(
    "/v1/admin/runs/{run_id}/events",
    dependencies=[ADMINS_ONLY],
    response_class=StreamingResponse,
    responses={**_EVENTS, **describe_problems(404, 422)},
)
def follow_run(run_id: PathIdentifier, services: ServicesDep) -> StreamingResponse:
    """Follow a run: stage, step, loss and time left; the stream ends with the run."""
    first = _read(services.database, run_id)  # a run that is not there is a 404, not a broken stream
    events = _stream_changes(services.database, first)
    return StreamingResponse(events, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


async def _stream_changes(database: Database, run: Run) -> AsyncIterator[str]:
    yield build_event(run, name="run")
    quiet_s = 0.0
    while run.status.is_active:
        await asyncio.sleep(POLL_S)  # the truth is a row that another process writes
        latest = await run_in_threadpool(_read, database, run.id)
        quiet_s += POLL_S
        if latest != run:
            run, quiet_s = latest, 0.0
            yield build_event(run, name="run")
        elif quiet_s >= KEEP_ALIVE_S:
            quiet_s = 0.0
            yield ": still here\n\n"


def _read(database: Database, run_id: str) -> Run:
    with database.reading() as session:
        return Run.model_validate(get_run(session, run_id))
