"""Shares with their uncertainty."""

from __future__ import annotations

import pytest
from scipy.stats import binomtest

from data.proportions import wilson_interval


class TestWilsonInterval:
    @pytest.mark.parametrize(("hits", "total"), [(0, 5), (5, 5), (1, 1), (52, 125), (499, 1000)])
    def test_is_what_scipy_gives(self, hits: int, total: int) -> None:
        wanted = binomtest(hits, total).proportion_ci(method="wilson")
        assert wilson_interval(hits, total) == pytest.approx((wanted.low, wanted.high), abs=1e-12)

    def test_knows_nothing_without_a_count(self) -> None:
        assert wilson_interval(0, 0) is None
