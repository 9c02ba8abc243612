"""Slices: where a part of the hold-out got worse with confidence, even though the mean is better."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from data import auc, statistics
from data.arrays import LabelArray
from data.recipe import Margins
from worker.comparison import RATING_AUC, REWARD
from worker.paired_scores import MIN_RATED_OF_A_KIND, PairedScores, RatedScores, select_rows

# With ten conversations the clearest pattern there is, all ten worse, has an exact p of 2^-10: below it, no slice among
# fifty could be told apart from luck at this level.
MIN_CLUSTERS = 10
LEVEL = 0.05  # that any slice is called worse by luck, over all slices and metrics


@dataclass(frozen=True, kw_only=True)
class WorseSlice:
    """A slice that is worse with confidence in one metric.

    Attributes:
        difference: candidate - production, mean over its conversations.
        p: of being worse, before Holm's correction.
    """

    name: str
    metric: str
    difference: float
    clusters: int
    p: float


def find_worse_slices(
    slices: Mapping[str, LabelArray] | None,
    scores: Sequence[PairedScores],
    rated: RatedScores | None,
    margins: Margins,
    *,
    is_head_usable: bool,
) -> tuple[WorseSlice, ...]:
    """The slices that are worse at `LEVEL`, clearest first; one-sided tests with Holm's correction over all of them.

    Worse in reward means below 0; in log-perplexity and rating AUC beyond the margin of the whole hold-out, which a
    slice that holds all rows would otherwise undo. Source: S. Holm, Scandinavian Journal of Statistics 6 (1979) 65-70.
    """
    tested: list[WorseSlice] = []
    for name, row_ids in (slices or {}).items():
        for paired in scores:
            if paired.name == "log_perplexity" or (paired.name == REWARD and is_head_usable):
                tested += _test_scores(name, row_ids, paired, margins)
        if rated is not None:
            tested += _test_ratings(name, row_ids, rated, margins)
    tested.sort(key=lambda item: item.p)
    for position, item in enumerate(tested):
        if item.p > LEVEL / (len(tested) - position):
            return tuple(tested[:position])
    return tuple(tested)


def _test_scores(name: str, row_ids: LabelArray, paired: PairedScores, margins: Margins) -> Iterator[WorseSlice]:
    if paired.row_id is None or paired.find_non_finite():
        return
    rows = select_rows(paired, np.isin(paired.row_id, row_ids))
    differences = statistics.cluster_means(rows.candidate - rows.production, rows.cluster, rows.weight)
    if len(differences) < MIN_CLUSTERS:
        return
    losses = differences if not paired.higher_is_better else -differences
    margin = 0.0 if paired.name == REWARD else margins.log_perplexity
    p = statistics.hall_t_test(losses, -margin)
    yield WorseSlice(
        name=name, metric=paired.name, difference=float(differences.mean()), clusters=len(differences), p=p
    )


def _test_ratings(name: str, row_ids: LabelArray, rated: RatedScores, margins: Margins) -> Iterator[WorseSlice]:
    if rated.row_id is None or rated.find_non_finite():
        return
    rows = select_rows(rated, np.isin(rated.row_id, row_ids))
    up, down, clusters = rows.counts
    if min(up, down) < MIN_RATED_OF_A_KIND or clusters < MIN_CLUSTERS:
        return
    differences = auc.paired_auc_differences(rows.candidate, rows.production, rows.is_up, rows.cluster)
    p = statistics.hall_t_test(-differences, -margins.rating_auc)
    yield WorseSlice(name=name, metric=RATING_AUC, difference=float(differences.mean()), clusters=clusters, p=p)
