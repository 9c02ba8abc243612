"""Charts: what they draw, that they draw nothing in odd cases without failing, and that labels are escaped."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from api.ui.charts import (
    Interval,
    draw_bar,
    draw_cloud,
    draw_days,
    draw_forest,
    draw_funnel,
    draw_histograms,
    draw_lines,
    draw_shares,
)

HOSTILE = "<img src=x onerror=run()>"


def find_heights(svg: str, kind: str) -> list[float]:
    rectangles = [item for item in ElementTree.fromstring(svg).iter() if item.tag.endswith("rect")]
    return [float(item.attrib["height"]) for item in rectangles if item.attrib["class"] == kind]


class TestDrawDays:
    def test_bars_are_as_high_as_the_counts(self) -> None:
        svg = draw_days([("01 Jan", 3, 1), ("02 Jan", 1, 1)])
        ups, downs = find_heights(svg, "up"), find_heights(svg, "down")
        assert ups[0] == pytest.approx(3 * ups[1])
        assert sum((ups[0], downs[0])) == pytest.approx(160.0)

    def test_no_ratings_at_all(self) -> None:
        assert find_heights(draw_days([("01 Jan", 0, 0)]), "up") == [0.0]
        ElementTree.fromstring(draw_days([]))


class TestIntervals:
    def test_lies_where_the_numbers_say(self) -> None:
        html = draw_shares([Interval("Version 1", 0.5, 0.25, 0.75, "", "better")])
        assert 'class="whisker better" style="left:25.0%;width:50.0%"' in html
        assert 'class="dot better" style="left:50.0%"' in html

    def test_a_difference_is_scaled_to_its_own_line(self) -> None:
        html = draw_forest([Interval("BLEU", 10.0, 5.0, 20.0, ""), Interval("ROUGE-L", 0.01, 0.005, 0.02, "")])
        assert len(set(re.findall(r'class="whisker " style="([^"]+)"', html))) == 1

    def test_without_bounds_only_the_value_is_drawn(self) -> None:
        html = draw_forest([Interval("Distinct-2", 0.0, None, None, "")])
        assert "whisker" not in html
        assert 'class="dot " style="left:50.0%"' in html

    def test_escapes_labels(self) -> None:
        assert "<img" not in draw_forest([Interval(HOSTILE, 1.0, 0.0, 2.0, HOSTILE, HOSTILE)])


class TestDrawLines:
    def test_falls_when_the_loss_falls(self) -> None:
        root = ElementTree.fromstring(draw_lines([("one", [(1, 3.0), (2, 1.0)]), ("two", [(3, 2.0)])], "step", "loss"))
        first, second = (item.attrib["points"] for item in root.iter() if item.tag.endswith("polyline"))
        ys = [float(point.split(",")[1]) for point in first.split()]
        assert ys == [14.0, 182.0]
        assert len(second.split()) == 1

    def test_nothing_to_draw(self) -> None:
        assert draw_lines([], "step", "loss") == ""


class TestDrawHistograms:
    def test_counts_every_value_once(self) -> None:
        svg = draw_histograms([0.0, 1.0, 16.0], [16.0], "words", bins=4)
        assert [round(height / 78) for height in find_heights(svg, "before")] == [2, 0, 0, 1]
        assert [round(height / 78) for height in find_heights(svg, "after")] == [0, 0, 0, 1]

    def test_no_values(self) -> None:
        ElementTree.fromstring(draw_histograms([], [], "words"))


class TestOthers:
    def test_words_are_larger_the_more_often_they_occur(self) -> None:
        html = draw_cloud([("sleep", 8), ("work", 1)])
        sizes = {word: float(size) for size, word in re.findall(r"font-size:([\d.]+)rem[^>]*>(\w+)<", html)}
        assert sizes["sleep"] > sizes["work"]
        assert "<img" not in draw_cloud([(HOSTILE, 1)])
        assert draw_cloud([]) == '<div class="cloud"></div>'

    def test_a_bar_says_what_it_shows(self) -> None:
        assert 'aria-valuenow="25"' in draw_bar(0.25, "done")
        assert 'aria-valuenow="100"' in draw_bar(7.0, "done")
        assert "<img" not in draw_bar(0.5, HOSTILE)

    def test_a_funnel_shows_rows_with_their_unit(self) -> None:
        html = draw_funnel([("In the pool", 200, False), (HOSTILE, 50, True)])
        assert "width:100.0%" in html and "width:25.0%" in html
        assert "200 rows" in html
        assert "<img" not in html
        assert "width:0.0%" in draw_funnel([("In the pool", 0, False)])
