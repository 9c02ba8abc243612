"""From a candidate to the end of its run: it is registered, the gate is asked once, and what was judged is promoted.

Verdict, promotion and the end of the run are one transaction. An attempt that dies before it has decided nothing: the
next one brings the version and the consultation to the candidate that it makes itself. After it nothing is left to do.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, replace

import structlog
from sqlalchemy.orm import Session

from data.vocabulary import RunStatus, Verdict
from db.anchors import find_standing
from db.evaluations import find_evaluation, finish_evaluation, start_evaluation
from db.holdouts import get_holdout
from db.models import Evaluation, Version
from db.promotions import is_rolled_back, promote
from db.runs import finish_run, set_status
from db.schedule import needs_approval
from db.versions import find_version_of_run, get_version, register_version
from serving.artifact import load_artifact
from serving.artifact_store import ArtifactStore, open_store
from serving.errors import ArtifactInvalid
from settings import Settings
from worker.base import DIGEST_LETTERS
from worker.collection import Attempt
from worker.errors import JudgedWeightsGone
from worker.evidence import load_evidence
from worker.gate import GateDecision, decide
from worker.lease import move_on
from worker.patience import PatientDatabase
from worker.scores import load_scores
from worker.verdict_page import add_verdict, hide_holdout, withhold_scores

log = structlog.get_logger()

_WAITS = "Passed the gate; waits for approval."
_ROLLED_BACK = "Passed the gate, but production was rolled back from these very weights; waits for approval."


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended; `is_stored` where the transaction that decided it has ended the run."""

    status: RunStatus
    reason: str | None = None
    version_number: int | None = None
    awaits_approval: bool = False
    is_stored: bool = False


def open_artifacts(settings: Settings) -> ArtifactStore:
    """The store that the settings name; see `open_store`."""
    return open_store(settings.artifacts, settings.remote_artifacts, settings.artifacts_kept)


def register(database: PatientDatabase, settings: Settings, attempt: Attempt) -> Version:
    """Move the candidate among the artifacts and give it its version number.

    Its report is kept without what the hold-out said until it is promoted.

    Raises:
        Conflict: an earlier attempt registered other weights, and they are in use; see `register_version`.
        RunCancelled: that was asked for; nothing is registered.
    """
    artifact = load_artifact(attempt.folder / "artifact")
    name = artifact.digest[:DIGEST_LETTERS]
    open_artifacts(settings).publish(artifact.folder, name)
    report = hide_holdout(json.loads((attempt.folder / "report.json").read_text()))

    def write(session: Session) -> Version:
        move_on(session, attempt.run_id, attempt.number, RunStatus.PROMOTING)  # an erasure locks the run first, too
        base_model = artifact.manifest["base_model"]
        version = register_version(session, attempt.run_id, artifact.digest, name, base_model, report)
        set_status(session, attempt.run_id, attempt.number, RunStatus.PROMOTING, version_number=version.number)
        return version

    return database.write(write)


def judge(database: PatientDatabase, attempt: Attempt, version: Version, production: int) -> Outcome:
    """Ask the gate, record its decision, move production and end the run, all in one transaction.

    Where the schedule's mode is `approve`, or these weights were rolled back, production stays: an admin promotes the
    version, or does not. The reports show what the hold-out said only after it, so a kill leaves nothing to hide.

    Raises:
        RunCancelled: that was asked for before the transaction began; nothing is decided.
    """
    paired, rated = load_scores(attempt.folder / "scores.parquet")
    recipe, whole = attempt.recipe, withhold_scores(attempt.folder)

    def write(session: Session) -> tuple[GateDecision, Outcome]:
        move_on(session, attempt.run_id, attempt.number, RunStatus.PROMOTING)
        consultation = start_evaluation(session, attempt.run_id, version.digest, production)
        standing = find_standing(session, dataclasses.asdict(recipe.margins))
        evidence = load_evidence(attempt.folder, standing.promoted_at_s)
        budget = replace(get_holdout(session).budget, consultations=consultation)
        decision = decide(paired, rated, recipe.margins, consultation, evidence, mode=recipe.gate_mode, budget=budget)
        evaluation = finish_evaluation(session, attempt.run_id, decision.to_dict(), decision.verdict)
        if decision.verdict is Verdict.PROMOTE:
            get_version(session, version.number).report = whole.report
        return decision, _end(session, attempt, evaluation, version)

    decision, outcome = database.write(write)
    try:
        add_verdict(attempt.folder, decision, version.number, whole, waits=outcome.awaits_approval)
    except OSError as error:  # a disk that fails changes no verdict
        log.warning("verdict not written", action="verdict_not_written", run_id=attempt.run_id, error=str(error))
    return outcome


def take_verdict(database: PatientDatabase, settings: Settings, attempt: Attempt) -> Outcome | None:
    """End a run that has its verdict from an earlier attempt as that says; None where none is recorded.

    The gate is not asked again. What passed is promoted only where the weights are still those that were judged.

    Raises:
        JudgedWeightsGone: they are not.
        RunCancelled: that was asked for.
    """
    run_id = attempt.run_id
    evaluation, version = database.read(
        lambda session: (find_evaluation(session, run_id), find_version_of_run(session, run_id))
    )
    if evaluation is None or evaluation.verdict is None:
        return None
    if evaluation.verdict is Verdict.PROMOTE:
        _check_weights(settings, evaluation, version)

    def write(session: Session) -> Outcome:
        move_on(session, run_id, attempt.number, RunStatus.PROMOTING)
        return _end(session, attempt, evaluation, version)

    return database.write(write)


def _check_weights(settings: Settings, evaluation: Evaluation, version: Version | None) -> None:
    """Raises JudgedWeightsGone unless the version and its files are what the evaluation names."""
    if version is None or version.digest != evaluation.candidate_digest:
        raise JudgedWeightsGone
    try:
        found = load_artifact(open_artifacts(settings).fetch(version.folder)).digest
    except ArtifactInvalid as error:
        raise JudgedWeightsGone from error
    if found != evaluation.candidate_digest:
        raise JudgedWeightsGone


def _end(session: Session, attempt: Attempt, evaluation: Evaluation, version: Version | None) -> Outcome:
    """End the run as its evaluation says, and promote the version if it passed and nobody has to be asked."""
    outcome = _build_outcome(evaluation, version)
    if evaluation.verdict is Verdict.PROMOTE and version is not None:
        if needs_approval(session):
            outcome = replace(outcome, reason=_WAITS, awaits_approval=True)
        elif is_rolled_back(session, version.digest):
            outcome = replace(outcome, reason=_ROLLED_BACK, awaits_approval=True)
        else:
            expected, reason = evaluation.production_version, outcome.reason or ""
            promote(session, version.number, "gate", reason, "gate", attempt.run_id, expected=expected)
    finish_run(session, attempt.run_id, attempt.number, outcome.status, outcome.reason, outcome.version_number)
    return outcome


def _build_outcome(evaluation: Evaluation, version: Version | None) -> Outcome:
    reasons = (evaluation.decision or {}).get("reasons", [])
    return Outcome(
        status=RunStatus.SUCCEEDED if evaluation.verdict is Verdict.PROMOTE else RunStatus.REFUSED,
        reason=reasons[0]["sentence"] if reasons else None,
        version_number=version.number if version is not None else None,
        is_stored=True,
    )
