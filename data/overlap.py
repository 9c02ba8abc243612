"""Runs of words that texts share: the sign of copying, and of training rows that give a test row away."""

from __future__ import annotations

import re

RUN_WORDS = 8


def list_word_runs(text: str) -> set[str]:
    """Every run of `RUN_WORDS` words of `text`, casefolded, without punctuation; none in a shorter text."""
    words = re.findall(r"\w+", text.casefold())
    return {" ".join(words[start : start + RUN_WORDS]) for start in range(len(words) - RUN_WORDS + 1)}
