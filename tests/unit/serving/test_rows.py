"""What is drawn from logits is what the sampling says."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from serving.engine import Sampling
from serving.rows import Logits, draw

PROBABILITIES = np.array([0.1, 0.4, 0.05, 0.25, 0.2])
LOGITS: Logits = np.log(PROBABILITIES).astype(np.float32)


def draw_often(sampling: Sampling, times: int = 4000) -> dict[int, float]:
    """How large the share of each token is."""
    generator = np.random.default_rng(1)
    counts = Counter(draw(LOGITS, sampling, generator) for _ in range(times))
    return {token_id: count / times for token_id, count in counts.items()}


class TestDraw:
    def test_the_likeliest_at_temperature_zero(self) -> None:
        assert draw_often(Sampling(1), 3) == {1: 1.0}

    def test_shares_are_the_probabilities(self) -> None:
        shares = draw_often(Sampling(1, temperature=1.0))
        assert [shares[i] for i in range(5)] == pytest.approx(PROBABILITIES.tolist(), abs=0.03)

    def test_temperature_flattens(self) -> None:
        flat = PROBABILITIES ** (1 / 3) / (PROBABILITIES ** (1 / 3)).sum()
        shares = draw_often(Sampling(1, temperature=3.0))
        assert [shares[i] for i in range(5)] == pytest.approx(flat.tolist(), abs=0.03)

    @pytest.mark.parametrize(("top_k", "kept"), [(1, {1}), (2, {1, 3}), (3, {1, 3, 4}), (9, {0, 1, 2, 3, 4})])
    def test_top_k_keeps_the_likeliest(self, top_k: int, kept: set[int]) -> None:
        assert set(draw_often(Sampling(1, temperature=1.0, top_k=top_k))) == kept

    @pytest.mark.parametrize(("top_p", "kept"), [(0.3, {1}), (0.5, {1, 3}), (0.8, {1, 3, 4}), (1.0, {0, 1, 2, 3, 4})])
    def test_top_p_keeps_the_fewest_that_hold_the_mass(self, top_p: float, kept: set[int]) -> None:
        assert set(draw_often(Sampling(1, temperature=1.0, top_p=top_p))) == kept

    def test_top_p_is_a_share_of_what_top_k_left(self) -> None:
        assert set(draw_often(Sampling(1, temperature=1.0, top_k=2, top_p=0.6))) == {1}
