"""Cutting at sentence ends, else at words, else to nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.sentences import cut_at_sentence


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
