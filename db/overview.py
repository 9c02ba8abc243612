"""Queries that sum up feedback for the dashboard: by day, by version, by rater. The database counts, not we."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import case, func, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from data.vocabulary import Rating
from db.models import Completion, Evaluation, Feedback

_IS_UP = case((Feedback.rating == Rating.UP, 1), else_=0)


@dataclass(frozen=True)
class DayCount:
    """Ratings of one day, counted from 1970 in UTC."""

    day: int
    ups: int
    downs: int


@dataclass(frozen=True)
class VersionCount:
    """Ratings of what one version wrote; None for replies that no model wrote."""

    number: int | None
    ups: int
    downs: int


@dataclass(frozen=True)
class RaterCount:
    """Ratings of one rater; times are seconds since 1970."""

    rater: str
    kind: str
    ups: int
    downs: int
    first_at_s: float
    last_at_s: float


class _Day(FunctionElement[int]):
    """The whole days in a number of seconds."""

    name = "whole_days"
    inherit_cache = True


@compiles(_Day, "sqlite")
def _compile_sqlite(element: _Day, compiler: SQLCompiler, **options: object) -> str:
    return f"CAST({compiler.process(element.clauses, **options)} / 86400 AS INTEGER)"


@compiles(_Day, "postgresql")
def _compile_postgresql(element: _Day, compiler: SQLCompiler, **options: object) -> str:
    return f"CAST(floor({compiler.process(element.clauses, **options)} / 86400) AS INTEGER)"


def count_ratings_by_day(session: Session, since_s: float) -> list[DayCount]:
    """Ratings given or changed since then, by day, oldest first; days without any are left out."""
    day = _Day(Feedback.updated_at_s)
    counts = select(day, func.sum(_IS_UP), func.count()).where(Feedback.updated_at_s >= since_s)
    rows = session.execute(counts.group_by(day).order_by(day))
    return [DayCount(int(day), ups, total - ups) for day, ups, total in rows]


def count_ratings_by_version(session: Session, since_s: float) -> list[VersionCount]:
    """Ratings given or changed since then, by the version that wrote the reply, newest version first."""
    counts = select(Completion.version_number, func.sum(_IS_UP), func.count())
    rated = counts.join(Feedback, Feedback.completion_id == Completion.id).where(Feedback.updated_at_s >= since_s)
    rows = session.execute(rated.group_by(Completion.version_number))
    found = [VersionCount(number, ups, total - ups) for number, ups, total in rows]
    return sorted(found, key=lambda item: -1 if item.number is None else item.number, reverse=True)


def list_raters(session: Session, limit: int) -> list[RaterCount]:
    """The raters with the most ratings."""
    total = func.count()
    rows = session.execute(
        select(
            Feedback.rater,
            Feedback.rater_kind,
            func.sum(_IS_UP),
            total,
            func.min(Feedback.created_at_s),
            func.max(Feedback.updated_at_s),
        )
        .group_by(Feedback.rater, Feedback.rater_kind)
        .order_by(total.desc(), Feedback.rater)
        .limit(limit)
    )
    return [RaterCount(rater, kind, ups, total - ups, first, last) for rater, kind, ups, total, first, last in rows]


def count_raters(session: Session) -> int:
    """How many raters have given feedback, experts included."""
    return session.scalar(select(func.count(func.distinct(Feedback.rater)))) or 0


def count_consultations(session: Session) -> int:
    """How often the hold-out was asked."""
    return session.scalar(select(func.count(Evaluation.id))) or 0


def count_feedback(session: Session) -> int:
    """How many ratings there are."""
    return session.scalar(select(func.count(Feedback.id))) or 0
