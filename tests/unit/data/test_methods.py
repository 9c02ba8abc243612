"""The rule of `auto`, and what a method lacks."""

from __future__ import annotations

import re
from typing import Any

import pytest

from data.methods import DPO_CONTEXTS, MethodCounts, choose_method, count_rows, list_missing
from data.recipe import Recipe
from data.vocabulary import Message, Method, PoolRow, Rating, RowKind, SnapshotRow, Split


def build_counts(**fields: int) -> MethodCounts:
    plenty = {"rows": 100, "supervised": 50, "ups": 30, "downs": 30, "pairs": 25, "paired_contexts": 25}
    return MethodCounts(**plenty | fields)


def build_row(number: int, rating: Rating | None, *, split: Split = Split.TRAIN, expert: bool = False) -> SnapshotRow:
    row = PoolRow(
        row_id=f"feedback:{number}",
        kind=RowKind.REPLY,
        cluster="c",
        messages=(Message(role="user", content=f"context {number // 2}"),),
        reply=f"reply {number}",
        rating=rating,
        is_expert=expert,
    )
    return SnapshotRow(row=row, split=split)


class TestChooseMethod:
    @pytest.mark.parametrize(
        ("fields", "counts", "method", "reason"),
        [
            ({"method": "dpo"}, {"paired_contexts": 1}, Method.DPO, "recipe names"),
            ({"method": "reward"}, {}, Method.REWARD, "recipe names"),
            ({"preference_epochs": 0}, {"paired_contexts": 500}, Method.SFT, "preference_epochs is 0"),
            ({}, {"paired_contexts": DPO_CONTEXTS}, Method.DPO, "100 contexts have a better and a worse reply"),
            ({}, {"paired_contexts": DPO_CONTEXTS - 1}, Method.KTO, "30 replies are rated up and 30 down, enough"),
            ({}, {"paired_contexts": DPO_CONTEXTS, "ups": 0, "downs": 0}, Method.DPO, "100 contexts"),
            ({}, {"ups": 19}, Method.SFT, "19 replies are rated up and 30 down; KTO takes 20 up and 20 down"),
            ({}, {"downs": 0}, Method.SFT, "only fine-tuning is left"),
            ({"min_up": 31}, {}, Method.SFT, "KTO takes 31 up"),
        ],
    )
    def test_takes_the_first_that_applies(
        self, fields: dict[str, Any], counts: dict[str, int], method: Method, reason: str
    ) -> None:
        choice = choose_method(Recipe(**fields), build_counts(**counts))
        assert choice.method is method
        assert reason in choice.reason
        assert choice.reason.endswith(".")

    def test_never_leaves_it_at_auto(self) -> None:
        assert choose_method(Recipe(), build_counts(ups=0, downs=0, pairs=0, paired_contexts=0)).method is Method.SFT


class TestCountRows:
    def test_counts_training_rows_and_an_expert_once(self) -> None:
        rows = [
            build_row(0, Rating.UP, expert=True),
            build_row(1, Rating.DOWN),
            build_row(2, Rating.UP),
            build_row(3, None),
            build_row(4, Rating.UP, split=Split.DEV),
            build_row(5, Rating.DOWN, split=Split.HOLDOUT),
        ]
        assert count_rows(rows) == MethodCounts(rows=4, supervised=2, ups=2, downs=1, pairs=1, paired_contexts=1)


class TestListMissing:
    @pytest.mark.parametrize(
        ("fields", "counts"),
        [
            ({}, {}),
            ({"method": "sft"}, {"ups": 0, "downs": 0, "pairs": 0}),
            ({"method": "dpo"}, {"ups": 0, "downs": 20, "pairs": 20}),
            ({"method": "reward"}, {"ups": 0}),
            ({}, {"ups": 0, "pairs": 100, "paired_contexts": 100}),  # a correction for each reply rated down
            ({"preference_epochs": 0}, {"ups": 0}),
            ({"sft_epochs": 0}, {"supervised": 0}),
        ],
    )
    def test_lets_a_method_go_on_with_what_it_needs(self, fields: dict[str, Any], counts: dict[str, int]) -> None:
        assert list_missing(Recipe(**fields), build_counts(**counts)) == ()

    @pytest.mark.parametrize(
        ("fields", "counts", "sentence"),
        [
            ({"method": "dpo"}, {"pairs": 19}, "There are 19 pairs .* at least 20 are needed for method dpo"),
            (
                {"method": "reward", "min_pairs": 30},
                {},
                "There are 25 pairs .* at least 30 are needed for method reward",
            ),
            ({"method": "kto"}, {"downs": 3}, "There are 30 ratings up and 3 down in training; at least 20 of each"),
            ({"method": "kto", "min_up": 40}, {}, "at least 40 up and 20 down are needed"),
            ({}, {"ups": 2}, "There are 2 ratings up .* set preference_epochs to 0"),
            ({"method": "sft"}, {"supervised": 0}, "no example, correction or up-rated reply"),
        ],
    )
    def test_says_what_is_too_few(self, fields: dict[str, Any], counts: dict[str, int], sentence: str) -> None:
        (missing,) = list_missing(Recipe(**fields), build_counts(**counts))
        assert re.search(sentence, missing), missing
