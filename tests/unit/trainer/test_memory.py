"""When memory runs short the rows of a step are computed in more parts, and the step stays the same."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from safetensors.torch import load_file
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from tests.lessons import build_recipe, load_model, read_losses
from tests.orders import write_order
from tests.scarce_memory import build_rows, train
from trainer.checkpoints import CHECKPOINTS, WEIGHTS
from trainer.resumable import Resumable
from trainer.resumption import StagePlan, train_stage
from trainer.run import run
from trainer.supervised import train_supervised

ROWS, LIMIT_MIB = 256, 400


def read_weights(folder: Path) -> dict[str, object]:
    return dict(load_file(folder / CHECKPOINTS / "supervised-done" / WEIGHTS))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux enforces a limit on address space")
def test_halves_the_rows_until_they_fit(base_folder: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.scarce_memory", base_folder, tmp_path / "scarce", str(ROWS), str(LIMIT_MIB)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    events = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"')]
    tried = [event["micro_batch"] for event in events if event["event"] == "memory_short"]
    assert tried
    assert tried == [ROWS // 2 ** (number + 1) for number in range(len(tried))]
    train(base_folder, tmp_path / "ample", ROWS)
    assert read_losses(tmp_path / "scarce") == pytest.approx(read_losses(tmp_path / "ample"), abs=1e-5)
    scarce, ample = (read_weights(tmp_path / name) for name in ("scarce", "ample"))
    assert all(value.allclose(ample[name], atol=1e-5) for name, value in scarce.items())  # type: ignore[attr-defined]


class _Cramped(Resumable, SFTTrainer):
    """On a processor whose oneDNN gets no memory for more than two rows."""

    def training_step(self, *arguments: Any, **named: Any) -> torch.Tensor:
        if self.args.per_device_train_batch_size > 2:
            raise RuntimeError("could not create a primitive")  # all that it says
        return super().training_step(*arguments, **named)


def test_halves_the_rows_where_onednn_gets_no_memory(base_folder: Path, tmp_path: Path) -> None:
    model, tokenizer = load_model(base_folder)
    rows = Dataset.from_list(build_rows(8))

    def build(arguments: dict[str, Any]) -> Resumable:
        return _Cramped(model=model, processing_class=tokenizer, train_dataset=rows, args=SFTConfig(**arguments))

    recipe = build_recipe(trainable="full", batch_size=8)
    plan = StagePlan(
        name="supervised", model=model, build=build, recipe=recipe, folder=tmp_path, epochs=1, learning_rate=1e-3
    )
    facts = train_stage(plan)
    assert (facts["micro_batch"], facts["gradient_accumulation"], facts["steps"]) == (2, 4, 1)


def test_parts_and_recomputed_activations_give_the_same_losses(base_folder: Path, tmp_path: Path) -> None:
    losses = {}
    for name, fields in {
        "plain": {},
        "parts": {"gradient_accumulation": 2},
        "recomputed": {"gradient_checkpointing": True},
    }.items():
        model, tokenizer = load_model(base_folder)
        (tmp_path / name).mkdir()
        recipe = build_recipe(trainable="full", **fields)
        train_supervised(model, tokenizer, build_rows(12), [], recipe, tmp_path / name)
        losses[name] = read_losses(tmp_path / name)
    assert len(losses["plain"]) == 3
    assert losses["parts"] == pytest.approx(losses["plain"], abs=1e-5)
    assert losses["recomputed"] == pytest.approx(losses["plain"], abs=1e-5)


def test_recomputed_activations_leave_no_trace_in_the_artifact(base_folder: Path, tmp_path: Path) -> None:
    folder = write_order(tmp_path, base_folder, rated=0, method="sft", sft_epochs=1, gradient_checkpointing=True)
    run(folder)
    config = json.loads((folder / "artifact" / "config.json").read_text())
    assert config == json.loads((base_folder / "config.json").read_text())
