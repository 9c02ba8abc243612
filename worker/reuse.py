"""The reuse guard: whether the hold-out rows that chose production may be used again for this candidate.

Given that production won on these rows, the statistic of a candidate is shifted by a positive multiple of the
correlation over rows of (candidate - production) with (production - its predecessor). At or below 0 reuse is
conservative; above it the luck that promoted production would be counted a second time. Then only conversations that
came after that promotion count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data import statistics
from data.arrays import LabelArray
from worker.evidence import Evidence
from worker.paired_scores import PairedScores, RatedScores, select_rows

MAX_CORRELATION = 0.05
MIN_FRESH_CLUSTERS = 200
_MEASURED_IN = ("log_perplexity", "reward")


@dataclass(frozen=True, eq=False, kw_only=True)
class Reuse:
    """The scores that may be used, and why.

    Attributes:
        correlation: the largest over the metrics that it is measured in; None without a predecessor.
        is_guarded: only conversations newer than the promotion of production are in `scores` and `rated`.
        fresh_clusters: how many these are; None where all count.
    """

    scores: Sequence[PairedScores]
    rated: RatedScores | None
    correlation: float | None
    is_guarded: bool
    fresh_clusters: int | None

    @property
    def is_enough(self) -> bool:
        """Whether there is enough to promote by."""
        return self.fresh_clusters is None or self.fresh_clusters >= MIN_FRESH_CLUSTERS


def guard_reuse(scores: Sequence[PairedScores], rated: RatedScores | None, evidence: Evidence) -> Reuse:
    """All scores, or only those of fresh conversations where the guard fires."""
    correlation = _correlate(scores)
    if not evidence.is_continued and (correlation is None or correlation <= MAX_CORRELATION):
        return Reuse(scores=scores, rated=rated, correlation=correlation, is_guarded=False, fresh_clusters=None)
    fresh = _find_fresh(scores, rated, evidence.promoted_at_s)
    kept = [select_rows(paired, np.isin(paired.cluster, fresh)) for paired in scores]
    ratings = None if rated is None else select_rows(rated, np.isin(rated.cluster, fresh))
    return Reuse(
        scores=kept,
        rated=ratings if ratings is not None and len(ratings.cluster) else None,
        correlation=correlation,
        is_guarded=True,
        fresh_clusters=len(fresh),
    )


def _correlate(scores: Sequence[PairedScores]) -> float | None:
    found = []
    for paired in scores:
        if paired.name not in _MEASURED_IN or paired.previous is None:
            continue
        known = np.isfinite(paired.candidate) & np.isfinite(paired.production) & np.isfinite(paired.previous)
        now = (paired.candidate - paired.production)[known]
        before = (paired.production - paired.previous)[known]
        found.append(statistics.correlation(now, before))
    return max(found, default=None)


def _find_fresh(scores: Sequence[PairedScores], rated: RatedScores | None, promoted_at_s: float | None) -> LabelArray:
    """The conversations of which every row is known to be newer; one without a time is old."""
    tables = [*scores, *([] if rated is None else [rated])]
    timed = [(table.cluster, table.created_at_s) for table in tables if table.created_at_s is not None]
    if promoted_at_s is None or not timed:
        return np.empty(0, dtype=str)
    clusters = np.concatenate([cluster for cluster, _ in timed])
    is_new = np.concatenate([times for _, times in timed]) > promoted_at_s
    return np.setdiff1d(clusters[is_new], clusters[~is_new])
