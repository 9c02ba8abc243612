"""The trainer as a subprocess: its own sentence on failure, killed with its parent."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from worker.errors import TrainerFailed, TrainerKilled
from worker.trainer_process import TrainerProcess


def test_passes_on_the_trainers_own_sentence(tmp_path: Path) -> None:
    order = {"run_id": "r", "attempt": 1, "base": "nowhere", "production": "nowhere", "production_version": 0}
    (tmp_path / "run.json").write_text(json.dumps(order | {"recipe": {}}))
    with TrainerProcess(tmp_path) as trainer, pytest.raises(TrainerFailed, match=r"holds no readable manifest\.json"):
        list(trainer.events())


def test_tells_a_kill_from_a_failure(tmp_path: Path) -> None:
    with TrainerProcess(tmp_path) as trainer:
        trainer.kill()
        with pytest.raises(TrainerKilled, match="SIGKILL"):
            list(trainer.events())


def test_names_the_log_after_a_crash(tmp_path: Path) -> None:
    with TrainerProcess(tmp_path) as trainer, pytest.raises(TrainerFailed, match=r"trainer\.log"):  # no run.json
        list(trainer.events())
    assert "FileNotFoundError" in (tmp_path / "trainer.log").read_text()


def test_the_trainer_ends_with_its_parents_pipe(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "trainer", str(tmp_path), "--exit-with-parent"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(timeout=60) == 2
