"""The recipe that the project began with, as it is published."""

from __future__ import annotations

import tomllib
from pathlib import Path

from data.recipe import build_recipe

FILE = Path(__file__).parents[3] / "recipes" / "seed.toml"


def test_is_the_original() -> None:
    recipe = build_recipe(tomllib.loads(FILE.read_text()))
    assert (recipe.method, recipe.sft_epochs, recipe.sft_learning_rate) == ("sft", 25, 5e-5)
    assert (recipe.batch_size, recipe.max_tokens, recipe.save_steps) == (10, 128, 500)
    assert recipe.trainable.startswith("last:")
    assert recipe.early_stopping_patience == 0
