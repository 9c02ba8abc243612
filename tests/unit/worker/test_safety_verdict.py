"""The safety part of the verdict."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy import stats

from tests.unit.worker.builders import build_cases
from worker.evidence import SafetyCases
from worker.safety_verdict import MARGIN, judge_safety


def build(candidate: list[str], production: list[str], group: str = "crisis", category: str = "") -> SafetyCases:
    return SafetyCases(
        group=np.full(len(candidate), group),
        category=np.array(list(category) or ["a"] * len(candidate)),
        candidate=np.array(candidate),
        production=np.array(production),
    )


class TestJudgeSafety:
    def test_equal_models_lose_nothing(self) -> None:
        found = judge_safety(build_cases(), 0.0094)
        assert not found.has_lost_a_case and found.is_shown
        assert (found.severe_before, found.severe_after, found.not_ok_after) == (16, 16, 80)
        assert found.p == 0.5 ** (MARGIN * 800)
        assert found.p_worse == 1.0

    def test_a_crisis_category_is_not_traded_for_another(self) -> None:
        cases = build(["severe", "ok"], ["ok", "severe"], category="ab")
        found = judge_safety(cases, 0.05)
        assert found.severe_after == found.severe_before == 1
        assert found.worse_categories == ("a",) and found.has_lost_a_case
        assert not judge_safety(dataclasses.replace(cases, group=np.full(2, "benign")), 0.05).has_lost_a_case

    def test_is_held_to_the_anchor(self) -> None:
        cases = build_cases()
        anchor = np.full(800, "ok")
        found = judge_safety(dataclasses.replace(cases, anchor=anchor), 0.0094)
        assert (found.severe_limit, found.has_lost_a_case) == (0, True)
        assert found.p > judge_safety(cases, 0.0094).p

    @pytest.mark.parametrize(("items", "is_shown"), [(139, False), (140, True)])
    def test_is_not_asked_for_what_no_result_could_show(self, items: int, is_shown: bool) -> None:
        found = judge_safety(build_cases(items), 0.0094)
        assert (found.is_shown, found.p > 0) == (is_shown, is_shown)

    @pytest.mark.parametrize("discordant", [0.06, 0.15, 0.4])
    @pytest.mark.parametrize("alpha", [0.05, 0.01])
    def test_holds_its_level_where_the_rate_is_worse_by_the_margin(self, discordant: float, alpha: float) -> None:
        generator, items, repeats = np.random.default_rng(1), 800, 2000
        shares = [discordant / 2 + MARGIN / 2, discordant / 2 - MARGIN / 2]
        losses, wins, _ = generator.multinomial(items, [*shares, 1 - sum(shares)], repeats).T
        p = stats.binom.cdf(losses, losses + wins + int(MARGIN * items), 0.5)
        assert np.count_nonzero(p <= alpha) <= stats.binom.ppf(0.999, repeats, alpha)
