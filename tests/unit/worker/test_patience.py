"""Waiting for a database: a SQLite file whose folder is missing stands for one that is away."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.orm import Session

from db.models import Run
from db.runs import create_run, list_runs
from db.session import Database
from worker.errors import RunCancelled
from worker.patience import PatientDatabase


@pytest.fixture
def away(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path / 'away' / 'ratchet.db'}")
    yield database
    database.dispose()


def add_run(session: Session) -> str:
    return create_run(session, {}, "admin").id


def never_asked() -> None:
    raise AssertionError("It was tried again.")


class TestPatientDatabase:
    def test_waits_until_the_database_is_back(self, away: Database, tmp_path: Path, sqlite_template: Path) -> None:
        def bring_back() -> None:
            (tmp_path / "away").mkdir()
            shutil.copy(sqlite_template, tmp_path / "away" / "ratchet.db")

        run_id = PatientDatabase(away, bring_back).write(add_run)
        [run] = PatientDatabase(away, never_asked).read(list_runs)
        assert run.id == run_id

    def test_gives_up_in_the_end(self, away: Database) -> None:
        with pytest.raises(OperationalError):
            PatientDatabase(away, never_asked, wait_s=0).write(add_run)

    def test_waits_no_longer_for_a_run_that_has_to_stop(self, away: Database) -> None:
        def stop() -> None:
            raise RunCancelled

        with pytest.raises(RunCancelled):
            PatientDatabase(away, stop).read(list_runs)

    def test_does_not_repeat_what_can_never_be_right(self, database: Database) -> None:
        def add_twice(session: Session) -> None:
            session.add_all([Run(id="run-1", recipe={}, trigger="admin"), Run(id="run-2", recipe={}, trigger="admin")])

        with pytest.raises(IntegrityError):
            PatientDatabase(database, never_asked).write(add_twice)
        with database.reading() as session:
            assert list_runs(session) == []
