"""Retention at the sweep: off by default, in batches, counted."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import func, select, update
from structlog.testing import capture_logs

from db.models import Completion
from db.session import Database
from db.versions import ensure_base_version
from settings import Settings
from tests.rows import add_client, add_completion, add_trained_version
from worker.retention import COMPLETIONS_PER_SWEEP, FOLDERS_PER_SWEEP, Removed, apply_retention
from worker.sweep import sweep_runs


def prepare(database: Database, settings: Settings, versions: int = 2) -> None:
    """Versions with their folders, and one old completion."""
    with database.transaction() as session:
        ensure_base_version(session, "d0", "base", "tiny")
        made = [add_trained_version(session) for _ in range(versions)]
        for version in made:
            (settings.runs / str(version.run_id) / "attempt-1").mkdir(parents=True)
            (settings.artifacts / version.folder).mkdir(parents=True)
        (settings.artifacts / "base").mkdir()
        completion = add_completion(session, add_client(session))
        session.execute(update(Completion).where(Completion.id == completion.id).values(created_at_s=1.0))


class TestApplyRetention:
    def test_removes_nothing_unless_told_to(self, database: Database, tmp_path: Path) -> None:
        settings = Settings(_env_file=None, var=tmp_path)
        prepare(database, settings)
        assert apply_retention(database, settings) == Removed()

    def test_the_sweep_removes_what_is_not_kept_and_counts_it(self, database: Database, tmp_path: Path) -> None:
        limits = {"keep_unrated_days": 1, "keep_run_folders": 1, "keep_artifacts": 1}
        settings = Settings(_env_file=None, var=tmp_path, **limits)  # type: ignore[arg-type]
        prepare(database, settings)
        with capture_logs() as logs:
            sweep_runs(database, settings)
            sweep_runs(database, settings)
        counted = [entry for entry in logs if entry.get("action") == "retention"]
        assert [(entry["completions"], entry["run_folders"], entry["artifacts"]) for entry in counted] == [(1, 1, 1)]
        assert (settings.artifacts / "base").is_dir()
        assert len(list(settings.artifacts.iterdir())) == 2
        assert len(list(settings.runs.iterdir())) == 1

    def test_a_sweep_takes_a_batch(self, database: Database, tmp_path: Path) -> None:
        settings = Settings(_env_file=None, var=tmp_path, keep_artifacts=1, keep_unrated_days=1)
        prepare(database, settings, versions=FOLDERS_PER_SWEEP + 2)
        with database.transaction() as session:
            key_id = add_client(session)
            for _ in range(COMPLETIONS_PER_SWEEP):
                add_completion(session, key_id, "talk")
            session.execute(update(Completion).values(created_at_s=1.0))
        removed = [apply_retention(database, settings) for _ in range(3)]
        assert [step.completions for step in removed] == [COMPLETIONS_PER_SWEEP, 1, 0]
        assert [step.artifacts for step in removed] == [FOLDERS_PER_SWEEP, 1, 0]
        with database.reading() as session:
            assert session.scalar(select(func.count()).select_from(Completion)) == 0

    def test_finishes_a_removal_that_was_interrupted(self, database: Database, tmp_path: Path) -> None:
        settings = Settings(_env_file=None, var=tmp_path, keep_artifacts=5)
        prepare(database, settings)
        (settings.artifacts / ".leaving-abc").mkdir()
        apply_retention(database, settings)
        assert not (settings.artifacts / ".leaving-abc").exists()
