"""The reward model learns which reply is better, whatever the recipe trains, and stays with the run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from tests.lessons import build_pair_rows, build_recipe, load_model
from trainer.errors import TrainingFailed
from trainer.reward import REWARD_FOLDER, measure_accuracy, score_conversations, train_reward


@pytest.mark.parametrize("trainable", ["last:1", "lora:4", "full"])
def test_learns_pairs_and_is_saved_as_an_ordinary_model(base_folder: Path, tmp_path: Path, trainable: str) -> None:
    _, tokenizer = load_model(base_folder)
    pairs = build_pair_rows(16)
    recipe = build_recipe(trainable=trainable, reward_epochs=2)
    reward = train_reward(base_folder, tokenizer, pairs, recipe, tmp_path)
    assert measure_accuracy(reward, tokenizer, pairs) == 1.0
    saved = AutoModelForSequenceClassification.from_pretrained(tmp_path / REWARD_FOLDER)
    turns = [[*row["prompt"], *row[side]] for row in pairs for side in ("chosen", "rejected")]
    expected = score_conversations(reward, tokenizer, turns, batch_size=4)
    assert score_conversations(saved, tokenizer, turns, batch_size=7) == pytest.approx(expected, abs=1e-4)


def test_leaves_the_lower_blocks_as_they_are(base_folder: Path, tmp_path: Path) -> None:
    base, tokenizer = load_model(base_folder)
    reward = train_reward(base_folder, tokenizer, build_pair_rows(), build_recipe(), tmp_path)
    before = dict(base.named_parameters())
    changed = {
        name for name, value in reward.named_parameters() if name not in before or not torch.equal(value, before[name])
    }
    assert "score.weight" in changed
    assert all(name.startswith(("score.", "transformer.h.2.", "transformer.ln_f.")) for name in changed)


def test_the_same_pairs_and_seed_give_the_same_weights(base_folder: Path, tmp_path: Path) -> None:
    _, tokenizer = load_model(base_folder)
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        train_reward(base_folder, tokenizer, build_pair_rows(), build_recipe(), tmp_path / name)
    one, two = ((tmp_path / name / REWARD_FOLDER / "model.safetensors").read_bytes() for name in ("one", "two"))
    assert one == two


class TestMeasureAccuracy:
    def test_counts_a_tie_as_half(self, base_folder: Path, tmp_path: Path) -> None:
        _, tokenizer = load_model(base_folder)
        reward = train_reward(base_folder, tokenizer, build_pair_rows(), build_recipe(reward_epochs=3), tmp_path)
        row = build_pair_rows(1)[0]
        tie, wrong = {**row, "rejected": row["chosen"]}, {**row, "chosen": row["rejected"], "rejected": row["chosen"]}
        assert measure_accuracy(reward, tokenizer, [row, tie, wrong, wrong]) == 1.5 / 4

    def test_is_unknown_without_pairs(self, base_folder: Path) -> None:
        model, tokenizer = load_model(base_folder)
        assert measure_accuracy(model, tokenizer, []) is None


def test_refuses_to_begin_without_a_pair(base_folder: Path, tmp_path: Path) -> None:
    _, tokenizer = load_model(base_folder)
    with pytest.raises(TrainingFailed, match="A reward model needs pairs"):
        train_reward(base_folder, tokenizer, [], build_recipe(), tmp_path)
