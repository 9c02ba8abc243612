"""DPO with the trunk and the reply head is stock TRL, only faster, and leaves the reference alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from transformers import PreTrainedModel
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer

from data.recipe import Recipe
from tests.lessons import build_pair_rows, build_recipe, load_model, read_losses
from trainer.arguments import build_arguments, order_by_length
from trainer.dpo import train_dpo
from trainer.errors import TrainingFailed
from trainer.lora import add_adapters
from trainer.pairs import count_pair_tokens
from trainer.trunk import freeze_below, install_trunk, remove_trunk


def train_ours(base: Path, recipe: Recipe, folder: Path) -> tuple[PreTrainedModel, list[float]]:
    model, tokenizer = load_model(base)
    trunk = install_trunk(model, freeze_below(model, recipe.trainable))
    train_dpo(model, tokenizer, build_pair_rows(), recipe, folder)
    remove_trunk(model, trunk)
    return model, read_losses(folder)


def train_stock(base: Path, recipe: Recipe, folder: Path) -> tuple[PreTrainedModel, list[float]]:
    """TRL's own trainer on the same model, rows and settings: every block computed, every position projected."""
    model, tokenizer = load_model(base)
    freeze_below(model, recipe.trainable)
    rows = build_pair_rows()
    lengths = [count_pair_tokens(row, tokenizer) for row in rows]
    arguments: dict[str, Any] = build_arguments(
        recipe, folder, epochs=recipe.preference_epochs, learning_rate=recipe.preference_learning_rate
    )
    trainer = DPOTrainer(
        model=model,
        processing_class=tokenizer,
        train_dataset=Dataset.from_list(order_by_length(rows, lengths, recipe.batch_size, recipe.seed)),
        args=DPOConfig(
            **arguments | {"save_strategy": "no"},
            beta=recipe.beta,
            loss_type=[recipe.dpo_loss],
            label_smoothing=recipe.label_smoothing,
            precompute_ref_log_probs=False,
            train_sampling_strategy="sequential",
        ),
    )
    trainer.train()
    return model, [record["loss"] for record in trainer.state.log_history if "loss" in record]


@pytest.mark.parametrize("loss", [{}, {"dpo_loss": "robust", "label_smoothing": 0.2}])
def test_losses_and_weights_are_those_of_stock_trl(base_folder: Path, tmp_path: Path, loss: dict[str, Any]) -> None:
    recipe = build_recipe(preference_epochs=2, **loss)
    model, losses = train_ours(base_folder, recipe, tmp_path)
    stock, stock_losses = train_stock(base_folder, recipe, tmp_path / "stock")
    assert len(losses) == 4
    assert losses == pytest.approx(stock_losses, abs=1e-5)
    assert losses[-1] < losses[0]
    for (name, ours), (_, theirs) in zip(model.named_parameters(), stock.named_parameters(), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-4), name


def test_changes_the_top_block_and_nothing_below(base_folder: Path, tmp_path: Path) -> None:
    base, _ = load_model(base_folder)
    model, _ = train_ours(base_folder, build_recipe(), tmp_path)
    before = dict(base.named_parameters())
    changed = {name for name, value in model.named_parameters() if not torch.equal(value, before[name])}
    assert changed
    assert all(name.startswith(("transformer.h.2.", "transformer.ln_f.")) for name in changed)


def test_the_reference_is_the_model_as_it_came_in(base_folder: Path, tmp_path: Path) -> None:
    """The first loss is -log sigmoid(0): before the first step the model is its own reference."""
    _, losses = train_ours(base_folder, build_recipe(), tmp_path)
    assert losses[0] == pytest.approx(0.693147, abs=1e-5)


def test_trains_adapters_against_a_copy_of_them(base_folder: Path, tmp_path: Path) -> None:
    model, tokenizer = load_model(base_folder)
    adapted = add_adapters(model, 2)
    train_dpo(adapted, tokenizer, build_pair_rows(), build_recipe(preference_epochs=2), tmp_path)
    losses = read_losses(tmp_path)
    assert losses[0] == pytest.approx(0.693147, abs=1e-5)
    assert losses[-1] < losses[0]


def test_refuses_to_begin_without_a_pair(base_folder: Path, tmp_path: Path) -> None:
    model, tokenizer = load_model(base_folder)
    with pytest.raises(TrainingFailed, match="none fits into max_tokens = 96; raise it, or set method to auto"):
        train_dpo(model, tokenizer, [], build_recipe(), tmp_path)
