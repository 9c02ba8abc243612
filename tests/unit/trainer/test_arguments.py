"""Batches of like length that a growing pool leaves as they are."""

from __future__ import annotations

import random
from typing import Any

from trainer.arguments import order_by_length

BATCH = 8


def order(count: int) -> list[list[dict[str, Any]]]:
    """Batches of `count` rows, of which the first ones are always the same."""
    draw = random.Random(0)
    lengths = [draw.randint(40, 320) for _ in range(count)]
    rows = [{"number": number, "length": length} for number, length in enumerate(lengths)]
    ordered = order_by_length(rows, lengths, BATCH, seed=0)
    return [ordered[start : start + BATCH] for start in range(0, count, BATCH)]


def pair_neighbours(batches: list[list[dict[str, Any]]]) -> set[tuple[int, int]]:
    """Whose reply KTO puts after whose prompt: within a batch, that of the row before."""
    numbers = [[row["number"] for row in batch] for batch in batches]
    return {pair for batch in numbers for pair in zip(batch, [batch[-1], *batch[:-1]], strict=True)}


class TestOrderByLength:
    def test_leaves_no_row_out_and_only_the_last_batch_short(self) -> None:
        batches = order(1003)
        assert sorted(row["number"] for batch in batches for row in batch) == list(range(1003))
        assert [len(batch) for batch in batches[:-1]] == [BATCH] * (len(batches) - 1)
        assert len(batches[-1]) == 3

    def test_pads_little(self) -> None:
        batches = order(2000)
        padded = sum(max(row["length"] for row in batch) * len(batch) for batch in batches)
        assert padded < 1.1 * sum(row["length"] for batch in batches for row in batch)

    def test_meets_most_pairs_of_neighbours_again_in_a_pool_that_has_grown(self) -> None:
        before, after = pair_neighbours(order(1900)), pair_neighbours(order(2000))
        assert len(before & after) > 0.9 * len(before)

    def test_is_in_no_order_to_learn(self) -> None:
        longest = [max(row["length"] for row in batch) for batch in order(800)]
        assert longest != sorted(longest)
