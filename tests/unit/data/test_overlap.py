"""Runs of words."""

from __future__ import annotations

import pytest

from data.errors import ReferenceGiven
from data.overlap import RUN_WORDS, check_reference_hidden, is_reference_given, list_word_runs


class TestListWordRuns:
    def test_lists_each_run_without_case_or_punctuation(self) -> None:
        assert list_word_runs("One, two three; FOUR five six - seven eight nine!") == {
            "one two three four five six seven eight",
            "two three four five six seven eight nine",
        }

    def test_finds_none_in_a_shorter_text(self) -> None:
        assert list_word_runs("word " * (RUN_WORDS - 1)) == set()
        assert list_word_runs("") == set()


REFERENCE = "It sounds as if you carry a great deal, and you carry it alone."


class TestIsReferenceGiven:
    @pytest.mark.parametrize(
        "prompt",
        [
            ["What now?", f"I feel low. {REFERENCE}"],
            [f"I feel low. {REFERENCE.upper()}"],
            ["they said it sounds as if you carry a great deal - what is that"],
        ],
    )
    def test_finds_the_reference_or_a_run_of_it(self, prompt: list[str]) -> None:
        assert is_reference_given(prompt, REFERENCE)

    @pytest.mark.parametrize("prompt", [[], [""], ["A great deal."], ["It sounds", "as if you carry a great deal"]])
    def test_leaves_other_prompts_alone(self, prompt: list[str]) -> None:
        assert not is_reference_given(prompt, REFERENCE)

    def test_finds_a_short_reference_as_a_whole_and_by_words(self) -> None:
        assert is_reference_given(["You said: tell me more! Why?"], "Tell me more.")
        assert not is_reference_given(["Retell me more of it"], "Tell me more.")
        assert not is_reference_given(["anything"], "...")


class TestCheckReferenceHidden:
    def test_refuses_a_prompt_that_gives_the_answer(self) -> None:
        with pytest.raises(ReferenceGiven, match="holds the reference"):
            check_reference_hidden([REFERENCE], REFERENCE)

    def test_lets_an_honest_prompt_pass(self) -> None:
        check_reference_hidden(["I feel low."], REFERENCE)
