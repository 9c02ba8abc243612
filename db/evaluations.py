"""Queries on evaluations: which run asked the hold-out for the how-manieth time, and what came of it."""

from __future__ import annotations

from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from data.errors import NotFound
from data.vocabulary import Verdict
from db.base import database_now_s
from db.inserts import insert_numbered
from db.models import Evaluation, HoldoutEpoch


def start_evaluation(session: Session, run_id: str, candidate_digest: str, production_version: int) -> int:
    """The number of this consultation of the present hold-out, from 1. Commit it before the hold-out is read.

    A run that is tried again keeps its number; until it has a verdict the row tells of its latest candidate.
    """
    values = {"candidate_digest": candidate_digest, "production_version": production_version}
    evaluation = insert_numbered(session, Evaluation, Evaluation.consultation, run_id, **values)
    if evaluation.finished_at_s is None:
        evaluation.candidate_digest, evaluation.production_version = candidate_digest, production_version
        session.flush()
    before = select(func.max(HoldoutEpoch.consultations_before))
    return evaluation.consultation - (
        session.scalar(before.where(HoldoutEpoch.consultations_before < evaluation.consultation)) or 0
    )


def finish_evaluation(session: Session, run_id: str, decision: dict[str, Any], verdict: Verdict) -> Evaluation:
    """Record the verdict and the decision it comes from. The first verdict of a run stands.

    Raises:
        NotFound: no evaluation of the run was started.
    """
    of_run = select(Evaluation).where(Evaluation.run_id == run_id).with_for_update()
    evaluation = session.scalars(of_run, execution_options={"populate_existing": True}).one_or_none()
    if evaluation is None:
        raise NotFound(f"No evaluation of run {run_id!r} was started.")
    if evaluation.finished_at_s is None:
        evaluation.decision, evaluation.verdict = decision, verdict
        evaluation.finished_at_s = session.scalar(select(database_now_s()))
        session.flush()
    return evaluation


def find_evaluation(session: Session, run_id: str) -> Evaluation | None:
    """The finished or started evaluation of a run, once it has one."""
    return session.scalars(select(Evaluation).where(Evaluation.run_id == run_id)).one_or_none()
