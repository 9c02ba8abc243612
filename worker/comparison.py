"""Candidate against production and the anchor in one metric: one gain for each cluster, and their tests.

Every cluster has the same weight, so with the 100 that a promotion takes none holds more than 1 % of a test.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import stats

from data import auc, statistics
from data.arrays import FloatArray
from data.holdout import MIN_CLUSTERS_TO_DECIDE
from data.recipe import Margins, measure_length_room
from worker.paired_scores import PairedScores, RatedScores, build_empty_scores, select_rows
from worker.rooms import RareRoom, Room

MIN_CLUSTERS_TO_REFUSE = 30
MIN_CLUSTERS_THAT_DIFFER = 50  # a few replies that happen to differ are luck: the t is 5 times too liberal on them
POWER = 0.8
RATING_AUC = "rating_auc"
REWARD = "reward"
FILTERED = "filtered"
CORE = ("log_perplexity", "rouge_l", "bleu")  # guarded even in tables from before the others were measured
BALANCED_LEVEL = 0.01  # of non-inferiority in the mode `balanced`
_LENGTH = "reply_words"  # its margin is a share of the mean, and neither direction is better
_MAX_NATS = 700.0  # exp of more is no float
_WEIGHTS_WITH_REWARD = {REWARD: 0.8, "log_perplexity": 0.1, "rouge_l": 0.1}
_WEIGHTS_WITHOUT = {"log_perplexity": 0.5, "rouge_l": 0.5}


@dataclass(frozen=True, kw_only=True)
class Levels:
    """At which levels a decision tests.

    Attributes:
        alpha: what this consultation may spend; of superiority and safety.
        noninferiority: of every guarded metric: `alpha`, or `BALANCED_LEVEL` where the mode is `balanced`.
    """

    alpha: float
    noninferiority: float

    def scale(self, p_noninferior: float) -> float:
        """A p of non-inferiority as if it were tested at `alpha` like all others, so that there is one p for all."""
        return min(1.0, p_noninferior * self.alpha / self.noninferiority)


@dataclass(frozen=True)
class MetricSummary:
    """One metric in numbers; None where a number does not exist or the metric is not tested that way.

    Attributes:
        before, after: production and candidate, mean over conversations; for `log_perplexity` the perplexity,
            exp of the token-weighted mean over all rows.
        difference: candidate - production, mean over conversations; for `log_perplexity` in nats per token.
        low, high: 95 % interval of `difference`, for display only.
        margin: how much worse still counts as no worse, in the unit of `difference`.
        smallest_detectable: the difference that this hold-out shows with 80 % power at the level of its test; for
            `reward` that of the win rate from one half.
        wins, losses: conversations in which the candidate scores higher and lower; for `reward` only.
        against_anchor: candidate - anchor, and p_noninferior_anchor its p; None without an anchor.
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
    wins: int | None = None
    losses: int | None = None
    against_anchor: float | None = None
    p_noninferior_anchor: float | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class Comparison:
    """One metric with its tests; without gains, as where scores are missing or broken, nothing can be shown.

    Attributes:
        gains: one for each cluster, above 0 where the candidate is better than production.
        sign: 1 where higher is better, else -1; difference = sign * gain.
        before, after: as in `MetricSummary`; not a number where there are no gains.
        broken: whose scores are not finite; empty where all are.
        levels: of this consultation.
        room: of non-inferiority; None where the metric is not guarded.
        weight: its share of alpha in the test of superiority; 0 where it takes no part.
        anchor_gains, anchor_room: the same against the anchor; None where there is none.
        is_needed: whether a promotion takes the proof that it is no worse; else it can only refuse.
    """

    name: str
    gains: FloatArray
    sign: int
    before: float
    after: float
    broken: str
    levels: Levels
    room: Room | None = None
    weight: float = 0.0
    anchor_gains: FloatArray | None = None
    anchor_room: Room | None = None
    is_needed: bool = True

    @property
    def clusters(self) -> int:
        """How many conversations have scores."""
        return len(self.gains)

    @property
    def differing(self) -> int:
        """In how many of them the models differ."""
        return int(np.count_nonzero(self.gains))

    @property
    def wins(self) -> int:
        """In how many of them the candidate is better."""
        return int(np.count_nonzero(self.gains > 0))

    @property
    def level(self) -> float:
        """The level of the test of superiority: its share of alpha."""
        return self.levels.alpha * (self.weight or 1.0)

    @cached_property
    def p_superior(self) -> float:
        """Of being better, before the correction for several primary metrics: of the win rate for the reward."""
        if self.name == REWARD:
            return statistics.sign_test(self.wins, self.differing - self.wins)
        return statistics.hall_t_test(self.gains) if self.differing >= MIN_CLUSTERS_THAT_DIFFER else 1.0

    @property
    def margin(self) -> float | None:
        """Of non-inferiority, on the side where the candidate is; None where the metric is not guarded."""
        return None if self.room is None else self.room.get_margin(self.gains)

    @property
    def anchor_margin(self) -> float | None:
        """The same against the anchor."""
        if self.anchor_room is None or self.anchor_gains is None:
            return None
        return self.anchor_room.get_margin(self.anchor_gains)

    @cached_property
    def p_noninferior(self) -> float:
        """Of being no worse than production by the margin."""
        return (self.room or Room(0.0)).test_inside(self.gains)

    @cached_property
    def p_noninferior_anchor(self) -> float:
        """Of being no worse than the anchor by the margin; 0 where there is no anchor."""
        return 0.0 if self.anchor_gains is None else (self.anchor_room or Room(0.0)).test_inside(self.anchor_gains)

    @cached_property
    def p_worse(self) -> float:
        """Of being worse than production by more than the margin."""
        return (self.room or Room(0.0)).test_outside(self.gains)

    @cached_property
    def p_worse_anchor(self) -> float:
        """Of being worse than the anchor by more than the margin; 1 where there is no anchor."""
        return 1.0 if self.anchor_gains is None else (self.anchor_room or Room(0.0)).test_outside(self.anchor_gains)

    @property
    def is_only_counted(self) -> bool:
        """Whether the conversations are too few to show a margin of what hardly ever happens."""
        return isinstance(self.room, RareRoom) and not self.room.can_show(self.gains)

    @property
    def is_refused(self) -> bool:
        """Broken, or worse beyond the margin with confidence; never where the metric is only summarised."""
        if self.broken:
            return self.margin is not None or self.weight > 0
        if self.margin is None or self.clusters < MIN_CLUSTERS_TO_REFUSE:
            return False
        return min(self.p_worse, self.p_worse_anchor) <= self.levels.alpha

    @property
    def is_unproven(self) -> bool:
        """Whether a promotion takes the proof that it is no worse, and there is none."""
        p = max(self.p_noninferior, self.p_noninferior_anchor)
        return self.margin is not None and self.is_needed and p > self.levels.noninferiority

    @property
    def is_better(self) -> bool:
        """Shown to be better, with no anchor beside production: that it is no worse goes without saying."""
        return self.weight > 0 and self.anchor_gains is None and self.p_superior <= self.level

    @cached_property
    def summary(self) -> MetricSummary:
        """The numbers for display."""
        bounds = statistics.interval(self.gains, np.random.default_rng(0))
        low, high = sorted(self.sign * bound for bound in bounds) if bounds else (None, None)
        is_reward, anchor = self.name == REWARD, self.anchor_gains
        return MetricSummary(
            name=self.name,
            before=_finite_or_none(self.before),
            after=_finite_or_none(self.after),
            difference=self.sign * float(self.gains.mean()) if self.clusters else None,
            low=low,
            high=high,
            p_noninferior=None if self.margin is None else self.p_noninferior,
            p_superior=self.p_superior if self.weight else None,
            margin=self.margin,
            smallest_detectable=_finite_or_none(self._find_smallest_detectable()),
            wins=self.wins if is_reward else None,
            losses=self.differing - self.wins if is_reward else None,
            against_anchor=None if anchor is None else self.sign * float(anchor.mean()),
            p_noninferior_anchor=None if anchor is None or self.margin is None else self.p_noninferior_anchor,
        )

    def _find_smallest_detectable(self) -> float:
        if self.name != REWARD:
            return statistics.smallest_detectable_difference(self.gains, self.level, POWER)
        if not self.differing:
            return math.inf
        return float((stats.norm.isf(self.level) + stats.norm.ppf(POWER)) * 0.5 / math.sqrt(self.differing))


def build_comparisons(
    scores: Sequence[PairedScores],
    rated: RatedScores | None,
    margins: Margins,
    levels: Levels,
    *,
    is_complete: bool = False,
    is_head_usable: bool = False,
) -> list[Comparison]:
    """The metrics with a margin, the rating AUC where it counts, then the others.

    Args:
        is_complete: the trainer measures every guarded metric, so that a missing one prevents promotion; without it
            only the metrics `CORE` must be there.
        is_head_usable: the reward may be what the candidate has to be better in.
    """
    by_name = {paired.name: paired for paired in scores}
    weights = _WEIGHTS_WITH_REWARD if is_head_usable and REWARD in by_name else _WEIGHTS_WITHOUT
    comparisons = []
    for name, margin in dataclasses.asdict(margins).items():
        if name == RATING_AUC or (name not in by_name and name not in CORE and not is_complete):
            continue
        paired = by_name.pop(name, None) or build_empty_scores(name)
        comparisons.append(_compare(paired, levels=levels, margin=margin, weight=weights.get(name, 0.0)))
    if rated is not None and rated.is_enough:
        comparisons.append(_compare_ratings(rated, margins.rating_auc, levels))
    for paired in by_name.values():
        comparisons.append(_compare(paired, levels=levels, weight=weights.get(paired.name, 0.0)))
    return comparisons


def _compare(paired: PairedScores, *, levels: Levels, margin: float | None = None, weight: float = 0.0) -> Comparison:
    sign = 1 if paired.higher_is_better else -1
    broken = paired.find_non_finite()
    has_rows = bool(len(paired.candidate)) and not broken
    gains, before, after, anchor_gains, anchor_room = np.empty(0), math.nan, math.nan, None, None
    room = None if margin is None else Room(margin)
    if has_rows:
        gains = statistics.cluster_means(sign * (paired.candidate - paired.production), paired.cluster, paired.weight)
        before, after = _average(paired, paired.production), _average(paired, paired.candidate)
        room = _make_room(paired, before, margin, levels)
    if has_rows and paired.anchor is not None:
        anchor_gains = statistics.cluster_means(
            sign * (paired.candidate - paired.anchor), paired.cluster, paired.weight
        )
        anchor_room = _make_room(paired, _average(paired, paired.anchor), margin, levels)
    return Comparison(
        name=paired.name,
        gains=gains,
        sign=sign,
        before=before,
        after=after,
        broken=broken,
        levels=levels,
        room=room,
        weight=weight,
        anchor_gains=anchor_gains,
        anchor_room=anchor_room,
    )


def _make_room(paired: PairedScores, mean: float, margin: float | None, levels: Levels) -> Room | None:
    """Where a candidate may be beside a model with this mean."""
    if margin is not None and paired.name == FILTERED:
        return RareRoom(margin, level=levels.noninferiority)
    if margin is None or paired.name != _LENGTH:
        return None if margin is None else Room(margin)
    return Room(*measure_length_room(margin, mean, _measure_references(paired)))


def _measure_references(paired: PairedScores) -> float | None:
    """Mean words of the references that set a length; served replies that stand in for others set none."""
    if paired.reference is None or not (known := np.isfinite(paired.reference)).any():
        return None
    return _average(select_rows(paired, known), paired.reference[known])


def _compare_ratings(rated: RatedScores, margin: float, levels: Levels) -> Comparison:
    """The rating AUC. Below the conversations that a decision takes it can refuse, and does not hinder.

    Few ratings could show no margin, so asking for the proof would be a wall before every candidate.
    """
    broken = rated.find_non_finite()
    gains, before, after, anchor_gains = np.empty(0), math.nan, math.nan, None
    if not broken:
        gains = auc.paired_auc_differences(rated.candidate, rated.production, rated.is_up, rated.cluster)
        before = auc.rating_auc(rated.production, rated.is_up, rated.cluster)
        after = auc.rating_auc(rated.candidate, rated.is_up, rated.cluster)
        if rated.anchor is not None:
            anchor_gains = auc.paired_auc_differences(rated.candidate, rated.anchor, rated.is_up, rated.cluster)
    return Comparison(
        name=RATING_AUC,
        gains=gains,
        sign=1,
        before=before,
        after=after,
        broken=broken,
        levels=levels,
        room=Room(margin),
        anchor_gains=anchor_gains,
        anchor_room=Room(margin),
        is_needed=rated.counts[2] >= MIN_CLUSTERS_TO_DECIDE,
    )


def _average(paired: PairedScores, values: FloatArray) -> float:
    """What `MetricSummary` calls before and after."""
    if paired.name == "log_perplexity":
        return math.exp(min(np.average(values, weights=paired.weight), _MAX_NATS))
    return float(statistics.cluster_means(values, paired.cluster, paired.weight).mean())


def _finite_or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None
