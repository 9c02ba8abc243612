"""Recorded score tables, resampled: where the benchmark of the gate takes its numbers from."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from data.arrays import FloatArray
from data.statistics import cluster_means
from worker.paired_scores import PairedScores
from worker.scores import load_scores

COMMITTED = Path(__file__).with_name("score_tables")  # metrics of two real runs: numbers only, no text, no names
METRICS = ("log_perplexity", "rouge_l", "bleu", "chrf", "reply_words")


@dataclass(frozen=True, eq=False)
class Recorded:
    """Cluster means of one recorded run: clusters x metrics.

    Attributes:
        production: level of production.
        change: candidate - production, centred, so that it is what equal models differ by, skew and all.
    """

    production: FloatArray
    change: FloatArray


def load_recorded(files: Sequence[Path]) -> list[Recorded]:
    """The tables given, else the committed ones."""
    found = []
    for file in files or sorted(COMMITTED.glob("*.parquet")):
        by_name = {paired.name: paired for paired in load_scores(file)[0]}
        columns = [by_name[name] for name in METRICS]
        production = np.column_stack([cluster_means(p.production, p.cluster, p.weight) for p in columns])
        candidate = np.column_stack([cluster_means(p.candidate, p.cluster, p.weight) for p in columns])
        change = candidate - production
        found.append(Recorded(production, change - change.mean(axis=0)))
    return found


def draw_table(
    recorded: Recorded, clusters: int, generator: np.random.Generator, lift: FloatArray
) -> list[PairedScores]:
    """A hold-out of `clusters` conversations drawn with replacement; `lift` is added to candidate - production."""
    picked = generator.integers(len(recorded.change), size=clusters)
    ids = np.arange(clusters).astype(np.str_)
    table = []
    for position, name in enumerate(METRICS):
        production = recorded.production[picked, position]
        table.append(
            PairedScores(
                name=name,
                candidate=production + recorded.change[picked, position] + lift[position],
                production=production,
                cluster=ids,
                weight=np.ones(clusters),
                higher_is_better=name != "log_perplexity",
            )
        )
    return table


def repeat_rows(table: Sequence[PairedScores], copies: int) -> list[PairedScores]:
    """Every row `copies` times inside its conversation."""
    return [
        dataclasses.replace(
            paired,
            **{n: np.repeat(getattr(paired, n), copies) for n in ("candidate", "production", "cluster", "weight")},
        )
        for paired in table
    ]


def hall_t_tests(gains: FloatArray, margin: float = 0.0) -> NDArray[np.float64]:
    """`data.statistics.hall_t_test` of each row at once: lives x clusters -> lives."""
    n = gains.shape[1]
    mean, sd = gains.mean(axis=1), gains.std(axis=1, ddof=1)
    skew = (((gains - mean[:, None]) / sd[:, None]) ** 3).mean(axis=1)
    u = (mean + margin) / sd
    t = np.sqrt(n) * (u + skew * u**2 / 3 + skew**2 * u**3 / 27) + skew / (6 * np.sqrt(n))
    return np.asarray(stats.t.sf(t, n - 1), dtype=np.float64)
