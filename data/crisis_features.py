"""What the crisis classifier sees of a text: hashed words, word pairs and letter runs of one window.

A window is a text of at most WINDOW_WORDS words, or as many neighbouring sentences of a longer one, so that one
sentence in a long message counts as much as a message of one sentence.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from data.cleaning import clean_text

BUCKET_BITS = 17
WINDOW_WORDS = 30
LETTER_RUNS = (3, 4, 5)
MOST_WINDOWS = 400  # of one text, about what 3,000 words of prose have; then its short sentences are read as one
_SHORT = WINDOW_WORDS // 2  # words of sentences that are put together then

Buckets = NDArray[np.int64]
_Hashes = NDArray[np.uint64]

_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio: Knuth's multiplicative hashing
_BASE = np.uint64(1_000_003)
_APOSTROPHES = re.compile("['\u2018\u2019\u02bc]")
_SENTENCE = re.compile(r"[^.!?\n\u2026]+[.!?\n\u2026]*")


def simplify(text: str) -> str:
    """Lower case without apostrophes, spaces single, a letter at most twice in a row ("sooo" as "soo")."""
    words = _APOSTROPHES.sub("", clean_text(text).casefold())
    return re.sub(r"(\D)\1{2,}", r"\1\1", re.sub(r"\s+", " ", words))


def split_windows(text: str) -> list[str]:
    """The windows of a text, which together cover it; none of an empty one.

    A window begins with nearly each sentence, so a list of three thousand words would have as many.
    """
    words = text.split()
    if len(words) <= WINDOW_WORDS:
        return [text] if words else []
    sentences = [piece for sentence in _SENTENCE.findall(text) for piece in _split_words(sentence)]
    windows = _join_neighbours(sentences)
    return windows if len(windows) <= MOST_WINDOWS else _join_neighbours(_put_together(sentences))


def _join_neighbours(sentences: Sequence[str]) -> list[str]:
    """As many neighbouring sentences as fit into a window, beginning with each that brings a new one in."""
    counts = [len(sentence.split()) for sentence in sentences]
    windows, covered = [], 0
    for start in range(len(sentences)):
        end, size = start, 0
        while end < len(sentences) and size + counts[end] <= WINDOW_WORDS:
            size += counts[end]
            end += 1
        if end > covered:
            windows.append(" ".join(sentences[start:end]))
            covered = end
    return windows


def _put_together(sentences: Sequence[str]) -> list[str]:
    """Sentences of at most _SHORT words where neighbours are short enough; longer ones as they are."""
    joined: list[str] = []
    size = WINDOW_WORDS
    for sentence in sentences:
        count = len(sentence.split())
        if size + count <= _SHORT:
            joined[-1] += f" {sentence}"
            size += count
        else:
            joined.append(sentence)
            size = count
    return joined


def list_buckets(window: str) -> Buckets:
    """The buckets, 0 to 2^17 - 1, that are set by a window; sorted, each once."""
    words = re.findall(r"\w+", simplify(window))
    if not words:
        return np.zeros(0, dtype=np.int64)
    hashes = np.array([zlib.crc32(word.encode()) for word in words], dtype=np.uint64)
    letters = np.frombuffer(f" {' '.join(words)} ".encode("utf-32-le"), dtype=np.uint32).astype(np.uint64)
    found = [_mix(hashes, 1), _mix(hashes[:-1] * _BASE + hashes[1:], 2)]
    found += [_hash_runs(letters, length) for length in LETTER_RUNS if length <= len(letters)]
    return np.unique(np.concatenate(found)).astype(np.int64)


def _split_words(sentence: str) -> list[str]:
    """A sentence in pieces that fit into a window."""
    words = sentence.split()
    return [" ".join(words[start : start + WINDOW_WORDS]) for start in range(0, len(words), WINDOW_WORDS)]


def _hash_runs(letters: _Hashes, length: int) -> _Hashes:
    """Runs of letters within words, the spaces around a word included."""
    count = len(letters) - length + 1
    runs, has_space = np.zeros(count, dtype=np.uint64), np.zeros(count, dtype=np.bool_)
    for offset in range(length):
        column = letters[offset : offset + count]
        runs = runs * _BASE + column
        if 0 < offset < length - 1:
            has_space |= column == ord(" ")
    return _mix(runs[~has_space], 8 + length)


def _mix(hashes: _Hashes, kind: int) -> _Hashes:
    """Buckets of the hashes; each kind of feature gets its own."""
    mixed: _Hashes = ((hashes + np.uint64(kind << 40)) * _MULTIPLIER) >> np.uint64(64 - BUCKET_BITS)
    return mixed
