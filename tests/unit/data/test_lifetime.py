"""The budget of a hold-out, and how it is spent."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from online_fdr.core.utils.sequence import DefaultSaffronGammaSequence
from online_fdr.p_values.spending.online_fallback import OnlineFallback
from scipy import special

from data.lifetime import Budget, spend_alpha


class TestSpendAlpha:
    def test_starts_at_the_published_levels(self) -> None:
        levels = [spend_alpha(k) for k in (1, 10, 100, 1000)]
        assert levels == pytest.approx([9.4e-3, 7.5e-4, 6.0e-5, 4.7e-6], rel=0.01)

    def test_starts_at_the_share_that_zeta_leaves(self) -> None:
        assert spend_alpha(1, total=1.0) == 1 / special.zeta(1.1)

    @given(st.integers(1, 3000), st.floats(0.001, 1.0))
    def test_never_spends_more_than_the_total(self, consultations: int, total: float) -> None:
        assert sum(spend_alpha(k, total) for k in range(1, consultations + 1)) < total

    @given(st.integers(1, 10**6))
    def test_falls(self, consultation: int) -> None:
        assert 0 < spend_alpha(consultation + 1) < spend_alpha(consultation)

    @pytest.mark.parametrize("consultation", [0, -3])
    def test_counts_from_one(self, consultation: int) -> None:
        with pytest.raises(ValueError, match=f"from 1, not {consultation}"):
            spend_alpha(consultation)

    @given(st.lists(st.floats(0, 0.02), min_size=1, max_size=60), st.floats(0.01, 0.5))
    def test_spends_as_the_published_package_does(self, p_values: list[float], total: float) -> None:
        terms = np.arange(1, 100_001) ** -1.1
        package = OnlineFallback(alpha=total)
        sequence = DefaultSaffronGammaSequence(gamma_exp=1.1, c=1 / (terms.sum() + 10 * 100_000.5**-0.1))
        setattr(package, "seq", sequence)  # noqa: B010 - its annotation names another of its own sequences
        was_rejected = False
        for number, p in enumerate(p_values, 1):
            is_rejected = package.test_one(p)
            level, ours = package.last_test_level, spend_alpha(number, total)
            assert level is not None
            if was_rejected:  # it hands the level of a rejection on; we give none back, which is stricter
                assert ours < level
            else:
                assert ours == pytest.approx(level, rel=1e-6)
            was_rejected = is_rejected


class TestBudget:
    @pytest.mark.parametrize(
        ("consultations", "promotions", "is_retired"), [(299, 19, False), (300, 0, True), (1, 20, True)]
    )
    def test_retires(self, consultations: int, promotions: int, is_retired: bool) -> None:
        assert Budget(consultations=consultations, promotions=promotions).is_retired is is_retired

    def test_spends_less_than_all(self) -> None:
        assert Budget(consultations=0, promotions=0).alpha_spent == 0
        assert Budget(consultations=2, promotions=0).alpha_spent == pytest.approx(spend_alpha(1) + spend_alpha(2))
        assert Budget(consultations=300, promotions=0).alpha_spent < 0.10

    def test_is_one_sentence(self) -> None:
        assert Budget(consultations=3, promotions=1).describe() == (
            "Consultation 3 of 300 and promotion 1 of 20 of this hold-out; of its error of 0.10 it has spent 0.017."
        )
