"""Weights of raters, and who is quarantined."""

from __future__ import annotations

import pytest

from data.curation import build_snapshot_rows
from data.raters import Label, find_quarantined, weigh_raters
from data.vocabulary import Message, PoolRow, Rating, RowKind

UP, DOWN = Rating.UP, Rating.DOWN


def label_by_expert(items: range) -> list[Label]:
    return [Label(item, "expert", UP if item % 2 else DOWN, is_expert=True) for item in items]


def agree(rater: str, items: range, wrong: int = 0) -> list[Label]:
    """Labels like the expert's, but for the first `wrong`."""
    return [Label(item, rater, UP if (item % 2 == 1) == (n >= wrong) else DOWN) for n, item in enumerate(items)]


class TestWeighRaters:
    def test_nobody(self) -> None:
        assert weigh_raters([]) == {}

    def test_is_1_without_evidence(self) -> None:
        weight = weigh_raters([Label(1, "ann", UP)])["ann"]
        assert (weight.weight, weight.compared, weight.is_quarantined) == (1.0, 0.0, False)

    def test_falls_with_disagreement_and_never_rises_above_1(self) -> None:
        items = range(20)
        labels = [*label_by_expert(items), *agree("good", items), *agree("fair", items, 5), *agree("bad", items, 18)]
        weights = weigh_raters(labels)
        assert set(weights) == {"good", "fair", "bad"}
        assert weights["good"].weight == 1.0 > weights["fair"].weight > weights["bad"].weight == 0.0
        assert weights["good"].offset > 0 > weights["bad"].offset
        assert [name for name, weight in weights.items() if weight.is_quarantined] == ["bad"]

    def test_judges_nobody_by_a_little(self) -> None:
        items = range(4)
        assert not weigh_raters([*label_by_expert(items), *agree("bad", items, 4)])["bad"].is_quarantined

    def test_compares_with_a_majority_of_three_others_and_counts_it_half(self) -> None:
        items = range(10)
        others = [label for name in "abc" for label in agree(name, items)]
        weights = weigh_raters([*others, *agree("odd", items, 10)])
        assert (weights["odd"].compared, weights["odd"].agreed, weights["odd"].is_quarantined) == (5.0, 0.0, True)
        assert weigh_raters([*others[:20], *agree("odd", items, 10)])["odd"].compared == 0.0

    def test_skips_experts_who_are_at_odds(self) -> None:
        labels = [Label(1, "x", UP, is_expert=True), Label(1, "y", DOWN, is_expert=True), Label(1, "ann", UP)]
        assert weigh_raters(labels)["ann"].compared == 0.0


def build_row(rater: str, number: int, rating: Rating | None, *, is_expert: bool = False) -> PoolRow:
    return PoolRow(
        row_id=f"{rater}:{number}",
        kind=RowKind.REPLY if rating else RowKind.CORRECTION,
        cluster=f"conversation:{number}",
        messages=(Message(role="user", content=f"question {number}"),),
        reply=f"answer {number}",
        rating=rating,
        rater=rater,
        is_expert=is_expert,
    )


class TestFindQuarantined:
    @pytest.fixture
    def pool(self) -> list[PoolRow]:
        experts = [build_row("reviewer:k", n, DOWN, is_expert=True) for n in range(10)]
        return [*experts, *(build_row("bad", n, UP) for n in range(10)), build_row("bad", 11, None)]

    def test_takes_all_rows_of_the_rater(self, pool: list[PoolRow]) -> None:
        assert find_quarantined(pool) == set(range(10, 21))

    def test_is_counted_in_the_manifest(self, pool: list[PoolRow]) -> None:
        assert build_snapshot_rows(pool).dropped["rater_quarantined"] == 11
