"""What thumbs do not say: how many replies were rated, by whom, and whether turn or length decides how."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import accumulate
from math import sqrt
from typing import Any

import numpy as np

from data.auc import rating_auc
from data.proportions import Z_95, wilson_interval
from data.vocabulary import PoolRow, Rating, RowKind

_TURNS = ((1, 1, "1"), (2, 2, "2"), (3, 4, "3 to 4"), (5, 10**9, "5 and later"))
CAUTION = (
    "A higher share of thumbs up is not an improvement by itself: few replies are rated, by people who choose to, and "
    "turn and length move the thumb too."
)


def build_bias(rows: Sequence[PoolRow], served: int, rated: int) -> dict[str, Any]:
    """The biases of the ratings in a pool; those of experts are left out, for they were asked.

    Args:
        served: replies of models so far.
        rated: how many of them somebody has rated.

    Returns:
        `coverage`, `spread`, `position` (one entry for each range of turns) and `length`; each share with its 95 %
        interval `low` to `high`, or None where nothing was counted; `sentences` say the same in words.
    """
    ratings = [row for row in rows if row.kind is RowKind.REPLY and row.rating is not None and not row.is_expert]
    bias: dict[str, Any] = {
        "ratings": len(ratings),
        "coverage": {"served": served, **_describe_share(rated, served)},
        "spread": _describe_spread(Counter(row.rater or "" for row in ratings)),
        "position": _describe_positions(ratings),
        "length": _describe_length(ratings),
    }
    return {**bias, "sentences": _build_sentences(bias)}


def compute_gini(counts: Sequence[int]) -> float | None:
    """How unevenly counts are spread: 0 when all are equal, (n - 1) / n when one of n has everything; None of nothing.

    G = (n + 1 - 2 sum of the cumulated shares) / n over the n counts in rising order.
    Source: C. Gini, Variabilita e mutabilita (1912); the discrete form of A. Sen, On Economic Inequality (1973).
    """
    total, n = sum(counts), len(counts)
    if not total:
        return None
    return (n + 1 - 2 * sum(accumulate(sorted(counts))) / total) / n


def auc_interval(auc: float, ups: int, downs: int) -> tuple[float, float]:
    """The 95 % interval of an area under the curve, from the normal approximation with the variance of J. Hanley &
    B. McNeil, Radiology 143 (1982) 29-36: (A (1 - A) + (u - 1)(Q1 - A^2) + (d - 1)(Q2 - A^2)) / (u d), with
    Q1 = A / (2 - A) and Q2 = 2 A^2 / (1 + A), u ups and d downs."""
    q1, q2 = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    variance = (auc * (1 - auc) + (ups - 1) * (q1 - auc**2) + (downs - 1) * (q2 - auc**2)) / (ups * downs)
    half = Z_95 * sqrt(max(variance, 0.0))
    return max(0.0, auc - half), min(1.0, auc + half)


def _describe_share(hits: int, total: int) -> dict[str, Any]:
    bounds = wilson_interval(hits, total)
    if bounds is None:
        return {"count": hits, "share": None, "low": None, "high": None}
    return {"count": hits, "share": hits / total, "low": bounds[0], "high": bounds[1]}


def _describe_spread(by_rater: Counter[str]) -> dict[str, Any]:
    top = max(by_rater.values(), default=0)
    return {
        "raters": len(by_rater),
        "gini": compute_gini(list(by_rater.values())),
        "top": _describe_share(top, by_rater.total()),
    }


def _describe_positions(ratings: Sequence[PoolRow]) -> list[dict[str, Any]]:
    """By the number of the user's turn that the reply answers."""
    by_range: defaultdict[str, list[bool]] = defaultdict(list)
    for row in ratings:
        turn = max(1, sum(message["role"] == "user" for message in row.messages))
        name = next(name for first, last, name in _TURNS if first <= turn <= last)
        by_range[name].append(row.rating is Rating.UP)
    return [
        {"turn": name, "ratings": len(ups), "up": _describe_share(sum(ups), len(ups))}
        for _, _, name in _TURNS
        if (ups := by_range[name])
    ]


def _describe_length(ratings: Sequence[PoolRow]) -> dict[str, Any]:
    """The chance that of an up-rated and a down-rated reply the up-rated one has more words; 0.5 is no bias."""
    words = np.array([len(row.reply.split()) for row in ratings], dtype=np.float64)
    is_up = np.array([row.rating is Rating.UP for row in ratings], dtype=np.bool_)
    ups, downs = int(is_up.sum()), int((~is_up).sum())
    if not ups or not downs:
        return {"auc": None, "low": None, "high": None}
    auc = rating_auc(words, is_up, np.array([row.row_id for row in ratings], dtype=np.str_))
    low, high = auc_interval(auc, ups, downs)
    return {"auc": auc, "low": low, "high": high}


def _build_sentences(bias: dict[str, Any]) -> list[str]:
    sentences = []
    coverage, top, length = bias["coverage"], bias["spread"]["top"], bias["length"]
    if coverage["share"] is not None:
        sentences.append(
            f"{coverage['share']:.1%} of {coverage['served']:,} replies were rated "
            f"(95 % interval {coverage['low']:.1%} to {coverage['high']:.1%})."
        )
    if top["share"] is not None:
        sentences.append(
            f"{bias['spread']['raters']:,} raters; the busiest gave {top['share']:.1%} of the ratings, and the Gini "
            f"coefficient is {bias['spread']['gini']:.2f} (0: all gave as many)."
        )
    turns = bias["position"]
    if len(turns) > 1:
        parts = [f"{turn['up']['share']:.0%} at turn {turn['turn']} ({turn['ratings']:,})" for turn in turns]
        sentences.append(f"Share up by turn: {', '.join(parts)}.")
    if length["auc"] is not None:
        clear = "raters favour one length" if not length["low"] <= 0.5 <= length["high"] else "no clear length bias"
        sentences.append(
            f"Of an up-rated and a down-rated reply the up-rated one is longer with chance {length['auc']:.2f} "
            f"(95 % interval {length['low']:.2f} to {length['high']:.2f}): {clear}."
        )
    return [*sentences, CAUTION]
