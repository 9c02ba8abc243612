"""Shares with their uncertainty."""

from __future__ import annotations

from math import sqrt

Z_95 = 1.959963984540054  # the 97.5 % quantile of the normal distribution


def wilson_interval(hits: float, total: float) -> tuple[float, float] | None:
    """The 95 % score interval of a share, 0 to 1; None without anything counted.

    Source: E. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927) 209-212.
    """
    if total == 0:
        return None
    share, spread = hits / total, Z_95**2 / total
    middle = (share + spread / 2) / (1 + spread)
    half = Z_95 * sqrt(share * (1 - share) / total + spread / (4 * total)) / (1 + spread)
    return max(0.0, middle - half), min(1.0, middle + half)
