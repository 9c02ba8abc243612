"""How much of each fault: FAULT_DOSE=small or full (`make test-faults`).

Without it the faults that take a whole stack and minutes are left out, and the others come in the small dose.
"""

from __future__ import annotations

import os
from typing import TypeVar

import pytest

Dose = TypeVar("Dose")

IS_FULL = os.environ.get("FAULT_DOSE") == "full"
TAKES_MINUTES = pytest.mark.skipif(
    "FAULT_DOSE" not in os.environ, reason="takes minutes; asked for with FAULT_DOSE=small"
)
SEED = int(os.environ.get("FAULT_SEED", "1"))  # of everything that is drawn at random


def choose_dose(small: Dose, full: Dose) -> Dose:
    """The one that is asked for."""
    return full if IS_FULL else small
