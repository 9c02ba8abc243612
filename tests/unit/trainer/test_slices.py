"""Slices: by rules that a person can follow, one of each kind for each row."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from tests.lessons import build_row
from trainer.slices import build_slices, find_language, find_rater_group, find_topic


@pytest.mark.parametrize(
    ("text", "topic"),
    [
        ("I cannot sleep, I lie awake every night.", "sleep"),
        ("My boss may fire me and I fear for my job.", "work"),
        ("The weather turned.", "other"),
        ("", "other"),
    ],
)
def test_topic_is_the_list_with_most_hits(text: str, topic: str) -> None:
    assert find_topic(text) == topic


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("What do I do with my anger?", "en"),
        ("Ich kann nicht schlafen und weiß nicht, was ich tun soll.", "de"),
        ("Je ne sais pas comment parler à mon père.", "fr"),
        ("Мне очень грустно сегодня", "script-cyrillic"),
        ("ok", "unknown"),
        ("12345", "unknown"),
    ],
)
def test_language_is_told_by_function_words_or_script(text: str, language: str) -> None:
    assert find_language(text) == language


def test_raters_are_grouped_by_how_often_they_rate() -> None:
    row, ratings = build_row(1, "Yes.").row, Counter({"ann": 5, "bob": 1})
    assert find_rater_group(row, ratings) == "none"
    assert find_rater_group(replace(row, rater="ann"), ratings) == "many"
    assert find_rater_group(replace(row, rater="bob"), ratings) == "few"
    assert find_rater_group(replace(row, rater="ann", is_expert=True), ratings) == "expert"


class TestBuildSlices:
    def test_deals_lengths_in_thirds_and_takes_each_row_once(self) -> None:
        rows = [build_row(n, "Yes.", context=" ".join(["word"] * (n + 1))).row for n in range(9)]
        table = build_slices([*rows, rows[0]], Counter())
        lengths = table[table["slice"].str.startswith("length:")]["slice"].value_counts().to_dict()
        assert lengths == {"length:short": 3, "length:medium": 3, "length:long": 3}
        assert len(table) == 4 * 9

    def test_has_its_columns_without_rows(self) -> None:
        assert list(build_slices([], Counter()).columns) == ["row_id", "slice"]
