"""The few statistics that the gate rests on; each test is one-sided and takes one number for each cluster."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
LabelArray = NDArray[np.str_]

_SPENDING_EXPONENT = 1.1
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


def correlation(first: FloatArray, second: FloatArray) -> float:
    """Pearson's correlation, -1 to 1; 0 where either has no spread or there are fewer than three pairs."""
    if len(first) < 3 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])


def spend_alpha(consultation: int, total: float = 0.10) -> float:
    """The level of the k-th consultation: total * k^-1.1 / zeta(1.1).

    The levels of all consultations add up to `total`, so by the union bound that is the most that the chance
    of ever promoting falsely can reach, however the tests depend on each other. Source: alpha-spending, as
    the online fallback of J. Tian & A. Ramdas, "Online control of the familywise error rate", SMMR 30 (2021)
    976-993.

    Args:
        consultation: k, counted from 1 over the life of the hold-out.

    Raises:
        ValueError: `consultation` is below 1.
    """
    if consultation < 1:
        raise ValueError(f"Consultations are counted from 1, not {consultation}.")
    return float(total * consultation**-_SPENDING_EXPONENT / special.zeta(_SPENDING_EXPONENT))


def cluster_means(values: FloatArray, clusters: LabelArray, weights: FloatArray) -> FloatArray:
    """The weighted mean of each cluster, sum(w v) / sum(w), in the order of the sorted labels.

    Rows of one conversation are not independent; their mean is the unit of every test. Source: E. Miller,
    "Adding error bars to evals", arXiv 2411.00640 (2024).
    """
    _, member = np.unique(clusters, return_inverse=True)
    return np.bincount(member, weights * values) / np.bincount(member, weights)


def rating_auc(scores: FloatArray, is_up: BoolArray, clusters: LabelArray) -> float:
    """P(an up-rated row scores above a down-rated one), ties half, every cluster with the same weight in all.

    This is the Mann-Whitney form of the area under the ROC curve, 0 to 1, with row weights 1 / rows in the
    cluster. Both kinds of rating must be present.
    """
    weights = _row_weights(clusters)
    return float(np.average(_placements(scores, is_up, weights)[is_up], weights=weights[is_up]))


def paired_auc_differences(
    candidate: FloatArray, production: FloatArray, is_up: BoolArray, clusters: LabelArray
) -> FloatArray:
    """One number for each cluster; their mean is AUC of the candidate minus AUC of production.

    The placement value v of a row is the share of the other kind of rating that the row is ranked rightly
    against. With dv its difference between the models, D the difference of the AUCs, w the row weights, W
    their sum over the rows of the same rating and C clusters, a cluster gets D + C sum(w (dv - D) / W), its
    linearised share of D.
    Source: E. DeLong, D. DeLong & D. Clarke-Pearson, Biometrics 44 (1988) 837-845; summed within clusters as
    in N. Obuchowski, Biometrics 53 (1997) 567-578. Both kinds of rating must be present.
    """
    weights = _row_weights(clusters)
    change = _placements(candidate, is_up, weights) - _placements(production, is_up, weights)
    difference = float(np.average(change[is_up], weights=weights[is_up]))
    share = weights / np.where(is_up, weights[is_up].sum(), weights[~is_up].sum())
    labels, member = np.unique(clusters, return_inverse=True)
    linearised = np.bincount(member, share * (change - difference)).astype(np.float64)
    return difference + len(labels) * linearised


def _row_weights(clusters: LabelArray) -> FloatArray:
    _, member, sizes = np.unique(clusters, return_inverse=True, return_counts=True)
    return 1.0 / sizes[member]


def _placements(scores: FloatArray, is_up: BoolArray, weights: FloatArray) -> FloatArray:
    """The placement value of each row, 0 to 1."""
    up, down = scores[is_up], scores[~is_up]
    wins = np.where(up[:, None] == down, 0.5, up[:, None] > down)
    placements = np.empty(len(scores))
    placements[is_up] = np.average(wins, axis=1, weights=weights[~is_up])
    placements[~is_up] = np.average(wins, axis=0, weights=weights[is_up])
    return placements


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
