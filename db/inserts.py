"""INSERT statements that are right under concurrency on both databases."""

from __future__ import annotations

from typing import Any, TypeVar

from sqlalchemy import func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import InstrumentedAttribute, Session

from db.base import Base
from db.models import Evaluation, Version

Model = TypeVar("Model", bound=Base)
Numbered = TypeVar("Numbered", Version, Evaluation)


def build_insert(session: Session, model: type[Base]) -> postgresql.Insert | sqlite.Insert:
    """An INSERT into the table of `model` that has `on_conflict_do_nothing` and `on_conflict_do_update`."""
    if session.get_bind().dialect.name == "postgresql":
        return postgresql.insert(model)
    return sqlite.insert(model)


def insert_or_none(session: Session, model: type[Model], **values: Any) -> Model | None:
    """Insert a row, or do nothing and return None where a unique constraint of any kind forbids it.

    On PostgreSQL this waits for a transaction that is inserting the same, so None means that a row is there.
    """
    statement = build_insert(session, model).values(values).on_conflict_do_nothing().returning(model)
    return session.scalars(statement).one_or_none()


def insert_numbered(
    session: Session, model: type[Numbered], number: InstrumentedAttribute[int], run_id: str, **values: Any
) -> Numbered:
    """The row of `run_id`; inserted with the next free `number` (from 1) unless the run has one already."""
    next_number = select(func.coalesce(func.max(number), 0) + 1).scalar_subquery()
    while True:
        existing = session.scalars(select(model).where(model.run_id == run_id)).one_or_none()
        if existing is not None:
            return existing
        row = insert_or_none(session, model, run_id=run_id, **{number.key: next_number}, **values)
        if row is not None:
            return row
        # Another transaction took the number or inserted the run's row, and has committed: look again.
