"""How much a hold-out may be asked before it retires, and what is left of that."""

from __future__ import annotations

from dataclasses import dataclass

from data.statistics import spend_alpha

MAX_CONSULTATIONS = 300
MAX_PROMOTIONS = 20
ALPHA_TOTAL = 0.10  # the chance that any promotion of one hold-out was wrong stays at or below it


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What one hold-out, from one opening to the next, has been used for.

    Attributes:
        consultations: so far, this one included.
        promotions: so far, without the one that may follow from this consultation.
    """

    consultations: int
    promotions: int
    max_consultations: int = MAX_CONSULTATIONS
    max_promotions: int = MAX_PROMOTIONS
    alpha_total: float = ALPHA_TOTAL

    @property
    def alpha_spent(self) -> float:
        """The sum of the levels of all consultations so far, at most `alpha_total`."""
        return sum(spend_alpha(number, self.alpha_total) for number in range(1, self.consultations + 1))

    @property
    def is_retired(self) -> bool:
        """Whether the hold-out may not be asked again."""
        return self.consultations >= self.max_consultations or self.promotions >= self.max_promotions

    def describe(self) -> str:
        """One sentence for a person."""
        return (
            f"Consultation {self.consultations} of {self.max_consultations} and promotion {self.promotions} of "
            f"{self.max_promotions} of this hold-out; of its error of {self.alpha_total:.2f} it has spent "
            f"{self.alpha_spent:.3f}."
        )
