"""What each training stage learns from."""

from __future__ import annotations

from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.preferences import MAX_CLASS_RATIO, build_pairs, class_weights, select_rated, select_supervised
from data.vocabulary import Message, PoolRow, Rating, RowKind, SnapshotRow, Split

NUMBERS = count(1)


def build_row(
    reply: str,
    rating: Rating | None = None,
    kind: RowKind = RowKind.REPLY,
    *,
    row_id: str | None = None,
    context: str = "I feel alone.",
    split: Split = Split.TRAIN,
    is_expert: bool = False,
) -> SnapshotRow:
    row = PoolRow(
        row_id=row_id or f"feedback:{next(NUMBERS)}",
        kind=kind,
        cluster="conversation:1",
        messages=(Message(role="user", content=context),),
        reply=reply,
        rating=rating,
        is_expert=is_expert,
    )
    return SnapshotRow(row=row, split=split)


def list_replies(rows: list[SnapshotRow]) -> list[str]:
    return [item.row.reply for item in rows]


MIXED = [
    build_row("example", kind=RowKind.EXAMPLE),
    build_row("good example", Rating.UP, RowKind.EXAMPLE),
    build_row("bad example", Rating.DOWN, RowKind.EXAMPLE),
    build_row("correction", kind=RowKind.CORRECTION),
    build_row("good reply", Rating.UP),
    build_row("bad reply", Rating.DOWN),
    build_row("unrated reply"),
    build_row("held out", Rating.UP, split=Split.HOLDOUT),
    build_row("for tuning", Rating.UP, split=Split.DEV),
]


class TestSelectSupervised:
    def test_takes_what_is_worth_imitating(self) -> None:
        assert list_replies(select_supervised(MIXED)) == [
            "example",
            "good example",
            "correction",
            "good reply",
        ]

    def test_takes_what_an_expert_says_twice(self) -> None:
        replies = [
            build_row("rewrite", kind=RowKind.CORRECTION, is_expert=True),
            build_row("good reply", Rating.UP, is_expert=True),
            build_row("bad reply", Rating.DOWN, is_expert=True),
            build_row("correction", kind=RowKind.CORRECTION),
        ]
        assert list_replies(select_supervised(replies)) == [*["rewrite"] * 2, *["good reply"] * 2, "correction"]


class TestSelectRated:
    def test_takes_rated_training_rows(self) -> None:
        assert list_replies(select_rated(MIXED)) == ["good example", "bad example", "good reply", "bad reply"]


class TestClassWeights:
    @pytest.mark.parametrize(
        ("n_up", "n_down", "weights"),
        [(50, 50, (1, 1)), (4, 3, (1, 1)), (80, 20, (1, 3)), (20, 80, (4, 1)), (99, 100, (100 / 99, 1))],
    )
    def test_balances_the_smaller_class(self, n_up: int, n_down: int, weights: tuple[float, float]) -> None:
        assert class_weights(n_up, n_down) == pytest.approx(weights)

    @given(st.integers(1, 10**6), st.integers(1, 10**6))
    def test_keeps_the_ratio_of_the_paper(self, n_up: int, n_down: int) -> None:
        up, down = class_weights(n_up, n_down)
        assert 1 - 1e-9 <= up * n_up / (down * n_down) <= MAX_CLASS_RATIO + 1e-9
        assert min(up, down) == 1.0

    @pytest.mark.parametrize(("n_up", "n_down"), [(0, 5), (5, 0)])
    def test_refuses_an_empty_class(self, n_up: int, n_down: int) -> None:
        with pytest.raises(ValueError, match=f"{n_up} up and {n_down} down"):
            class_weights(n_up, n_down)


class TestBuildPairs:
    def test_prefers_a_correction_to_its_original(self) -> None:
        rows = [
            build_row("Cheer up.", Rating.DOWN, row_id="feedback:7"),
            build_row("That sounds lonely.", kind=RowKind.CORRECTION, row_id="correction:7"),
        ]
        (pair,) = build_pairs(rows)
        assert (pair.chosen, pair.rejected) == ("That sounds lonely.", "Cheer up.")
        assert (pair.chosen_id, pair.rejected_id) == ("correction:7", "feedback:7")
        assert (pair.messages, pair.cluster) == (rows[0].row.messages, "conversation:1")

    def test_skips_a_correction_without_its_original_or_without_a_change(self) -> None:
        assert not build_pairs(
            [
                build_row("Better.", kind=RowKind.CORRECTION, row_id="correction:1"),
                build_row("Same.", Rating.DOWN, row_id="feedback:2"),
                build_row("Same.", kind=RowKind.CORRECTION, row_id="correction:2"),
            ]
        )

    def test_prefers_up_to_down_within_one_context(self) -> None:
        rows = [
            build_row("a", Rating.UP),
            build_row("b", Rating.DOWN),
            build_row("c", Rating.DOWN, context="Hello"),
        ]
        assert [(p.chosen, p.rejected) for p in build_pairs(rows)] == [("a", "b")]

    def test_uses_each_reply_without_multiplying(self) -> None:
        rows = [build_row(r, Rating.UP) for r in "abc"] + [build_row(r, Rating.DOWN) for r in "xy"]
        assert [(p.chosen, p.rejected) for p in build_pairs(rows)] == [("a", "x"), ("b", "y"), ("c", "x")]

    def test_drops_ties(self) -> None:
        rows = [build_row("a", Rating.UP), build_row("a", Rating.DOWN), build_row("b", Rating.DOWN)]
        assert not build_pairs(rows)

    def test_leaves_held_out_rows_alone(self) -> None:
        rows = [
            build_row("a", Rating.UP, split=Split.HOLDOUT),
            build_row("b", Rating.DOWN, split=Split.HOLDOUT),
        ]
        assert not build_pairs(rows)
