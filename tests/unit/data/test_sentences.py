"""Cutting at sentence ends, else at words, else to nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.sentences import cut_at_sentence, cut_unfinished, keep_last_sentences, split_sentences


class TestCutAtSentence:
    @pytest.mark.parametrize(
        ("text", "limit", "cut"),
        [
            ("One. Two.", 9, "One. Two."),
            ("One. Two three.", 8, "One."),
            ("He said 'no.' Then he left.", 20, "He said 'no.'"),
            ("Really?! Yes. No.", 14, "Really?! Yes."),
            ("It costs 3.50 now. Fine.", 12, "It costs"),  # a point inside a number ends nothing
            ("a heading\nand more text", 12, "a heading"),
            ("你好。我很累。再见。", 8, "你好。我很累。"),
            ("no end in sight here", 10, "no end in"),
            ("unbreakable", 5, ""),
            ("", 0, ""),
        ],
    )
    def test_keeps_the_longest_prefix_that_fits(self, text: str, limit: int, cut: str) -> None:
        assert cut_at_sentence(text, lambda part: len(part) <= limit) == cut

    @given(st.text(st.sampled_from("ab .!?\n\"'。")), st.integers(0, 40))
    def test_gives_a_fitting_prefix(self, text: str, limit: int) -> None:
        cut = cut_at_sentence(text, lambda part: len(part) <= limit)
        assert text.startswith(cut)
        assert len(cut) <= limit

    def test_gives_nothing_where_nothing_fits(self) -> None:
        assert cut_at_sentence("One. Two.", lambda part: False) == ""

    def test_asks_few_times(self) -> None:
        asked: list[str] = []

        def fits(part: str) -> bool:
            asked.append(part)
            return len(part) <= 500

        assert cut_at_sentence("Short one. " * 1000, fits) == ("Short one. " * 45)[:-1]
        assert len(asked) <= 12


class TestCutUnfinished:
    @pytest.mark.parametrize(
        ("text", "kept"),
        [
            ("That is hard. You could write it d", "That is hard."),
            ('She said "stop!" Then she', 'She said "stop!"'),
            ("That is hard. What would help?", "That is hard. What would help?"),
            ("- breathe\n- walk\n- ca", "- breathe\n- walk"),
            ("It cost 3.50 and", "It cost 3.50 and"),  # no sentence ends
            ("", ""),
        ],
    )
    def test_leaves_out_a_last_sentence_that_does_not_end(self, text: str, kept: str) -> None:
        assert cut_unfinished(text) == kept


class TestSplitSentences:
    @pytest.mark.parametrize("sign", [".", "?!", "\u2026"])
    def test_reads_a_row_of_signs_once(self, sign: str) -> None:
        """So many that the square of the length would not end within the limit of a test."""
        text = f"Well{sign * 500_000}x. Yes."
        assert split_sentences(text) == [text[:-4], "Yes."]

    @pytest.mark.parametrize(
        ("text", "sentences"),
        [
            ("One. Two?  Three", ["One. ", "Two?  ", "Three"]),
            ("It costs 3.50 now.", ["It costs 3.50 now."]),
            ("a heading\nand more", ["a heading\n", "and more"]),
            ("你好。我很累。", ["你好。", "我很累。"]),
            ("", []),
        ],
    )
    def test_splits_after_each_end(self, text: str, sentences: list[str]) -> None:
        assert split_sentences(text) == sentences

    @given(st.text(alphabet="ab.!? \n", max_size=40))
    def test_loses_nothing(self, text: str) -> None:
        assert "".join(split_sentences(text)) == text


class TestKeepLastSentences:
    @pytest.mark.parametrize(
        ("text", "limit", "kept"),
        [
            ("One. Two. Three.", 11, "Two. Three."),
            ("One. Two. Three.", 99, "One. Two. Three."),
            ("no end in sight here", 10, "sight here"),
            ("unbreakable", 5, ""),
        ],
    )
    def test_keeps_the_longest_end(self, text: str, limit: int, kept: str) -> None:
        assert keep_last_sentences(text, lambda part: len(part) <= limit) == kept
