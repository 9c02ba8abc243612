"""The verdict on everything besides scores: reward head, anchor, safety, slices, raters, reuse, missing files."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest

from data.arrays import FloatArray
from data.lifetime import Budget
from data.recipe import Margins
from data.vocabulary import Verdict
from tests.unit.worker.builders import build_cases, build_reward, build_table
from worker.evidence import Evidence, Head, LeftOut
from worker.gate import decide
from worker.paired_scores import PairedScores, RatedScores, select_rows

MARGINS = Margins()
HEAD = Head(usable=True, auc=0.7, auc_low=0.6, auc_high=0.8)


def build_evidence(clusters: int = 300, **changes: Any) -> Evidence:
    ids = np.arange(clusters).astype(np.str_)
    whole = Evidence(is_complete=True, head=HEAD, safety=build_cases(), slices={"language:en": ids})
    return dataclasses.replace(whole, **changes)


def judge(scores: list[PairedScores], rated: RatedScores | None = None, **changes: Any) -> Any:
    return decide(scores, rated, MARGINS, 1, build_evidence(**changes))


class TestReward:
    def test_a_better_win_rate_promotes(self) -> None:
        decision = judge(build_table(reward=0.05))
        assert decision.verdict is Verdict.PROMOTE
        assert decision.reasons[0].metric == "reward"
        assert "fresh replies win in" in decision.reasons[0].sentence

    @pytest.mark.parametrize("low", [0.55, 0.4, float("nan")])
    def test_a_head_that_does_not_know_its_raters_does_not_count(self, low: float) -> None:
        head = dataclasses.replace(HEAD, auc_low=low, reason="Its AUC is too low.")
        decision = judge(build_table(reward=0.2), head=head)
        assert decision.verdict is Verdict.NOT_ENOUGH_EVIDENCE
        assert decision.reasons[-1].sentence.endswith("Its AUC is too low.")
        assert judge(build_table(reward=0.2), head=None).verdict is Verdict.NOT_ENOUGH_EVIDENCE
        assert judge(build_table(reward=0.2, rouge_l=0.03), head=None).verdict is Verdict.PROMOTE


class TestGuards:
    @pytest.mark.parametrize(
        ("metric", "gain"),
        [
            *(("chrf", -4.0), ("distinct_2", -0.1), ("repetition", -0.1), ("filtered", -0.1)),
            *(("reply_words", -15.0), ("reply_words", 15.0)),
        ],
    )
    def test_refuses_a_better_reward_that_costs_another(self, metric: str, gain: float) -> None:
        decision = judge(build_table(0, 300, reward=0.05, **{metric: gain}))
        assert decision.verdict is Verdict.REFUSE
        assert decision.reasons[0].metric == metric

    @pytest.mark.parametrize("metric", ["log_perplexity", "chrf", "distinct_2", "filtered"])
    def test_a_missing_metric_prevents_promotion(self, metric: str) -> None:
        decision = judge([scores for scores in build_table(reward=0.05) if scores.name != metric])
        assert (decision.verdict, decision.p) == (Verdict.NOT_ENOUGH_EVIDENCE, 1.0)

    @pytest.mark.parametrize(("part", "word"), [("safety", "safety set"), ("slices", "slices")])
    def test_a_missing_part_prevents_promotion(self, part: str, word: str) -> None:
        decision = judge(build_table(reward=0.05), **{part: None})
        assert (decision.verdict, decision.p) == (Verdict.NOT_ENOUGH_EVIDENCE, 1.0)
        assert word in decision.reasons[0].sentence

    def test_does_not_creep_away_from_the_anchor(self) -> None:
        scores = build_table(reward=0.05, rouge_l=-0.01)
        assert judge(scores).verdict is Verdict.PROMOTE
        rouge = next(paired for paired in scores if paired.name == "rouge_l")
        held = dataclasses.replace(rouge, anchor=rouge.production + 0.03)
        decision = judge([held if paired is rouge else paired for paired in scores])
        assert decision.verdict is Verdict.REFUSE
        assert "worse than its margin of 0.02 allows against the anchor" in decision.reasons[0].sentence
        near = dataclasses.replace(rouge, anchor=rouge.production + 0.01)
        decision = judge([near if paired is rouge else paired for paired in scores])
        assert decision.verdict is Verdict.NOT_ENOUGH_EVIDENCE
        assert any("against the anchor" in reason.sentence for reason in decision.reasons)

    def test_balanced_asks_less_of_what_is_no_worse(self) -> None:
        scores = build_table(seed=7, reward=0.08, bleu=-0.78)
        strict = decide(scores, None, MARGINS, 40, build_evidence())
        balanced = decide(scores, None, MARGINS, 40, build_evidence(), mode="balanced")
        assert (strict.verdict, balanced.verdict) == (Verdict.NOT_ENOUGH_EVIDENCE, Verdict.PROMOTE)
        assert "Mode balanced" in balanced.reasons[-1].sentence


class TestSafety:
    def test_one_severe_case_more_blocks(self) -> None:
        for seed in range(10):
            cases = build_cases()
            candidate = cases.candidate.copy()
            candidate[37 * seed + 5] = "severe"
            decision = judge(build_table(seed, reward=0.05), safety=dataclasses.replace(cases, candidate=candidate))
            assert decision.verdict is Verdict.REFUSE
            assert decision.reasons[0].test == "safety"

    def test_what_was_promoted_tells_of_harm_right_after_what_is_better(self) -> None:
        tests = [reason.test for reason in judge(build_table(reward=0.05)).reasons]
        assert tests.index("safety") < tests.index("noninferiority")
        assert set(tests[: tests.index("safety")]) == {"superiority"}

    def test_a_milder_loss_blocks(self) -> None:
        cases = build_cases()
        candidate = cases.candidate.copy()
        for losses, verdict in ((10, Verdict.PROMOTE), (45, Verdict.NOT_ENOUGH_EVIDENCE), (120, Verdict.REFUSE)):
            candidate[:losses] = "mild"
            decision = judge(build_table(reward=0.05), safety=dataclasses.replace(cases, candidate=candidate))
            assert decision.verdict is verdict


class TestSlices:
    def test_the_vulnerable_two_percent_block(self) -> None:
        rows = np.arange(3000)
        slices = {
            "topic:crisis": rows[rows % 50 == 7].astype(np.str_),
            "topic:other": rows[rows % 50 != 7].astype(np.str_),
            "length:short": rows[::2].astype(np.str_),
        }
        for seed in range(10):
            scores = build_table(seed, 3000, reward=0.05)
            assert judge(scores, slices=slices).verdict is Verdict.PROMOTE
            reward = next(paired for paired in scores if paired.name == "reward")
            harmed = np.where(rows % 50 == 7, reward.candidate - 0.2, reward.candidate)
            scores[scores.index(reward)] = dataclasses.replace(reward, candidate=harmed)
            assert (harmed - reward.production).mean() > 0.04
            decision = judge(scores, slices=slices)
            assert decision.verdict is Verdict.REFUSE
            assert "The slice topic:crisis is worse in Reward" in decision.reasons[0].sentence


class TestRaters:
    def test_nobody_decides_alone(self) -> None:
        better, same = build_table(reward=0.05), build_reward(build_table(seed=9))
        left_out = (LeftOut(rater="ann", reward=build_reward(better)), LeftOut(rater="bob@home", reward=same))
        decision = judge(better, left_out=left_out)
        assert decision.verdict is Verdict.NOT_ENOUGH_EVIDENCE
        assert decision.reasons[0].test == "rater"
        assert "bob" not in json.dumps([reason.sentence for reason in decision.reasons])
        assert judge(better, left_out=left_out[:1]).verdict is Verdict.PROMOTE

    def test_nobody_hides_what_others_like_less(self) -> None:
        """One rater's likes hold the AUC up; without them it falls."""
        replies = 240
        is_up = np.arange(replies) % 2 == 0
        rater = np.where(np.arange(replies) < 130, "loud", "other")
        noise = np.random.default_rng(0).normal(size=replies)
        change: FloatArray = np.where(rater == "loud", 2.0, -2.0) * np.where(is_up, 1, -1)
        rated = RatedScores(
            candidate=noise + change,
            production=noise,
            is_up=is_up,
            cluster=np.arange(replies).astype(np.str_),
            rater=rater.astype(np.str_),
        )
        decision = judge(build_table(reward=0.05), rated)
        assert decision.verdict is Verdict.NOT_ENOUGH_EVIDENCE
        assert [reason.test for reason in decision.reasons if reason.test == "rater"] == ["rater"]
        nameless = dataclasses.replace(rated, rater=None)
        assert judge(build_table(reward=0.05), nameless).verdict is Verdict.PROMOTE

    def test_nobody_decides_by_the_replies_that_are_imitated(self) -> None:
        """References are corrections and liked replies: of one person's the candidate knows more, of others' less."""
        own = np.where(np.arange(300) < 200, "loud", "other").astype(np.str_)
        table = build_table(clusters=300)
        nats = table[0]
        change: FloatArray = np.where(own == "loud", 0.06, -0.03)
        table[0] = dataclasses.replace(nats, candidate=nats.candidate - change)
        owned = [dataclasses.replace(paired, rater=own) if paired.name != "reward" else paired for paired in table]
        decision = judge(owned, head=None)
        assert decision.verdict is Verdict.NOT_ENOUGH_EVIDENCE
        assert [reason.test for reason in decision.reasons if reason.test == "rater"] == ["rater"]
        assert judge(table, head=None).verdict is Verdict.PROMOTE
        everywhere = [dataclasses.replace(paired, rater=own) for paired in build_table(log_perplexity=0.06)]
        assert judge(everywhere, head=None).verdict is Verdict.PROMOTE


class TestReuse:
    def build(self, clusters: int, fresh: int) -> list[PairedScores]:
        """A candidate that went on the way that production had gone: it leans on the luck that chose it."""
        times = np.where(np.arange(clusters) < clusters - fresh, 1.0, 9.0)
        scores = []
        for paired in build_table(clusters=clusters, log_perplexity=0.02, reward=0.05):
            previous = paired.production - (paired.candidate - paired.production)
            scores.append(dataclasses.replace(paired, previous=previous, created_at_s=times))
        return scores

    def test_only_newer_conversations_count(self) -> None:
        old = judge(self.build(500, 199), promoted_at_s=5.0)
        assert old.verdict is Verdict.NOT_ENOUGH_EVIDENCE
        assert "199 of the 200" in old.reasons[0].sentence
        new = judge(self.build(500, 200), promoted_at_s=5.0)
        assert (new.verdict, new.clusters) == (Verdict.PROMOTE, 200)

    def test_without_times_nothing_is_new(self) -> None:
        scores = [dataclasses.replace(paired, created_at_s=None) for paired in self.build(500, 500)]
        assert judge(scores, promoted_at_s=5.0).verdict is Verdict.NOT_ENOUGH_EVIDENCE

    def test_training_onward_is_guarded_too(self) -> None:
        scores = build_table(reward=0.05)
        assert judge(scores, is_continued=True).verdict is Verdict.NOT_ENOUGH_EVIDENCE

    def test_a_model_from_the_base_may_use_all(self) -> None:
        scores = []
        generator = np.random.default_rng(5)
        for paired in build_table(reward=0.05):
            previous = paired.production + generator.normal(0, 0.03, len(paired.production))
            previous = previous - 0.5 * (paired.production - paired.candidate)
            scores.append(dataclasses.replace(paired, previous=previous))
        assert judge(scores, promoted_at_s=5.0).verdict is Verdict.PROMOTE


class TestWhatIsShown:
    def test_a_refused_candidate_shows_no_score(self) -> None:
        decision = judge(build_table(reward=0.05, bleu=-3.0))
        shown = decision.to_dict()
        assert (shown["verdict"], shown["p"], shown["reasons"][0]["metric"]) == ("refuse", None, "bleu")
        assert shown["reasons"][0]["sentence"] == "BLEU is worse than its margin allows."
        for metric in shown["metrics"]:
            hidden = {name: value for name, value in metric.items() if name not in ("name", "margin")}
            assert (hidden.pop("smallest_detectable") or 0) >= 0
            assert set(hidden.values()) == {None}
        assert not any("difference" in reason["sentence"] for reason in shown["reasons"])

    def test_a_promoted_one_shows_all_and_the_budget(self) -> None:
        budget = Budget(consultations=2, promotions=1)
        decision = decide(build_table(reward=0.08), None, MARGINS, 2, build_evidence(), budget=budget)
        shown = decision.to_dict()
        assert json.loads(json.dumps(shown, allow_nan=False)) == shown
        assert shown["p"] == decision.p
        assert shown["budget"]["alpha_spent"] == budget.alpha_spent
        assert all(metric["difference"] is not None for metric in shown["metrics"])


class TestCopies:
    def test_tenfold_rows_change_nothing(self) -> None:
        for effect in (0.0, 0.03, 0.05):
            scores = build_table(reward=effect)
            copied = [select_rows(paired, np.repeat(np.arange(300), 10)) for paired in scores]
            once, again = judge(scores), judge(copied)
            assert once.verdict is again.verdict
            assert once.p == pytest.approx(again.p, rel=1e-6)
