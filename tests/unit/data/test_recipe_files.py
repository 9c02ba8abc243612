"""The recipes that come with the project."""

from __future__ import annotations

import tomllib
from pathlib import Path

from data.recipe import Recipe, build_recipe

FOLDER = Path(__file__).parents[3] / "recipes"


def read_recipe(name: str) -> Recipe:
    return build_recipe(tomllib.loads((FOLDER / name).read_text()))


def test_each_can_be_used() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {"first.toml", "seed.toml"}
    for path in FOLDER.iterdir():
        read_recipe(path.name)


def test_the_seed_is_the_original() -> None:
    recipe = read_recipe("seed.toml")
    assert (recipe.method, recipe.sft_epochs, recipe.sft_learning_rate) == ("sft", 25, 5e-5)
    assert (recipe.batch_size, recipe.max_tokens, recipe.save_steps) == (10, 128, 500)
    assert recipe.trainable.startswith("last:")
    assert recipe.early_stopping_patience == 0


def test_the_first_imitates_longer_and_deeper_than_the_default() -> None:
    recipe, default = read_recipe("first.toml"), Recipe()
    assert recipe.method == "sft"
    assert recipe.sft_epochs > default.sft_epochs
    assert int(recipe.trainable.removeprefix("last:")) > int(default.trainable.removeprefix("last:"))
