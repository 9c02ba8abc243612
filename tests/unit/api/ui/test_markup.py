"""Markup of ours: what people wrote is escaped in it, and numbers have units."""

from __future__ import annotations

import pytest

from api.ui.markup import badge, facts, render_markdown, table, when, write_count, write_day, write_duration, write_time

HOSTILE = '<img src=x onerror="run()">&'
ESCAPED = "&lt;img src=x onerror=&#34;run()&#34;&gt;&amp;"


class TestRenderMarkdown:
    def test_renders_markdown(self) -> None:
        assert render_markdown("**one**\n\n- two") == "<p><strong>one</strong></p>\n<ul>\n<li>two</li>\n</ul>\n"

    @pytest.mark.parametrize(
        "text",
        [
            HOSTILE,
            "<script>run()</script>",
            "[a](javascript:run())",
            "<javascript:run()>",
            "[a](data:text/html;base64,xxxx)",
            "![a](https://elsewhere/x.png)",
        ],
    )
    def test_leaves_nothing_that_runs_or_loads(self, text: str) -> None:
        html = render_markdown(text)
        assert not any(part in html for part in ('href="javascript', 'href="data', "<javascript"))
        assert "<img" not in html and "<script" not in html


class TestEscaping:
    def test_of_cells_facts_and_badges(self) -> None:
        assert ESCAPED in table((HOSTILE,), [(HOSTILE,)])
        assert "<img" not in table((HOSTILE,), [(HOSTILE,)])
        assert "<img" not in facts([(HOSTILE, HOSTILE)])
        assert "<img" not in badge(HOSTILE, HOSTILE)

    def test_keeps_markup_of_ours_and_marks_numbers(self) -> None:
        html = table(("Name", "Count"), [(badge("good", "good"), "3")], numbers=(1,))
        assert '<span class="badge good">good</span>' in html
        assert '<td class="number">3</td>' in html


class TestWriting:
    @pytest.mark.parametrize(
        ("seconds", "wanted"), [(0.4, "0 s"), (89, "89 s"), (90, "2 min"), (7_200, "2.0 h"), (864_000, "10 days")]
    )
    def test_durations(self, seconds: float, wanted: str) -> None:
        assert write_duration(seconds) == wanted

    def test_times_and_counts(self) -> None:
        assert write_time(None) == "–"
        assert write_time(1_790_000_000) == "21 Sep 2026, 14:13 UTC"
        assert when(1_790_000_000) == "<time>21 Sep 2026, 14:13 UTC</time>"
        assert write_day(1) == "02 Jan"
        assert [write_count(number, "reply", "replies") for number in (1, 2_000)] == ["1 reply", "2,000 replies"]
        assert write_count(0, "row") == "0 rows"
