"""Slices that got worse, and those too small to say."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy import stats

from data.recipe import Margins
from tests.unit.worker.builders import build_table
from worker.paired_scores import PairedScores, RatedScores
from worker.slices import WorseSlice, find_worse_slices


def find(
    slices: dict[str, list[int]], scores: list[PairedScores], rated: RatedScores | None = None, usable: bool = True
) -> tuple[WorseSlice, ...]:
    ids = {name: np.array(rows).astype(np.str_) for name, rows in slices.items()}
    return find_worse_slices(ids, scores, rated, Margins(), is_head_usable=usable)


def harm(scores: list[PairedScores], metric: str, rows: int, size: float) -> list[PairedScores]:
    """The first rows of a metric made worse."""
    step = np.where(np.arange(300) < rows, size, 0.0)
    return [
        dataclasses.replace(paired, candidate=paired.candidate - step if metric == paired.name else paired.candidate)
        for paired in scores
    ]


class TestFindWorseSlices:
    @pytest.mark.parametrize(("rows", "names"), [(9, ()), (10, ("topic:a",))])
    def test_counts_from_ten_conversations(self, rows: int, names: tuple[str, ...]) -> None:
        scores = harm(build_table(), "reward", rows, 0.5)
        found = find({"topic:a": list(range(rows)), "topic:b": list(range(100, 200))}, scores)
        assert tuple(item.name for item in found) == names

    def test_does_not_ask_a_head_that_is_not_usable(self) -> None:
        scores = harm(build_table(), "reward", 40, 0.5)
        assert find({"topic:a": list(range(40))}, scores, usable=False) == ()

    def test_allows_perplexity_its_margin(self) -> None:
        slices = {"topic:a": list(range(100))}
        assert find(slices, harm(build_table(), "log_perplexity", 100, -0.015)) == ()
        found = find(slices, harm(build_table(), "log_perplexity", 100, -0.05))
        assert [(item.metric, item.clusters) for item in found] == [("log_perplexity", 100)]

    def test_asks_the_ratings(self) -> None:
        is_up = np.arange(300) % 2 == 0
        noise = np.random.default_rng(0).normal(size=300)
        rated = RatedScores(
            candidate=noise - 3.0 * is_up * (np.arange(300) < 60),
            production=noise,
            is_up=is_up,
            cluster=np.arange(300).astype(np.str_),
            row_id=np.arange(300).astype(np.str_),
        )
        found = find({"raters:few": list(range(60)), "raters:many": list(range(60, 300))}, [], rated)
        assert [(item.name, item.metric) for item in found] == [("raters:few", "rating_auc")]
        assert find({"raters:few": list(range(18))}, [], rated) == ()
        assert find({"raters:few": list(range(60))}, [], dataclasses.replace(rated, row_id=None)) == ()

    def test_needs_to_know_the_rows(self) -> None:
        scores = [dataclasses.replace(paired, row_id=None) for paired in harm(build_table(), "reward", 40, 0.5)]
        assert find({"topic:a": list(range(40))}, scores) == ()
        assert find_worse_slices(None, scores, None, Margins(), is_head_usable=True) == ()

    def test_all_may_be_worse(self) -> None:
        scores = harm(build_table(), "reward", 300, 0.5)
        slices = {"topic:a": list(range(150)), "topic:b": list(range(150, 300))}
        assert len(find(slices, scores[-1:])) == 2

    def test_blames_equal_models_no_more_often_than_its_level(self) -> None:
        slices = {f"topic:{number}": list(range(number, 300, 6)) for number in range(6)}
        blamed = sum(bool(find(slices, build_table(seed)[-1:])) for seed in range(200))
        assert blamed <= stats.binom.ppf(0.999, 200, 0.05)
