"""KTO with the trunk and the reply head is stock TRL, only faster, and needs both kinds of rating."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from datasets import Dataset
from trl.trainer.kto_config import KTOConfig
from trl.trainer.kto_trainer import KTOTrainer

from data.preferences import class_weights
from data.recipe import Recipe
from tests.lessons import build_rated_rows, build_recipe, load_model, read_losses
from trainer.arguments import build_arguments, order_by_length
from trainer.errors import TrainingFailed
from trainer.kto import train_kto
from trainer.lora import add_adapters
from trainer.rows import count_tokens
from trainer.trunk import freeze_below, install_trunk, remove_trunk


def train_stock(base: Path, recipe: Recipe, folder: Path) -> tuple[list[float], dict[str, torch.Tensor]]:
    """TRL's own trainer on the same model, rows and settings: every block computed, every position projected."""
    model, tokenizer = load_model(base)
    freeze_below(model, recipe.trainable)
    rows = build_rated_rows(tokenizer)[:-1]
    lengths = [count_tokens([*row["prompt"], *row["completion"]], tokenizer) for row in rows]
    up_weight, down_weight = class_weights(3, 4)
    arguments = build_arguments(
        recipe, folder, epochs=recipe.preference_epochs, learning_rate=recipe.preference_learning_rate
    )
    trainer = KTOTrainer(
        model=model,
        processing_class=tokenizer,
        train_dataset=Dataset.from_list(order_by_length(rows, lengths, recipe.batch_size, recipe.seed)),
        args=KTOConfig(
            **arguments | {"save_strategy": "no"},
            beta=recipe.beta,
            desirable_weight=up_weight,
            undesirable_weight=down_weight,
            precompute_ref_log_probs=False,
            dataloader_drop_last=True,
        ),
    )
    trainer.train()
    return [record["loss"] for record in trainer.state.log_history if "loss" in record], dict(model.named_parameters())


def test_losses_and_weights_are_those_of_stock_trl(base_folder: Path, tmp_path: Path) -> None:
    recipe = build_recipe(preference_epochs=4)
    model, tokenizer = load_model(base_folder)
    trunk = install_trunk(model, freeze_below(model, recipe.trainable))
    train_kto(model, tokenizer, build_rated_rows(tokenizer)[:-1], recipe, tmp_path)
    remove_trunk(model, trunk)
    stock_losses, stock = train_stock(base_folder, recipe, tmp_path / "stock")
    losses = read_losses(tmp_path)
    assert len(losses) == 4
    assert len(set(losses)) > 1
    assert losses == pytest.approx(stock_losses, abs=1e-5)
    for name, value in model.named_parameters():
        assert torch.allclose(value, stock[name], atol=1e-4), name


def test_can_begin_again_with_adapters(base_folder: Path, tmp_path: Path) -> None:
    """As when memory ran short: the copy that was the reference must not be in the way."""
    model, tokenizer = load_model(base_folder)
    adapted = add_adapters(model, 2)
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        train_kto(adapted, tokenizer, build_rated_rows(tokenizer), build_recipe(), tmp_path / name)
        assert read_losses(tmp_path / name)[0] == pytest.approx(0.5, abs=1e-5)  # its own reference at the start


@pytest.mark.parametrize(("kept", "counts"), [(slice(0, 1), "0 up and 1 down"), (slice(1, None, 2), "4 up and 0 down")])
def test_refuses_one_kind_of_rating(base_folder: Path, tmp_path: Path, kept: slice, counts: str) -> None:
    model, tokenizer = load_model(base_folder)
    rows = build_rated_rows(tokenizer)[kept]
    with pytest.raises(TrainingFailed, match=f"both kinds, and {counts} fit into max_tokens = 96"):
        train_kto(model, tokenizer, rows, build_recipe(), tmp_path)
