"""Queries on the schedule, and on the versions that its mode `approve` holds back."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from data.vocabulary import ScheduleMode, Verdict
from db.base import database_now_s
from db.inserts import build_insert
from db.models import Evaluation, Promotion, Schedule, Version


def get_schedule(session: Session, initial_interval_s: float, initial_min_ratings: int) -> Schedule:
    """The schedule as an admin last set it; until then one of the initial values, which is not stored."""
    stored = session.scalars(select(Schedule)).one_or_none()
    return stored or Schedule(interval_s=initial_interval_s, min_ratings=initial_min_ratings, mode=ScheduleMode.AUTO)


def put_schedule(
    session: Session, *, interval_s: float, min_ratings: int, mode: ScheduleMode, updated_by: str
) -> Schedule:
    """Store the schedule in place of the one before; `interval_s` 0 means only when asked."""
    columns = {"interval_s": interval_s, "min_ratings": min_ratings, "mode": mode, "updated_by": updated_by}
    statement = (
        build_insert(session, Schedule)
        .values(columns)
        .on_conflict_do_update(index_elements=[Schedule.id], set_={**columns, "updated_at_s": database_now_s()})
        .returning(Schedule)
    )
    return session.scalars(statement, execution_options={"populate_existing": True}).one()


def needs_approval(session: Session) -> bool:
    """Whether a version that passed the gate waits for an admin."""
    return session.scalar(select(Schedule.mode)) is ScheduleMode.APPROVE


def list_awaiting_approval(session: Session) -> set[int]:
    """Versions that passed the gate against the present production and were never promoted."""
    production = select(Promotion.version_number).order_by(Promotion.id.desc()).limit(1).scalar_subquery()
    passed = (
        select(Version.number)
        .join(Evaluation, Evaluation.run_id == Version.run_id)
        .where(Evaluation.verdict == Verdict.PROMOTE, Evaluation.production_version == production)
        .where(Version.number.not_in(select(Promotion.version_number)))
    )
    return set(session.scalars(passed))
