"""Unrated replies rated by the reward model (data/pseudo_labels.py says how sure it must be)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from data.pseudo_labels import MIN_RATED, fit_calibration, rate_unrated
from data.recipe import Recipe
from data.vocabulary import PoolRow, Rating
from trainer.reward import score_conversations
from trainer.rows import fit_row


def rate_by_reward(
    reward: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rated: Sequence[PoolRow],
    unrated: Sequence[PoolRow],
    recipe: Recipe,
) -> tuple[list[PoolRow], dict[str, Any]]:
    """The unrated rows that the reward model is sure of, with their ratings, and what the report tells of it.

    `rated` are rated replies that the reward model has not learned from: what certainty means is fitted on them. Facts:
    `unrated` (rows that were scored), `calibrated_on` (rated rows), `up`, `down`, and `reason` where none was rated.
    """
    known, rewards = _score(reward, tokenizer, rated, recipe)
    asked, open_rewards = _score(reward, tokenizer, unrated, recipe)
    facts: dict[str, Any] = {"unrated": len(asked), "calibrated_on": len(known), "up": 0, "down": 0}
    calibration = fit_calibration(rewards, [row.rating is Rating.UP for row in known])
    if calibration is None:
        return [], facts | {
            "reason": "What the reward model is sure of could not be fitted: it takes dev replies that it ranks better "
            f"than chance, at least {MIN_RATED} rated up and {MIN_RATED} down."
        }
    labelled = rate_unrated(asked, open_rewards, calibration, recipe.pseudo_label_confidence)
    ups = sum(row.rating is Rating.UP for row in labelled)
    return labelled, facts | {"up": ups, "down": len(labelled) - ups}


def _score(
    reward: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, rows: Sequence[PoolRow], recipe: Recipe
) -> tuple[list[PoolRow], list[float]]:
    """The rows that fit, and their rewards."""
    fitted = [(row, fit_row(row, tokenizer, recipe.max_tokens, Counter())) for row in rows]
    pairs = [(row, [*fit[0], {"role": "assistant", "content": fit[1]}]) for row, fit in fitted if fit]
    rewards = score_conversations(reward, tokenizer, [turns for _, turns in pairs], recipe.batch_size)
    return [row for row, _ in pairs], rewards
