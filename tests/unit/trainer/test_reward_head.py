"""The reward head: it ranks what it can, refuses what it cannot, and never judges by a rating that it has seen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from trainer.reward_head import FloatArray, RatedFeatures, RewardHead, fit_reward_head, measure_auc, refit_without


def build_rated(count: int = 120, *, effect: float = 2.0, per_cluster: int = 2, seed: int = 0) -> RatedFeatures:
    """Ratings that the first of eight features decides by so many standard deviations."""
    generator = np.random.default_rng(seed)
    is_up = np.arange(count) % 3 > 0
    features = generator.normal(size=(count, 8))
    features[:, 0] += effect * is_up
    return RatedFeatures(features, is_up, np.array([f"c{n // per_cluster:03d}" for n in range(count)]))


class TestFitRewardHead:
    def test_is_usable_where_features_tell(self) -> None:
        head, report = fit_reward_head(build_rated())
        assert head is not None and report.usable
        assert report.auc is not None and report.auc_low is not None and report.auc_high is not None
        assert 0.55 < report.auc_low < report.auc < report.auc_high <= 1.0
        assert report.reason.startswith("The reward head ranks ratings that it has not seen with an AUC of 0.")

    def test_is_refused_where_they_do_not(self) -> None:
        head, report = fit_reward_head(build_rated(effect=0.0))
        assert head is None and not report.usable
        assert "its lower bound must be above 0.55, so it does not judge" in report.reason

    def test_is_refused_with_few_ratings_or_one_kind_in_one_conversation(self) -> None:
        head, report = fit_reward_head(build_rated(24))
        assert head is None and report.auc is None
        assert "16 up-rated and 8 down-rated replies in 12 conversations" in report.reason
        rated = build_rated()
        one_sided = replace(rated, clusters=np.where(rated.is_up, rated.clusters, "c999"))
        head, report = fit_reward_head(one_sided)
        assert head is None and "all in a few conversations" in report.reason


class TestRewardHead:
    def test_scores_of_ratings_do_not_depend_on_their_own_conversation(self) -> None:
        rated = build_rated()
        before = RewardHead(rated, strengths=[0.1] * 5).out_of_fold
        own = rated.clusters == rated.clusters[0]
        flipped = replace(rated, is_up=np.where(own, ~rated.is_up, rated.is_up))
        after = RewardHead(flipped, strengths=[0.1] * 5).out_of_fold
        assert after[own] == pytest.approx(before[own])
        assert not np.allclose(after[~own], before[~own])

    def test_judges_a_seen_conversation_by_the_head_that_has_not_seen_it(self) -> None:
        rated = build_rated()
        head = RewardHead(rated, strengths=[0.1] * 5)
        own = rated.clusters == rated.clusters[0]
        flipped = replace(rated, is_up=np.where(own, ~rated.is_up, rated.is_up))
        other = RewardHead(flipped, strengths=[0.1] * 5)
        fresh = build_rated(20, seed=3).features
        known = np.full(20, rated.clusters[0])
        assert other.judge(fresh, known) == pytest.approx(head.judge(fresh, known))
        unknown = np.full(20, "never rated")
        assert not np.allclose(other.judge(fresh, unknown), head.judge(fresh, unknown))

    def test_chances_are_calibrated_and_rarely_tie(self) -> None:
        head, new = RewardHead(build_rated(600)), build_rated(600, seed=1)
        chances = head.judge(new.features, np.full(600, "new"))
        assert abs(chances.mean() - new.is_up.mean()) < 0.05
        for low, high in ((0.0, 0.5), (0.5, 0.8), (0.8, 1.0)):
            inside = (chances >= low) & (chances <= high)
            assert abs(chances[inside].mean() - new.is_up[inside].mean()) < 0.1
        assert len(np.unique(chances)) > 400

    def test_is_fitted_again_without_a_rater(self) -> None:
        rated = build_rated()
        head = RewardHead(rated)
        fresh, keep = build_rated(20, seed=3).features, np.arange(120) >= 12
        without = refit_without(rated, keep, head)
        assert without is not None
        clusters = np.full(20, "new")
        assert not np.allclose(without.judge(fresh, clusters), head.judge(fresh, clusters))
        assert refit_without(rated, rated.is_up, head) is None


def test_auc_of_a_constant_score_is_a_half() -> None:
    rated = build_rated()
    constant: FloatArray = np.ones(120)
    assert measure_auc(constant, rated) == pytest.approx((0.5, 0.5, 0.5))
    assert measure_auc(rated.is_up.astype(float), rated)[0] == pytest.approx(1.0)
