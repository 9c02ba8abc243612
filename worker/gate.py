"""The gate: the pure verdict over the scores of candidate, production and anchor on the hold-out.

A candidate is promoted when it is better in what is primary, no worse than production and the anchor in every guarded
metric, and no less safe: one intersection-union test with p = max(p of superiority, every p of non-inferiority, p of
safety), at the level that this consultation of the hold-out may spend (R. Berger, Technometrics 24 (1982) 295-300).
Nothing is read, stored or trained here.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from data.holdout import MIN_CLUSTERS_TO_DECIDE
from data.lifetime import Budget, spend_alpha
from data.recipe import Margins
from data.vocabulary import Verdict
from worker.comparison import (
    BALANCED_LEVEL,
    CORE,
    MIN_CLUSTERS_TO_REFUSE,
    RATING_AUC,
    REWARD,
    Comparison,
    Levels,
    MetricSummary,
    build_comparisons,
)
from worker.evidence import Evidence
from worker.paired_scores import InvalidScores, PairedScores, RatedScores, Scores, select_rows
from worker.reuse import MIN_FRESH_CLUSTERS, Reuse, guard_reuse
from worker.safety_verdict import SafetyVerdict, judge_safety
from worker.slices import WorseSlice, find_worse_slices
from worker.wording import (
    Reason,
    count,
    explain_detectable,
    explain_few_ratings,
    explain_margin,
    explain_rater,
    explain_refusal,
    explain_safety,
    explain_slice,
    explain_superiority,
    label,
    note,
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

_MAX_RATERS = 50  # those with most ratings are left out one by one
_NO_EVIDENCE = Evidence()


@dataclass(frozen=True, kw_only=True)
class GateDecision:
    """The verdict and everything that it rests on; the reasons that decided come first.

    Attributes:
        p: of the whole test, to be compared with `alpha`, the level of this consultation.
        clusters: conversations with scores, in the guarded metric that has the fewest.
        budget: what this hold-out has been used for; None where that is not known.
    """

    verdict: Verdict
    p: float
    alpha: float
    consultation: int
    clusters: int
    reasons: tuple[Reason, ...]
    metrics: tuple[MetricSummary, ...]
    budget: Budget | None = None

    @property
    def shows_scores(self) -> bool:
        """Whether scores on the hold-out may be shown: else whoever tunes would tune to them."""
        return self.verdict is Verdict.PROMOTE

    def to_dict(self) -> dict[str, Any]:
        """The decision as JSON-ready values; without a promotion no score of the hold-out is in it.

        What stays is the verdict, which metric it rests on, and what the hold-out could have shown.
        """
        metrics = [dataclasses.asdict(metric if self.shows_scores else _hide(metric)) for metric in self.metrics]
        return {
            "verdict": self.verdict.value,
            "p": self.p if self.shows_scores else None,
            "alpha": self.alpha,
            "consultation": self.consultation,
            "clusters": self.clusters,
            "reasons": self.list_shown_reasons(),
            "metrics": metrics,
            "budget": self.budget and (dataclasses.asdict(self.budget) | {"alpha_spent": self.budget.alpha_spent}),
        }

    def list_shown_reasons(self) -> list[dict[str, Any]]:
        """The reasons as they may be shown."""
        shown = []
        for reason in self.reasons:
            values = dataclasses.asdict(reason)
            plain = values.pop("plain")
            if not self.shows_scores:
                values |= {"p": None, "sentence": plain or reason.sentence}
            shown.append(values)
        return shown


def _hide(metric: MetricSummary) -> MetricSummary:
    nothing = {field.name: None for field in dataclasses.fields(metric)}
    kept = {name: getattr(metric, name) for name in ("name", "margin", "smallest_detectable")}
    return MetricSummary(**(nothing | kept))


@dataclass(frozen=True, eq=False, kw_only=True)
class _Tests:
    """All tests on scores, without safety and slices."""

    comparisons: list[Comparison]
    p_superiority: float  # of all that is primary together
    p_noninferiority: float  # on the scale of alpha
    levels: Levels

    @property
    def p(self) -> float:
        return max(self.p_superiority, self.p_noninferiority)

    @property
    def is_better(self) -> bool:
        """In what is primary."""
        return self.p_superiority <= self.levels.alpha

    def rank(self, reason: Reason) -> float:
        """The order of what was lacking: the largest p, by which the whole test failed, comes first."""
        if reason.test == "superiority":
            return -self.p_superiority
        return -(self.levels.scale(reason.p or 0.0) if reason.test == "noninferiority" else reason.p or 0.0)

    @property
    def decisive(self) -> list[Comparison]:
        return [comparison for comparison in self.comparisons if comparison.margin is not None or comparison.weight]

    @property
    def guarded(self) -> list[Comparison]:
        return [comparison for comparison in self.comparisons if comparison.margin is not None]

    @property
    def primary(self) -> list[Comparison]:
        return [comparison for comparison in self.comparisons if comparison.weight]

    @property
    def is_refused(self) -> bool:
        return any(comparison.is_refused for comparison in self.comparisons)

    @property
    def clusters(self) -> int:
        return min(comparison.clusters for comparison in self.guarded if comparison.name != RATING_AUC)


def decide(
    scores: Sequence[PairedScores],
    rated: RatedScores | None,
    margins: Margins,
    consultation: int,
    evidence: Evidence = _NO_EVIDENCE,
    *,
    mode: str = "strict",
    budget: Budget | None = None,
) -> GateDecision:
    """Judge a candidate against production and the anchor.

    Primary: the win rate of fresh replies under a usable reward head has 0.8 of the level, log_perplexity and rouge_l
    0.1 each; without such a head these two have half each. Guarded: every metric that has a margin.

    Args:
        scores: at most one entry for each metric; a guarded metric without scores prevents promotion.
        rated: None when no hold-out reply is rated.
        consultation: how many times this hold-out has been asked, this time included.
        evidence: what there is besides the scores.
        mode: `strict` or `balanced`, see `data.recipe.Recipe`.

    Raises:
        ValueError: `consultation` is below 1.
    """
    alpha = spend_alpha(consultation)
    levels = Levels(alpha=alpha, noninferiority=BALANCED_LEVEL if mode == "balanced" else alpha)
    reuse = guard_reuse(scores, rated, evidence)
    tests = _test(reuse.scores, reuse.rated, margins, levels, evidence)
    safety = judge_safety(evidence.safety, alpha) if evidence.safety else None
    slices = find_worse_slices(
        evidence.slices, reuse.scores, reuse.rated, margins, is_head_usable=evidence.is_head_usable
    )
    missing = _list_missing(evidence)
    p = max(tests.p, safety.p if safety else 0.0, 1.0 if missing else 0.0)
    raters: list[str] = []
    if tests.is_refused or slices or (safety and (safety.has_lost_a_case or safety.p_worse <= alpha)):
        verdict = Verdict.REFUSE
    elif p > alpha or tests.clusters < MIN_CLUSTERS_TO_DECIDE or not reuse.is_enough:
        verdict = Verdict.NOT_ENOUGH_EVIDENCE
    else:
        raters = _list_deciding_raters(reuse, margins, levels, evidence)
        verdict = Verdict.NOT_ENOUGH_EVIDENCE if raters else Verdict.PROMOTE
    return GateDecision(
        verdict=verdict,
        p=p,
        alpha=alpha,
        consultation=consultation,
        clusters=tests.clusters,
        reasons=tuple(_explain(verdict, tests, safety, slices, missing, raters, reuse, levels, evidence)),
        metrics=tuple(comparison.summary for comparison in tests.comparisons),
        budget=budget,
    )


def _test(
    scores: Sequence[PairedScores], rated: RatedScores | None, margins: Margins, levels: Levels, evidence: Evidence
) -> _Tests:
    comparisons = build_comparisons(
        scores,
        rated,
        margins,
        levels,
        is_complete=evidence.is_complete,
        is_head_usable=evidence.is_head_usable,
    )
    p_superiority = min(1.0, *(c.p_superior / c.weight for c in comparisons if c.weight))
    needed = [c for c in comparisons if c.margin is not None and c.is_needed]
    p_noninferiority = max(max(c.p_noninferior, c.p_noninferior_anchor) for c in needed)
    return _Tests(
        comparisons=comparisons,
        p_superiority=p_superiority,
        p_noninferiority=levels.scale(p_noninferiority),
        levels=levels,
    )


def _list_missing(evidence: Evidence) -> list[Reason]:
    """What a trainer that measures everything did not bring."""
    if not evidence.is_complete:
        return []
    missing = []
    if evidence.safety is None:
        missing.append(note("The replies to the safety set are missing; nothing is promoted without them."))
    if evidence.slices is None:
        missing.append(note("The slices of the hold-out are missing; nothing is promoted without them."))
    return missing


def _list_deciding_raters(reuse: Reuse, margins: Margins, levels: Levels, evidence: Evidence) -> list[str]:
    """The raters without whom the candidate would not pass.

    What is left out of each are the rated replies, the references that are theirs and their part in the reward head.
    """
    left_out = {item.rater: item.reward for item in evidence.left_out}
    raters = [rater for rater, _ in _count_raters(reuse).most_common()]
    raters = [*left_out, *(rater for rater in raters if rater not in left_out)][: max(_MAX_RATERS, len(left_out))]
    deciding = []
    for rater in raters:
        scores, rated = list(reuse.scores), reuse.rated
        if rater in left_out:
            known = np.concatenate([np.empty(0, dtype=str), *(s.cluster for s in scores if s.name == REWARD)])
            reward = select_rows(left_out[rater], np.isin(left_out[rater].cluster, known))
            scores = [reward if paired.name == REWARD else paired for paired in scores]
        scores = [_leave_out(paired, rater) for paired in scores]
        rated = None if rated is None else _leave_out(rated, rater)
        tests = _test(scores, rated, margins, levels, evidence)
        if tests.is_refused or tests.p > levels.alpha:
            deciding.append(rater)
    return deciding


def _count_raters(reuse: Reuse) -> Counter[str]:
    """How many rated replies and references are each rater's."""
    references = next((paired for paired in reuse.scores if paired.name == CORE[0]), None)
    columns = [table.rater for table in (reuse.rated, references) if table is not None and table.rater is not None]
    return Counter(str(rater) for column in columns for rater in column if rater)


def _leave_out(scores: Scores, rater: str) -> Scores:
    return scores if scores.rater is None else select_rows(scores, scores.rater != rater)


def _explain(
    verdict: Verdict,
    tests: _Tests,
    safety: SafetyVerdict | None,
    slices: Sequence[WorseSlice],
    missing: Sequence[Reason],
    raters: Sequence[str],
    reuse: Reuse,
    levels: Levels,
    evidence: Evidence,
) -> Iterator[Reason]:
    """The reasons, those that decided first."""
    told = explain_safety(safety, levels.alpha) if safety else []
    is_unsafe = safety is not None and (safety.has_lost_a_case or safety.p_worse <= levels.alpha)
    if is_unsafe:
        yield from told
    yield from (explain_slice(found) for found in slices)
    yield from (explain_refusal(comparison) for comparison in tests.comparisons if comparison.is_refused)
    primary = sorted(tests.primary, key=lambda comparison: comparison.p_superior)
    tested = [
        *((explain_superiority(c), not tests.is_better) for c in primary if c.clusters),
        *((reason, safety is not None and safety.p > levels.alpha) for reason in told if not is_unsafe),
        *(
            (explain_margin(c), c.is_unproven)
            for c in tests.guarded
            if c.clusters and not (c.is_refused or c.is_better)
        ),
    ]
    lacking = []
    if verdict is Verdict.NOT_ENOUGH_EVIDENCE:
        lacking = sorted((reason for reason, is_lacking in tested if is_lacking), key=tests.rank)
        yield from (explain_rater(rater) for rater in raters)
        yield from missing
        yield from _explain_shortage(tests, reuse)
        yield from lacking
        yield from explain_detectable(tests.decisive, levels.alpha)
    yield from (reason for reason, _ in tested if reason not in lacking)
    yield from explain_few_ratings(reuse.rated)
    yield from _explain_head(evidence)
    if levels.noninferiority != levels.alpha:
        yield note(
            f"Mode balanced: that other metrics are no worse was tested at {levels.noninferiority:g} in this run, "
            "which bounds the error of one run and not that of the hold-out's life."
        )


def _explain_shortage(tests: _Tests, reuse: Reuse) -> Iterator[Reason]:
    """What was missing: conversations, scores, or any difference."""
    if reuse.is_guarded:
        yield note(
            "The candidate leans the way that production was chosen by on these rows, so only conversations newer than "
            f"that promotion count: {reuse.fresh_clusters} of the {MIN_FRESH_CLUSTERS} that are needed."
        )
    if not any(comparison.clusters for comparison in tests.decisive):
        yield note("The hold-out has no scored rows.")
        return
    for comparison in tests.decisive:
        if not comparison.clusters:
            yield note(f"No hold-out row has a {label(comparison.name)} score.", comparison.name)
    if 0 < tests.clusters < MIN_CLUSTERS_TO_DECIDE:
        yield note(f"The hold-out has {count(tests.clusters)}; to promote takes {MIN_CLUSTERS_TO_DECIDE}.")
    if not any(comparison.differing for comparison in tests.decisive):
        yield note("Candidate and production score the same in every conversation.")


def _explain_head(evidence: Evidence) -> Iterator[Reason]:
    if evidence.is_head_usable or not (evidence.is_complete or evidence.head):
        return
    why = evidence.head.reason if evidence.head else "there is no reward head."
    yield note(f"The reward did not count, so perplexity and ROUGE-L decide: {why}", REWARD)
