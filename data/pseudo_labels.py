"""Ratings for replies that nobody has rated, by a reward model that knows how sure it is (off unless a recipe asks).

A reward is no probability. Platt's scaling makes it one: P(up) = 1 / (1 + exp(-(slope r + intercept))), fitted on rated
replies that the reward model has not seen (Platt 1999, with his smoothed targets, which keep few rows from certainty).
Only what is surer than the recipe's confidence gets a rating; all else stays unrated and is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, log_expit

from data.auc import rating_auc
from data.vocabulary import PoolRow, Rating

MIN_RATED = 10  # rated replies of each kind below which no certainty can be fitted


@dataclass(frozen=True)
class Calibration:
    """From reward to probability."""

    slope: float
    intercept: float

    def probability_up(self, rewards: Sequence[float]) -> NDArray[np.float64]:
        """P(up) of each reward, 0 to 1."""
        return expit(self.slope * np.asarray(rewards, dtype=float) + self.intercept)


def fit_calibration(rewards: Sequence[float], is_up: Sequence[bool]) -> Calibration | None:
    """Platt's scaling; None where it would say nothing: too few of a kind, or rewards that do not order them.

    Minimises the cross-entropy of P(up) against the targets (n_up + 1)/(n_up + 2) and 1/(n_down + 2), summed over rows.
    """
    x, up = np.asarray(rewards, dtype=float), np.asarray(is_up, dtype=bool)
    n_up, n_down = int(up.sum()), int((~up).sum())
    if min(n_up, n_down) < MIN_RATED or rating_auc(x, up, np.arange(len(x)).astype(str)) <= 0.5:
        return None
    targets = np.where(up, (n_up + 1) / (n_up + 2), 1 / (n_down + 2))
    centre, scale = float(x.mean()), float(x.std())  # not 0: rewards that are all alike have an AUC of 0.5

    def loss(parameters: NDArray[np.float64]) -> float:
        z = parameters[0] * (x - centre) / scale + parameters[1]
        return float(-(targets * log_expit(z) + (1 - targets) * log_expit(-z)).sum())

    slope, intercept = minimize(loss, np.array([1.0, np.log((n_up + 1) / (n_down + 1))])).x
    return Calibration(float(slope / scale), float(intercept - slope * centre / scale))


def rate_unrated(
    rows: Sequence[PoolRow], rewards: Sequence[float], calibration: Calibration, confidence: float
) -> list[PoolRow]:
    """The rows whose rating is at least `confidence` sure, with that rating; the ids still say that nobody gave it."""
    rated = []
    for row, probability in zip(rows, calibration.probability_up(rewards).tolist(), strict=True):
        if max(probability, 1 - probability) >= confidence:
            rated.append(replace(row, rating=Rating.UP if probability >= 0.5 else Rating.DOWN))
    return rated
