"""The sentences of a verdict: each says what was found with its numbers, and, where these may not be shown, without."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from data.holdout import MIN_CLUSTERS_TO_DECIDE
from worker.comparison import MIN_CLUSTERS_THAT_DIFFER, POWER, RATING_AUC, REWARD, Comparison
from worker.paired_scores import MIN_RATED_CLUSTERS, MIN_RATED_OF_A_KIND, RatedScores
from worker.safety_verdict import MARGIN, SafetyVerdict
from worker.slices import WorseSlice

_RATER_LETTERS = 8


@dataclass(frozen=True)
class Reason:
    """One sentence for a person, with its numbers.

    `metric` is None where the sentence is about the hold-out as a whole, `p` where it rests on no test. The p
    of a metric that is worse beyond its margin is that of the test for being worse. `plain` is the sentence without
    scores of the hold-out; None where it has none.
    """

    metric: str | None
    test: Literal["superiority", "noninferiority", "evidence", "safety", "slice", "rater"]
    p: float | None
    sentence: str
    plain: str | None = None


@dataclass(frozen=True)
class _Wording:
    """How a metric is written."""

    label: str
    unit: str  # of a difference
    level_decimals: int
    difference_decimals: int


_WORDINGS = {
    REWARD: _Wording("Reward", "", 3, 3),
    "log_perplexity": _Wording("Perplexity", " nats", 2, 3),
    "rouge_l": _Wording("ROUGE-L", "", 3, 3),
    "bleu": _Wording("BLEU", "", 2, 2),
    "chrf": _Wording("chrF", "", 2, 2),
    "distinct_2": _Wording("Distinct-2", "", 3, 3),
    "repetition": _Wording("Repetition", "", 3, 3),
    "reply_words": _Wording("Length of replies", " words", 1, 1),
    "filtered": _Wording("Share of filtered replies", "", 3, 3),
    RATING_AUC: _Wording("Rating AUC", "", 3, 3),
}


def label(metric: str) -> str:
    """The name of a metric for a person."""
    return _WORDINGS[metric].label if metric in _WORDINGS else metric


def note(sentence: str, metric: str | None = None) -> Reason:
    """A reason that rests on no test."""
    return Reason(metric, "evidence", None, sentence)


def explain_refusal(comparison: Comparison) -> Reason:
    """Why this metric alone refuses."""
    if comparison.broken:
        sentence = f"{label(comparison.name)} of {comparison.broken}, so the models cannot be compared."
        return note(sentence, comparison.name)
    return explain_margin(comparison)


def explain_margin(comparison: Comparison) -> Reason:
    """How it stands with being no worse."""
    name, wording = label(comparison.name), _WORDINGS[comparison.name]
    is_anchor = (
        comparison.p_worse_anchor < comparison.p_worse if comparison.is_refused else _is_held_by_anchor(comparison)
    )
    margin = (comparison.anchor_margin if is_anchor else comparison.margin) or 0.0
    allowed = f"its margin of {margin:.3g}{wording.unit}"
    against = " against the anchor" if is_anchor else ""
    if comparison.is_refused:
        p = min(comparison.p_worse, comparison.p_worse_anchor)
        finding = f"worse than {allowed} allows{against} with {write_p(p)}"
        plain = f"{name} is worse than its margin allows{against}."
    else:
        p = max(comparison.p_noninferior, comparison.p_noninferior_anchor)
        if comparison.is_only_counted:
            few = f"{count(comparison.clusters)} are too few to show {allowed} at this level"
            finding = f"in more conversations{against}, and {few}" if p else f"in no conversation more, for {few}"
            plain = f"{name} is {'' if p else 'no '}higher{against}."
        elif p <= comparison.levels.noninferiority:
            finding = f"no worse than {allowed} allows with {write_p(p)}"
            plain = f"{name} is no worse than its margin allows."
        else:
            counts = "" if comparison.is_needed else f", which counts from {MIN_CLUSTERS_TO_DECIDE} conversations on"
            finding = f"not shown to stay within {allowed}{against} ({write_p(p)}){counts}"
            plain = f"{name} was not shown to stay within its margin{against}{counts}."
    return Reason(comparison.name, "noninferiority", p, f"{_describe(comparison)}; {finding}.", plain)


def _is_held_by_anchor(comparison: Comparison) -> bool:
    return comparison.p_noninferior_anchor > comparison.p_noninferior


def explain_superiority(comparison: Comparison) -> Reason:
    """How it stands with being better."""
    p, name = comparison.p_superior, label(comparison.name)
    plain = f"{name} was not shown to be better."
    if comparison.name != REWARD and comparison.differing < MIN_CLUSTERS_THAT_DIFFER:
        finding = (
            f"not shown to be better, for the models differ in {count(comparison.differing)} "
            f"and {MIN_CLUSTERS_THAT_DIFFER} are needed"
        )
    elif p <= comparison.level:
        finding, plain = f"better with {write_p(p)}", f"{name} is better."
    else:
        finding = f"not shown to be better ({write_p(p)})"
    return Reason(comparison.name, "superiority", p, f"{_describe(comparison)}; {finding}.", plain)


def explain_detectable(comparisons: Sequence[Comparison], alpha: float) -> list[Reason]:
    """The smallest differences that the hold-out could have shown, of what decides about being better or no worse."""
    sizes = []
    for comparison in comparisons:
        size = comparison.summary.smallest_detectable
        if comparison.name in _WORDINGS and size and (comparison.weight or comparison.margin is not None):
            wording = _WORDINGS[comparison.name]
            unit = " of win rate" if comparison.name == REWARD else wording.unit
            sizes.append(f"{wording.label} {size:.{wording.difference_decimals}f}{unit}")
    if not sizes:
        return []
    sentence = (
        f"The smallest differences that this hold-out shows with {POWER * 100:.0f} % power "
        f"at alpha = {alpha:.2g} are {', '.join(sizes)}."
    )
    return [note(sentence)]


def explain_few_ratings(rated: RatedScores | None) -> list[Reason]:
    """Why the rating AUC did not count, where it did not."""
    if rated is None:
        return [note("Rating AUC did not count: no hold-out reply is rated.", RATING_AUC)]
    if rated.is_enough:
        return []
    up, down, clusters = rated.counts
    sentence = (
        f"Rating AUC did not count: the hold-out has {up} up-rated and {down} down-rated replies in "
        f"{count(clusters)}; needed are {MIN_RATED_OF_A_KIND} of each in {MIN_RATED_CLUSTERS}."
    )
    return [note(sentence, RATING_AUC)]


def explain_slice(found: WorseSlice) -> Reason:
    """That a slice is worse."""
    name = label(found.metric)
    decimals = _WORDINGS[found.metric].difference_decimals
    sentence = (
        f"The slice {found.name} is worse in {name} (difference {found.difference:+.{decimals}f}, "
        f"{count(found.clusters)}, {write_p(found.p)})."
    )
    return Reason(found.metric, "slice", found.p, sentence, f"The slice {found.name} is worse in {name}.")


def explain_safety(safety: SafetyVerdict, alpha: float) -> list[Reason]:
    """How it stands with safety: what was lost, then the share of replies that are not ok."""
    reasons = []
    if safety.severe_after > safety.severe_limit:
        sentence = (
            f"The safety set has {safety.severe_after} severe replies and may have {safety.severe_limit}; one more "
            f"blocks (production had {safety.severe_before})."
        )
        reasons.append(Reason(None, "safety", None, sentence, "The safety set has more severe replies than before."))
    for category in safety.worse_categories:
        sentence = f"The safety set has more severe replies than before in the crisis category {category}."
        reasons.append(Reason(None, "safety", None, sentence))
    before, after = safety.not_ok_before, safety.not_ok_after
    change = (
        f"Replies to the safety set that are not ok went from {before} to {after} of {safety.items}, severe ones from "
        f"{safety.severe_before} to {safety.severe_after}"
    )
    allowed = f"the margin of {MARGIN * 100:.0f} %"
    if not safety.is_shown:
        sentence = f"{change}; {safety.items} are too few to show at this level that it stays within {allowed}."
        reasons.append(Reason(None, "safety", None, sentence, "The safety set is too small to show the milder rates."))
    elif safety.p <= alpha:
        sentence = f"{change}; no worse than {allowed} allows with {write_p(safety.p)}."
        plain = "The share of replies to the safety set that are not ok is no worse than its margin allows."
        reasons.append(Reason(None, "safety", safety.p, sentence, plain))
    else:
        is_worse = safety.p_worse <= alpha
        finding = (
            f"worse than {allowed} allows with {write_p(safety.p_worse)}"
            if is_worse
            else f"not shown to stay within {allowed} ({write_p(safety.p)})"
        )
        plain = (
            "Safety is worse than its margin allows." if is_worse else "Safety was not shown to stay within its margin."
        )
        reasons.append(Reason(None, "safety", safety.p, f"{change}; {finding}.", plain))
    return reasons


def explain_rater(rater: str) -> Reason:
    """That one rater's rows decide."""
    sentence = (
        f"Without the ratings and corrections of rater {shorten_rater(rater)} it would not be promoted; "
        "no one person may decide."
    )
    return Reason(None, "rater", None, sentence)


def shorten_rater(rater: str) -> str:
    """A few letters of a digest, by which an operator finds the rater and nobody is named."""
    return hashlib.sha256(rater.encode()).hexdigest()[:_RATER_LETTERS]


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
    numbers = f"difference {difference}{wording.unit}{interval}, {count(comparison.clusters)}"
    wins = ""
    if comparison.name == REWARD and comparison.differing:
        share = 100 * comparison.wins / comparison.differing
        wins = f" and fresh replies win in {share:.0f} % of the {count(comparison.differing)} that differ"
    return f"{wording.label} {change} ({numbers}){wins}"


def write_p(p: float) -> str:
    """For example "p = 0.012"."""
    return f"p = {p:.2g}" if p >= 1e-12 else "p < 1e-12"


def count(number: int) -> str:
    """For example "120 conversations"."""
    return "1 conversation" if number == 1 else f"{number} conversations"
