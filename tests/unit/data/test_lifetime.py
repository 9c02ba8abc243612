"""The budget of a hold-out."""

from __future__ import annotations

import pytest

from data.lifetime import Budget
from data.statistics import spend_alpha


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
