"""Candidate against production in one metric: its scores, one gain for each cluster, and their tests."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from data import statistics
from data.errors import RatchetError
from data.recipe import Margins
from data.statistics import BoolArray, FloatArray, LabelArray

MIN_CLUSTERS_TO_REFUSE = 30
MIN_CLUSTERS_THAT_DIFFER = 50  # a few replies that happen to differ are luck: the t is 5 times too liberal on them
MIN_RATED_OF_A_KIND = 10
MIN_RATED_CLUSTERS = 30
POWER = 0.8
RATING_AUC = "rating_auc"
_MAX_NATS = 700.0  # exp of more is no float
_PRIMARY = ("log_perplexity", "rouge_l")  # and the rating AUC where there are enough ratings


class InvalidScores(RatchetError, ValueError):
    """The score table is damaged; evaluate the candidate again."""


@dataclass(frozen=True, eq=False, kw_only=True)
class PairedScores:
    """One metric of both models, one element for each hold-out row.

    Attributes:
        candidate, production: scores; `log_perplexity` in nats per reply token.
        cluster: the conversation of each row.
        weight: weight of a row within its cluster, above 0 (reply tokens for `log_perplexity`).
    """

    name: str
    candidate: FloatArray
    production: FloatArray
    cluster: LabelArray
    weight: FloatArray
    higher_is_better: bool

    def __post_init__(self) -> None:
        """Refuse columns that do not belong together, and weights that no mean can use."""
        _check_lengths(self.name, self.candidate, self.production, self.cluster, self.weight)
        if not (np.isfinite(self.weight) & (self.weight > 0)).all():
            raise InvalidScores(f"A weight of {self.name} is not above 0; evaluate the candidate again.")


@dataclass(frozen=True, eq=False, kw_only=True)
class RatedScores:
    """What both models think of the rated hold-out replies, one element for each reply.

    Attributes:
        candidate, production: log p(reply) - log p(reply under the base), in nats per token.
        is_up: whether the rating is up.
        cluster: the conversation of each reply.
    """

    candidate: FloatArray
    production: FloatArray
    is_up: BoolArray
    cluster: LabelArray

    def __post_init__(self) -> None:
        """Refuse columns that do not belong together."""
        _check_lengths("rating_score", self.candidate, self.production, self.is_up, self.cluster)

    @property
    def counts(self) -> tuple[int, int, int]:
        """Up-rated replies, down-rated replies, and the conversations that they are in."""
        up = int(np.count_nonzero(self.is_up))
        return up, len(self.is_up) - up, len(np.unique(self.cluster))

    @property
    def is_enough(self) -> bool:
        """Whether the rating AUC may be tested."""
        up, down, clusters = self.counts
        return min(up, down) >= MIN_RATED_OF_A_KIND and clusters >= MIN_RATED_CLUSTERS


@dataclass(frozen=True)
class MetricSummary:
    """One metric in numbers; None where a number does not exist or the metric is not tested that way.

    Attributes:
        before, after: production and candidate, mean over conversations; for `log_perplexity` the perplexity,
            exp of the token-weighted mean over all rows.
        difference: candidate - production, mean over conversations; for `log_perplexity` in nats per token.
        low, high: 95 % interval of `difference`, for display only.
        margin: how much worse still counts as no worse, in the unit of `difference`.
        smallest_detectable: the difference that this hold-out shows with 80 % power at the level of its test.
    """

    name: str
    before: float | None
    after: float | None
    difference: float | None
    low: float | None
    high: float | None
    p_noninferior: float | None
    p_superior: float | None
    margin: float | None
    smallest_detectable: float | None


@dataclass(frozen=True, eq=False, kw_only=True)
class Comparison:
    """One metric with its tests; without gains, as where scores are missing or broken, nothing can be shown.

    Attributes:
        gains: one for each cluster, above 0 where the candidate is better.
        sign: 1 where higher is better, else -1; difference = sign * gain.
        before, after: as in `MetricSummary`; not a number where there are no gains.
        broken: whose scores are not finite; empty where all are.
        alpha: the level of this consultation.
        margin: of non-inferiority; None where the metric is not guarded.
        primaries: how many metrics share the level of superiority; 0 where this is none of them.
    """

    name: str
    gains: FloatArray
    sign: int
    before: float
    after: float
    broken: str
    alpha: float
    margin: float | None
    primaries: int

    @property
    def clusters(self) -> int:
        """How many conversations have scores."""
        return len(self.gains)

    @property
    def differing(self) -> int:
        """In how many of them the models differ."""
        return int(np.count_nonzero(self.gains))

    @property
    def level(self) -> float:
        """The level of the test of superiority: an equal share of alpha."""
        return self.alpha / max(1, self.primaries)

    @cached_property
    def p_superior(self) -> float:
        """Of being better; before the correction for several primary metrics."""
        return statistics.hall_t_test(self.gains) if self.differing >= MIN_CLUSTERS_THAT_DIFFER else 1.0

    @cached_property
    def p_noninferior(self) -> float:
        """Of being no worse than by the margin."""
        return statistics.hall_t_test(self.gains, self.margin or 0.0)

    @cached_property
    def p_worse(self) -> float:
        """Of being worse than by the margin."""
        return statistics.hall_t_test(-self.gains, -(self.margin or 0.0))

    @property
    def is_refused(self) -> bool:
        """Broken, or worse beyond the margin with confidence; never where the metric is only summarised."""
        if self.broken:
            return self.margin is not None or self.primaries > 0
        return self.margin is not None and self.clusters >= MIN_CLUSTERS_TO_REFUSE and self.p_worse <= self.alpha

    @cached_property
    def summary(self) -> MetricSummary:
        """The numbers for display."""
        bounds = statistics.interval(self.gains, np.random.default_rng(0))
        low, high = sorted(self.sign * bound for bound in bounds) if bounds else (None, None)
        smallest = statistics.smallest_detectable_difference(self.gains, self.level, POWER)
        return MetricSummary(
            name=self.name,
            before=_finite_or_none(self.before),
            after=_finite_or_none(self.after),
            difference=self.sign * float(self.gains.mean()) if self.clusters else None,
            low=low,
            high=high,
            p_noninferior=None if self.margin is None else self.p_noninferior,
            p_superior=self.p_superior if self.primaries else None,
            margin=self.margin,
            smallest_detectable=_finite_or_none(smallest),
        )


def build_comparisons(
    scores: Sequence[PairedScores], rated: RatedScores | None, margins: Margins, alpha: float
) -> list[Comparison]:
    """The metrics with a margin, the rating AUC where it counts, then those that are only summarised."""
    by_name = {paired.name: paired for paired in scores}
    counted = rated if rated is not None and rated.is_enough else None
    primaries = len(_PRIMARY) + (counted is not None)
    comparisons = []
    for name, margin in dataclasses.asdict(margins).items():
        paired = by_name.pop(name, None) or _build_empty_scores(name)
        shared_by = primaries if name in _PRIMARY else 0
        comparisons.append(_compare(paired, alpha=alpha, margin=margin, primaries=shared_by))
    if counted is not None:
        comparisons.append(_compare_ratings(counted, alpha=alpha, primaries=primaries))
    return comparisons + [_compare(paired, alpha=alpha) for paired in by_name.values()]


def _compare(paired: PairedScores, *, alpha: float, margin: float | None = None, primaries: int = 0) -> Comparison:
    sign = 1 if paired.higher_is_better else -1
    broken = _find_non_finite(paired)
    gains, before, after = np.empty(0), math.nan, math.nan
    if len(paired.candidate) and not broken:
        rows = sign * (paired.candidate - paired.production)
        gains = statistics.cluster_means(rows, paired.cluster, paired.weight)
        before, after = _average(paired, paired.production), _average(paired, paired.candidate)
    return Comparison(
        name=paired.name,
        gains=gains,
        sign=sign,
        before=before,
        after=after,
        broken=broken,
        alpha=alpha,
        margin=margin,
        primaries=primaries,
    )


def _compare_ratings(rated: RatedScores, *, alpha: float, primaries: int) -> Comparison:
    broken = _find_non_finite(rated)
    gains, before, after = np.empty(0), math.nan, math.nan
    if not broken:
        gains = statistics.paired_auc_differences(rated.candidate, rated.production, rated.is_up, rated.cluster)
        before = statistics.rating_auc(rated.production, rated.is_up, rated.cluster)
        after = statistics.rating_auc(rated.candidate, rated.is_up, rated.cluster)
    return Comparison(
        name=RATING_AUC,
        gains=gains,
        sign=1,
        before=before,
        after=after,
        broken=broken,
        alpha=alpha,
        margin=None,
        primaries=primaries,
    )


def _build_empty_scores(name: str) -> PairedScores:
    nothing = np.empty(0)
    return PairedScores(
        name=name,
        candidate=nothing,
        production=nothing,
        cluster=np.empty(0, dtype=str),
        weight=nothing,
        higher_is_better=True,
    )


def _average(paired: PairedScores, values: FloatArray) -> float:
    """What `MetricSummary` calls before and after."""
    if paired.name == "log_perplexity":
        return math.exp(min(np.average(values, weights=paired.weight), _MAX_NATS))
    return float(statistics.cluster_means(values, paired.cluster, paired.weight).mean())


def _find_non_finite(scores: PairedScores | RatedScores) -> str:
    """Whose scores are not finite and in how many rows; empty where all are."""
    for owner, values in (("the candidate", scores.candidate), ("production", scores.production)):
        count = int(np.count_nonzero(~np.isfinite(values)))
        if count:
            return f"{owner} is not a finite number in {count} of {len(values)} rows"
    return ""


def _finite_or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _check_lengths(name: str, *columns: FloatArray | BoolArray | LabelArray) -> None:
    if len({len(column) for column in columns}) > 1:
        raise InvalidScores(f"The columns of {name} have different lengths; evaluate the candidate again.")
