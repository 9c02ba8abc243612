"""Pages of lists."""

from __future__ import annotations

import pytest

from api.pages import cut_page


class TestCutPage:
    @pytest.mark.parametrize(
        ("rows", "page", "cursor"), [([], [], None), ([3, 2], [3, 2], None), ([3, 2, 1], [3, 2], "2")]
    )
    def test_names_the_last_of_a_page_that_others_follow(
        self, rows: list[int], page: list[int], cursor: str | None
    ) -> None:
        assert cut_page(rows, 2, int) == (page, cursor)
