"""Word clouds: shared words only, no masks, and text stays text."""

from __future__ import annotations

import re

from trainer.clouds import WORDS, count_words, draw_cloud


class TestCountWords:
    def test_counts_texts_not_words_and_leaves_out_common_words_and_masks(self) -> None:
        texts = ["Sleep, sleep and sleep, [NAME]!", "I can’t sleep [NAME]", "only here"]
        assert count_words(texts) == {"sleep": 2}

    def test_shows_nothing_of_one_person_alone(self) -> None:
        assert count_words(["my secret village", "another thing"]) == {}

    def test_reads_other_scripts_and_stops_at_the_limit(self) -> None:
        assert count_words(["тревога ночью"] * 2) == {"ночью": 2, "тревога": 2}
        many = " ".join(f"w{chr(97 + n // 26)}{chr(97 + n % 26)}" for n in range(200))
        assert len(count_words([many] * 2)) == WORDS


class TestDrawCloud:
    def test_is_empty_without_shared_words(self) -> None:
        assert draw_cloud([], "#000", "nothing") == ""

    def test_draws_the_commoner_word_larger_and_the_same_each_time(self) -> None:
        texts = ["worry", "worry", "worry", "worry sleep", "sleep"]
        svg = draw_cloud(texts, "#1f6f5c", 'Replies "after"')
        assert svg == draw_cloud(texts, "#1f6f5c", 'Replies "after"')
        sizes = {word: int(size) for size, word in re.findall(r'font-size="(\d+)"[^>]*>(\w+)<', svg)}
        assert sizes["worry"] > sizes["sleep"] > 0
        assert 'aria-label="Replies &quot;after&quot;"' in svg

    def test_keeps_words_inside_the_picture(self) -> None:
        svg = draw_cloud(["grief anger hope shame"] * 3, "#000", "words")
        placed = re.findall(r'<text x="(\d+)" y="(\d+)" font-size="\d+" textLength="(\d+)"', svg)
        assert placed
        assert all(int(x) >= 0 and int(x) + int(width) <= 460 and 0 < int(y) <= 230 for x, y, width in placed)
