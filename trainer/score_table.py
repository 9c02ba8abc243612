"""The score table: long format, a line for each metric and hold-out row, all models beside each other.

Columns: metric, row_id, cluster, weight, is_up, candidate, production, anchor, previous, rater, created_at_s and
reference. `weight` is the reply's tokens for `log_perplexity`, else 1. `is_up` is of `rating_score` rows. `rater` is
who rated, or whose correction or liked reply is the reference; empty for experts' references, who are chosen people.
`anchor` and `previous` are not a number where there is no such model or it was not asked. `reference` is what the
references have, for `reply_words` alone, and not a number where none was written to be imitated. Units are in
`METRICS`.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from data.vocabulary import PoolRow, Rating, RowKind
from trainer.answers import Answers
from trainer.holdout import Holdout
from trainer.measures import CORPUS_METRICS, REPLY_METRICS, FloatArray

LOG_PERPLEXITY, REWARD, RATING_SCORE, REPLY_WORDS = "log_perplexity", "reward", "rating_score", "reply_words"
METRICS = {
    REWARD: "P(up) of a fresh reply by the reward head, 0 to 1",
    LOG_PERPLEXITY: "nats per token: mean of -log p over the tokens of the reference reply",
    **dict.fromkeys(("rouge_1", "rouge_2", "rouge_l"), "F1, 0 to 1"),
    **dict.fromkeys(("bleu", "chrf", "corpus_bleu"), "0 to 100"),
    **dict.fromkeys(("distinct_1", "distinct_2", "repetition"), "share, 0 to 1"),
    REPLY_WORDS: "words",
    "filtered": "1 where the output filter stops the reply, else 0",
    RATING_SCORE: "nats per token above the base model",
}
ROLES = ("candidate", "production", "anchor", "previous")

Reading = dict[str, FloatArray]  # a metric's numbers of one model, in the order of the metric's rows


@dataclass(frozen=True)
class _Rows:
    """What the lines of a metric stand for."""

    row_ids: list[str]
    clusters: list[str]
    created_at_s: list[float]
    raters: list[str | None]

    @classmethod
    def of(cls, rows: Sequence[PoolRow]) -> _Rows:
        times, raters = [r.created_at_s for r in rows], [_find_author(r) for r in rows]
        return cls([r.row_id for r in rows], [r.cluster for r in rows], times, raters)

    @classmethod
    def of_prompts(cls, rows: Sequence[PoolRow]) -> _Rows:
        """Of rows whose prompt alone counts: whose thumb it had is in the reward head."""
        return replace(cls.of(rows), raters=[None] * len(rows))

    @classmethod
    def of_clusters(cls, rows: Sequence[PoolRow]) -> _Rows:
        """The first row of each cluster, in the order of the sorted labels; its time is that of the newest row."""
        first = {row.cluster: row for row in reversed(rows)}
        newest: dict[str, float] = {}
        raters: defaultdict[str, set[str | None]] = defaultdict(set)
        for row in rows:
            newest[row.cluster] = max(newest.get(row.cluster, row.created_at_s), row.created_at_s)
            raters[row.cluster].add(_find_author(row))
        labels = np.unique(np.array([row.cluster for row in rows], dtype=str)).tolist()
        own = [next(iter(raters[label])) if len(raters[label]) == 1 else None for label in labels]
        return cls([first[label].row_id for label in labels], labels, [newest[label] for label in labels], own)


def build_score_table(holdout: Holdout, prompts: Sequence[PoolRow], readings: Mapping[str, Reading]) -> pd.DataFrame:
    """The table of all models that were read.

    Args:
        prompts: rows whose prompt was answered anew for `reward`.
        readings: by role; candidate and production must be there, and have every metric.
    """
    references, clusters = _Rows.of(holdout.references), _Rows.of_clusters(holdout.references)
    tokens = readings["candidate"]["tokens"].tolist()
    tables = [_build(REWARD, _Rows.of_prompts(prompts), readings)] if REWARD in readings["candidate"] else []
    tables.append(_build(LOG_PERPLEXITY, references, readings, tokens))
    tables.extend(_build(name, references, readings) for name in REPLY_METRICS)
    tables.extend(_build(name, clusters, readings) for name in CORPUS_METRICS)
    rated = _build(RATING_SCORE, _Rows.of(holdout.rated), readings)
    rated["is_up"] = pd.array([row.rating is Rating.UP for row in holdout.rated], dtype="boolean")
    rated["rater"] = pd.array([row.rater for row in holdout.rated], dtype="string")
    table = pd.concat([*tables, rated], ignore_index=True)
    table["reference"] = np.nan
    table.loc[table["metric"] == REPLY_WORDS, "reference"] = _measure_references(holdout)
    return table


def read_scores(answers: Answers, base: Answers | None) -> dict[str, FloatArray]:
    """Numbers from the log-probabilities of given replies: `log_perplexity`, `tokens`, and `rating_score` over a base.

    Without subtracting the base's mean log p, common text would get the best rating score.
    """
    found = answers.reference_log_probabilities
    scores = {
        LOG_PERPLEXITY: np.array([-float(values.mean()) for values in found]),
        "tokens": np.array([float(len(values)) for values in found]),
    }
    if base is not None:
        pairs = zip(answers.rated_log_probabilities, base.rated_log_probabilities, strict=True)
        scores[RATING_SCORE] = np.array([float(own.mean() - other.mean()) for own, other in pairs])
    return scores


def _find_author(row: PoolRow) -> str | None:
    """Whose row it is; None where nobody rated it, or an expert did."""
    return None if row.is_expert else row.rater


def _measure_references(holdout: Holdout) -> FloatArray:
    """Words of the replies that were written to be imitated; served ones that stand in for them set no length."""
    return np.array(
        [math.nan if row.kind is RowKind.REPLY else float(len(row.reply.split())) for row in holdout.references]
    )


def save_table(table: pd.DataFrame, path: Path) -> None:
    """Write a table as Parquet."""
    table.to_parquet(path, index=False)


def _build(
    metric: str, rows: _Rows, readings: Mapping[str, Reading], weights: list[float] | None = None
) -> pd.DataFrame:
    count = len(rows.row_ids)
    columns = {
        "metric": [metric] * count,
        "row_id": rows.row_ids,
        "cluster": rows.clusters,
        "weight": weights or [1.0] * count,
        "is_up": pd.array([None] * count, dtype="boolean"),
        **{role: _find_numbers(readings.get(role), metric, count) for role in ROLES},
        "rater": pd.array(rows.raters, dtype="string"),
        "created_at_s": rows.created_at_s,
    }
    return pd.DataFrame(columns)


def _find_numbers(reading: Reading | None, metric: str, count: int) -> FloatArray:
    return np.full(count, np.nan) if reading is None or metric not in reading else reading[metric]
