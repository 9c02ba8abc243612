"""What the report shows of a score table: each metric before and after, the difference, and how sure it is."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from data.arrays import FloatArray
from data.auc import paired_auc_differences, rating_auc
from data.recipe import Margins, measure_length_room
from data.statistics import cluster_means, interval
from trainer.evaluation import Evaluation
from trainer.score_table import LOG_PERPLEXITY, RATING_SCORE, REPLY_WORDS, REWARD

SAMPLES = 8  # prompts shown side by side
# Those that decide, or that may not get worse; the others are shown further down.
DECIDING = frozenset(
    {
        *(REWARD, "perplexity", "rating_auc"),
        *("rouge_l", "bleu", "chrf", "distinct_2", "repetition", "reply_words", "filtered"),
    }
)

# name in the score table -> title, meaning, and whether more is better (None: neither), in the order of the page
_METRICS: dict[str, tuple[str, str, bool | None]] = {
    REWARD: ("Chance of a thumb up", "of a fresh reply, by a head fitted on held-out ratings, 0 to 1", True),
    LOG_PERPLEXITY: ("Perplexity", "surprise at the held-out replies, lower is better; difference in nats", False),
    "rouge_l": ("ROUGE-L", "overlap with the held-out replies, 0 to 1", True),
    "bleu": ("BLEU", "word runs shared with the held-out replies, 0 to 100", True),
    "chrf": ("chrF", "character runs shared with the held-out replies, 0 to 100", True),
    "rating_auc": ("Rating AUC", "chance that a held-out up-rated reply scores above a down-rated one", True),
    "distinct_2": ("Distinct-2", "share of different word pairs over all replies; low means all alike", True),
    "repetition": ("Repetition", "share of word runs that a reply has said before, 0 to 1", False),
    "reply_words": ("Words in a reply", "mean length", None),
    "filtered": ("Stopped by the filter", "share of replies that the output filter ends, 0 to 1", False),
    "rouge_1": ("ROUGE-1", "words shared with the held-out replies, 0 to 1", True),
    "rouge_2": ("ROUGE-2", "word pairs shared with the held-out replies, 0 to 1", True),
    "corpus_bleu": ("Corpus BLEU", "word runs shared, counted over all replies together, 0 to 100", True),
    "distinct_1": ("Distinct-1", "share of different words over all replies", True),
}
_CORPUS = "; corrected for bias by the jackknife"


def describe_evaluation(evaluation: Evaluation, margins: Margins) -> dict[str, Any]:
    """The report's part that the hold-out gives."""
    table = evaluation.table
    return {
        "metrics": summarise_metrics(table, margins),
        "win_rate": count_wins(table),
        "samples": select_samples(evaluation),
        "scored_through_trunk": {
            "candidate": evaluation.candidate.is_scored_through_trunk,
            "production": evaluation.production.is_scored_through_trunk,
        },
        **evaluation.facts,
    }


def summarise_metrics(table: pd.DataFrame, margins: Margins) -> dict[str, dict[str, Any]]:
    """Before, after, difference and 95 % interval of each metric; intervals are over conversations, for display.

    Perplexity is shown as exp of the token-weighted mean, its difference and interval in nats per token. `margin` is
    how much worse still counts as no worse (of a length, how much shorter), in the unit of the difference; None where
    the recipe has none.
    """
    limits = dataclasses.asdict(margins)
    metrics: dict[str, dict[str, Any]] = {}
    for name in _METRICS:
        rows = table[table["metric"] == (RATING_SCORE if name == "rating_auc" else name)]
        if rows.empty or (name == "rating_auc" and rows["is_up"].nunique() < 2):
            continue
        found = _summarise_auc(rows) if name == "rating_auc" else _summarise(name, rows)
        limit = limits.get(name)
        if limit is not None and name == REPLY_WORDS:
            words = float(rows["reference"].mean())  # not a number where the references set no length
            limit, _ = measure_length_room(limit, found["before"], None if math.isnan(words) else words)
        metrics["perplexity" if name == LOG_PERPLEXITY else name] = found | {"margin": limit}
    return metrics


def count_wins(table: pd.DataFrame) -> dict[str, Any] | None:
    """In how many conversations the candidate's fresh replies have the better chance of a thumb up; None without.

    `rate` is the share of wins among conversations that differ, `low` and `high` its exact 95 % interval (Clopper and
    Pearson 1934).
    """
    rows = table[table["metric"] == REWARD]
    if rows.empty:
        return None
    gains = _gains(rows)
    wins, losses = int((gains > 0).sum()), int((gains < 0).sum())
    counts = {"wins": wins, "losses": losses, "ties": len(gains) - wins - losses}
    if wins + losses == 0:
        return counts | {"rate": None, "low": None, "high": None}
    bounds = stats.binomtest(wins, wins + losses).proportion_ci(0.95, method="exact")
    return counts | {"rate": wins / (wins + losses), "low": float(bounds.low), "high": float(bounds.high)}


def select_samples(evaluation: Evaluation) -> list[dict[str, str]]:
    """The first few hold-out prompts with both replies."""
    replies = (evaluation.production.replies, evaluation.candidate.replies)
    rows = zip(evaluation.holdout.references, *replies, strict=True)
    return [{"context": row.context, "before": before, "after": after} for row, before, after in rows][:SAMPLES]


def _summarise(name: str, rows: pd.DataFrame) -> dict[str, Any]:
    weights = rows["weight"].to_numpy(dtype=float)
    before, after = (float(np.average(rows[column], weights=weights)) for column in ("production", "candidate"))
    if name == LOG_PERPLEXITY:
        before, after = float(np.exp(before)), float(np.exp(after))
    return _describe(name, before, after, _gains(rows))


def _gains(rows: pd.DataFrame) -> FloatArray:
    return cluster_means(
        (rows["candidate"] - rows["production"]).to_numpy(dtype=float),
        rows["cluster"].to_numpy(dtype=str),
        rows["weight"].to_numpy(dtype=float),
    )


def _describe(name: str, before: float, after: float, differences: FloatArray) -> dict[str, Any]:
    title, meaning, higher_is_better = _METRICS[name]
    low, high = interval(differences, np.random.default_rng(0)) or (None, None)
    return {
        "title": title,
        "meaning": meaning + _CORPUS * (name in ("corpus_bleu", "distinct_1", "distinct_2")),
        "higher_is_better": higher_is_better,
        "before": before,
        "after": after,
        "difference": float(differences.mean()),
        "low": low,
        "high": high,
    }


def _summarise_auc(rated: pd.DataFrame) -> dict[str, Any]:
    candidate, production = (rated[column].to_numpy(dtype=float) for column in ("candidate", "production"))
    is_up, clusters = rated["is_up"].to_numpy(dtype=bool), rated["cluster"].to_numpy(dtype=str)
    differences = paired_auc_differences(candidate, production, is_up, clusters)
    before, after = rating_auc(production, is_up, clusters), rating_auc(candidate, is_up, clusters)
    return _describe("rating_auc", before, after, differences)
