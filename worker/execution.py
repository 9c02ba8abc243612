"""One attempt at a run, from claim to outcome: collect, train, evaluate, register, judge, promote."""

from __future__ import annotations

import dataclasses
import json
import os
import socket

import structlog
from sqlalchemy.orm import Session

from data.errors import RatchetError
from data.recipe import build_recipe
from data.vocabulary import RunStatus
from db.anchors import Standing, find_standing
from db.errors import LeaseLost
from db.evaluations import find_evaluation, start_evaluation
from db.holdouts import get_holdout
from db.models import Version
from db.promotions import get_production
from db.runs import claim_run, finish_run, release_lease
from db.session import Database
from db.versions import BASE_NUMBER, get_version
from serving.artifact_store import ArtifactStore
from serving.errors import ArtifactInvalid, StoreUnavailable
from settings import Settings
from worker.collection import Attempt, collect
from worker.continuation import remove_checkpoints
from worker.errors import CollectorKilled, RunCancelled, TrainerKilled, WorkerStopping
from worker.judgement import Outcome, judge, open_artifacts, register, take_verdict
from worker.lease import LeaseKeeper, move_on
from worker.patience import PatientDatabase
from worker.trainer_process import TrainerProcess, count_cores

log = structlog.get_logger()


def execute_run(database: Database, settings: Settings, run_id: str) -> Outcome | None:
    """Claim the run and carry it to its outcome; None when someone else holds it or it has ended.

    Errors on purpose become the outcome `failed`; any other propagates, the lease expires and the sweep tries again. A
    database that is away is waited for.
    """
    attempt = _claim(database, settings, run_id)
    if attempt is None:
        log.info("run not claimed", action="run_not_claimed", run_id=run_id)
        return None
    log.info("run claimed", action="run_claimed", run_id=run_id, attempt=attempt.number)
    with LeaseKeeper(database, run_id, attempt.number, settings.lease_s) as keeper:
        patient = PatientDatabase(database, keeper.check)
        outcome = _attempt(database, patient, settings, attempt, keeper)
        if outcome is None:
            return None
        # Who no longer holds the run has no say, and must not take the checkpoints, which are another's now.
        if not outcome.is_stored and not _finish(patient, attempt, outcome):
            return None
        remove_checkpoints(settings.runs / run_id)
    log.info("run ended", action="run_ended", run_id=run_id, status=outcome.status, reason=outcome.reason)
    return outcome


def _attempt(
    database: Database, patient: PatientDatabase, settings: Settings, attempt: Attempt, keeper: LeaseKeeper
) -> Outcome | None:
    """The outcome of this attempt; None leaves the run to the next one."""
    try:
        return _carry_out(patient, settings, attempt, keeper)
    except LeaseLost:
        log.warning("run lost", action="run_lost", run_id=attempt.run_id, attempt=attempt.number)
        return None
    except RunCancelled as error:
        return Outcome(RunStatus.CANCELLED, error.message)
    except WorkerStopping as error:
        _release(database, attempt, error.message, counts=False)
        return None
    except (TrainerKilled, CollectorKilled, StoreUnavailable, OSError) as error:
        reason = _describe(error) if isinstance(error, OSError) else error.message
        if attempt.tries >= settings.max_attempts:
            return Outcome(RunStatus.FAILED, f"Given up after {attempt.tries} attempts: {reason}")
        _release(database, attempt, reason, counts=True)
        return None
    except RatchetError as error:
        return Outcome(RunStatus.FAILED, error.message)


def _release(database: Database, attempt: Attempt, reason: str, *, counts: bool) -> None:
    """Let the next attempt begin now, not at the end of the lease."""
    log.warning("attempt ended", action="run_released", run_id=attempt.run_id, reason=reason)
    with database.transaction() as session:
        release_lease(session, attempt.run_id, attempt.number, counts=counts)


def _describe(error: OSError) -> str:
    place = f" ({error.filename})" if error.filename else ""
    return f"The worker could not use its disk: {error.strerror or error}{place}; mend that, then start a new run."


def _claim(database: Database, settings: Settings, run_id: str) -> Attempt | None:
    owner = f"{socket.gethostname()}:{os.getpid()}"
    with database.transaction() as session:
        run = claim_run(session, run_id, owner, settings.lease_s)
        if run is None:
            return None
        folder = settings.runs / run.id / f"attempt-{run.attempt}"
        return Attempt(run.id, run.attempt, build_recipe(run.recipe), folder.absolute(), run.stops)


def _finish(database: PatientDatabase, attempt: Attempt, outcome: Outcome) -> bool:
    """Whether the outcome stands; not so when another has taken the run over."""
    values = (outcome.status, outcome.reason, outcome.version_number)
    try:
        database.write(lambda session: finish_run(session, attempt.run_id, attempt.number, *values))
    except LeaseLost:
        log.warning("outcome not stored", action="run_lost", run_id=attempt.run_id, attempt=attempt.number)
        return False
    return True


def _carry_out(database: PatientDatabase, settings: Settings, attempt: Attempt, keeper: LeaseKeeper) -> Outcome:
    judged = take_verdict(database, settings, attempt)
    if judged:
        return judged
    retired = _find_retirement(database, attempt)
    if retired:
        return Outcome(RunStatus.SKIPPED, retired)
    missing = collect(database.url, attempt, settings.crisis_memory, keeper.check)
    if missing:
        return Outcome(RunStatus.SKIPPED, " ".join(missing))
    keeper.check()
    production = _write_order(database, settings, attempt)
    loss = _train(database, settings, attempt, keeper, production)
    keeper.check()
    if loss:
        return Outcome(RunStatus.REFUSED, loss)
    version = register(database, settings, attempt)
    return judge(database, attempt, version, production)


def _find_retirement(database: PatientDatabase, attempt: Attempt) -> str:
    """Why no run may be judged on this hold-out any more; empty while it may, or where this run is counted already."""
    budget, is_counted = database.read(
        lambda session: (get_holdout(session).budget, find_evaluation(session, attempt.run_id) is not None)
    )
    if is_counted or not budget.is_retired:
        return ""
    return (
        f"The hold-out is retired after {budget.consultations} consultations and {budget.promotions} promotions; "
        "an admin draws a new one with `ratchet holdout renew`."
    )


def _write_order(database: PatientDatabase, settings: Settings, attempt: Attempt) -> int:
    """Write run.json for the trainer; returns the production version that the candidate will be compared with."""

    def begin(session: Session) -> tuple[Version, Version, Standing]:
        move_on(session, attempt.run_id, attempt.number, RunStatus.TRAINING)
        standing = find_standing(session, dataclasses.asdict(attempt.recipe.margins))
        return get_version(session, BASE_NUMBER), get_production(session), standing

    base, production, standing = database.write(begin)
    store = open_artifacts(settings)
    order = {
        "run_id": attempt.run_id,
        "attempt": attempt.number,
        "base": str(store.fetch(base.folder).absolute()),
        "production": str(store.fetch(production.folder).absolute()),
        "production_version": production.number,
        "anchor": _fetch(store, standing.anchor),
        "previous": _fetch(store, standing.previous),
        "holdout_cache": str(settings.holdout_cache.absolute()),
        "recipe": attempt.recipe.to_dict(),
        "threads": settings.trainer_threads or count_cores(),
        "trunk_cache": {
            "folder": str(settings.trunk_cache.absolute()),
            "limit_bytes": int(settings.trunk_cache_gb * 10**9),
        },
        "compute_type": "float32" if settings.engine_url else settings.compute_type,  # that server has its own
        "engine": settings.engine,
    }
    (attempt.folder / "run.json").write_text(json.dumps(order, indent=2) + "\n")
    return production.number


def _fetch(store: ArtifactStore, version: Version | None) -> str | None:
    """The folder of a version's artifact here; None where it is gone, so that nothing is compared with it."""
    try:
        folder = None if version is None else store.fetch(version.folder).absolute()
    except ArtifactInvalid:
        return None
    return str(folder) if folder and folder.exists() else None


def _train(
    database: PatientDatabase, settings: Settings, attempt: Attempt, keeper: LeaseKeeper, production: int
) -> str:
    """Let the trainer work; returns why the candidate lost on the dev split, empty where it did not."""
    loss = ""
    with TrainerProcess(attempt.folder, attempt.recipe, silence_s=settings.trainer_silence_s) as trainer:
        keeper.watch(trainer.kill)
        try:
            for event in trainer.events():
                if event["event"] == "progress":
                    keeper.report({key: value for key, value in event.items() if key != "event"})
                if event["event"] == "dev" and not event["better"]:
                    loss = str(event["sentence"])
                if event.get("stage") == "evaluating" and event["event"] == "stage":
                    _start_evaluation(database, attempt, event["digest"], production)
        except RatchetError:
            keeper.check()  # a trainer that we killed has not failed
            raise
        finally:
            keeper.watch(None)
    return loss


def _start_evaluation(database: PatientDatabase, attempt: Attempt, digest: str, production: int) -> None:
    """Count the consultation when it starts, so that one that crashes counts too."""

    def count(session: Session) -> None:
        move_on(session, attempt.run_id, attempt.number, RunStatus.EVALUATING)
        start_evaluation(session, attempt.run_id, digest, production)

    database.write(count)
