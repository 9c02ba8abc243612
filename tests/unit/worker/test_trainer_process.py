"""The trainer as a subprocess: its own sentence on failure, killed with its parent."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from data.recipe import Recipe
from worker.errors import TrainerFailed, TrainerKilled
from worker.trainer_process import TrainerProcess, build_command, count_cores


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


def test_ends_one_that_hangs(tmp_path: Path) -> None:
    with TrainerProcess(tmp_path, silence_s=0.5) as trainer:
        os.kill(trainer.pid, signal.SIGSTOP)
        with pytest.raises(TrainerKilled, match="no sign of life"):
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


def test_starts_several_processes_by_the_launcher(tmp_path: Path) -> None:
    trainer = ["-m", "trainer", str(tmp_path), "--exit-with-parent"]
    assert build_command(tmp_path) == [sys.executable, *trainer]
    launched = build_command(tmp_path, "accelerate", 2)
    assert launched[:3] == [sys.executable, "-m", "accelerate.commands.launch"]
    assert launched[-len(trainer) :] == trainer
    assert launched[launched.index("--num_processes") + 1] == "2"
    assert "--multi_gpu" in launched
    assert "--multi_gpu" not in build_command(tmp_path, "accelerate", 1)


@pytest.mark.slow
def test_a_launched_process_that_crashes_is_worth_another_attempt(tmp_path: Path) -> None:
    recipe = Recipe(launcher="accelerate")
    with TrainerProcess(tmp_path, recipe) as trainer, pytest.raises(TrainerKilled, match=r"trainer\.log says why"):
        list(trainer.events())  # there is no run.json


def test_counts_the_cores_that_it_may_use() -> None:
    assert 1 <= count_cores() <= (os.cpu_count() or 1)


def test_lets_chat_go_first(tmp_path: Path) -> None:
    with TrainerProcess(tmp_path) as trainer:
        own = os.getpriority(os.PRIO_PROCESS, 0)
        assert os.getpriority(os.PRIO_PROCESS, trainer.pid) == max(5, own)
