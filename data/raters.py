"""How far each rater can be believed: agreement with experts, and with others, on the same replies.

Most replies have one rater, so a model of everybody's errors (A. Dawid & A. Skene, Applied Statistics 28 (1979) 20-28)
is not identified: it needs three raters for an item. What is left is each rater's rate of agreement, shrunk the more
the less there is of it, as in empirical Bayes (B. Efron & C. Morris, JASA 70 (1975) 311-319).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from math import log
from statistics import median

from data.proportions import wilson_interval
from data.vocabulary import PoolRow, Rating, RowKind

QUARANTINE_WEIGHT = 0.3  # below it a rater's rows are left out
QUARANTINE_COMPARED = 5.0  # with fewer comparisons nobody is judged
PRIOR_COMPARED = 8.0  # comparisons that the common rate of agreement counts for
MIN_OTHERS = 3  # other raters of a reply, without an expert's word on it, from which their majority is a comparison
OTHERS_COUNT = 0.5  # of such a comparison, for many accounts may belong to one person
_PRIOR_RATE = 0.8  # of agreement, before there is any evidence
_COMMON_RATE = (0.6, 0.95)  # bounds of the common rate of agreement; below them there would be nothing to tell by


@dataclass(frozen=True)
class Label:
    """What a rater says of an item, which is a reply in its conversation."""

    item: Hashable
    rater: str
    rating: Rating
    is_expert: bool = False


@dataclass(frozen=True)
class RaterWeight:
    """`weight` is 0 (no better than chance) to 1 (as good as raters are in common, or not known to be worse).

    `offset` is by how much the shrunken log-odds of agreement are above those of all. `compared` counts comparisons,
    those with experts as 1, those with a majority of others as OTHERS_COUNT; `agreed` of them were the same.
    """

    weight: float = 1.0
    offset: float = 0.0
    agreed: float = 0.0
    compared: float = 0.0
    is_quarantined: bool = False


def weigh_raters(labels: Iterable[Label]) -> dict[str, RaterWeight]:
    """The weight of each rater who is no expert.

    With a agreements of n comparisons, p the common rate of agreement and m = PRIOR_COMPARED, the rate is
    s = (a + m p) / (n + m), the offset logit(s) - logit(p), the weight (s - 1/2) / (p - 1/2) within 0 and 1. To agree
    much never lifts a weight above 1: accounts of one person agree with each other. Quarantined is a rater below
    QUARANTINE_WEIGHT with QUARANTINE_COMPARED comparisons and the 95 % upper bound of a/n below p.
    """
    by_item: defaultdict[Hashable, list[Label]] = defaultdict(list)
    raters: dict[str, tuple[float, float]] = {}
    for label in labels:
        by_item[label.item].append(label)
        if not label.is_expert:
            raters[label.rater] = (0.0, 0.0)
    for item in by_item.values():
        for label in item:
            compared = _compare(label, item)
            if compared is not None:
                agreed, total = raters[label.rater]
                raters[label.rater] = agreed + compared[0], total + compared[1]
    common = _find_common_rate(raters.values())
    return {rater: _weigh(agreed, total, common) for rater, (agreed, total) in raters.items()}


def find_quarantined(rows: Sequence[PoolRow]) -> set[int]:
    """Rows of quarantined raters, corrections included."""
    labels = [
        Label((row.cluster, _freeze(row), row.reply), row.rater, row.rating, row.is_expert)
        for row in rows
        if row.rater is not None and row.rating is not None and row.kind is RowKind.REPLY
    ]
    bad = {rater for rater, weight in weigh_raters(labels).items() if weight.is_quarantined}
    return {position for position, row in enumerate(rows) if row.rater in bad and not row.is_expert}


def _find_common_rate(raters: Iterable[tuple[float, float]]) -> float:
    """The median rate of agreement of the raters with comparisons: a few bad ones, however busy, do not move it."""
    low, high = _COMMON_RATE
    rates = [(agreed + PRIOR_COMPARED * _PRIOR_RATE) / (total + PRIOR_COMPARED) for agreed, total in raters if total]
    return min(max(median(rates), low), high) if rates else _PRIOR_RATE


def _compare(label: Label, item: list[Label]) -> tuple[float, float] | None:
    """Agreement and what the comparison counts; None without anybody to compare with, or where these are at odds."""
    if label.is_expert:
        return None
    experts = [other for other in item if other.is_expert]
    others = experts or [other for other in item if other.rater != label.rater]
    if not experts and len(others) < MIN_OTHERS:
        return None
    ups = sum(other.rating is Rating.UP for other in others)
    if 2 * ups == len(others):
        return None
    counts = 1.0 if experts else OTHERS_COUNT
    return counts * ((label.rating is Rating.UP) == (2 * ups > len(others))), counts


def _weigh(agreed: float, total: float, common: float) -> RaterWeight:
    rate = (agreed + PRIOR_COMPARED * common) / (total + PRIOR_COMPARED)
    weight = min(max((rate - 0.5) / (common - 0.5), 0.0), 1.0)
    offset = log(rate / (1 - rate)) - log(common / (1 - common))
    bounds = wilson_interval(agreed, total)
    is_worse = bounds is not None and bounds[1] < common
    is_quarantined = weight < QUARANTINE_WEIGHT and total >= QUARANTINE_COMPARED and is_worse
    return RaterWeight(weight, offset, agreed, total, is_quarantined)


def _freeze(row: PoolRow) -> tuple[tuple[str, str], ...]:
    return tuple((message["role"], message["content"]) for message in row.messages)
