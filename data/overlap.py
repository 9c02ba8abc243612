"""Runs of words that texts share: the sign of copying, of training rows that give a test row away, and of a score that
was given its answer."""

from __future__ import annotations

import re
from collections.abc import Iterable

from data.errors import ReferenceGiven

RUN_WORDS = 8


def list_word_runs(text: str, length: int = RUN_WORDS) -> set[str]:
    """Every run of `length` words of `text`, casefolded, without punctuation; none in a shorter text."""
    words = _list_words(text)
    return {" ".join(words[start : start + length]) for start in range(len(words) - length + 1)}


def is_reference_given(prompt: Iterable[str], reference: str) -> bool:
    """Whether a text of `prompt` holds `reference`, or a run of RUN_WORDS words of it; case and punctuation aside."""
    wanted = list_word_runs(reference) or {" ".join(_list_words(reference))}
    return any(f" {run} " in f" {' '.join(_list_words(text))} " for text in prompt for run in wanted if run)


def check_reference_hidden(prompt: Iterable[str], reference: str) -> None:
    """Nothing, when a reply to `prompt` can be scored against `reference`.

    Raises:
        ReferenceGiven: the prompt holds the reference or a part of it, so the score would measure copying.
    """
    if is_reference_given(prompt, reference):
        raise ReferenceGiven


def _list_words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())
