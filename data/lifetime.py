"""How much a hold-out may be asked before it retires, and what is left of that."""

from __future__ import annotations

from dataclasses import dataclass

MAX_CONSULTATIONS = 300
MAX_PROMOTIONS = 20
ALPHA_TOTAL = 0.10  # the chance that any promotion of one hold-out was wrong stays at or below it
_SPENDING_EXPONENT = 1.1
_ZETA = 10.584448464950803  # Riemann's zeta function at the exponent


def spend_alpha(consultation: int, total: float = ALPHA_TOTAL) -> float:
    """The level of the k-th consultation: total * k^-1.1 / zeta(1.1).

    The levels of all consultations add up to `total`, so by the union bound that is the most that the chance
    of ever promoting falsely can reach, however the tests depend on each other. Source: alpha-spending, as
    the online fallback of J. Tian & A. Ramdas, "Online control of the familywise error rate", SMMR 30 (2021)
    976-993.

    Args:
        consultation: k, counted from 1 over the life of the hold-out.

    Raises:
        ValueError: `consultation` is below 1.
    """
    if consultation < 1:
        raise ValueError(f"Consultations are counted from 1, not {consultation}.")
    return float(total * consultation**-_SPENDING_EXPONENT / _ZETA)


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
