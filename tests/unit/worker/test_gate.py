"""The verdicts of the gate, its sentences, its invariances, and its error rates by simulation."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from data.recipe import Margins
from data.statistics import FloatArray, spend_alpha
from data.vocabulary import Verdict
from worker.gate import GateDecision, PairedScores, RatedScores, Reason, decide

Scores = TypeVar("Scores", PairedScores, RatedScores)

MARGINS = Margins()
LEVELS = {"log_perplexity": 3.4, "rouge_l": 0.14, "bleu": 5.0}
NOISE = {"log_perplexity": 0.03, "rouge_l": 0.03, "bleu": 1.0}  # standard deviation of a difference


def build_labels(clusters: int, rows_each: int = 1) -> Any:
    return np.repeat(np.arange(clusters), rows_each).astype(np.str_)


def build_paired(name: str, gains: FloatArray, rows_each: int = 1, **changes: Any) -> PairedScores:
    """Scores of production around the level of the metric, and of a candidate that is better by `gains`."""
    higher_is_better = name != "log_perplexity"
    production = LEVELS.get(name, 1.0) + 0.1 * np.sin(np.arange(len(gains)))
    scores = PairedScores(
        name=name,
        candidate=production + gains if higher_is_better else production - gains,
        production=production,
        cluster=build_labels(len(gains) // rows_each, rows_each),
        weight=np.ones(len(gains)),
        higher_is_better=higher_is_better,
    )
    return dataclasses.replace(scores, **changes)


def build_scores(seed: int = 0, clusters: int = 120, rows_each: int = 1, **effects: float) -> list[PairedScores]:
    """The guarded metrics with noise; `effects` are mean gains, 0 where left out."""
    generator = np.random.default_rng(seed)
    return [
        build_paired(name, effects.get(name, 0.0) + generator.normal(0, sd, clusters * rows_each), rows_each)
        for name, sd in NOISE.items()
    ]


def build_rated(seed: int = 0, replies: int = 80, effect: float = 0.0, ups: int | None = None) -> RatedScores:
    """Rated replies, each in its own conversation; the candidate ranks up above down by `effect` more."""
    generator = np.random.default_rng(seed)
    is_up = np.arange(replies) < (replies // 2 if ups is None else ups)
    quality = generator.normal(size=replies) + 0.4 * is_up
    return RatedScores(
        candidate=quality + generator.normal(0, 0.4, replies) + effect * is_up,
        production=quality + generator.normal(0, 0.4, replies),
        is_up=is_up,
        cluster=build_labels(replies),
    )


def swap(scores: Scores) -> Scores:
    return dataclasses.replace(scores, candidate=scores.production, production=scores.candidate)


def repeat_rows(scores: Scores, clusters: Sequence[str], copies: int) -> Scores:
    """The scores with every row of some clusters `copies` times."""
    index = np.repeat(np.arange(len(scores.cluster)), np.where(np.isin(scores.cluster, clusters), copies, 1))
    columns: dict[str, Any] = {field.name: getattr(scores, field.name) for field in dataclasses.fields(scores)}
    repeated: dict[str, Any] = {
        name: column[index] for name, column in columns.items() if isinstance(column, np.ndarray)
    }
    return dataclasses.replace(scores, **repeated)


def find_reasons(decision: GateDecision, metric: str | None, test: str) -> list[Reason]:
    return [reason for reason in decision.reasons if (reason.metric, reason.test) == (metric, test)]


class TestDecide:
    def test_promotes_what_is_better(self) -> None:
        decision = decide(build_scores(rouge_l=0.022), None, MARGINS, 1)
        assert decision.verdict == Verdict.PROMOTE
        assert decision.p <= decision.alpha == spend_alpha(1)
        assert (decision.consultation, decision.clusters) == (1, 120)

    def test_takes_the_worst_p_of_all_parts(self) -> None:
        decision = decide(build_scores(rouge_l=0.022), None, MARGINS, 1)
        better = [m.p_superior for m in decision.metrics if m.p_superior is not None]
        no_worse = [m.p_noninferior for m in decision.metrics if m.p_noninferior is not None]
        assert len(better) == 2 and len(no_worse) == 3
        assert decision.p == max(2 * min(better), *no_worse)

    def test_lower_perplexity_is_better(self) -> None:
        decision = decide(build_scores(log_perplexity=0.02), None, MARGINS, 1)
        perplexity = decision.metrics[0]
        assert decision.verdict == Verdict.PROMOTE
        assert perplexity.before is not None and perplexity.after is not None and perplexity.difference is not None
        assert perplexity.after < perplexity.before
        assert perplexity.low is not None and perplexity.high is not None
        assert perplexity.low < perplexity.difference < perplexity.high < 0
        assert perplexity.difference == pytest.approx(np.log(perplexity.after / perplexity.before))

    def test_shows_the_token_weighted_perplexity(self) -> None:
        scores = build_scores()
        nats = np.full(120, 2.0)
        nats[0] = 3.0
        weight = np.ones(120)
        weight[0] = 119.0
        scores[0] = dataclasses.replace(scores[0], production=nats, weight=weight)
        assert decide(scores, None, MARGINS, 1).metrics[0].before == pytest.approx(np.exp(2.5))

    def test_a_gain_in_ratings_alone_is_not_what_must_be_better(self) -> None:
        decision = decide(build_scores(), build_rated(replies=200, effect=1.0), MARGINS, 1)
        assert decision.verdict == Verdict.NOT_ENOUGH_EVIDENCE
        assert find_reasons(decision, "rating_auc", "noninferiority")[0].sentence.startswith("Rating AUC rose from 0.6")
        assert not find_reasons(decision, "rating_auc", "superiority")

    def test_refuses_what_ranks_the_liked_replies_lower(self) -> None:
        decision = decide(build_scores(rouge_l=0.022), build_rated(replies=90, effect=-2.0), MARGINS, 1)
        assert decision.verdict == Verdict.REFUSE
        assert decision.reasons[0].metric == "rating_auc"

    @pytest.mark.parametrize(("replies", "counts"), [(99, False), (100, True)])
    def test_asks_for_proof_in_ratings_from_100_conversations(self, replies: int, counts: bool) -> None:
        rated = build_rated(replies=replies)
        decision = decide(build_scores(rouge_l=0.022), rated, Margins(rating_auc=1e-6), 1)
        assert (decision.verdict == Verdict.NOT_ENOUGH_EVIDENCE) is counts

    @pytest.mark.parametrize(
        ("rated", "note"),
        [
            (None, "no hold-out reply is rated."),
            (build_rated(ups=9), "9 up-rated and 71 down-rated replies in 80 conversations"),
            (build_rated(ups=71), "71 up-rated and 9 down-rated replies in 80 conversations"),
            (build_rated(replies=29), "14 up-rated and 15 down-rated replies in 29 conversations"),
        ],
    )
    def test_leaves_out_too_few_ratings(self, rated: RatedScores | None, note: str) -> None:
        decision = decide(build_scores(rouge_l=0.022), rated, MARGINS, 1)
        assert decision == dataclasses.replace(
            decide(build_scores(rouge_l=0.022), None, MARGINS, 1), reasons=decision.reasons
        )
        assert note in find_reasons(decision, "rating_auc", "evidence")[0].sentence

    def test_a_later_consultation_needs_more(self) -> None:
        scores = build_scores(rouge_l=0.012)
        early = decide(scores, None, MARGINS, 1)
        late = decide(scores, None, MARGINS, 300)
        assert (early.verdict, late.verdict) == (Verdict.PROMOTE, Verdict.NOT_ENOUGH_EVIDENCE)
        assert early.p == late.p > late.alpha

    def test_better_in_one_does_not_excuse_another(self) -> None:
        decision = decide(build_scores(rouge_l=0.05, bleu=-0.9), None, MARGINS, 1)
        assert decision.verdict == Verdict.NOT_ENOUGH_EVIDENCE
        assert (
            "not shown to stay within its margin of 1 (p = "
            in find_reasons(decision, "bleu", "noninferiority")[0].sentence
        )

    @pytest.mark.parametrize(("metric", "gain"), [("log_perplexity", -0.05), ("rouge_l", -0.05), ("bleu", -2.0)])
    def test_refuses_what_is_worse_beyond_its_margin(self, metric: str, gain: float) -> None:
        effects: dict[str, Any] = {metric: gain}
        decision = decide(build_scores(**effects), None, MARGINS, 1)
        assert decision.verdict == Verdict.REFUSE
        first = decision.reasons[0]
        assert (first.metric, first.test) == (metric, "noninferiority")
        assert first.p is not None and first.p <= decision.alpha
        assert "worse than its margin" in first.sentence

    @pytest.mark.parametrize(("clusters", "verdict"), [(29, Verdict.NOT_ENOUGH_EVIDENCE), (30, Verdict.REFUSE)])
    def test_refuses_from_30_conversations(self, clusters: int, verdict: Verdict) -> None:
        assert decide(build_scores(clusters=clusters, rouge_l=-0.1), None, MARGINS, 1).verdict == verdict

    @pytest.mark.parametrize(("clusters", "verdict"), [(99, Verdict.NOT_ENOUGH_EVIDENCE), (100, Verdict.PROMOTE)])
    def test_promotes_from_100_conversations(self, clusters: int, verdict: Verdict) -> None:
        decision = decide(build_scores(clusters=clusters, rows_each=2, rouge_l=0.03), None, MARGINS, 1)
        assert decision.verdict == verdict
        assert decision.p <= decision.alpha

    def test_says_how_many_conversations_it_lacks(self) -> None:
        decision = decide(build_scores(clusters=99, rouge_l=0.03), None, MARGINS, 1)
        assert decision.reasons[0].sentence == "The hold-out has 99 conversations; to promote takes 100."

    @pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
    @pytest.mark.parametrize("owner", ["candidate", "production"])
    def test_refuses_scores_that_are_not_finite(self, owner: str, broken: float) -> None:
        scores = build_scores(rouge_l=0.05)
        values = getattr(scores[0], owner).copy()
        values[:3] = broken
        scores[0] = dataclasses.replace(scores[0], **{owner: values})
        decision = decide(scores, None, MARGINS, 1)
        assert (decision.verdict, decision.p) == (Verdict.REFUSE, 1.0)
        who = "the candidate" if owner == "candidate" else "production"
        assert decision.reasons[0] == Reason(
            "log_perplexity",
            "evidence",
            None,
            f"Perplexity of {who} is not a finite number in 3 of 120 rows, so the models cannot be compared.",
        )
        assert decision.metrics[0].before is decision.metrics[0].low is None

    def test_refuses_broken_scores_of_ratings(self) -> None:
        rated = dataclasses.replace(build_rated(), candidate=np.full(80, np.nan))
        decision = decide(build_scores(rouge_l=0.05), rated, MARGINS, 1)
        assert decision.verdict == Verdict.REFUSE
        assert "Rating AUC of the candidate is not a finite number in 80 of 80 rows" in decision.reasons[0].sentence

    def test_survives_a_perplexity_that_no_float_can_hold(self) -> None:
        decision = decide([build_paired("log_perplexity", np.full(120, -1e4))], None, MARGINS, 1)
        assert decision.verdict == Verdict.REFUSE
        json.dumps(decision.to_dict(), allow_nan=False)

    def test_a_candidate_equal_to_production_shows_nothing(self) -> None:
        scores = [build_paired(name, np.zeros(150)) for name in LEVELS]
        rated = build_rated()
        rated = dataclasses.replace(rated, candidate=rated.production)
        decision = decide(scores, rated, MARGINS, 1)
        assert (decision.verdict, decision.p) == (Verdict.NOT_ENOUGH_EVIDENCE, 1.0)
        assert decision.reasons[0].sentence == "Candidate and production score the same in every conversation."
        assert decision.metrics[1].difference == 0.0

    def test_a_few_lucky_replies_are_no_evidence(self) -> None:
        gains = np.zeros(400)
        gains[:49] = 0.4
        scores = [build_paired(name, gains if name == "rouge_l" else np.zeros(400)) for name in LEVELS]
        decision = decide(scores, None, MARGINS, 1)
        assert decision.verdict == Verdict.NOT_ENOUGH_EVIDENCE
        assert (
            "the models differ in 49 conversations and 50 are needed"
            in find_reasons(decision, "rouge_l", "superiority")[0].sentence
        )
        gains[49] = 0.4
        assert (
            decide([*scores[:1], build_paired("rouge_l", gains), scores[2]], None, MARGINS, 1).verdict
            == Verdict.PROMOTE
        )

    def test_no_rows_are_no_evidence(self) -> None:
        decision = decide([], None, MARGINS, 1)
        assert (decision.verdict, decision.p, decision.clusters) == (Verdict.NOT_ENOUGH_EVIDENCE, 1.0, 0)
        assert decision.reasons[0].sentence == "The hold-out has no scored rows."

    def test_a_missing_metric_prevents_promotion(self) -> None:
        decision = decide(build_scores(rouge_l=0.05)[:2], None, MARGINS, 1)
        assert (decision.verdict, decision.p, decision.clusters) == (Verdict.NOT_ENOUGH_EVIDENCE, 1.0, 0)
        assert decision.reasons[0].sentence == "No hold-out row has a BLEU score."

    def test_one_conversation_has_no_interval(self) -> None:
        decision = decide([build_paired(name, np.full(2, 0.01), rows_each=2) for name in LEVELS], None, MARGINS, 1)
        assert decision.verdict == Verdict.NOT_ENOUGH_EVIDENCE
        sentence = find_reasons(decision, "rouge_l", "noninferiority")[0].sentence
        assert "(difference +0.010, 1 conversation)" in sentence
        assert not any("smallest" in reason.sentence for reason in decision.reasons)

    def test_says_what_the_hold_out_could_have_shown(self) -> None:
        decision = decide(build_scores(), None, MARGINS, 1)
        sizes = [metric.smallest_detectable for metric in decision.metrics]
        assert decision.reasons[0].sentence == (
            "The smallest differences that this hold-out shows with 80 % power at alpha = 0.0094 are "
            f"Perplexity {sizes[0]:.3f} nats, ROUGE-L {sizes[1]:.3f}, BLEU {sizes[2]:.2f}."
        )

    def test_writes_full_sentences(self) -> None:
        gains = np.tile([0.032, 0.012], 60)
        scores = build_scores()
        scores[1] = build_paired("rouge_l", gains)
        decision = decide(scores, None, MARGINS, 1)
        assert decision.reasons[0].sentence.startswith("ROUGE-L rose from 0.14")
        assert decision.reasons[0].sentence.endswith(
            " (difference +0.022, 95 % interval +0.020 to +0.024, 120 conversations); better with p < 1e-12."
        )

    def test_summarises_other_metrics_without_judging_them(self) -> None:
        scores = build_scores(rouge_l=0.022)
        words = build_paired("rouge_1", np.full(120, -9.0) + np.arange(120) % 2)
        broken = build_paired("distinct_1", np.full(120, np.nan))
        decision = decide([words, *scores, broken], None, MARGINS, 1)
        assert decision.verdict == Verdict.PROMOTE
        assert [metric.name for metric in decision.metrics] == [*LEVELS, "rouge_1", "distinct_1"]
        summary = decision.metrics[3]
        assert summary.difference == -8.5
        assert summary.low is not None and summary.high is not None
        assert summary.low < -8.5 < summary.high
        assert summary.p_superior is summary.p_noninferior is summary.margin is None
        assert decision.metrics[4].difference is None

    def test_is_pure(self) -> None:
        scores, rated = build_scores(rouge_l=0.01), build_rated()
        assert decide(scores, rated, MARGINS, 3) == decide(scores, rated, MARGINS, 3)

    def test_counts_consultations_from_one(self) -> None:
        with pytest.raises(ValueError, match="from 1, not 0"):
            decide([], None, MARGINS, 0)


class TestToDict:
    @pytest.mark.parametrize("scores", [[], build_scores(rouge_l=0.022), build_scores(bleu=-5.0)])
    def test_survives_json(self, scores: list[PairedScores]) -> None:
        decision = decide(scores, build_rated(), MARGINS, 2)
        values = decision.to_dict()
        assert json.loads(json.dumps(values, allow_nan=False)) == values
        assert values["verdict"] == decision.verdict.value
        shown = decision.reasons[0].sentence if decision.shows_scores else decision.reasons[0].plain
        assert values["reasons"][0]["sentence"] == (shown or decision.reasons[0].sentence)
        assert values["metrics"][0]["name"] == "log_perplexity"


EFFECTS = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 2**32 - 1),
        "log_perplexity": st.floats(-0.06, 0.06),
        "rouge_l": st.floats(-0.06, 0.06),
        "bleu": st.floats(-3.0, 3.0),
    }
)


class TestInvariances:
    @settings(max_examples=15, deadline=None)
    @given(EFFECTS, st.integers(2, 20), st.integers(1, 120))
    def test_copies_of_rows_in_their_conversations_change_nothing(
        self, effects: dict[str, Any], copies: int, copied: int
    ) -> None:
        scores, rated = build_scores(**effects), build_rated()
        clusters = build_labels(copied)
        once = decide(scores, rated, MARGINS, 1)
        again = decide(
            [repeat_rows(paired, clusters, copies) for paired in scores],
            repeat_rows(rated, clusters, copies),
            MARGINS,
            1,
        )
        assert (again.verdict, again.clusters) == (once.verdict, once.clusters)
        assert again.p == pytest.approx(once.p, rel=1e-6)

    @settings(max_examples=15, deadline=None)
    @given(EFFECTS, st.permutations(range(120)))
    def test_the_order_of_rows_changes_nothing(self, effects: dict[str, Any], order: list[int]) -> None:
        scores = build_scores(**effects)
        shuffled = [
            dataclasses.replace(
                paired,
                candidate=paired.candidate[order],
                production=paired.production[order],
                cluster=paired.cluster[order],
            )
            for paired in scores
        ]
        once, again = decide(scores, None, MARGINS, 1), decide(shuffled, None, MARGINS, 1)
        assert (again.verdict, again.p) == (once.verdict, once.p)

    @settings(max_examples=30, deadline=None)
    @given(st.integers(0, 2**32 - 1), st.sampled_from(list(LEVELS)), st.floats(-2.0, 2.0))
    def test_swapping_the_models_never_promotes_both(self, seed: int, metric: str, effect: float) -> None:
        effects: dict[str, Any] = {metric: effect * NOISE[metric]}
        changed = build_scores(seed, **effects)
        scores = [paired if paired.name == metric else build_paired(paired.name, np.zeros(120)) for paired in changed]
        verdicts = [decide(scores, None, MARGINS, 1).verdict]
        verdicts.append(decide([swap(paired) for paired in scores], None, MARGINS, 1).verdict)
        assert verdicts.count(Verdict.PROMOTE) < 2

    def test_swapping_never_finds_the_same_metric_better(self) -> None:
        scores = build_scores(rouge_l=0.012, log_perplexity=-0.012)
        rated = build_rated()
        ahead = decide(scores, rated, MARGINS, 1)
        back = decide([swap(paired) for paired in scores], swap(rated), MARGINS, 1)
        assert [m.p_superior for m in back.metrics if m.p_superior] == pytest.approx(
            [1 - m.p_superior for m in ahead.metrics if m.p_superior]
        )

    def test_a_trade_within_the_margins_is_promoted_both_ways(self) -> None:
        """What margins allow: each is better in one metric and worse in the other by less than the margin."""
        scores = build_scores(seed=1, clusters=400, rouge_l=0.008, log_perplexity=-0.008)
        assert decide(scores, None, MARGINS, 1).verdict == Verdict.PROMOTE
        assert decide([swap(paired) for paired in scores], None, MARGINS, 1).verdict == Verdict.PROMOTE


class TestErrorRates:
    """Whole decisions, repeated: bounds are the 0.1 % tails of the binomial."""

    def test_equal_models_are_promoted_no_more_often_than_alpha(self) -> None:
        lives = 200
        decisions = [decide(build_scores(seed, rows_each=2), build_rated(seed), MARGINS, 1) for seed in range(lives)]
        promoted = sum(decision.verdict == Verdict.PROMOTE for decision in decisions)
        assert promoted <= stats.binom.ppf(0.999, lives, spend_alpha(1))
        assert not any(decision.verdict == Verdict.REFUSE for decision in decisions)
        for level in (0.05, 0.1, 0.2):  # the p is honest, and no wall that nothing could pass
            below = sum(decision.p <= level for decision in decisions)
            assert stats.binom.ppf(0.001, lives, level / 2) <= below <= stats.binom.ppf(0.999, lives, level)

    def test_the_promised_difference_is_found_four_times_in_five(self) -> None:
        lives = 60
        promised = decide(build_scores(), None, MARGINS, 1).metrics[1].smallest_detectable
        assert promised is not None
        found = sum(
            decide(build_scores(seed, rouge_l=promised), None, MARGINS, 1).verdict == Verdict.PROMOTE
            for seed in range(lives)
        )
        assert stats.binom.ppf(0.001, lives, 0.8) <= found

    def test_a_loss_beyond_the_margin_is_never_promoted_and_mostly_refused(self) -> None:
        verdicts = [decide(build_scores(seed, rouge_l=0.05, bleu=-1.5), None, MARGINS, 1).verdict for seed in range(40)]
        assert Verdict.PROMOTE not in verdicts
        assert verdicts.count(Verdict.REFUSE) >= 36
