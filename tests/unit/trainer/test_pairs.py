"""Pairs within the limit: one prompt for both replies, and nothing that says the same twice."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from data.preferences import Pair
from data.vocabulary import Message
from trainer.pairs import build_pair_rows, count_pair_tokens


@pytest.fixture
def tokenizer(base_folder: Path) -> PreTrainedTokenizerBase:
    loaded: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(base_folder)
    return loaded


def build_pair(chosen: str, rejected: str, *contents: str) -> Pair:
    roles = ("user", "assistant")
    messages = tuple(Message(role=roles[turn % 2], content=content) for turn, content in enumerate(contents))
    return Pair(
        messages=messages,
        chosen=chosen,
        rejected=rejected,
        cluster="c",
        chosen_id="correction:1",
        rejected_id="feedback:1",
    )


def test_has_both_replies_after_the_messages_and_names_their_rows(tokenizer: PreTrainedTokenizerBase) -> None:
    dropped: Counter[str] = Counter()
    (row,) = build_pair_rows([build_pair("Yes.", "No.", "Hello?")], tokenizer, 100, dropped)
    assert row == {
        "prompt": [{"role": "user", "content": "Hello?"}],
        "chosen": [{"role": "assistant", "content": "Yes."}],
        "rejected": [{"role": "assistant", "content": "No."}],
        "row_ids": ["correction:1", "feedback:1"],
    }
    assert not dropped


@pytest.mark.parametrize("longer_first", [True, False])
def test_drops_old_turns_from_both_alike(tokenizer: PreTrainedTokenizerBase, longer_first: bool) -> None:
    replies = ["A long reply goes on for a while.", "No."]
    pair = build_pair(*(replies if longer_first else replies[::-1]), "an old turn " * 10, "an answer " * 10, "Hello?")
    (row,) = build_pair_rows([pair], tokenizer, 40, Counter())
    assert row["prompt"] == [{"role": "user", "content": "Hello?"}]
    assert {row["chosen"][0]["content"], row["rejected"][0]["content"]} == set(replies)
    assert count_pair_tokens(row, tokenizer) <= 40


def test_leaves_out_and_counts_what_no_longer_differs(tokenizer: PreTrainedTokenizerBase) -> None:
    dropped: Counter[str] = Counter()
    beginning = "We begin alike. "
    ends = ("One end that goes on. " * 10, "Another end that goes on. " * 10)
    pair = build_pair(beginning + ends[0], beginning + ends[1], "Hello?")
    assert build_pair_rows([pair], tokenizer, 24, dropped) == []
    assert dropped == {"reply_cut": 2, "pair_cut_alike": 1}


def test_leaves_out_and_counts_what_does_not_fit(tokenizer: PreTrainedTokenizerBase) -> None:
    dropped: Counter[str] = Counter()
    assert build_pair_rows([build_pair("Yes.", "No.", "a long turn " * 40)], tokenizer, 20, dropped) == []
    assert dropped == {"too_long": 1}
