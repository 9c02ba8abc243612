"""The gate: the pure verdict over the scores of candidate and production on the hold-out.

A candidate is promoted when it is no worse than production in every guarded metric and better in a primary
one: one intersection-union test with p = max(p of superiority, every p of non-inferiority), at the level that
this consultation of the hold-out may spend (R. Berger, Technometrics 24 (1982) 295-300). Nothing is read,
stored or trained here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from data.recipe import Margins
from data.statistics import spend_alpha
from data.vocabulary import Verdict
from worker.comparison import (
    MIN_CLUSTERS_THAT_DIFFER,
    MIN_CLUSTERS_TO_REFUSE,
    MIN_RATED_CLUSTERS,
    MIN_RATED_OF_A_KIND,
    POWER,
    RATING_AUC,
    Comparison,
    InvalidScores,
    MetricSummary,
    PairedScores,
    RatedScores,
    build_comparisons,
)

__all__ = [
    "MIN_CLUSTERS_TO_DECIDE",
    "MIN_CLUSTERS_TO_REFUSE",
    "GateDecision",
    "InvalidScores",
    "MetricSummary",
    "PairedScores",
    "RatedScores",
    "Reason",
    "decide",
]

MIN_CLUSTERS_TO_DECIDE = 100  # below it nothing is promoted: the t is too liberal on skewed differences


@dataclass(frozen=True)
class Reason:
    """One sentence for a person, with its numbers.

    `metric` is None where the sentence is about the hold-out as a whole, `p` where it rests on no test. The p
    of a metric that is worse beyond its margin is that of the test for being worse.
    """

    metric: str | None
    test: Literal["superiority", "noninferiority", "evidence"]
    p: float | None
    sentence: str


@dataclass(frozen=True, kw_only=True)
class GateDecision:
    """The verdict and everything that it rests on; the reasons that decided come first.

    Attributes:
        p: of the whole test, to be compared with `alpha`, the level of this consultation.
        clusters: conversations with scores, in the guarded metric that has the fewest.
    """

    verdict: Verdict
    p: float
    alpha: float
    consultation: int
    clusters: int
    reasons: tuple[Reason, ...]
    metrics: tuple[MetricSummary, ...]

    def to_dict(self) -> dict[str, Any]:
        """The decision as JSON-ready values."""
        return dataclasses.asdict(self) | {
            "verdict": self.verdict.value,
            "reasons": [dataclasses.asdict(reason) for reason in self.reasons],
            "metrics": [dataclasses.asdict(metric) for metric in self.metrics],
        }


def decide(
    scores: Sequence[PairedScores], rated: RatedScores | None, margins: Margins, consultation: int
) -> GateDecision:
    """Judge a candidate against production.

    Guarded by a margin: log_perplexity, rouge_l and bleu. Primary: log_perplexity, rouge_l, and the rating
    AUC where there are enough ratings; each has an equal share of the level (Bonferroni). Other metrics are
    only summarised.

    Args:
        scores: at most one entry for each metric; a guarded metric without scores prevents promotion.
        rated: None when no hold-out reply is rated.
        consultation: how many times this hold-out has been asked, this time included.

    Raises:
        ValueError: `consultation` is below 1.
    """
    alpha = spend_alpha(consultation)
    comparisons = build_comparisons(scores, rated, margins, alpha)
    guarded = [comparison for comparison in comparisons if comparison.margin is not None]
    primary = [comparison for comparison in comparisons if comparison.primaries]
    p_superiority = min(1.0, *(comparison.primaries * comparison.p_superior for comparison in primary))
    p = max(p_superiority, *(comparison.p_noninferior for comparison in guarded))
    clusters = min(comparison.clusters for comparison in guarded)
    if any(comparison.is_refused for comparison in comparisons):
        verdict = Verdict.REFUSE
    elif p <= alpha and clusters >= MIN_CLUSTERS_TO_DECIDE:
        verdict = Verdict.PROMOTE
    else:
        verdict = Verdict.NOT_ENOUGH_EVIDENCE
    shortage = _explain_shortage(comparisons, clusters, alpha) if verdict == Verdict.NOT_ENOUGH_EVIDENCE else ()
    return GateDecision(
        verdict=verdict,
        p=p,
        alpha=alpha,
        consultation=consultation,
        clusters=clusters,
        reasons=(
            *(_explain_refusal(comparison) for comparison in comparisons if comparison.is_refused),
            *shortage,
            *(_explain_superiority(c) for c in sorted(primary, key=lambda c: c.p_superior) if c.clusters),
            *(_explain_margin(c) for c in guarded if c.clusters and not c.is_refused),
            *_explain_few_ratings(rated),
        ),
        metrics=tuple(comparison.summary for comparison in comparisons),
    )


@dataclass(frozen=True)
class _Wording:
    """How a metric is written."""

    label: str
    unit: str  # of a difference
    level_decimals: int
    difference_decimals: int


_WORDINGS = {
    "log_perplexity": _Wording("Perplexity", " nats", 2, 3),
    "rouge_l": _Wording("ROUGE-L", "", 3, 3),
    "bleu": _Wording("BLEU", "", 2, 2),
    RATING_AUC: _Wording("Rating AUC", "", 3, 3),
}


def _explain_refusal(comparison: Comparison) -> Reason:
    if not comparison.broken:
        return _explain_margin(comparison)
    label = _WORDINGS[comparison.name].label
    return _note(f"{label} of {comparison.broken}, so the models cannot be compared.", comparison.name)


def _explain_margin(comparison: Comparison) -> Reason:
    margin = f"its margin of {comparison.margin:g}{_WORDINGS[comparison.name].unit}"
    p = comparison.p_worse if comparison.is_refused else comparison.p_noninferior
    if comparison.is_refused:
        finding = f"worse than {margin} allows with {_write_p(p)}"
    elif p <= comparison.alpha:
        finding = f"no worse than {margin} allows with {_write_p(p)}"
    else:
        finding = f"not shown to stay within {margin} ({_write_p(p)})"
    return Reason(comparison.name, "noninferiority", p, f"{_describe(comparison)}; {finding}.")


def _explain_superiority(comparison: Comparison) -> Reason:
    p = comparison.p_superior
    if comparison.differing < MIN_CLUSTERS_THAT_DIFFER:
        finding = (
            f"not shown to be better, for the models differ in {_count(comparison.differing)} "
            f"and {MIN_CLUSTERS_THAT_DIFFER} are needed"
        )
    elif p <= comparison.level:
        finding = f"better with {_write_p(p)}"
    else:
        finding = f"not shown to be better ({_write_p(p)})"
    return Reason(comparison.name, "superiority", p, f"{_describe(comparison)}; {finding}.")


def _explain_shortage(comparisons: Sequence[Comparison], clusters: int, alpha: float) -> Iterator[Reason]:
    """What was missing: conversations, scores, or a larger difference."""
    tested = [comparison for comparison in comparisons if comparison.name in _WORDINGS]
    if not any(comparison.clusters for comparison in tested):
        yield _note("The hold-out has no scored rows.")
        return
    for comparison in tested:
        if not comparison.clusters:
            yield _note(f"No hold-out row has a {_WORDINGS[comparison.name].label} score.", comparison.name)
    if 0 < clusters < MIN_CLUSTERS_TO_DECIDE:
        yield _note(f"The hold-out has {_count(clusters)}; to promote takes {MIN_CLUSTERS_TO_DECIDE}.")
    if not any(comparison.differing for comparison in tested):
        yield _note("Candidate and production score the same in every conversation.")
    detectable = [_write_detectable(comparison) for comparison in tested if comparison.summary.smallest_detectable]
    if detectable:
        yield _note(
            f"The smallest differences that this hold-out shows with {POWER * 100:.0f} % power "
            f"at alpha = {alpha:.2g} are {', '.join(detectable)}."
        )


def _explain_few_ratings(rated: RatedScores | None) -> Iterator[Reason]:
    """Why the rating AUC did not count, where it did not."""
    if rated is None:
        yield _note("Rating AUC did not count: no hold-out reply is rated.", RATING_AUC)
    elif not rated.is_enough:
        up, down, clusters = rated.counts
        yield _note(
            f"Rating AUC did not count: the hold-out has {up} up-rated and {down} down-rated replies in "
            f"{_count(clusters)}; needed are {MIN_RATED_OF_A_KIND} of each in {MIN_RATED_CLUSTERS}.",
            RATING_AUC,
        )


def _note(sentence: str, metric: str | None = None) -> Reason:
    return Reason(metric, "evidence", None, sentence)


def _describe(comparison: Comparison) -> str:
    """For example "ROUGE-L rose from 0.141 to 0.163 (difference +0.022, ..., 120 conversations)"."""
    wording, summary = _WORDINGS[comparison.name], comparison.summary
    before, after = (f"{level:.{wording.level_decimals}f}" for level in (comparison.before, comparison.after))
    verb = "rose" if comparison.after > comparison.before else "fell"
    change = f"stayed at {after}" if before == after else f"{verb} from {before} to {after}"
    difference, low, high = (
        "" if value is None else f"{value:+z.{wording.difference_decimals}f}"
        for value in (summary.difference, summary.low, summary.high)
    )
    interval = f", 95 % interval {low} to {high}" if low else ""
    numbers = f"difference {difference}{wording.unit}{interval}, {_count(comparison.clusters)}"
    return f"{wording.label} {change} ({numbers})"


def _write_detectable(comparison: Comparison) -> str:
    wording = _WORDINGS[comparison.name]
    size = f"{comparison.summary.smallest_detectable:.{wording.difference_decimals}f}"
    return f"{wording.label} {size}{wording.unit}"


def _write_p(p: float) -> str:
    return f"p = {p:.2g}" if p >= 1e-12 else "p < 1e-12"


def _count(number: int) -> str:
    return "1 conversation" if number == 1 else f"{number} conversations"
