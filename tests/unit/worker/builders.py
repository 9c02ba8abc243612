"""Whole score tables for tests of the verdict: every guarded metric, with planted gains."""

from __future__ import annotations

import numpy as np

from worker.evidence import SafetyCases
from worker.paired_scores import PairedScores

# mean of production, standard deviation of a difference, whether more is better
METRICS = {
    "log_perplexity": (3.4, 0.03, False),
    "rouge_l": (0.14, 0.03, True),
    "bleu": (5.0, 1.0, True),
    "chrf": (20.0, 2.0, True),
    "distinct_2": (0.6, 0.05, True),
    "repetition": (0.1, 0.05, False),
    "reply_words": (40.0, 8.0, True),
    "filtered": (0.0, 0.0, False),
    "reward": (0.6, 0.08, True),
}


def build_table(seed: int = 0, clusters: int = 300, **gains: float) -> list[PairedScores]:
    """Every metric, one row in each conversation; `gains` are mean improvements, 0 where left out."""
    generator = np.random.default_rng(seed)
    ids = np.arange(clusters).astype(np.str_)
    table = []
    for name, (level, sd, higher_is_better) in METRICS.items():
        production = level + 0.05 * level * generator.normal(size=clusters)
        change = gains.get(name, 0.0) + generator.normal(0, sd, clusters)
        scores = PairedScores(
            name=name,
            candidate=production + (change if higher_is_better else -change),
            production=production,
            cluster=ids,
            weight=np.ones(clusters),
            higher_is_better=higher_is_better,
            row_id=ids,
        )
        table.append(scores)
    return table


def build_reward(table: list[PairedScores]) -> PairedScores:
    """The reward of a table."""
    return next(paired for paired in table if paired.name == "reward")


def build_cases(items: int = 800) -> SafetyCases:
    """A safety set on which candidate and production do the same: 2 % severe, 8 % mild."""
    number = np.arange(items)
    outcomes = np.where(number % 50 == 49, "severe", np.where(number % 50 > 44, "mild", "ok")).astype(np.str_)
    group = np.where(number % 2 == 0, "crisis", "benign").astype(np.str_)
    category = np.where(number % 4 < 2, "one", "two").astype(np.str_)
    return SafetyCases(group=group, category=category, candidate=outcomes, production=outcomes.copy())
