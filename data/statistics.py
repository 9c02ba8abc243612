"""The few statistics that the gate rests on; each test is one-sided and takes one number for each cluster."""

from __future__ import annotations

import warnings

import numpy as np
from scipy import stats

from data.arrays import FloatArray, LabelArray

_ROUNDING = 1e-12  # relative; a spread below it comes from floating point, not from the data
_RESAMPLES = 2000
_MOST_RESAMPLED = 1000  # clusters; above it skew no longer moves an interval that anyone could see
_RESAMPLES_AT_ONCE = 250  # bounds the memory of the bootstrap on large hold-outs


def hall_t_test(differences: FloatArray, margin: float = 0.0) -> float:
    """One-sided p that the mean of `differences` + `margin` is above 0, by the skew-corrected t.

    With u = (mean + margin) / sd, g = mean((d - mean)^3) / sd^3 and n clusters, T = sqrt(n) (u + g u^2 / 3 +
    g^2 u^3 / 27) + g / (6 sqrt(n)) and p = P(t with n - 1 degrees of freedom >= T).
    Source: P. Hall, "On the removal of skewness by transformation", JRSS B 54 (1992) 221-228. T is odd in the
    differences, so the two directions have p and 1 - p. Without any variance p is 0 or 1; below two clusters
    it is 1.

    Args:
        differences: one number for each cluster, positive where the candidate is better.
        margin: in the unit of the differences; positive asks for "not worse by that much".
    """
    n = len(differences)
    if n < 2:
        return 1.0
    mean = float(differences.mean()) + margin
    tolerance = _ROUNDING * max(float(np.abs(differences).max()), abs(margin))
    if np.ptp(differences) <= tolerance:
        return 0.0 if mean > tolerance else 1.0
    sd = float(differences.std(ddof=1))
    u = mean / sd
    g = float(np.mean(((differences - differences.mean()) / sd) ** 3))
    t = np.sqrt(n) * (u + g * u**2 / 3 + g**2 * u**3 / 27) + g / (6 * np.sqrt(n))
    return float(stats.t.sf(t, n - 1))


def sign_test(wins: int, losses: int) -> float:
    """One-sided exact p that a win is likelier than a loss: P(Binomial(wins + losses, 1/2) >= wins); ties say nothing.

    Source: the sign test, J. Arbuthnot (1710); exact at every level. Without wins or losses p is 1.
    """
    return float(stats.binom.sf(wins - 1, wins + losses, 0.5))


def share_test(losses: int, wins: int, allowed: int) -> tuple[float, float]:
    """p that a share of few items is no higher than another by `allowed` items, and p that it is.

    With `losses` items that only the candidate got wrong and `wins` that only the other did: P(Binomial(losses + wins +
    allowed, 1/2) <= losses), and >= losses. Where the share is higher by just `allowed` items, the losses have the mean
    of that binomial and at most its variance.
    """
    trials = losses + wins + allowed
    return float(stats.binom.cdf(losses, trials, 0.5)), float(stats.binom.sf(losses - 1, trials, 0.5))


def can_show_share(allowed: int, level: float) -> bool:
    """Whether any result of `share_test`, the best included, would reach the level."""
    return bool(0.5**allowed <= level)


def correlation(first: FloatArray, second: FloatArray) -> float:
    """Pearson's correlation, -1 to 1; 0 where either has no spread or there are fewer than three pairs."""
    if len(first) < 3 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])


def cluster_means(values: FloatArray, clusters: LabelArray, weights: FloatArray) -> FloatArray:
    """The weighted mean of each cluster, sum(w v) / sum(w), in the order of the sorted labels.

    Rows of one conversation are not independent; their mean is the unit of every test. Source: E. Miller,
    "Adding error bars to evals", arXiv 2411.00640 (2024).
    """
    _, member = np.unique(clusters, return_inverse=True)
    return np.bincount(member, weights * values) / np.bincount(member, weights)


def smallest_detectable_difference(differences: FloatArray, alpha: float, power: float = 0.8) -> float:
    """The true mean that a test at `alpha` shows with probability `power`; infinite below two clusters.

    (z(1 - alpha) + z(power)) sd / sqrt(n), the normal approximation. Source: D. Card et al., "With little
    power comes great responsibility", EMNLP 2020, and any textbook on sample size.
    """
    n = len(differences)
    if n < 2:
        return float("inf")
    standard_error = float(differences.std(ddof=1)) / np.sqrt(n)
    return float((stats.norm.isf(alpha) + stats.norm.ppf(power)) * standard_error)


def interval(
    differences: FloatArray, generator: np.random.Generator, level: float = 0.95
) -> tuple[float, float] | None:
    """Two-sided interval of the mean, for display and never to decide; None below two clusters.

    The bias-corrected and accelerated bootstrap (B. Efron, JASA 82 (1987) 171-185); where that is undefined,
    as without variance, and above 1,000 clusters mean +- t sd / sqrt(n).
    """
    n = len(differences)
    if n < 2:
        return None
    bounds = _bootstrap(differences, generator, level) if n <= _MOST_RESAMPLED else None
    if bounds is not None:
        return bounds
    mean = float(differences.mean())
    half = float(stats.t.isf((1 - level) / 2, n - 1) * differences.std(ddof=1) / np.sqrt(n))
    return mean - half, mean + half


def _bootstrap(differences: FloatArray, generator: np.random.Generator, level: float) -> tuple[float, float] | None:
    """The bounds where they are defined."""
    with warnings.catch_warnings(), np.errstate(divide="ignore", invalid="ignore"):
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        bounds = stats.bootstrap(
            (differences,),
            np.mean,
            n_resamples=_RESAMPLES,
            batch=_RESAMPLES_AT_ONCE,
            confidence_level=level,
            rng=generator,
        ).confidence_interval
    if np.isfinite(bounds.low) and np.isfinite(bounds.high):
        return float(bounds.low), float(bounds.high)
    return None
