"""bfloat16 only where the hardware is fast at it, and what it changes is told."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from tests.lessons import build_rated_rows, build_recipe, load_model
from trainer.arguments import build_arguments, choose_precision, has_fast_bfloat16
from trainer.errors import TrainingFailed
from trainer.precision import compare_losses, describe_precision
from trainer.resumable import Resumable
from trainer.resumption import StagePlan, train_stage


def test_takes_what_pays_on_this_machine(tmp_path: Path) -> None:
    assert choose_precision("auto") == ("bfloat16" if has_fast_bfloat16() else "float32")
    assert choose_precision("float32") == "float32"
    recipe = dataclasses.replace(build_recipe(), precision="float32")
    assert build_arguments(recipe, tmp_path, epochs=1, learning_rate=1e-3)["bf16"] is False


@pytest.mark.skipif(has_fast_bfloat16(), reason="this machine is fast at bfloat16")
def test_refuses_bfloat16_where_it_is_slow() -> None:
    with pytest.raises(TrainingFailed, match="slow at bfloat16; set the recipe's precision to auto or float32"):
        choose_precision("bfloat16")


def test_tells_the_difference_that_rounding_makes(base_folder: Path) -> None:
    model, tokenizer = load_model(base_folder)
    losses = compare_losses(model, tokenizer, build_rated_rows(tokenizer, 2))
    assert losses["loss_float32"] == pytest.approx(6.4, abs=0.2)  # a random model: about log of 600 tokens
    assert 0 < abs(losses["difference"]) < 0.02
    assert losses["difference"] == losses["loss_bfloat16"] - losses["loss_float32"]
    facts = describe_precision(model, tokenizer, build_rated_rows(tokenizer, 2), build_recipe(precision="float32"))
    assert facts == {"wanted": "float32", "used": "float32"}


class _SFTTrainer(Resumable, SFTTrainer):
    """As the supervised stage has it."""


def test_a_stage_in_bfloat16_leaves_a_model_that_computes_in_float32(base_folder: Path, tmp_path: Path) -> None:
    model, tokenizer = load_model(base_folder)
    was_autocast: list[bool] = []
    model.base_model.register_forward_hook(lambda *_: was_autocast.append(torch.is_autocast_enabled("cpu")))

    def build(arguments: dict[str, Any]) -> Resumable:
        rows = Dataset.from_list(build_rated_rows(tokenizer, 4)).remove_columns("label")
        config = SFTConfig(**arguments | {"bf16": True})  # a CPU that is slow at it can do it, too
        return _SFTTrainer(model=model, processing_class=tokenizer, train_dataset=rows, args=config)

    recipe = build_recipe(trainable="full")
    for name in ("supervised", "policy"):
        (tmp_path / name).mkdir()
        plan = StagePlan(
            name=name, model=model, build=build, recipe=recipe, folder=tmp_path / name, epochs=1, learning_rate=1e-3
        )
        train_stage(plan)
        assert was_autocast
        assert all(was_autocast)
        was_autocast.clear()
        model(torch.tensor([[1, 2, 3]]))
        assert was_autocast == [False]
        was_autocast.clear()
