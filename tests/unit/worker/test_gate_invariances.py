"""What must not change a verdict of the gate, and its error rates by simulation."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from data.lifetime import spend_alpha
from data.vocabulary import Verdict
from tests.unit.worker.few_scores import (
    LEVELS,
    MARGINS,
    NOISE,
    build_labels,
    build_paired,
    build_rated,
    build_scores,
    repeat_rows,
    swap,
)
from worker.gate import decide

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
