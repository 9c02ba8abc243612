"""The Celery tasks: thin shells around `execution` and `sweep`, safe to deliver any number of times."""

from __future__ import annotations

from functools import lru_cache

import structlog
from celery import shared_task
from celery.signals import worker_shutting_down

from db.session import Database
from settings import get_settings
from worker.execution import execute_run
from worker.lease import stop_all_runs
from worker.queue import EXECUTE, TICK, send_nudge
from worker.sweep import sweep_runs

log = structlog.get_logger()


@lru_cache
def get_database() -> Database:
    """The database of this process."""
    return Database(get_settings().database)


@shared_task(name=EXECUTE)  # type: ignore[untyped-decorator]
def execute(run_id: str) -> None:
    """Carry a run to its outcome, unless someone else does."""
    try:
        execute_run(get_database(), get_settings(), run_id)
    except Exception:  # the task edge: the worker lives on, the lease expires, the sweep tries again
        log.exception("run attempt crashed", action="run_crashed", run_id=run_id)


@shared_task(name=TICK)  # type: ignore[untyped-decorator]
def tick() -> None:
    """Sweep, then nudge what waits."""
    for run_id in sweep_runs(get_database(), get_settings()).waiting:
        send_nudge(run_id)


@worker_shutting_down.connect  # type: ignore[untyped-decorator]
def release_runs(**_: object) -> None:
    """Let the next worker go on at once instead of after the lease."""
    stop_all_runs()
