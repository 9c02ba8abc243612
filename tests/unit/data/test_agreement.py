"""Agreement between people beyond chance."""

from __future__ import annotations

import pytest

from data.agreement import compute_alpha


class TestComputeAlpha:
    def test_is_krippendorffs(self) -> None:
        # Krippendorff 2011, "Computing Krippendorff's alpha-reliability", example C: alpha = 0.743.
        ratings = {
            "A": [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
            "B": [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
            "C": [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
            "D": [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
        }
        labels = [
            (person, f"unit {n}", str(label))
            for person, given in ratings.items()
            for n, label in enumerate(given)
            if label is not None
        ]
        assert compute_alpha(labels) == pytest.approx(0.743, abs=0.0005)

    @pytest.mark.parametrize(
        "labels",
        [
            [],
            [("ann", "one", "good"), ("bob", "two", "bad")],  # nothing in common
            [("ann", "one", "good"), ("bob", "one", "good"), ("bob", "two", "bad")],  # no variety in it
        ],
    )
    def test_is_undefined_without_variety_in_what_is_shared(self, labels: list[tuple[str, str, str]]) -> None:
        assert compute_alpha(labels) is None
