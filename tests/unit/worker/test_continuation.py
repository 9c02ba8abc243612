"""What an attempt takes over from the one before, and that checkpoints go when their run ends."""

from __future__ import annotations

from pathlib import Path

import pytest

from data.curation import CurationResult
from data.snapshot import load_snapshot, save_snapshot
from data.vocabulary import RunStatus
from db.runs import claim_run, create_run, finish_run
from db.session import Database
from settings import Settings
from tests.orders import build_rows
from worker.continuation import remove_checkpoints, remove_stale_checkpoints, take_over
from worker.sweep import sweep_runs


def leave(attempt: Path, mark: str = "weights") -> None:
    """What a killed attempt leaves."""
    rows = build_rows(4, 0)
    save_snapshot(attempt / "snapshot", CurationResult(tuple(rows), {}), len(rows), "salt")
    (attempt / "checkpoints").mkdir()
    (attempt / "checkpoints" / "mark").write_text(mark)


class TestTakeOver:
    def test_moves_snapshot_and_checkpoints_of_the_newest(self, tmp_path: Path) -> None:
        for number in (2, 9, 10):
            leave(tmp_path / f"attempt-{number}", mark=str(number))
        folder = tmp_path / "attempt-11"
        assert take_over(folder)
        assert (folder / "checkpoints" / "mark").read_text() == "10"
        assert len(load_snapshot(folder / "snapshot")) == 4
        assert not (tmp_path / "attempt-10" / "checkpoints").exists()

    def test_finds_nothing_for_a_first_attempt(self, tmp_path: Path) -> None:
        assert not take_over(tmp_path / "attempt-1")

    @pytest.mark.parametrize("damage", ["changed", "missing"])
    def test_leaves_checkpoints_whose_snapshot_is_not_whole(self, tmp_path: Path, damage: str) -> None:
        leave(tmp_path / "attempt-1")
        rows = tmp_path / "attempt-1" / "snapshot" / "rows.parquet"
        if damage == "missing":
            rows.unlink()
        else:
            rows.write_bytes(rows.read_bytes()[:-1])
        assert not take_over(tmp_path / "attempt-2")
        assert not (tmp_path / "attempt-2" / "checkpoints").exists()


class TestRemoval:
    def test_takes_those_of_all_attempts_and_nothing_else(self, tmp_path: Path) -> None:
        leave(tmp_path / "attempt-1")
        leave(tmp_path / "attempt-2")
        remove_checkpoints(tmp_path)
        assert sorted(path.name for path in tmp_path.glob("attempt-*/*")) == ["snapshot", "snapshot"]

    def test_the_sweep_takes_those_of_runs_that_have_ended(self, database: Database, tmp_path: Path) -> None:
        settings = Settings(_env_file=None, var=tmp_path)
        with database.transaction() as session:
            ended = create_run(session, {}, "admin").id
            claim_run(session, ended, "worker", lease_s=60)
            finish_run(session, ended, 1, RunStatus.CANCELLED, None)
            active = create_run(session, {}, "admin").id
            claim_run(session, active, "worker", lease_s=60)
        for run_id in (ended, active, "run-unknown"):
            leave(settings.runs / run_id / "attempt-1")
        sweep_runs(database, settings)
        remove_stale_checkpoints(database, settings)  # again: nothing more to do
        left = [path.parts[-3] for path in settings.runs.glob("*/attempt-*/checkpoints")]
        assert left == [active]
