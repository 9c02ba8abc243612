"""The bias report."""

from __future__ import annotations

import pytest

from data.bias import CAUTION, auc_interval, build_bias, compute_gini
from data.vocabulary import Message, PoolRow, Rating, RowKind


def build_row(
    number: int, rater: str, rating: Rating, words: int, turns: int = 1, *, is_expert: bool = False
) -> PoolRow:
    return PoolRow(
        row_id=f"feedback:{number}",
        kind=RowKind.REPLY,
        cluster=f"c{number}",
        messages=(Message(role="user", content="hm"),) * turns,
        reply="word " * words,
        rating=rating,
        rater=rater,
        is_expert=is_expert,
    )


class TestBuildBias:
    def test_says_what_was_rated_by_whom_and_which_way(self) -> None:
        rows = [build_row(n, "ann", Rating.UP, 20 + n) for n in range(6)]
        rows += [build_row(10 + n, "bob", Rating.DOWN, 5 + n, turns=6) for n in range(2)]
        rows.append(build_row(20, "reviewer:k", Rating.DOWN, 50, is_expert=True))
        bias = build_bias(rows, served=100, rated=8)
        assert (bias["ratings"], bias["coverage"]["share"]) == (8, 0.08)
        assert bias["coverage"]["low"] < 0.08 < bias["coverage"]["high"]
        assert (bias["spread"]["raters"], bias["spread"]["top"]["share"]) == (2, 0.75)
        assert bias["spread"]["gini"] == pytest.approx(0.25)
        assert [(turn["turn"], turn["up"]["share"]) for turn in bias["position"]] == [("1", 1.0), ("5 and later", 0.0)]
        assert bias["length"]["auc"] == 1.0
        assert bias["sentences"][-1] == CAUTION
        assert "favour one length" in bias["sentences"][-2]
        assert len(bias["sentences"]) == 5

    def test_of_nothing_only_warns(self) -> None:
        assert build_bias([], 0, 0)["sentences"] == [CAUTION]


class TestComputeGini:
    def test_known_values(self) -> None:
        assert compute_gini([]) is None
        assert compute_gini([3, 3, 3]) == pytest.approx(0.0)
        assert compute_gini([0, 0, 0, 8]) == pytest.approx(0.75)


class TestAucInterval:
    def test_holds_the_estimate_and_narrows(self) -> None:
        low, high = auc_interval(0.7, 50, 50)
        # Hanley & McNeil's table: standard error near 0.0525 here
        assert (high - low) / 2 / 1.96 == pytest.approx(0.0525, abs=0.002)
        assert auc_interval(0.7, 500, 500)[0] > low
