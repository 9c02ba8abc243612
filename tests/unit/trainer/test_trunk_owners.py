"""Whose a text is, also where it is made of two rows'."""

from __future__ import annotations

from datasets import Dataset

from trainer.trunk_cache import pack_tokens
from trainer.trunk_owners import list_owners


class TestListOwners:
    def test_of_sft_rows_are_all_that_say_the_same(self) -> None:
        rows = [
            {"input_ids": [1, 2], "row_ids": ["example:1"]},
            {"input_ids": [1, 2], "row_ids": ["feedback:2"]},
            {"input_ids": [3], "row_ids": ["feedback:3"]},
        ]
        assert list_owners(Dataset.from_list(rows), None) == {
            pack_tokens([1, 2]): {"example:1", "feedback:2"},
            pack_tokens([3]): {"feedback:3"},
        }

    def test_of_a_kl_row_are_the_prompt_s_row_and_every_row_with_the_reply(self) -> None:
        rows = [
            {"prompt_ids": [1], "completion_ids": [8], "KL_completion_ids": [9], "row_ids": ["feedback:1"]},
            {"prompt_ids": [2], "completion_ids": [9], "KL_completion_ids": [8], "row_ids": ["feedback:2"]},
            {"prompt_ids": [3], "completion_ids": [9], "KL_completion_ids": [9], "row_ids": ["feedback:3"]},
        ]
        owners = list_owners(Dataset.from_list(rows), None)
        assert owners[pack_tokens([1, 8])] == {"feedback:1"}
        assert owners[pack_tokens([1, 9])] == {"feedback:1", "feedback:2", "feedback:3"}
        assert owners[pack_tokens([2, 8])] == {"feedback:1", "feedback:2"}
        assert owners[pack_tokens([3, 9])] == {"feedback:2", "feedback:3"}

    def test_of_pairs_are_both_rows(self) -> None:
        rows = [{"prompt_ids": [1], "chosen_ids": [2], "rejected_ids": [3], "row_ids": ["correction:7", "feedback:7"]}]
        owners = list_owners(Dataset.from_list(rows), None)
        assert owners[pack_tokens([1, 2])] == owners[pack_tokens([1, 3])] == {"correction:7", "feedback:7"}

    def test_are_of_the_text_as_it_is_cut(self) -> None:
        rows = [{"prompt_ids": [1, 2], "completion_ids": [3, 4], "row_ids": ["feedback:1"]}]
        assert list_owners(Dataset.from_list(rows), 3) == {pack_tokens([1, 2, 3]): {"feedback:1"}}

    def test_are_unknown_where_no_row_is_named(self) -> None:
        assert list_owners(Dataset.from_list([{"input_ids": [1, 2]}]), None) == {}
