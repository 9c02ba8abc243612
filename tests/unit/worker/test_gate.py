"""The verdicts of the gate and its sentences."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest

from data.lifetime import spend_alpha
from data.recipe import Margins
from data.vocabulary import Verdict
from tests.unit.worker.few_scores import (
    LEVELS,
    MARGINS,
    build_paired,
    build_rated,
    build_scores,
)
from worker.gate import GateDecision, PairedScores, RatedScores, Reason, decide


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
        assert [reason.test for reason in decision.reasons[:2]] == ["superiority", "superiority"]  # what is lacking
        assert decision.reasons[2].sentence == (
            "The smallest differences that this hold-out shows with 80 % power at alpha = 0.0094 are "
            f"Perplexity {sizes[0]:.3f} nats, ROUGE-L {sizes[1]:.3f}, BLEU {sizes[2]:.2f}."
        )

    def test_begins_with_what_was_not_shown(self) -> None:
        scores = build_scores(rouge_l=0.022)
        scores[2] = build_paired("bleu", np.tile([-30.0, 30.0], 60))
        decision = decide(scores, build_rated(), MARGINS, 1)
        assert decision.verdict == Verdict.NOT_ENOUGH_EVIDENCE
        assert (decision.reasons[0].metric, decision.reasons[0].test) == ("bleu", "noninferiority")
        assert decision.reasons[1].sentence.startswith("The smallest differences")
        assert [reason.metric for reason in decision.reasons].count("bleu") == 1

    @pytest.mark.parametrize(("bleu", "first"), [(-0.9, "bleu"), (-0.8, "log_perplexity")])
    def test_begins_with_what_was_farthest_from_being_shown(self, bleu: float, first: str) -> None:
        decision = decide(build_scores(rouge_l=0.05, log_perplexity=-0.02, bleu=bleu), None, MARGINS, 1)
        assert {reason.metric for reason in decision.reasons[:2]} == {"log_perplexity", "bleu"}
        assert (decision.reasons[0].metric, decision.reasons[0].p) == (first, decision.p)

    def test_a_metric_that_is_tested_more_mildly_is_told_by_how_it_counts(self) -> None:
        scores = build_scores(log_perplexity=0.006, bleu=-0.95)
        strict, balanced = (decide(scores, None, MARGINS, 300, mode=mode) for mode in ("strict", "balanced"))
        assert strict.reasons[0].metric == "bleu"
        assert balanced.reasons[0].test == "superiority"

    def test_writes_full_sentences(self) -> None:
        gains = np.tile([0.032, 0.012], 60)
        scores = build_scores()
        scores[1] = build_paired("rouge_l", gains)
        decision = decide(scores, None, MARGINS, 1)
        assert decision.reasons[0].sentence.startswith("ROUGE-L rose from 0.14")
        assert decision.reasons[0].sentence.endswith(
            " (difference +0.022, 95 % interval +0.020 to +0.024, 120 conversations); better with p < 1e-12."
        )

    @pytest.mark.parametrize(("anchor", "tests"), [(None, ["superiority"]), (0.0, ["superiority", "noninferiority"])])
    def test_says_once_that_a_metric_is_better(self, anchor: float | None, tests: list[str]) -> None:
        scores = build_scores(rouge_l=0.022)
        if anchor is not None:
            scores[1] = dataclasses.replace(scores[1], anchor=scores[1].production + anchor)
        decision = decide(scores, None, MARGINS, 1)
        assert decision.verdict == Verdict.PROMOTE
        assert [reason.test for reason in decision.reasons if reason.metric == "rouge_l"] == tests

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
