"""What each training stage learns from."""

from __future__ import annotations

from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.preferences import (
    MAX_CLASS_RATIO,
    build_pairs,
    class_weights,
    count_contexts,
    draw_share,
    repeat_experts,
    select_rated,
    select_supervised,
)
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
    original: str | None = None,
) -> SnapshotRow:
    row = PoolRow(
        row_id=row_id or f"feedback:{next(NUMBERS)}",
        kind=kind,
        cluster="conversation:1",
        messages=(Message(role="user", content=context),),
        reply=reply,
        rating=rating,
        is_expert=is_expert,
        original=original,
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

    def test_takes_a_share_of_imported_examples_and_all_that_people_wrote_here(self) -> None:
        examples = [build_row("e", kind=RowKind.EXAMPLE, row_id=f"example:{n}") for n in range(400)]
        others = [build_row("c", kind=RowKind.CORRECTION), build_row("r", Rating.UP)]
        chosen = select_supervised([*examples, *others], replay_share=0.25, seed=3)
        assert chosen[-2:] == others
        assert 70 <= len(chosen) - 2 <= 130
        assert select_supervised([*examples[:200], *others], 0.25, 3) == [
            row for row in chosen if row in [*examples[:200], *others]
        ]
        assert select_supervised(examples, 0.25, 4) != chosen[:-2]
        assert select_supervised(examples, 0.0) == []
        assert select_supervised(examples, 1.0) == examples


class TestDrawShare:
    @given(st.text(), st.integers(0, 2**31))
    def test_is_a_share_that_name_and_seed_decide(self, name: str, seed: int) -> None:
        assert 0 <= draw_share(name, seed) < 1
        assert draw_share(name, seed) == draw_share(name, seed)

    def test_spreads_names_evenly(self) -> None:
        shares = [draw_share(f"example:{number}", 0) for number in range(2000)]
        assert sum(shares) / len(shares) == pytest.approx(0.5, abs=0.02)


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

    def test_finds_the_original_with_the_correction_when_its_rating_was_a_duplicate(self) -> None:
        rows = [
            build_row("Cheer up.", Rating.DOWN, row_id="feedback:6"),  # another rater's, of the same reply
            build_row("That sounds lonely.", kind=RowKind.CORRECTION, row_id="correction:7", original="Cheer up."),
        ]
        (pair,) = build_pairs(rows)
        assert (pair.chosen, pair.rejected) == ("That sounds lonely.", "Cheer up.")
        assert (pair.chosen_id, pair.rejected_id) == ("correction:7", "correction:7")

    @pytest.mark.parametrize("rating", list(Rating))
    def test_prefers_an_experts_rewrite_whatever_the_verdict(self, rating: Rating) -> None:
        rows = [
            build_row("Cheer up.", rating, row_id="feedback:7", is_expert=True),
            build_row(
                "That sounds lonely.",
                kind=RowKind.CORRECTION,
                row_id="correction:7",
                is_expert=True,
                original="Cheer up.",
            ),
        ]
        (pair,) = build_pairs(rows)
        assert (pair.chosen, pair.rejected, pair.is_expert) == ("That sounds lonely.", "Cheer up.", True)

    def test_pairs_siblings_of_one_question(self) -> None:
        siblings = [build_row(f"choice {n}", r) for n, r in enumerate((Rating.UP, Rating.DOWN, None, Rating.DOWN))]
        pairs = build_pairs(siblings)
        assert [(p.chosen, p.rejected) for p in pairs] == [("choice 0", "choice 1"), ("choice 0", "choice 3")]
        assert count_contexts(pairs) == 1

    def test_takes_an_experts_word_over_a_users(self) -> None:
        rows = [
            build_row("a", Rating.UP),
            build_row("a", Rating.DOWN, is_expert=True),
            build_row("b", Rating.UP),
        ]
        (pair,) = build_pairs(rows)
        assert (pair.chosen, pair.rejected, pair.is_expert) == ("b", "a", True)

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
        assert len(build_pairs(rows, Split.HOLDOUT)) == 1


class TestRepeatExperts:
    def test_takes_an_experts_pair_twice(self) -> None:
        rows = [
            build_row("a", Rating.UP, is_expert=True),
            build_row("b", Rating.DOWN),
            build_row("c", Rating.UP, context="Hello"),
            build_row("d", Rating.DOWN, context="Hello"),
        ]
        pairs = build_pairs(rows)
        assert [pair.chosen for pair in repeat_experts(pairs)] == ["a", "a", "c"]
        assert count_contexts(pairs) == 2
