"""The stages of each method, one after the other: what they learn from, and what they tell the report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from data.augmentation import augment_rows
from data.methods import MethodChoice, choose_method, count_rows
from data.preferences import build_pairs, repeat_experts, select_rated, select_supervised
from data.recipe import Recipe
from data.vocabulary import Message, Method, Policy, PoolRow, Rating, SnapshotRow, Split
from trainer.dpo import train_dpo
from trainer.errors import TrainingFailed
from trainer.kto import train_kto
from trainer.lora import Trainable
from trainer.pairs import build_pair_rows
from trainer.policy import distil_best, train_online
from trainer.pseudo_labels import rate_by_reward
from trainer.reward import measure_accuracy, train_reward
from trainer.rows import GO_ON, build_rows, lower_rows
from trainer.sampling import count_reply_tokens, select_prompts
from trainer.supervised import train_supervised
from trainer.trunk import find_trunk


@dataclass(frozen=True, kw_only=True)
class TrainingSets:
    """What the stages of one method learn from; lists that the method does not use are empty."""

    choice: MethodChoice
    supervised: list[dict[str, Any]]
    dev: list[dict[str, Any]]
    rated: list[dict[str, Any]]
    pairs: list[dict[str, Any]]  # an expert's is there more than once
    dev_pairs: list[dict[str, Any]]
    prompts: list[list[Message]]  # to sample replies for
    unrated: list[PoolRow]  # for the reward model to rate, where the recipe asks
    dev_rated: list[PoolRow]  # to tell how sure it is of that
    augmented: dict[str, int]  # synthetic variants among `supervised`, by the operation that made them

    def count(self) -> dict[str, int]:
        """Rows in each list, for the report."""
        return {
            "supervised": len(self.supervised),
            "rated": len(self.rated),
            "pairs": len(self.pairs),
            "dev": len(self.dev),
            "dev_pairs": len(self.dev_pairs),
            "augmented": sum(self.augmented.values()),
        }


def build_sets(
    rows: Sequence[SnapshotRow], tokenizer: PreTrainedTokenizerBase, recipe: Recipe, dropped: Counter[str]
) -> TrainingSets:
    """Choose the method and build its rows; what was done to training rows is counted in `dropped`."""
    choice = choose_method(recipe, count_rows(rows))
    limit, unseen = recipe.max_tokens, Counter[str]()
    if recipe.lowercase:
        rows = lower_rows(rows)
    imitated = [item.row for item in select_supervised(rows, recipe.replay_share, recipe.seed)]
    variants = augment_rows(
        imitated, rows, copies=recipe.augmented_copies, below=recipe.augment_below, seed=recipe.seed
    )
    dropped.update(variants.dropped)
    splits = recipe.long_rows == "split"
    supervised = build_rows([*imitated, *variants.rows], tokenizer, limit, dropped, split_long=splits)
    dev = [item.row for item in rows if item.split is Split.DEV and item.row.rating != "down"]
    rated, pairs, dev_pairs, prompts = [], [], [], []
    if choice.method is Method.KTO:
        rated = build_rows((item.row for item in select_rated(rows)), tokenizer, limit, dropped)
    if choice.method in (Method.DPO, Method.REWARD) or recipe.pseudo_labels:
        pairs = build_pair_rows(repeat_experts(build_pairs(rows)), tokenizer, limit, dropped)
    if choice.method is Method.REWARD:
        dev_pairs = build_pair_rows(build_pairs(rows, Split.DEV), tokenizer, limit, unseen)
        asked = (row["prompt"] for row in [*supervised, *pairs] if row["prompt"][-1] != GO_ON)
        prompts = select_prompts(asked, tokenizer, recipe, recipe.policy_prompts)
    return TrainingSets(
        choice=choice,
        supervised=supervised if recipe.sft_epochs else [],
        dev=build_rows(dev, tokenizer, limit, unseen),
        rated=rated,
        pairs=pairs,
        dev_pairs=dev_pairs,
        prompts=prompts,
        unrated=[item.row for item in rows if item.row.is_unrated and item.split is Split.TRAIN],
        dev_rated=[item.row for item in rows if item.row.rating is not None and item.split is Split.DEV],
        augmented=variants.made,
    )


@dataclass(frozen=True, kw_only=True)
class Training:
    """What every stage works with; the model is trained in place."""

    model: Trainable
    tokenizer: PreTrainedTokenizerBase
    base: Path  # folder that the model was loaded from
    sets: TrainingSets
    recipe: Recipe
    folder: Path
    reward: PreTrainedModel | None = None  # where one was trained to rate unrated replies


def run_stages(training: Training) -> dict[str, Any]:
    """Run the method's stages in order; returns what they tell the report, by name.

    Raises:
        TrainingFailed: a stage has nothing to learn from.
    """
    facts: dict[str, Any] = {"augmented": training.sets.augmented or None}
    if training.recipe.pseudo_labels:
        training, facts["pseudo_labels"] = add_pseudo_labels(training)
    for name, run_stage in list_stages(training.sets.choice.method, training.recipe):
        facts[name] = run_stage(training)
    return {name: told for name, told in facts.items() if told is not None}


def add_pseudo_labels(training: Training) -> tuple[Training, dict[str, Any]]:
    """The training with unrated replies that the reward model is sure of, and what the report tells of them."""
    sets, recipe = training.sets, training.recipe
    if not (sets.unrated and sets.pairs):
        reason = "There is no unrated reply in training."
        if sets.unrated:
            reason = "There are no pairs that a reward model could learn from."
        return training, {"unrated": len(sets.unrated), "up": 0, "down": 0, "reason": reason}
    reward = _train_reward(training)
    labelled, facts = rate_by_reward(reward, training.tokenizer, sets.dev_rated, sets.unrated, recipe)
    ups = [row for row in labelled if row.rating is Rating.UP]
    supervised = build_rows(ups, training.tokenizer, recipe.max_tokens, Counter()) if recipe.sft_epochs else []
    rated = []
    if sets.choice.method is Method.KTO:
        rated = build_rows(labelled, training.tokenizer, recipe.max_tokens, Counter())
    sets = replace(sets, supervised=[*sets.supervised, *supervised], rated=[*sets.rated, *rated])
    return replace(training, sets=sets, reward=reward), facts


def _train_reward(training: Training) -> PreTrainedModel:
    trunk = find_trunk(training.model)
    store = trunk.store if trunk else None
    return train_reward(training.base, training.tokenizer, training.sets.pairs, training.recipe, training.folder, store)


Stage = Callable[[Training], dict[str, Any] | None]


def list_stages(method: Method, recipe: Recipe) -> list[tuple[str, Stage]]:
    """Names and stages of a method (never `auto`); without `sft_epochs` the first one is left out."""
    stages: list[tuple[str, Stage]] = [("supervised", _fine_tune)] if recipe.sft_epochs else []
    if method is not Method.SFT:
        stages.append(_PREFERENCE_STAGES[method])
    return stages


def _fine_tune(training: Training) -> None:
    sets = training.sets
    train_supervised(training.model, training.tokenizer, sets.supervised, sets.dev, training.recipe, training.folder)


def _prefer_by_kto(training: Training) -> None:
    train_kto(training.model, training.tokenizer, training.sets.rated, training.recipe, training.folder)


def _prefer_by_dpo(training: Training) -> None:
    train_dpo(training.model, training.tokenizer, training.sets.pairs, training.recipe, training.folder)


def _follow_reward(training: Training) -> dict[str, Any]:
    """Learn the reward model, measure it on pairs that it has not seen, and let the policy follow it."""
    tokenizer, sets, recipe = training.tokenizer, training.sets, training.recipe
    if not sets.prompts:
        raise TrainingFailed(
            f"No prompt leaves room for a reply of {count_reply_tokens(recipe)} tokens within max_tokens = "
            f"{recipe.max_tokens}; raise max_tokens or lower reply_tokens."
        )
    reward = training.reward or _train_reward(training)
    facts = {
        "train_accuracy": measure_accuracy(reward, tokenizer, sets.pairs, recipe.batch_size),
        "dev_accuracy": measure_accuracy(reward, tokenizer, sets.dev_pairs, recipe.batch_size),
        "dev_pairs": len(sets.dev_pairs),
        "policy": recipe.policy,
    }
    follow = distil_best if recipe.policy == Policy.BEST_OF_N else train_online
    return facts | follow(training.model, tokenizer, reward, sets.prompts, recipe, training.folder)


_PREFERENCE_STAGES: dict[Method, tuple[str, Stage]] = {
    Method.KTO: ("preference", _prefer_by_kto),
    Method.DPO: ("preference", _prefer_by_dpo),
    Method.REWARD: ("reward", _follow_reward),
}
