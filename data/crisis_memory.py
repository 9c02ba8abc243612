"""What the encoders of the crisis classifier have read already, so that they read nothing twice.

A conversation comes back with every turn, and a pool with every run. Kept are digests and scores, never a message; a
file of them counts as what was made of its messages, so an erasure removes it (`worker/erasure.py`).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from data.crisis_encoder import CrisisModelInvalid, read_arrays

MOST_REMEMBERED = 50_000  # scores in memory, about 10 MB; then it begins anew
MOST_KEPT = 1_000_000  # the same for a process that keeps a file, some 30 MB on disk
DIGEST_BYTES = 16

Score = tuple[float, str]  # log-odds of a crisis, and its category


class CrisisMemory:
    """Scores of windows: of this process, and of a file that an earlier one left."""

    def __init__(self) -> None:
        self._asked: dict[bytes, Score] = {}
        self._earlier: dict[bytes, Score] = {}
        self._most = MOST_REMEMBERED

    def find(self, windows: Sequence[str], reader: str) -> list[Score | None]:
        """The score that this encoder gave each window, None where none is remembered."""
        digests = [_digest(window, reader) for window in windows]
        found = [self._asked.get(digest) or self._earlier.get(digest) for digest in digests]
        self._add({digest: score for digest, score in zip(digests, found, strict=True) if score is not None})
        return found

    def remember(self, scores: Mapping[str, Score], reader: str) -> None:
        """Keep what this encoder said of windows; `reader` is a name of at most 16 bytes."""
        self._add({_digest(window, reader): score for window, score in scores.items()})

    def read(self, file: Path, detector: str) -> None:
        """Take up what `write` left; nothing of another detector, nor of a file that is missing or damaged."""
        self._most = MOST_KEPT
        try:
            arrays = read_arrays(file)
            if str(arrays["detector"]) != detector:
                return
            scores = zip(arrays["scores"].tolist(), arrays["categories"].tolist(), strict=True)
            self._earlier = dict(zip(_split(arrays["digests"].tobytes()), scores, strict=True))
        except (CrisisModelInvalid, KeyError, ValueError):
            return

    def write(self, file: Path, detector: str) -> None:
        """Leave what this process asked, whole or not at all: what only earlier ones asked has left the pool.

        Raises:
            OSError: there is no room.
        """
        if self._asked.keys() == self._earlier.keys() and file.exists():
            return
        log_odds, categories = zip(*self._asked.values(), strict=True) if self._asked else ((), ())
        file.parent.mkdir(parents=True, exist_ok=True)
        staged = file.with_name(f".{os.getpid()}.{file.name}")
        try:
            np.savez(
                staged,
                detector=np.array(detector),
                digests=np.frombuffer(b"".join(self._asked), dtype=np.uint8),
                scores=np.array(log_odds, dtype=np.float64),
                categories=np.array(categories, dtype=np.str_),
            )
            staged.replace(file)
        finally:
            staged.unlink(missing_ok=True)

    def _add(self, scores: dict[bytes, Score]) -> None:
        if len(self._asked) + len(scores) > self._most:
            self._asked.clear()
        self._asked.update(scores)


def _split(digests: bytes) -> list[bytes]:
    return [digests[start : start + DIGEST_BYTES] for start in range(0, len(digests), DIGEST_BYTES)]


def _digest(window: str, reader: str) -> bytes:
    data = window.encode(errors="surrogatepass")
    return hashlib.blake2b(data, digest_size=DIGEST_BYTES, person=reader.encode()).digest()
