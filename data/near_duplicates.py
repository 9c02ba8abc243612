"""Texts that say nearly the same: shingles, min-hashes to find who might be alike, Jaccard similarity to decide."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from data.vocabulary import PoolRow

SIMILARITY = 0.7  # Jaccard similarity from which two texts are near-duplicates
SHORT_CHARS = 40  # a shorter text has too few shingles: it is like another only when it is the same
_SHINGLE_CHARS = 5
_BANDS, _BAND_HASHES = 16, 3  # of 0.7 alike texts 1 - (1 - 0.7^3)^16 = 99.9 % meet in a band, of 0.2 alike ones 12 %
_LEADERS_LOOKED_AT = 64  # in one band; bounds the time where thousands of texts share their opening
_PRIME = np.uint64((1 << 61) - 1)
_MASK = np.uint64((1 << 32) - 1)

Hashes = NDArray[np.uint64]


def find_near_duplicates(rows: Sequence[PoolRow]) -> set[int]:
    """Positions of rated rows that nearly repeat an earlier one: the last user turn and the reply, each by itself.

    Whoever rated, and with the same rating; what experts say is left alone, as are plain examples. A row in other
    words is new evidence, the same words again are not, however many accounts send them.
    """
    contexts = label_near_duplicates([row.context for row in rows])
    replies = label_near_duplicates([row.reply for row in rows])
    seen: set[object] = set()
    found = set()
    for position, row in enumerate(rows):
        key = (contexts[position], replies[position], row.rating, row.kind)
        if row.rater is not None and not row.is_expert and key in seen:
            found.add(position)
        if row.rater is not None:
            seen.add(key)
    return found


def label_near_duplicates(texts: Sequence[str]) -> list[int]:
    """For each text the position of its leader: the first earlier leader that it is like, else itself.

    Each text is compared with leaders only, so time grows with the number of texts and not with its square.
    Source of the banding: A. Broder, "On the resemblance and containment of documents", SEQUENCES 1997.
    """
    by_text: dict[str, int] = {}
    by_band: defaultdict[tuple[int, bytes], list[int]] = defaultdict(list)
    shingles: dict[int, Hashes] = {}
    labels = []
    for position, text in enumerate(texts):
        plain = _simplify(text)
        leader = by_text.get(plain)
        if leader is None:
            leader = position
            if len(plain) >= SHORT_CHARS:
                leader = _find_leader(plain, position, by_band, shingles)
            by_text[plain] = leader
        labels.append(leader)
    return labels


def _find_leader(
    plain: str, position: int, by_band: defaultdict[tuple[int, bytes], list[int]], shingles: dict[int, Hashes]
) -> int:
    own = _hash_shingles(plain)
    bands = _list_bands(own)
    looked_at = dict.fromkeys(leader for band in bands for leader in by_band[band][-_LEADERS_LOOKED_AT:])
    for leader in looked_at:
        shared = len(np.intersect1d(own, shingles[leader], assume_unique=True))
        if shared >= SIMILARITY * (len(own) + len(shingles[leader]) - shared):
            return leader
    shingles[position] = own
    for band in bands:
        by_band[band].append(position)
    return position


def _simplify(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold()))


def _hash_shingles(plain: str) -> Hashes:
    """The distinct 32-bit hashes of the runs of five characters."""
    codes = np.frombuffer(plain.encode("utf-32-le"), dtype=np.uint32).astype(np.uint64)
    hashes = np.zeros(len(codes) - _SHINGLE_CHARS + 1, dtype=np.uint64)
    for offset in range(_SHINGLE_CHARS):
        hashes = hashes * np.uint64(1_000_003) + codes[offset : offset + len(hashes)]  # wraps around
    hashes ^= hashes >> np.uint64(29)
    return np.unique((hashes * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(32))


def _list_bands(hashes: Hashes) -> list[tuple[int, bytes]]:
    generator = np.random.default_rng(5)
    factors = generator.integers(1, 1 << 28, _BANDS * _BAND_HASHES, dtype=np.uint64)
    offsets = generator.integers(0, 1 << 60, _BANDS * _BAND_HASHES, dtype=np.uint64)
    minima = ((hashes[:, None] * factors + offsets) % _PRIME & _MASK).min(axis=0).reshape(_BANDS, _BAND_HASHES)
    return [(band, minima[band].tobytes()) for band in range(_BANDS)]
