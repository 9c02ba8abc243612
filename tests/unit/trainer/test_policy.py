"""The policy moves towards what the reward model likes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tests.lessons import CONTEXTS, build_pair_rows, build_recipe, load_model
from trainer.errors import TrainingFailed
from trainer.lora import add_adapters, merge_adapters
from trainer.policy import distil_best, train_online
from trainer.reward import train_reward
from trainer.trunk import freeze_below, install_trunk, remove_trunk

PROMPTS: list[Any] = [[{"role": "user", "content": text}] for text in CONTEXTS]


@pytest.fixture(scope="module")
def reward(base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> PreTrainedModel:
    _, tokenizer = load_model(base_folder)
    recipe = build_recipe(reward_epochs=2)
    return train_reward(base_folder, tokenizer, build_pair_rows(), recipe, tmp_path_factory.mktemp("reward"))


def sum_changes(model: PreTrainedModel, base_folder: Path) -> dict[str, float]:
    before = dict(load_model(base_folder)[0].named_parameters())
    differences = {name: float((value - before[name]).detach().abs().sum()) for name, value in model.named_parameters()}
    return {name: difference for name, difference in differences.items() if difference}


class TestDistilBest:
    def test_keeps_the_best_and_learns_it_through_the_trunk(
        self, base_folder: Path, reward: PreTrainedModel, tmp_path: Path
    ) -> None:
        model, tokenizer = load_model(base_folder)
        recipe = build_recipe(policy_samples=4, preference_epochs=2)
        trunk = install_trunk(model, freeze_below(model, recipe.trainable))
        told = distil_best(model, tokenizer, reward, PROMPTS, recipe, tmp_path)
        remove_trunk(model, trunk)
        assert told["prompts"] == len(PROMPTS)
        assert told["best_reward"] > told["mean_reward"]
        changed = sum_changes(model, base_folder)
        assert changed
        assert all(name.startswith(("transformer.h.2.", "transformer.ln_f.")) for name in changed)
        records = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
        assert {record["phase"] for record in records} == {"policy"}

    def test_samples_the_same_with_and_without_a_trunk(
        self, base_folder: Path, reward: PreTrainedModel, tmp_path: Path
    ) -> None:
        told = []
        for name in ("last:1", "last:3"):
            model, tokenizer = load_model(base_folder)
            install_trunk(model, freeze_below(model, name))
            (tmp_path / name).mkdir()
            told.append(distil_best(model, tokenizer, reward, PROMPTS, build_recipe(trainable=name), tmp_path / name))
        assert told[0] == pytest.approx(told[1], abs=1e-4)

    def test_refuses_a_model_that_says_nothing(
        self, base_folder: Path, reward: PreTrainedModel, tmp_path: Path
    ) -> None:
        model, tokenizer = load_model(base_folder)
        silence(model, tokenizer)
        with pytest.raises(TrainingFailed, match="says nothing to any prompt"):
            distil_best(model, tokenizer, reward, PROMPTS, build_recipe(), tmp_path)


def silence(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Make the end token the only one that is likely: a constant direction of the last norm points at it."""
    with torch.no_grad():
        end = int(tokenizer.eos_token_id)
        weight = model.get_output_embeddings().weight
        weight[end] *= 100 / weight[end].norm()
        model.base_model.ln_f.weight.zero_()
        model.base_model.ln_f.bias.copy_(weight[end])


class TestTrainOnline:
    @pytest.mark.parametrize(
        ("policy", "trainable"), [("rloo", "last:1"), ("grpo", "last:1"), ("rloo", "lora:2"), ("grpo", "lora:2")]
    )
    def test_takes_a_few_steps_and_leaves_an_ordinary_model(
        self, base_folder: Path, reward: PreTrainedModel, tmp_path: Path, policy: str, trainable: str
    ) -> None:
        recipe = build_recipe(method="reward", policy=policy, trainable=trainable, batch_size=4)
        model, tokenizer = load_model(base_folder)
        names = set(model.state_dict())
        with torch.no_grad():  # as if there had been a stage before: the reference is this model, not the base
            model.base_model.h[2].mlp.c_fc.weight.mul_(1.5)
        trunk = None
        trained: Any = model
        if trainable == "lora:2":
            trained = add_adapters(model, 2)
        else:
            trunk = install_trunk(model, freeze_below(model, trainable))
        told = train_online(trained, tokenizer, reward, PROMPTS, recipe, tmp_path)
        merged = merge_adapters(trained)
        remove_trunk(model, trunk)
        assert told.keys() == {"prompts", "first_reward", "last_reward"}
        assert set(merged.state_dict()) == names
        records = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
        assert records[0]["kl"] == pytest.approx(0, abs=1e-5)
        changed = sum_changes(merged, base_folder)
        assert len(changed) > 1
        allowed = ("transformer.h.",) if trainable == "lora:2" else ("transformer.h.2.", "transformer.ln_f.")
        assert all(name.startswith(allowed) for name in changed)
