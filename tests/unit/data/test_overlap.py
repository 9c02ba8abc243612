"""Runs of words."""

from __future__ import annotations

from data.overlap import RUN_WORDS, list_word_runs


class TestListWordRuns:
    def test_lists_each_run_without_case_or_punctuation(self) -> None:
        assert list_word_runs("One, two three; FOUR five six - seven eight nine!") == {
            "one two three four five six seven eight",
            "two three four five six seven eight nine",
        }

    def test_finds_none_in_a_shorter_text(self) -> None:
        assert list_word_runs("word " * (RUN_WORDS - 1)) == set()
        assert list_word_runs("") == set()
