"""The sweep, at each tick of beat: decided from the database, so lost messages and doubled beats do no harm."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import structlog

from data.errors import Conflict
from data.recipe import Recipe
from db.feedback import count_new_ratings
from db.raters import settle_exclusions
from db.runs import (
    create_run,
    fail_exhausted_runs,
    find_judged_run,
    list_run_ids_to_nudge,
    list_runs,
    mark_nudged,
)
from db.schedule import get_schedule
from db.session import Database
from settings import Settings
from worker.continuation import remove_stale_checkpoints
from worker.erasure import continue_erasures
from worker.retention import apply_retention

log = structlog.get_logger()


@dataclass(frozen=True)
class Sweep:
    """What one tick found."""

    failed: list[str] = field(default_factory=list)  # runs that were given up
    waiting: list[str] = field(default_factory=list)  # runs to nudge, after the commit
    scheduled: str | None = None  # the run that the schedule started


def sweep_runs(database: Database, settings: Settings) -> Sweep:
    """Give up dead runs, go on with erasures and exclusions, find runs to nudge, start the scheduled one, and remove
    what is not kept."""
    with database.transaction() as session:
        failed = fail_exhausted_runs(session, settings.max_attempts)
    remove_stale_checkpoints(database, settings)
    continue_erasures(database, settings)  # first, for a retrain goes before the schedule
    _continue_exclusions(database)
    scheduled = _start_scheduled(database, settings)
    with database.transaction() as session:
        waiting = list_run_ids_to_nudge(session, older_than_s=settings.tick_s)
        for run_id in waiting:
            mark_nudged(session, run_id)
    apply_retention(database, settings)
    for run_id in failed:
        log.warning("run given up", action="run_exhausted", run_id=run_id)
    return Sweep(failed=failed, waiting=waiting, scheduled=scheduled)


def _continue_exclusions(database: Database) -> None:
    """Queue the retrains without excluded raters that waited for a cancelled run."""
    try:
        with database.transaction() as session:
            settled = settle_exclusions(session)
    except Conflict:  # someone has started a run at this moment; the next sweep finds it
        return
    for exclusion_id in settled:
        log.info("retrain queued", action="exclusion_settled", exclusion_id=exclusion_id)


def _start_scheduled(database: Database, settings: Settings) -> str | None:
    """One run a window, if there are enough ratings since the last that was judged; several beats may ask.

    The ratings of a run that failed or was cancelled count again, but no sooner than an interval after it.
    """
    with database.reading() as session:
        schedule = get_schedule(session, settings.schedule_s, settings.schedule_min_ratings)
    if not schedule.interval_s:
        return None
    window = f"{schedule.interval_s:g}:{int(time.time() // schedule.interval_s)}"
    try:
        with database.transaction() as session:
            last = list_runs(session, limit=1)
            if last and time.time() - last[0].created_at_s < schedule.interval_s:
                return None
            judged = find_judged_run(session)
            if count_new_ratings(session, judged.created_at_s if judged else 0.0) < schedule.min_ratings:
                return None
            return create_run(session, Recipe().to_dict(), "schedule", window_key=window).id
    except Conflict:
        return None
