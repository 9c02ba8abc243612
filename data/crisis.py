"""Crisis signals in English text: phrases first, then a classifier for what is said without them.

Both prefer a false alarm to a miss, and neither knows who speaks of whom: "my brother died by suicide" is a signal
too. Figures and limits: `docs/safety.md`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from data.crisis_features import simplify
from data.crisis_model import load_crisis_model
from data.crisis_rules import CRISIS_PATTERNS


@dataclass(frozen=True)
class CrisisSignal:
    """What was seen, and by whom."""

    category: str  # one of CRISIS_CATEGORIES, or "detector_failed"
    source: Literal["rule", "classifier", "failure"]  # failure: the message could not be screened


def detect_crisis(text: str) -> CrisisSignal | None:
    """The first signal: that of a rule, in the order of the categories, else that of the classifier.

    None means that nothing was seen, not that all is well.

    Raises:
        CrisisModelInvalid: no rule matched and the classifier cannot be loaded.
    """
    if category := match_rule(text):
        return CrisisSignal(category, "rule")
    [category] = load_crisis_model().find_categories([text])
    return CrisisSignal(category, "classifier") if category else None


def find_crisis(text: str) -> str | None:
    """The category of the first signal, None without one; raises as `detect_crisis` does."""
    signal = detect_crisis(text)
    return signal.category if signal else None


def find_crises(texts: Sequence[str]) -> list[str | None]:
    """`find_crisis` of each text; all together take half the time of one after the other."""
    found = [match_rule(text) for text in texts]
    unseen = [number for number, category in enumerate(found) if category is None]
    if unseen:
        judged = load_crisis_model().find_categories([texts[number] for number in unseen])
        for number, category in zip(unseen, judged, strict=True):
            found[number] = category
    return found


def match_rule(text: str) -> str | None:
    """The category of the first rule that matches."""
    words = simplify(text)
    return next((category for category, pattern in CRISIS_PATTERNS.items() if pattern.search(words)), None)
