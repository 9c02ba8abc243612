"""Unrated replies that a reward model rates: only sure ones, only where it is any good, and into the right stages."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from data.recipe import Recipe, build_recipe
from data.vocabulary import Message, PoolRow, Rating, RowKind, SnapshotRow, Split
from trainer.pseudo_labels import rate_by_reward
from trainer.reward import score_conversations
from trainer.rows import ROW_IDS
from trainer.stages import Training, add_pseudo_labels, build_sets

RECIPE = Recipe(max_tokens=64, pseudo_label_confidence=0.7)


@pytest.fixture(scope="module")
def tokenizer(base_folder: Path) -> PreTrainedTokenizerBase:
    loaded: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(base_folder)
    return loaded


@pytest.fixture(scope="module")
def reward(base_folder: Path, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """A random reward model: what it likes decides the ratings of a test."""
    torch.manual_seed(0)
    model: PreTrainedModel = AutoModelForSequenceClassification.from_pretrained(base_folder, num_labels=1)
    model.config.pad_token_id = tokenizer.pad_token_id
    return model.eval()


def build_row(row_id: str, reply: str, rating: Rating | None = None) -> PoolRow:
    messages = (Message(role="user", content="Hello?"),)
    return PoolRow(row_id=row_id, kind=RowKind.REPLY, cluster="c", messages=messages, reply=reply, rating=rating)


def build_ratings(reward: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> list[PoolRow]:
    """40 replies, the half that the reward model likes rated up."""
    rows = [build_row(f"feedback:{number}", f"reply {number} {'x' * (number % 7)}") for number in range(40)]
    turns = [[*row.messages, {"role": "assistant", "content": row.reply}] for row in rows]
    rewards = score_conversations(reward, tokenizer, turns)
    middle = sorted(rewards)[20]
    return [
        replace(row, rating=Rating.UP if value >= middle else Rating.DOWN)
        for row, value in zip(rows, rewards, strict=True)
    ]


class TestRateByReward:
    def test_rates_like_the_ratings_that_it_was_fitted_on(
        self, reward: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
    ) -> None:
        rated = build_ratings(reward, tokenizer)
        unrated = [replace(row, row_id=f"completion:{row.row_id}", rating=None) for row in rated]
        labelled, facts = rate_by_reward(reward, tokenizer, rated, unrated, RECIPE)
        truth = {f"completion:{row.row_id}": row.rating for row in rated}
        assert labelled
        assert all(truth[row.row_id] is row.rating for row in labelled)
        ups = sum(row.rating is Rating.UP for row in labelled)
        assert facts == {"unrated": 40, "calibrated_on": 40, "up": ups, "down": len(labelled) - ups}

    def test_rates_none_where_the_ratings_contradict_it(
        self, reward: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
    ) -> None:
        flip = {Rating.UP: Rating.DOWN, Rating.DOWN: Rating.UP}
        rated = [replace(row, rating=flip[row.rating]) for row in build_ratings(reward, tokenizer) if row.rating]
        labelled, facts = rate_by_reward(reward, tokenizer, rated, [build_row("completion:a", "x")], RECIPE)
        assert labelled == []
        assert "could not be fitted" in facts["reason"]

    def test_leaves_out_what_does_not_fit(self, reward: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        _, facts = rate_by_reward(reward, tokenizer, [], [build_row("completion:a", "x" * 400)], RECIPE)
        assert facts["unrated"] == 0


def build_snapshot(*, pairs: int) -> list[SnapshotRow]:
    rows = [build_row("completion:a", "unrated")]
    for number in range(pairs):
        rows.append(build_row(f"feedback:{2 * number}", f"Good {number}.", Rating.UP))
        rows.append(build_row(f"feedback:{2 * number + 1}", f"Bad {number}.", Rating.DOWN))
    return [SnapshotRow(row=row, split=Split.TRAIN) for row in rows]


def build_training(base_folder: Path, folder: Path, rows: list[SnapshotRow], **fields: object) -> Training:
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(base_folder)
    model = AutoModelForCausalLM.from_pretrained(base_folder, dtype=torch.float32)
    recipe = build_recipe({"method": "sft", "trainable": "full", "max_tokens": 64, "pseudo_labels": 9, **fields})
    sets = build_sets(rows, tokenizer, recipe, Counter())
    return Training(model=model, tokenizer=tokenizer, base=base_folder, sets=sets, recipe=recipe, folder=folder)


class TestBuildSets:
    def test_imitates_no_unrated_reply_by_itself(self, tokenizer: PreTrainedTokenizerBase) -> None:
        sets = build_sets(build_snapshot(pairs=2), tokenizer, build_recipe({"method": "sft"}), Counter())
        assert [row[ROW_IDS] for row in sets.supervised] == [["feedback:0"], ["feedback:2"]]
        assert [row.row_id for row in sets.unrated] == ["completion:a"]

    def test_makes_variants_and_lower_case_where_asked(self, tokenizer: PreTrainedTokenizerBase) -> None:
        wanted = {"method": "sft", "augmented_copies": 4, "lowercase": True}
        sets = build_sets(build_snapshot(pairs=1), tokenizer, build_recipe(wanted), Counter())
        assert [row["completion"][0]["content"] for row in sets.supervised] == ["good 0."] * len(sets.supervised)
        assert len(sets.supervised) - 1 == sum(sets.augmented.values()) > 0
        assert {tuple(row[ROW_IDS]) for row in sets.supervised} == {("feedback:0",)}

    def test_splits_long_replies_to_imitate_unless_they_are_to_be_cut(self, tokenizer: PreTrainedTokenizerBase) -> None:
        row = build_row("feedback:1", "I see what you mean. " * 20, Rating.UP)
        rows = [SnapshotRow(row=row, split=Split.TRAIN)]
        for long_rows, several in (("split", True), ("cut", False)):
            recipe = build_recipe({"method": "sft", "max_tokens": 64, "long_rows": long_rows})
            assert (len(build_sets(rows, tokenizer, recipe, Counter()).supervised) > 1) is several


class TestAddPseudoLabels:
    def test_gives_the_stages_what_the_reward_model_is_sure_of(self, base_folder: Path, tmp_path: Path) -> None:
        rows = build_snapshot(pairs=8)
        rows += [
            SnapshotRow(row=build_row(f"feedback:{100 + n}", f"{word} {n}.", rating), split=Split.DEV)
            for n in range(10)
            for word, rating in (("Good", Rating.UP), ("Bad", Rating.DOWN))
        ]
        rows += [
            SnapshotRow(row=build_row(f"completion:{word}", f"{word} 99."), split=Split.TRAIN)
            for word in ("Good", "Bad")
        ]
        fields = {"method": "kto", "reward_epochs": 8, "reward_learning_rate": 3e-3, "pseudo_label_confidence": 0.6}
        training = build_training(base_folder, tmp_path, rows, **fields)
        labelled, facts = add_pseudo_labels(training)
        new = {row[ROW_IDS][0]: row["label"] for row in labelled.sets.rated[len(training.sets.rated) :]}
        assert new["completion:Good"] is True
        assert new["completion:Bad"] is False
        imitated = [row[ROW_IDS] for row in labelled.sets.supervised[len(training.sets.supervised) :]]
        assert ["completion:Good"] in imitated
        assert ["completion:Bad"] not in imitated
        assert facts["up"] + facts["down"] == len(new)
        assert labelled.reward is not None

    def test_says_why_it_rated_none(self, base_folder: Path, tmp_path: Path) -> None:
        rows = build_snapshot(pairs=1)
        lone, unasked = build_training(base_folder, tmp_path, rows[:2]), build_training(base_folder, tmp_path, rows[1:])
        assert add_pseudo_labels(lone)[1]["reason"] == "There are no pairs that a reward model could learn from."
        assert add_pseudo_labels(unasked)[1]["reason"] == "There is no unrated reply in training."
