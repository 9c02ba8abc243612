"""Crisis signals in English text: phrases first, then a classifier for what is said without them.

Both prefer a false alarm to a miss, and neither knows who speaks of whom: "my brother died by suicide" is a signal
too. Figures and limits: `docs/safety.md`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from data.cleaning import clean_text
from data.crisis_features import simplify
from data.crisis_model import load_crisis_model
from data.crisis_rules import CRISIS_PATTERNS

# Of a message, for the classifier: about what a prompt may hold. Whoever sends megabytes must not stop the others.
MAX_WORDS = 3000

# Full-width, ringed and mathematical letters.
_LOOK_ALIKES = re.compile("[\uff01-\uff5e\u24b6-\u24e9\U0001d400-\U0001d7ff]+")
_ACCENTS = re.compile("(?<=[^\\W_])[`\u00b4\u2032](?=[^\\W_])")  # typed for an apostrophe
_EMPHASIS = re.compile(r"(?<![*_~`])(?:(?<![^\W_])[*_~`]+|[*_~`]++(?![^\W_]))")  # at a border of a word
_REPEATED = re.compile(r"([a-km-z])\1{2,}|(ll)l+")
_SPELT_OUT = re.compile(r"(?<!\w)[a-z]([ .-])[a-z](?:\1[a-z])+(?!\w)")


@dataclass(frozen=True)
class CrisisSignal:
    """What was seen, and by whom."""

    category: str  # one of CRISIS_CATEGORIES, or "detector_failed"
    source: Literal["rule", "classifier", "failure"]  # failure: the message could not be screened


def detect_first(turns: Sequence[str]) -> CrisisSignal | None:
    """The signal of the first of some turns that has one: one of a rule, else one of the classifier.

    The rules read everything; the classifier reads all turns together, and of very long ones only the last words.
    None means that nothing was seen, not that all is well.

    Args:
        turns: what a user wrote, newest first.

    Raises:
        CrisisModelInvalid: no rule matched and the classifier cannot be loaded.
    """
    if category := next(filter(None, map(match_rule, turns)), None):
        return CrisisSignal(category, "rule")
    category = next(filter(None, load_crisis_model().find_categories(_keep_newest(turns))), None)
    return CrisisSignal(category, "classifier") if category else None


def detect_crisis(text: str) -> CrisisSignal | None:
    """`detect_first` of one text."""
    return detect_first([text])


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


@contextmanager
def remembering_crises(file: Path) -> Iterator[None]:
    """`find_crises` inside reads only what it had not read when `file` was last written; the file is renewed.

    Raises:
        CrisisModelInvalid: the classifier cannot be loaded.
    """
    model = load_crisis_model()
    model.memory.read(file, model.fingerprint)
    yield
    with suppress(OSError):  # without room for it the next time takes longer, and no more
        model.memory.write(file, model.fingerprint)


def match_rule(text: str) -> str | None:
    """The category of the first rule that matches the words as they stand, or what they are beneath their dress."""
    forms = dict.fromkeys((simplify(text), simplify(_undress(text))))
    return next((category for category, rule in CRISIS_PATTERNS.items() if any(map(rule.search, forms))), None)


def _undress(text: str) -> str:
    """The words without Markdown's emphasis, in plain letters, none of them repeated ("dieee") or spelt out ("d i e").

    Only the rules read this: they know words by their letters alone, and the classifier was trained without it.
    """
    text = _LOOK_ALIKES.sub(lambda letters: unicodedata.normalize("NFKC", letters[0]), clean_text(text)).casefold()
    text = _EMPHASIS.sub("", _ACCENTS.sub("", text))
    text = _REPEATED.sub(r"\1\2", text)
    return _SPELT_OUT.sub(lambda letters: letters[0].replace(letters[1], ""), text)


def _keep_newest(turns: Sequence[str]) -> list[str]:
    """The turns up to MAX_WORDS words; the one in which they run out keeps its end."""
    kept, left = [], MAX_WORDS
    for turn in turns:
        words = turn.split()
        kept.append(turn if len(words) <= left else " ".join(words[-left:]))
        left -= len(words)
        if left <= 0:
            break
    return kept
