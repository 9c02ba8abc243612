"""Scores of three metrics and of rated replies, with planted gains, and what is done to them, for tests of the gate."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np

from data.arrays import FloatArray
from data.recipe import Margins
from worker.gate import PairedScores, RatedScores

Scores = TypeVar("Scores", PairedScores, RatedScores)

MARGINS = Margins()
LEVELS = {"log_perplexity": 3.4, "rouge_l": 0.14, "bleu": 5.0}
NOISE = {"log_perplexity": 0.03, "rouge_l": 0.03, "bleu": 1.0}  # standard deviation of a difference


def build_labels(clusters: int, rows_each: int = 1) -> Any:
    return np.repeat(np.arange(clusters), rows_each).astype(np.str_)


def build_paired(name: str, gains: FloatArray, rows_each: int = 1, **changes: Any) -> PairedScores:
    """Scores of production around the level of the metric, and of a candidate that is better by `gains`."""
    higher_is_better = name != "log_perplexity"
    production = LEVELS.get(name, 1.0) + 0.1 * np.sin(np.arange(len(gains)))
    scores = PairedScores(
        name=name,
        candidate=production + gains if higher_is_better else production - gains,
        production=production,
        cluster=build_labels(len(gains) // rows_each, rows_each),
        weight=np.ones(len(gains)),
        higher_is_better=higher_is_better,
    )
    return dataclasses.replace(scores, **changes)


def build_scores(seed: int = 0, clusters: int = 120, rows_each: int = 1, **effects: float) -> list[PairedScores]:
    """The guarded metrics with noise; `effects` are mean gains, 0 where left out."""
    generator = np.random.default_rng(seed)
    return [
        build_paired(name, effects.get(name, 0.0) + generator.normal(0, sd, clusters * rows_each), rows_each)
        for name, sd in NOISE.items()
    ]


def build_rated(seed: int = 0, replies: int = 80, effect: float = 0.0, ups: int | None = None) -> RatedScores:
    """Rated replies, each in its own conversation; the candidate ranks up above down by `effect` more."""
    generator = np.random.default_rng(seed)
    is_up = np.arange(replies) < (replies // 2 if ups is None else ups)
    quality = generator.normal(size=replies) + 0.4 * is_up
    return RatedScores(
        candidate=quality + generator.normal(0, 0.4, replies) + effect * is_up,
        production=quality + generator.normal(0, 0.4, replies),
        is_up=is_up,
        cluster=build_labels(replies),
    )


def swap(scores: Scores) -> Scores:
    return dataclasses.replace(scores, candidate=scores.production, production=scores.candidate)


def repeat_rows(scores: Scores, clusters: Sequence[str], copies: int) -> Scores:
    """The scores with every row of some clusters `copies` times."""
    index = np.repeat(np.arange(len(scores.cluster)), np.where(np.isin(scores.cluster, clusters), copies, 1))
    columns: dict[str, Any] = {field.name: getattr(scores, field.name) for field in dataclasses.fields(scores)}
    repeated: dict[str, Any] = {
        name: column[index] for name, column in columns.items() if isinstance(column, np.ndarray)
    }
    return dataclasses.replace(scores, **repeated)
