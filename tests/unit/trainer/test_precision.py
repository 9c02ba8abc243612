"""bfloat16 only where the hardware is fast at it, and what it changes is told."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from tests.lessons import build_rated_rows, build_recipe, load_model
from trainer.arguments import build_arguments, choose_precision, has_fast_bfloat16
from trainer.errors import TrainingFailed
from trainer.precision import compare_losses, describe_precision


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
