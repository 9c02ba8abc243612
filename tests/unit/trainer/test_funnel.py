"""The funnel: the rows add up, and each reason is a sentence."""

from __future__ import annotations

from collections import Counter

from trainer.funnel import build_funnel

MANIFEST = {
    "pool_rows": 100,
    "dropped": {"holdout_overlap": 5, "empty": 2, "novel_reason": 3},
    "counts": {"holdout": {"up": 10, "example": 15}, "train": {"up": 60}, "dev": {"down": 5}},
    "scrubbed": {"phone": 1, "email": 4},
}


class TestBuildFunnel:
    def test_goes_from_the_pool_to_the_snapshot_in_the_order_of_the_rules(self) -> None:
        funnel = build_funnel(MANIFEST, Counter())
        assert [(step["title"], step["left"], step["rows"]) for step in funnel["steps"]] == [
            ("in the pool", None, 100),
            ("no text, or no reply", 2, 98),
            ("would give a held-out row away", 5, 93),
            ("novel reason", 3, 90),
        ]
        assert [(split["title"], split["rows"]) for split in funnel["splits"]] == [
            ("for training", 60),
            ("for tuning (dev)", 5),
            ("held out", 25),
        ]
        assert sum(split["rows"] for split in funnel["splits"]) == funnel["steps"][-1]["rows"]

    def test_says_what_was_changed_and_masked(self) -> None:
        funnel = build_funnel(MANIFEST, Counter({"reply_cut": 4, "too_long": 1, "turns_dropped": 0, "other": 2}))
        assert [(item["title"], item["count"]) for item in funnel["changed"]] == [
            ("left out: not even a short reply fits into max_tokens", 1),
            ("long replies cut at a sentence end", 4),
            ("other", 2),
        ]
        assert funnel["masked"] == [{"title": "email", "count": 4}, {"title": "phone", "count": 1}]
