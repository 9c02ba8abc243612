"""What scores are accepted, and how they become comparisons."""

from __future__ import annotations

import numpy as np
import pytest

from data.recipe import Margins
from worker.comparison import InvalidScores, PairedScores, RatedScores, build_comparisons


def build_paired(name: str = "rouge_l", rows: int = 4, weight: float = 1.0) -> PairedScores:
    return PairedScores(
        name=name,
        candidate=np.linspace(0.2, 0.3, rows),
        production=np.full(rows, 0.2),
        cluster=(np.arange(rows) // 2).astype(np.str_),
        weight=np.full(rows, weight),
        higher_is_better=name != "log_perplexity",
    )


def build_rated(ups: int, downs: int, clusters: int) -> RatedScores:
    rows = ups + downs
    return RatedScores(
        candidate=np.arange(rows, dtype=np.float64),
        production=np.zeros(rows),
        is_up=np.arange(rows) < ups,
        cluster=(np.arange(rows) % clusters).astype(np.str_),
    )


class TestPairedScores:
    def test_refuses_columns_of_different_lengths(self) -> None:
        with pytest.raises(InvalidScores, match="columns of bleu have different lengths"):
            PairedScores(
                name="bleu",
                candidate=np.zeros(3),
                production=np.zeros(2),
                cluster=np.array(["a", "b", "c"]),
                weight=np.ones(3),
                higher_is_better=True,
            )

    @pytest.mark.parametrize("weight", [0.0, -1.0, np.nan, np.inf])
    def test_refuses_a_weight_that_no_mean_can_use(self, weight: float) -> None:
        with pytest.raises(InvalidScores, match="weight of rouge_l is not above 0"):
            build_paired(weight=weight)


class TestRatedScores:
    def test_refuses_columns_of_different_lengths(self) -> None:
        with pytest.raises(InvalidScores, match="rating_score"):
            RatedScores(
                candidate=np.zeros(2),
                production=np.zeros(2),
                is_up=np.array([True]),
                cluster=np.array(["a", "b"]),
            )

    @pytest.mark.parametrize(
        ("ups", "downs", "clusters", "is_enough"),
        [(20, 10, 30, True), (10, 20, 30, True), (21, 9, 30, False), (9, 21, 30, False), (30, 30, 29, False)],
    )
    def test_is_enough_from_ten_of_each_in_thirty_conversations(
        self, ups: int, downs: int, clusters: int, is_enough: bool
    ) -> None:
        rated = build_rated(ups, downs, clusters)
        assert rated.counts == (ups, downs, clusters)
        assert rated.is_enough is is_enough


class TestBuildComparisons:
    def test_shares_the_level_of_superiority(self) -> None:
        without, with_ratings = (
            build_comparisons([build_paired()], rated, Margins(rouge_l=0.03), 0.06)
            for rated in (None, build_rated(20, 20, 40))
        )
        assert [(c.name, c.primaries, c.level) for c in without] == [
            ("log_perplexity", 2, 0.03),
            ("rouge_l", 2, 0.03),
            ("bleu", 0, 0.06),
        ]
        assert [(c.name, c.margin, c.primaries) for c in with_ratings] == [
            ("log_perplexity", 0.02, 3),
            ("rouge_l", 0.03, 3),
            ("bleu", 1.0, 0),
            ("rating_auc", None, 3),
        ]

    def test_gains_point_to_the_better_candidate(self) -> None:
        perplexity, rouge, missing = build_comparisons(
            [build_paired("rouge_l"), build_paired("log_perplexity")], None, Margins(), 0.05
        )
        assert perplexity.gains == pytest.approx(-rouge.gains)
        assert (rouge.gains > 0).all()
        assert (rouge.clusters, missing.clusters) == (2, 0)
