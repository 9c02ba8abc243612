"""The area under the ROC curve of ratings, against counts by hand and simulated error rates."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from data.arrays import BoolArray, FloatArray, LabelArray
from data.auc import paired_auc_differences, rating_auc

NUMBERS = st.floats(-1e3, 1e3, allow_subnormal=False).map(lambda number: round(number, 3))
SAMPLES = hnp.arrays(np.float64, st.integers(2, 60), elements=NUMBERS)


def draw_ratings(generator: np.random.Generator, rows: int, clusters: int) -> tuple[BoolArray, LabelArray]:
    """Up and down in turn, each row in a random conversation."""
    return np.arange(rows) % 2 == 0, generator.integers(0, clusters, rows).astype(np.str_)


class TestRatingAuc:
    def test_counts_pairs_and_halves_ties(self) -> None:
        scores, is_up = np.array([3.0, 1.0, 1.0, 0.0]), np.array([True, True, False, False])
        assert rating_auc(scores, is_up, np.array(["a", "b", "c", "d"])) == (1 + 1 + 0.5 + 1) / 4

    def test_is_the_mann_whitney_statistic(self) -> None:
        generator = np.random.default_rng(1)
        scores = generator.normal(size=40)
        is_up = np.arange(40) < 15
        u = stats.mannwhitneyu(scores[is_up], scores[~is_up]).statistic
        assert rating_auc(scores, is_up, np.arange(40).astype(np.str_)) == pytest.approx(u / (15 * 25))

    def test_gives_a_long_conversation_no_more_weight(self) -> None:
        scores, is_up = np.array([3.0, 1.0, 2.0]), np.array([True, True, False])
        clusters = np.array(["a", "b", "c"])
        copied = [0, 1, 1, 1, 1, 2]
        assert rating_auc(scores, is_up, clusters) == 0.5
        assert rating_auc(scores[copied], is_up[copied], clusters[copied]) == pytest.approx(0.5)


class TestPairedAucDifferences:
    @given(st.integers(0, 2**32 - 1), st.integers(4, 40), st.integers(1, 40))
    def test_means_the_difference_of_the_aucs(self, seed: int, rows: int, clusters: int) -> None:
        generator = np.random.default_rng(seed)
        candidate, production = generator.integers(0, 9, (2, rows)).astype(np.float64)
        is_up, labels = draw_ratings(generator, rows, clusters)
        expected = rating_auc(candidate, is_up, labels) - rating_auc(production, is_up, labels)
        differences = paired_auc_differences(candidate, production, is_up, labels)
        assert len(differences) == len(np.unique(labels))
        assert differences.mean() == pytest.approx(expected, abs=1e-12)

    def test_is_zero_where_the_ranking_is_the_same(self) -> None:
        generator = np.random.default_rng(2)
        scores = generator.normal(size=50)
        is_up, labels = draw_ratings(generator, 50, 40)
        assert not paired_auc_differences(2 * scores + 1, scores, is_up, labels).any()

    def test_has_the_variance_of_delong(self) -> None:
        generator = np.random.default_rng(3)
        is_up = np.arange(60) < 20
        candidate, production = generator.normal(size=(2, 60)) + 0.5 * is_up
        differences = paired_auc_differences(candidate, production, is_up, np.arange(60).astype(np.str_))

        def change_against(own: BoolArray) -> FloatArray:
            placements = [(scores[own][:, None] > scores[~own]).mean(axis=1) for scores in (candidate, production)]
            return np.asarray(placements[0] - placements[1], dtype=np.float64)

        delong = change_against(is_up).var() / 20 + change_against(~is_up).var() / 40  # both with divisor n
        assert differences.var() / 60 == pytest.approx(delong)

    def test_spreads_as_far_as_repeated_hold_outs_do(self) -> None:
        generator = np.random.default_rng(4)
        found, claimed = [], []
        for _ in range(400):
            mood = generator.normal(size=60)  # shared by the two replies of a conversation
            labels = np.repeat(np.arange(60), 2).astype(np.str_)
            is_up = generator.random(120) < 0.5
            production = generator.normal(size=120) + 0.5 * is_up
            candidate = production + 0.8 * np.repeat(mood, 2)
            differences = paired_auc_differences(candidate, production, is_up, labels)
            found.append(differences.mean())
            claimed.append(differences.std(ddof=1) / np.sqrt(60))
        assert np.mean(claimed) == pytest.approx(np.std(found), rel=0.12)
