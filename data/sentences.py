"""Shortening a text without breaking a sentence where that can be helped."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable

# A run of signs is tried once, from its start: "....x" would take the square of its length.
_SENTENCE_END = re.compile(
    r"(?<![.!?\u2026])[.!?\u2026]++[\"'\u2019\u201d)\]]*+(?=\s|$)|[\u3002\uff01\uff1f]+|(?<=\S)(?=\n)"
)
_SPACE = re.compile(r"\s+")
_WORD_END = re.compile(r"(?<=\S)(?=\s|$)")


def cut_at_sentence(text: str, fits: Callable[[str], bool]) -> str:
    """The longest prefix of whole sentences that `fits`; of whole words where no sentence does; else empty.

    `fits` must be monotone: what fits still fits when made shorter. It is asked logarithmically often.
    """
    if fits(text):
        return text
    return _cut_at(_SENTENCE_END, text, fits) or _cut_at(_WORD_END, text, fits)


def cut_unfinished(text: str) -> str:
    """`text` without a last sentence that does not end; itself where none ends."""
    ends = [match.end() for match in _SENTENCE_END.finditer(text)]
    return text[: ends[-1]] if ends else text


def split_sentences(text: str) -> list[str]:
    """The sentences of `text`, each with the space after it: joined they are `text` again."""
    starts = [0]
    for match in _SENTENCE_END.finditer(text):
        after = _SPACE.match(text, match.end())
        end = after.end() if after else match.end()
        if starts[-1] < end < len(text):
            starts.append(end)
    return [text[start:end] for start, end in zip(starts, [*starts[1:], len(text)], strict=True) if end > start]


def keep_last_sentences(text: str, fits: Callable[[str], bool]) -> str:
    """The longest run of whole sentences at the end of `text` that `fits`; of words where none does; else empty."""
    for pieces in (split_sentences(text), re.findall(r"\S+\s*", text)):
        starts = range(len(pieces))
        first = bisect_left(starts, True, key=lambda start: fits("".join(pieces[start:])))
        if first < len(pieces):
            return "".join(pieces[first:]).strip()
    return ""


def _cut_at(border: re.Pattern[str], text: str, fits: Callable[[str], bool]) -> str:
    prefixes = [0] + [match.end() for match in border.finditer(text)]
    fitting = bisect_left(prefixes, True, lo=1, key=lambda end: not fits(text[:end]))
    return text[: prefixes[fitting - 1]]
