"""The statistics of the gate: against scipy or counts by hand, invariances, and simulated error rates."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from data.arrays import FloatArray
from data.statistics import (
    can_show_share,
    cluster_means,
    correlation,
    hall_t_test,
    interval,
    share_test,
    sign_test,
    smallest_detectable_difference,
)

NUMBERS = st.floats(-1e3, 1e3, allow_subnormal=False).map(lambda number: round(number, 3))
SAMPLES = hnp.arrays(np.float64, st.integers(2, 60), elements=NUMBERS)


class TestHallTTest:
    @given(SAMPLES, NUMBERS)
    def test_is_a_probability(self, differences: FloatArray, margin: float) -> None:
        assert 0.0 <= hall_t_test(differences, margin) <= 1.0

    @given(SAMPLES, NUMBERS, st.sampled_from([2.0**-20, 0.5, 8.0, 2.0**20]))
    def test_ignores_the_unit(self, differences: FloatArray, margin: float, scale: float) -> None:
        assert hall_t_test(scale * differences, scale * margin) == hall_t_test(differences, margin)

    @given(SAMPLES, NUMBERS)
    def test_the_two_directions_add_up_to_one(self, differences: FloatArray, margin: float) -> None:
        both = hall_t_test(differences, margin) + hall_t_test(-differences, -margin)
        if np.ptp(differences) or differences[0] + margin:
            assert both == pytest.approx(1.0)
        else:
            assert both == 2.0

    @given(SAMPLES, st.floats(0, 100), st.floats(0, 100))
    def test_a_wider_margin_is_easier(self, differences: FloatArray, margin: float, more: float) -> None:
        assert hall_t_test(differences, margin + more) <= hall_t_test(differences, margin) + 1e-12

    def test_is_the_plain_t_without_skew(self) -> None:
        differences = np.array([-1.0, 0.0, 1.0, 2.0, 3.0])
        plain = stats.ttest_1samp(differences, 0.0, alternative="greater").pvalue
        assert hall_t_test(differences) == pytest.approx(plain)

    def test_follows_the_formula(self) -> None:
        differences = np.array([0.0, 0.0, 0.0, 4.0])  # mean 1, sd 2, third central moment 6
        u, g = 0.5, 6 / 8
        t = 2 * (u + g * u**2 / 3 + g**2 * u**3 / 27) + g / 12
        assert hall_t_test(differences) == pytest.approx(float(stats.t.sf(t, 3)))

    @pytest.mark.parametrize(
        ("value", "margin", "p"),
        [(0.0, 0.0, 1.0), (0.1, 0.0, 0.0), (-0.1, 0.0, 1.0), (0.0, 0.02, 0.0), (-0.02, 0.02, 1.0)],
    )
    def test_is_exact_without_variance(self, value: float, margin: float, p: float) -> None:
        assert hall_t_test(np.full(120, value), margin) == p

    def test_takes_rounding_for_no_variance(self) -> None:
        differences = np.full(120, -0.1)
        differences[::2] = -np.mean([0.1, 0.1, 0.1])  # one unit in the last place apart
        assert np.ptp(differences) > 0
        assert hall_t_test(differences, 0.1) == 1.0

    @pytest.mark.parametrize("count", [0, 1])
    def test_shows_nothing_below_two_clusters(self, count: int) -> None:
        assert hall_t_test(np.full(count, 5.0)) == 1.0

    def test_holds_its_level_where_the_plain_t_does_not(self) -> None:
        generator = np.random.default_rng(7)
        lives, clusters, alpha = 4000, 100, 0.01
        left_skewed = 1.0 - generator.gamma(0.5, 2.0, size=(lives, clusters))  # mean 0, skew -2.8
        hall = np.mean([hall_t_test(row) <= alpha for row in left_skewed])
        plain = np.mean(stats.ttest_1samp(left_skewed, 0.0, axis=1, alternative="greater").pvalue <= alpha)
        assert hall < 0.02 < plain


class TestSignTest:
    @pytest.mark.parametrize(("wins", "losses"), [(0, 0), (5, 0), (0, 5), (60, 40), (3, 9)])
    def test_is_the_exact_binomial(self, wins: int, losses: int) -> None:
        expected = stats.binomtest(wins, wins + losses, 0.5, alternative="greater").pvalue if wins + losses else 1.0
        assert sign_test(wins, losses) == pytest.approx(expected)


class TestShareTest:
    @pytest.mark.parametrize(("items", "production"), [(400, 0.0), (400, 0.01), (900, 0.0), (900, 0.05)])
    @pytest.mark.parametrize("level", [0.05, 0.0094, 0.001])
    def test_passes_a_share_that_is_higher_by_the_margin_no_more_often_than_its_level(
        self, items: int, production: float, level: float
    ) -> None:
        margin, draws = 0.02, 20_000
        generator = np.random.default_rng(0)
        losses = generator.binomial(items, production / 2 + margin, draws)
        wins = generator.binomial(items, production / 2, draws)
        allowed = int(margin * items)
        seen = Counter(zip(losses.tolist(), wins.tolist(), strict=True))
        passed = sum(times for (lost, won), times in seen.items() if share_test(lost, won, allowed)[0] <= level)
        assert passed <= stats.binom.ppf(0.999, draws, level)

    def test_shows_a_share_that_is_far_higher(self) -> None:
        no_higher, higher = share_test(40, 0, 8)
        assert no_higher > 0.99 and higher < 1e-4

    @pytest.mark.parametrize(("allowed", "level", "can"), [(6, 0.0094, False), (7, 0.0094, True), (0, 1.0, True)])
    def test_knows_what_no_result_could_show(self, allowed: int, level: float, can: bool) -> None:
        assert can_show_share(allowed, level) is can


class TestCorrelation:
    def test_is_pearsons(self) -> None:
        first, second = np.random.default_rng(0).normal(size=(2, 50))
        assert correlation(first, first + second) == pytest.approx(stats.pearsonr(first, first + second).statistic)

    def test_is_zero_where_there_is_none(self) -> None:
        assert correlation(np.ones(9), np.arange(9.0)) == correlation(np.arange(2.0), np.arange(2.0)) == 0.0


class TestClusterMeans:
    def test_weighs_within_a_cluster_only(self) -> None:
        means = cluster_means(np.array([1.0, 4.0, 10.0]), np.array(["b", "b", "a"]), np.array([2.0, 1.0, 9.0]))
        assert means.tolist() == [10.0, 2.0]

    def test_has_no_mean_of_no_rows(self) -> None:
        assert len(cluster_means(np.empty(0), np.empty(0, dtype=np.str_), np.empty(0))) == 0

    @given(SAMPLES, st.integers(2, 5))
    def test_ignores_copies_of_a_row_in_its_cluster(self, values: FloatArray, copies: int) -> None:
        clusters = (np.arange(len(values)) % 7).astype(np.str_)
        once = cluster_means(values, clusters, np.ones(len(values)))
        again = cluster_means(np.repeat(values, copies), np.repeat(clusters, copies), np.ones(copies * len(values)))
        assert again == pytest.approx(once)


class TestSmallestDetectableDifference:
    def test_follows_the_formula(self) -> None:
        differences = np.array([1.0, 3.0] * 50)
        expected = (1.6449 + 0.8416) * differences.std(ddof=1) / 10
        assert smallest_detectable_difference(differences, 0.05) == pytest.approx(expected, rel=1e-4)

    def test_is_what_the_test_finds_that_often(self) -> None:
        generator = np.random.default_rng(5)
        noise = generator.normal(size=(1000, 200))
        effect = smallest_detectable_difference(noise[0], 0.01)
        found = np.mean([hall_t_test(row + effect) <= 0.01 for row in noise])
        assert found == pytest.approx(0.8, abs=0.08)

    def test_is_infinite_below_two_clusters(self) -> None:
        assert smallest_detectable_difference(np.array([1.0]), 0.05) == float("inf")


class TestInterval:
    def test_covers_the_mean_of_skewed_differences(self) -> None:
        generator = np.random.default_rng(6)
        covered = 0
        for _ in range(200):
            bounds = interval(generator.exponential(size=100), generator)
            assert bounds is not None
            covered += bounds[0] < 1.0 < bounds[1]
        assert covered >= 180

    def test_depends_on_the_generator_only(self) -> None:
        differences = np.random.default_rng(0).normal(size=50)
        first, second = (interval(differences, np.random.default_rng(9)) for _ in range(2))
        assert first == second

    def test_narrows_with_the_level(self) -> None:
        differences = np.random.default_rng(0).normal(size=50)
        wide = interval(differences, np.random.default_rng(9))
        narrow = interval(differences, np.random.default_rng(9), level=0.5)
        assert wide is not None and narrow is not None
        assert wide[0] < narrow[0] < narrow[1] < wide[1]

    def test_is_the_t_interval_of_many_clusters(self) -> None:
        differences = np.random.default_rng(0).normal(size=1001)
        bounds = interval(differences, np.random.default_rng(0))
        expected = stats.ttest_1samp(differences, 0).confidence_interval(0.95)
        assert bounds == pytest.approx((expected.low, expected.high))

    def test_falls_back_to_t_without_variance(self) -> None:
        assert interval(np.full(30, 0.25), np.random.default_rng(0)) == (0.25, 0.25)

    def test_does_not_exist_below_two_clusters(self) -> None:
        assert interval(np.array([1.0]), np.random.default_rng(0)) is None
