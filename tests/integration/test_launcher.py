"""`accelerate launch` from the recipe: two processes on the CPU train one model, and one of them speaks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from data.recipe import build_recipe
from serving.artifact import load_artifact
from tests.orders import TWO_STAGES, write_order
from tests.tiny import build_tiny_gpt2
from trainer.base import prepare_base
from trainer.run import run
from worker.trainer_process import TrainerProcess

pytestmark = pytest.mark.slow
STEPS_ALIKE = 6  # later, the last rows of an epoch are filled up to whole batches for both processes


def read_losses(folder: Path, phase: str) -> list[float]:
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [record["loss"] for record in records if "loss" in record and record["phase"] == phase]


def test_two_processes_train_as_one(tmp_path: Path) -> None:
    base = tmp_path / "base"
    prepare_base(str(build_tiny_gpt2(tmp_path / "tiny")), base)
    fields = TWO_STAGES | {"launcher": "accelerate", "processes": 2, "save_steps": 8}
    folder = write_order(tmp_path / "two", base, **fields)
    order = json.loads((folder / "run.json").read_text())
    with TrainerProcess(folder, build_recipe(order["recipe"])) as trainer:
        events = list(trainer.events())
    assert events[-1] == {"event": "done"}
    stages = json.loads((folder / "report.json").read_text())["stages"]
    for name, facts in stages.items():
        assert (facts["micro_batch"], facts["steps"]) == (2, facts["of"])
        steps = [event["step"] for event in events if event["event"] == "progress" and event["stage"] == name]
        assert steps == list(range(1, facts["of"] + 1))  # each step is told once
    assert {"event": "checkpoint", "stage": "supervised", "step": 8} in events
    assert load_artifact(folder / "artifact").digest
    alone = write_order(tmp_path / "one", base, **TWO_STAGES)
    run(alone)
    first = slice(0, STEPS_ALIKE)
    assert read_losses(folder, "supervised")[first] == pytest.approx(read_losses(alone, "supervised")[first], abs=1e-4)
