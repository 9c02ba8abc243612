"""How much of each fault: a small dose by default, the full one with FAULT_DOSE=full (`make test-faults`)."""

from __future__ import annotations

import os
from typing import TypeVar

Dose = TypeVar("Dose")

IS_FULL = os.environ.get("FAULT_DOSE") == "full"
SEED = int(os.environ.get("FAULT_SEED", "1"))  # of everything that is drawn at random


def choose_dose(small: Dose, full: Dose) -> Dose:
    """The one that is asked for."""
    return full if IS_FULL else small
