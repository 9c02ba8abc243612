"""Splitting: stable, near its shares, and blind to case and spacing."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.splitting import DEV_SHARE, HOLDOUT_SHARE, assign_split, context_cluster
from data.vocabulary import Split


class TestAssignSplit:
    @pytest.mark.parametrize(
        ("cluster", "split"),
        [("conversation:2", Split.HOLDOUT), ("conversation:1", Split.TRAIN), ("conversation:36", Split.DEV)],
    )
    def test_never_changes_between_releases(self, cluster: str, split: Split) -> None:
        assert assign_split(cluster) is split

    def test_comes_near_its_shares(self) -> None:
        counts = Counter(assign_split(f"conversation:{n}") for n in range(20_000))
        assert counts[Split.HOLDOUT] / 20_000 == pytest.approx(HOLDOUT_SHARE, abs=0.01)
        assert counts[Split.DEV] / 20_000 == pytest.approx(DEV_SHARE, abs=0.01)

    def test_deals_anew_with_another_salt(self) -> None:
        clusters = [f"conversation:{n}" for n in range(200)]
        assert [assign_split(c, "one") for c in clusters] != [assign_split(c, "two") for c in clusters]


class TestContextCluster:
    @given(st.text(), st.sampled_from([" ", "\n", "\t  "]))
    def test_ignores_case_and_spacing(self, text: str, space: str) -> None:
        assert context_cluster(text) == context_cluster(space + space.join(text.casefold().split()) + space)

    def test_tells_contexts_apart(self) -> None:
        assert context_cluster("I am sad.") != context_cluster("I am glad.")

    def test_names_its_kind(self) -> None:
        assert context_cluster("hello").startswith("context:")
        assert len(context_cluster("hello")) == len("context:") + 64
