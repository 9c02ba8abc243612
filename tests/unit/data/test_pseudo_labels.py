"""Ratings by the reward model: only where it is sure, and never where it knows nothing."""

from __future__ import annotations

import numpy as np
import pytest

from data.pseudo_labels import MIN_RATED, Calibration, fit_calibration, rate_unrated
from data.vocabulary import Message, PoolRow, Rating, RowKind


def build_row(number: int) -> PoolRow:
    messages = (Message(role="user", content="Hello?"),)
    return PoolRow(row_id=f"completion:c{number}", kind=RowKind.REPLY, cluster="c", messages=messages, reply="Yes.")


class TestFitCalibration:
    def test_finds_the_slope_and_intercept_that_made_the_ratings(self) -> None:
        generator = np.random.default_rng(0)
        rewards = generator.normal(5, 2, 4000)
        is_up = generator.random(4000) < 1 / (1 + np.exp(-(1.5 * rewards - 6)))
        calibration = fit_calibration(rewards.tolist(), is_up.tolist())
        assert calibration is not None
        assert calibration.slope == pytest.approx(1.5, abs=0.15)
        assert calibration.intercept == pytest.approx(-6, abs=0.6)

    def test_stays_unsure_after_few_ratings_that_it_tells_apart(self) -> None:
        rewards = [1.0] * MIN_RATED + [0.0] * MIN_RATED
        calibration = fit_calibration(rewards, [True] * MIN_RATED + [False] * MIN_RATED)
        assert calibration is not None
        low, high = calibration.probability_up([0.0, 1.0])
        assert (low, high) == pytest.approx((1 / (MIN_RATED + 2), (MIN_RATED + 1) / (MIN_RATED + 2)), abs=1e-3)

    def test_says_nothing_from_too_few_of_a_kind(self) -> None:
        assert fit_calibration([1.0] * 9 + [0.0] * 20, [True] * 9 + [False] * 20) is None

    def test_says_nothing_when_the_rewards_do_not_order_the_ratings(self) -> None:
        assert fit_calibration([0.0] * 20, [True, False] * 10) is None
        assert fit_calibration([0.0] * 10 + [1.0] * 10, [True] * 10 + [False] * 10) is None


class TestRateUnrated:
    def test_rates_what_it_is_sure_of_and_leaves_the_rest(self) -> None:
        rows = [build_row(number) for number in range(4)]
        rated = rate_unrated(rows, [5.0, 0.1, -5.0, 2.0], Calibration(slope=1.0, intercept=0.0), confidence=0.9)
        assert [(row.row_id, row.rating) for row in rated] == [
            ("completion:c0", Rating.UP),
            ("completion:c2", Rating.DOWN),
        ]
        assert not any(row.is_unrated for row in rated)
