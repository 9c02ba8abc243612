"""A trainer that was killed goes on, and ends with the same bits; a stage that stops getting better ends early."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import TrainerState

from serving.artifact import seal_artifact
from tests.orders import TWO_STAGES, write_order
from trainer.checkpoints import CHECKPOINTS
from trainer.run import run


def report_run(folder: Path) -> dict[str, Any]:
    """The report of a run in this process."""
    run(folder)
    return dict(json.loads((folder / "report.json").read_text()))


def kill_at(folder: Path, is_time: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
    """Run the trainer as a program and kill it at an event; returns the events up to then."""
    command = [sys.executable, "-m", "trainer", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    events = []
    with process.stdout:
        for line in process.stdout:
            events.append(json.loads(line))
            if is_time(events[-1]):
                os.kill(process.pid, signal.SIGKILL)
                break
    assert process.wait() == -signal.SIGKILL, events[-1]
    return events


def is_step(stage: str, step: int) -> Callable[[dict[str, Any]], bool]:
    return lambda event: event["event"] == "progress" and event["stage"] == stage and event["step"] >= step


@pytest.fixture(scope="module")
def uninterrupted(finished_run: Path) -> dict[str, Any]:
    """The report of a run from start to end."""
    return dict(json.loads((finished_run / "report.json").read_text()))


def read_losses(folder: Path) -> list[tuple[str, int, float]]:
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [(record["phase"], record["step"], record["loss"]) for record in records if "loss" in record]


@pytest.mark.slow
class TestKilled:
    def test_goes_on_in_either_stage_and_ends_with_the_same_bits(
        self, base_folder: Path, tmp_path: Path, uninterrupted: dict[str, Any]
    ) -> None:
        folder = write_order(tmp_path, base_folder, **TWO_STAGES)
        kill_at(folder, is_step("supervised", 17))  # in the second epoch, between two checkpoints
        assert not (folder / "artifact").exists()
        events = kill_at(folder, is_step("preference", 5))
        assert {"event": "resumed", "stage": "supervised", "step": 15} in events
        report = report_run(folder)
        assert report["digest"] == uninterrupted["digest"]
        assert report["stages"]["supervised"] == uninterrupted["stages"]["supervised"] | {"resumed_at_step": 15}
        assert report["stages"]["preference"] == uninterrupted["stages"]["preference"] | {"resumed_at_step": 3}
        steps = [(phase, step) for phase, step, _ in read_losses(folder)]
        stages = report["stages"]
        assert steps == [
            (name, step + 1) for name in ("supervised", "preference") for step in range(stages[name]["of"])
        ]
        assert not (folder / CHECKPOINTS).exists()


class TestStopped:
    """The same without a process: what a checkpoint holds when the run goes on from it."""

    def stop_in_training(self, folder: Path, base_folder: Path) -> Path:
        """A run that is stopped by a disk that refuses: its artifact cannot be written."""
        write_order(folder, base_folder, **TWO_STAGES)
        (folder / "artifact.staged").write_text("in the way")
        with pytest.raises(FileExistsError):
            report_run(folder)
        (folder / "artifact.staged").unlink()
        return folder

    def test_a_stage_that_has_ended_is_not_trained_again(
        self, base_folder: Path, tmp_path: Path, uninterrupted: dict[str, Any]
    ) -> None:
        folder = self.stop_in_training(tmp_path, base_folder)
        before = read_losses(folder)
        report = report_run(folder)
        assert report["digest"] == uninterrupted["digest"]
        assert read_losses(folder) == before

    def test_starts_over_when_the_snapshot_or_the_recipe_is_another(self, base_folder: Path, tmp_path: Path) -> None:
        folder = self.stop_in_training(tmp_path, base_folder)
        order = json.loads((folder / "run.json").read_text())
        order["recipe"] |= {"sft_epochs": 1, "preference_epochs": 0}
        (folder / "run.json").write_text(json.dumps(order))
        report = report_run(folder)
        assert report["stages"].keys() == {"supervised"}
        assert report["stages"]["supervised"]["resumed_at_step"] is None

    def test_runs_no_code_that_someone_put_into_a_checkpoint(self, base_folder: Path, tmp_path: Path) -> None:
        folder = self.stop_in_training(tmp_path / "run", base_folder)
        done = folder / CHECKPOINTS / "preference-done"
        planted = done.rename(folder / CHECKPOINTS / "preference-0000003")
        state = TrainerState(global_step=3, max_steps=8, train_batch_size=4)
        state.save_to_json(str(planted / "trainer_state.json"))
        (planted / "scheduler.pt").write_bytes(b"")
        (planted / "optimizer.pt").write_bytes(f"cos\nmkdir\n(V{tmp_path / 'pwned'}\ntR.".encode())  # os.mkdir(...)
        seal_artifact(planted, step=3, facts={"gradient_accumulation": 1})
        with pytest.raises(pickle.UnpicklingError, match="Weights only load failed"):
            report_run(folder)
        assert not (tmp_path / "pwned").exists()


OVERFITTING = TWO_STAGES | {
    "trainable": "full",
    "sft_epochs": 12,
    "sft_learning_rate": 1e-2,
    "preference_epochs": 0,
}


@pytest.fixture(scope="module")
def stopped_early(base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that may go two epochs without progress."""
    folder = write_order(tmp_path_factory.mktemp("long"), base_folder, **OVERFITTING, early_stopping_patience=2)
    run(folder)
    return folder


class TestEarlyStopping:
    def test_ends_without_progress_and_keeps_the_best_weights(self, stopped_early: Path) -> None:
        facts = json.loads((stopped_early / "report.json").read_text())["stages"]["supervised"]
        assert facts["best_step"] < facts["steps"] < facts["of"]
        steps_an_epoch = facts["of"] // 12
        assert facts["steps"] - facts["best_step"] == 2 * steps_an_epoch
        records = [json.loads(line) for line in (stopped_early / "metrics.jsonl").read_text().splitlines()]
        dev = {record["step"]: record["eval_loss"] for record in records if "eval_loss" in record}
        assert facts["dev_loss"] == min(dev.values()) == dev[facts["best_step"]]

    def test_can_be_switched_off(self, base_folder: Path, tmp_path: Path, stopped_early: Path) -> None:
        last = report_run(write_order(tmp_path, base_folder, **OVERFITTING, early_stopping_patience=0))
        facts = last["stages"]["supervised"]
        assert facts["steps"] == facts["of"]
        best = json.loads((stopped_early / "report.json").read_text())
        assert best["digest"] != last["digest"]  # the last weights here, the best ones there
