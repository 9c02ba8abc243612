"""The judge of fresh replies: the chance that a rater would have rated a reply up, learned from held-out ratings.

A logistic regression on frozen features of the base (`trainer/features.py`), with L2 and the length among them. It is
cross-fitted: rated conversations are dealt to folds, and a reply to a prompt of a fold is judged by the head that has
not seen that fold; a prompt that nobody rated, by the mean of all heads. Isotonic regression on out-of-fold scores,
all of them without the own fold, turns scores into probabilities. Training never sees these ratings, so a candidate
cannot have learned to please this head. Where it cannot tell liked replies from others itself, it is not used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import GroupKFold
from threadpoolctl import threadpool_limits

from data.auc import paired_auc_differences
from data.statistics import interval

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
LabelArray = NDArray[np.str_]

MIN_AUC_LOW = 0.55  # a head whose interval goes down to it knows too little to judge
MIN_OF_A_KIND, MIN_CLUSTERS = 10, 30  # of held-out ratings; the gate asks the same of the rating AUC
FOLDS, INNER_FOLDS = 5, 3
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1)  # inverse L2 penalties tried in each fold, on the rows that it may see
_EDGE = 1e-6  # of probabilities, for the log-loss


@dataclass(frozen=True)
class HeadReport:
    """head.json: whether the head is used, why not, and how well it ranks ratings that it has not seen."""

    usable: bool
    reason: str
    auc: float | None
    auc_low: float | None  # two-sided 95 %, over conversations
    auc_high: float | None
    ratings: int
    clusters: int

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready values."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class RatedFeatures:
    """The held-out ratings that heads are fitted on, a line each."""

    features: FloatArray  # ratings × features
    is_up: BoolArray
    clusters: LabelArray

    def select(self, keep: BoolArray) -> RatedFeatures:
        """Those lines alone."""
        return RatedFeatures(self.features[keep], self.is_up[keep], self.clusters[keep])


@dataclass(frozen=True, eq=False)
class _Fold:
    """One head with its calibration, and the conversations that neither has seen."""

    head: LogisticRegression
    unseen: frozenset[str]
    scores: FloatArray  # of the calibration, rising
    chances: FloatArray  # at these scores

    def judge(self, features: FloatArray) -> FloatArray:
        return np.interp(self.head.decision_function(features), self.scores, self.chances)


class RewardHead:
    """Fitted heads, one for each fold; what a head and its calibration are fitted on is never of its own fold."""

    def __init__(self, rated: RatedFeatures, strengths: Sequence[float] | None = None) -> None:
        """Args: strengths: the inverse penalty of each fold; None chooses them by the log-loss of an inner split.

        Raises:
            ValueError: a fold has ratings of one kind only, or there is one conversation.
        """
        self._folds: list[_Fold] = []
        self.out_of_fold = np.empty(len(rated.is_up))  # score of each rating by the head that has not seen it
        chosen = []
        for fold, unseen in enumerate(_deal(rated, FOLDS)):
            seen = rated.select(~unseen)
            inner = {each: _score_out_of_fold(seen, each) for each in ([strengths[fold]] if strengths else STRENGTHS)}
            best = min(inner, key=lambda each: log_loss(seen.is_up, _to_chances(inner[each]), labels=[False, True]))
            head = _fit(seen, best)
            self.out_of_fold[unseen] = head.decision_function(rated.features[unseen])
            known = frozenset(rated.clusters[unseen].tolist())
            self._folds.append(_Fold(head, known, *_calibrate(inner[best], seen.is_up)))
            chosen.append(best)
        self.strengths = tuple(chosen)

    def judge(self, features: FloatArray, clusters: LabelArray) -> FloatArray:
        """P(up) of replies, 0 to 1, by the head that has not seen their conversation; else the mean of all heads."""
        by_fold = np.array([fold.judge(features) for fold in self._folds])
        chances = by_fold.mean(axis=0)
        for own, fold in zip(by_fold, self._folds, strict=True):
            is_unseen = np.isin(clusters, list(fold.unseen))
            chances[is_unseen] = own[is_unseen]
        return chances


def refuse_few(is_up: BoolArray, clusters: LabelArray) -> HeadReport | None:
    """What head.json says where there are too few ratings to fit a head; None where there are enough."""
    ups, count = int(is_up.sum()), len(np.unique(clusters))
    downs = len(is_up) - ups
    if min(ups, downs) >= MIN_OF_A_KIND and count >= MIN_CLUSTERS:
        return None
    return _refuse(
        f"The hold-out has {ups} up-rated and {downs} down-rated replies in {count} conversations; a reward head takes "
        f"{MIN_OF_A_KIND} of each in {MIN_CLUSTERS}.",
        len(is_up),
        count,
    )


def fit_reward_head(rated: RatedFeatures) -> tuple[RewardHead | None, HeadReport]:
    """The head, None where it must not judge, and what head.json says of it."""
    if refusal := refuse_few(rated.is_up, rated.clusters):
        return None, refusal
    count = len(np.unique(rated.clusters))
    try:
        head = RewardHead(rated)
    except ValueError:
        return None, _refuse(
            "The held-out ratings of one kind are all in a few conversations, so no reward head can be fitted.",
            len(rated.is_up),
            count,
        )
    auc, low, high = measure_auc(head.out_of_fold, rated)
    sentence = (
        f"The reward head ranks ratings that it has not seen with an AUC of {auc:.3f} (95 % interval {low:.3f} to "
        f"{high:.3f})"
    )
    usable = low > MIN_AUC_LOW
    rule = f"; its lower bound must be above {MIN_AUC_LOW}, so it does not judge. More held-out ratings would help."
    sentence += "." if usable else rule
    report = HeadReport(usable, sentence, auc, low, high, len(rated.is_up), count)
    return head if usable else None, report


def measure_auc(scores: FloatArray, rated: RatedFeatures) -> tuple[float, float, float]:
    """AUC of the scores and its two-sided 95 % interval, over conversations; a constant score would have 0.5."""
    shares = paired_auc_differences(scores, np.zeros(len(scores)), rated.is_up, rated.clusters)
    low, high = interval(shares, np.random.default_rng(0)) or (-0.5, 0.5)
    return 0.5 + float(shares.mean()), 0.5 + low, 0.5 + high


def refit_without(rated: RatedFeatures, keep: BoolArray, head: RewardHead) -> RewardHead | None:
    """The head without some ratings, with the penalties that were chosen; None where the rest cannot be fitted."""
    try:
        return RewardHead(rated.select(keep), head.strengths)
    except ValueError:
        return None


def _refuse(reason: str, ratings: int, clusters: int) -> HeadReport:
    return HeadReport(False, reason, None, None, None, ratings, clusters)


def _deal(rated: RatedFeatures, folds: int) -> list[BoolArray]:
    """The ratings of each fold, conversations kept whole; fewer folds where there are fewer conversations."""
    splits = GroupKFold(min(folds, len(np.unique(rated.clusters)))).split(rated.features, groups=rated.clusters)
    marks = []
    for _, unseen in splits:
        marks.append(np.zeros(len(rated.is_up), dtype=bool))
        marks[-1][unseen] = True
    return marks


def _fit(rated: RatedFeatures, strength: float) -> LogisticRegression:
    with threadpool_limits(1):  # so small a problem is 5 to 10 times slower on threads that wait for each other
        return LogisticRegression(C=strength, max_iter=1000).fit(rated.features, rated.is_up)


def _score_out_of_fold(rated: RatedFeatures, strength: float) -> FloatArray:
    scores = np.empty(len(rated.is_up))
    for unseen in _deal(rated, INNER_FOLDS):
        scores[unseen] = _fit(rated.select(~unseen), strength).decision_function(rated.features[unseen])
    return scores


def _to_chances(scores: FloatArray) -> FloatArray:
    return np.clip(special.expit(scores), _EDGE, 1 - _EDGE)


def _calibrate(scores: FloatArray, is_up: BoolArray) -> tuple[FloatArray, FloatArray]:
    """Centred isotonic regression: scores, rising, and P(up) at them, to be joined by straight lines.

    The blocks that plain isotonic regression makes are one chance over a range of scores, which would call many
    different replies equal; here each block is a point at its mean score.
    Source: A. Oron & N. Flournoy, Statistics in Biopharmaceutical Research 9 (2017) 258-267.
    """
    chances = IsotonicRegression(y_min=0.0, y_max=1.0).fit_transform(scores, is_up.astype(float))
    levels, block = np.unique(chances, return_inverse=True)
    centres = np.bincount(block, weights=scores) / np.bincount(block)
    return centres, levels
