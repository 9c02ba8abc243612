"""INSERT statements that are right under concurrency on both databases."""

from __future__ import annotations

from functools import cache
from typing import Any, TypeVar, cast

from sqlalchemy import Table, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import InstrumentedAttribute, Session
from sqlalchemy.sql.dml import ReturningInsert

from db.base import Base
from db.models import Evaluation, Version

Model = TypeVar("Model", bound=Base)
Numbered = TypeVar("Numbered", Version, Evaluation)


def get_table(model: type[Base]) -> Table:
    """The table of `model`: an INSERT into it takes half the time of one by the mapper, and makes no object."""
    return cast(Table, model.__table__)


def build_insert(session: Session, into: type[Base] | Table) -> postgresql.Insert | sqlite.Insert:
    """An INSERT that has `on_conflict_do_nothing` and `on_conflict_do_update`."""
    return _build_insert(session.get_bind().dialect.name, into)


def insert_or_none(session: Session, model: type[Model], **values: Any) -> Model | None:
    """Insert a row, or do nothing and return None where a unique constraint of any kind forbids it.

    On PostgreSQL this waits for a transaction that is inserting the same, so None means that a row is there.
    """
    return session.scalars(_build_insert_or_nothing(session.get_bind().dialect.name, model), values).one_or_none()


def insert_numbered(
    session: Session, model: type[Numbered], number: InstrumentedAttribute[int], run_id: str, **values: Any
) -> Numbered:
    """The row of `run_id`; inserted with the next free `number` (from 1) unless the run has one already."""
    next_number = select(func.coalesce(func.max(number), 0) + 1).scalar_subquery()
    while True:
        existing = session.scalars(select(model).where(model.run_id == run_id)).one_or_none()
        if existing is not None:
            return existing
        numbered = build_insert(session, model).values({"run_id": run_id, number.key: next_number, **values})
        row = session.scalars(numbered.on_conflict_do_nothing().returning(model)).one_or_none()
        if row is not None:
            return row
        # Another transaction took the number or inserted the run's row, and has committed: look again.


def _build_insert(dialect: str, into: type[Base] | Table) -> postgresql.Insert | sqlite.Insert:
    return postgresql.insert(into) if dialect == "postgresql" else sqlite.insert(into)


@cache  # SQLAlchemy knows a statement again at once when it is the same object; to make one takes as long as to run it
def _build_insert_or_nothing(dialect: str, model: type[Model]) -> ReturningInsert[tuple[Model]]:
    return _build_insert(dialect, model).on_conflict_do_nothing().returning(model)
