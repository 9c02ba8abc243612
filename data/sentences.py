"""Shortening a text without breaking a sentence where that can be helped."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable

_SENTENCE_END = re.compile(r"[.!?\u2026]+[\"'\u2019\u201d)\]]*(?=\s|$)|[\u3002\uff01\uff1f]+|(?<=\S)(?=\n)")
_WORD_END = re.compile(r"(?<=\S)(?=\s|$)")


def cut_at_sentence(text: str, fits: Callable[[str], bool]) -> str:
    """The longest prefix of whole sentences that `fits`; of whole words where no sentence does; else empty.

    `fits` must be monotone: what fits still fits when made shorter. It is asked logarithmically often.
    """
    if fits(text):
        return text
    return _cut_at(_SENTENCE_END, text, fits) or _cut_at(_WORD_END, text, fits)


def _cut_at(border: re.Pattern[str], text: str, fits: Callable[[str], bool]) -> str:
    prefixes = [0] + [match.end() for match in border.finditer(text)]
    fitting = bisect_left(prefixes, True, lo=1, key=lambda end: not fits(text[:end]))
    return text[: prefixes[fitting - 1]]
