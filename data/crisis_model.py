"""The crisis classifier: the sum of two log-odds, one of hashed features and one of an encoder.

It sees what the rules do not: crises that are hinted at, or hidden behind a question, a story or a friend. The hashed
features know turns of phrase, an encoder (`data/crisis_encoder.py`) what words mean; together they are better than
either. There are two encoders: a small one reads every window, and a large one, which takes ten times as long and
finds more, decides about those that the small one is not sure are harmless. `benchmarks/crisis_classifier.py` and
`benchmarks/crisis_large.py` train them. What on, and how well they do, is written in `docs/safety.md`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.crisis_encoder import (
    ENCODER_FILE,
    LARGE_ENCODER_FILE,
    CrisisEncoder,
    CrisisModelInvalid,
    load_crisis_encoder,
    read_arrays,
)
from data.crisis_features import BUCKET_BITS, list_buckets, split_windows
from data.crisis_memory import CrisisMemory, Score

MIN_WORDS = 4  # fewer words (of letters) are left to the rules: they give the classifier too little to go by
WEIGHTS_FILE = Path(__file__).with_name("crisis_weights.npz")
_WORD = re.compile(r"[^\W\d_]+")
_TOO_SHORT = (float("-inf"), "")


@dataclass(frozen=True, eq=False)
class CrisisModel:
    """Weights as int8 times a scale; a window has the value 1 / sqrt(buckets) in each of its buckets."""

    detector: NDArray[np.int8]  # [buckets]
    detector_scale: float  # the weight of these log-odds beside those of an encoder is in it, and in the bias
    detector_bias: float
    screening: float  # log-odds with the small encoder from which the large one is asked, below the threshold
    threshold: float  # log-odds with the large encoder from which a window is a signal
    encoder: CrisisEncoder  # the small one
    large_file: Path  # of the large one, which is not loaded before a window needs it
    fingerprint: str  # of the files that it was read from
    memory: CrisisMemory = field(default_factory=CrisisMemory, init=False, repr=False)

    def score(self, windows: Sequence[str]) -> list[Score]:
        """Of each window the log-odds that it signals a crisis, minus infinity below MIN_WORDS words, and of which.

        The large encoder's where it was asked, else the small one's, which are below the threshold then.

        Raises:
            CrisisModelInvalid: the large encoder is needed and cannot be loaded.
        """
        remembered = self.memory.find(windows)
        unseen = [
            window
            for window, score in zip(windows, remembered, strict=True)
            if score is None and len(_WORD.findall(window)) >= MIN_WORDS
        ]
        fresh = self._judge(unseen)
        self.memory.remember(list(fresh), list(fresh.values()))
        return [score or fresh.get(window, _TOO_SHORT) for window, score in zip(windows, remembered, strict=True)]

    def find_categories(self, texts: Sequence[str]) -> list[str | None]:
        """Of each text the category of the window with the highest score, None when none reaches the threshold."""
        windows = [split_windows(text) for text in texts]
        different = list(dict.fromkeys(chain.from_iterable(windows)))
        scores = dict(zip(different, self.score(different), strict=True))
        best = [max((scores[window] for window in found), default=(float("-inf"), "")) for found in windows]
        return [category if score >= self.threshold else None for score, category in best]

    def _judge(self, windows: Sequence[str]) -> dict[str, Score]:
        scores = self._read(windows, self.encoder)
        doubtful = [window for window, (log_odds, _) in scores.items() if log_odds >= self.screening]
        return scores | (self._read(doubtful, load_crisis_encoder(self.large_file)) if doubtful else {})

    def _read(self, windows: Sequence[str], encoder: CrisisEncoder) -> dict[str, Score]:
        return {
            window: (self._score_features(window) + log_odds, category)
            for window, (log_odds, category) in zip(windows, encoder.judge(windows), strict=True)
        }

    def _score_features(self, window: str) -> float:
        buckets = list_buckets(window)
        total = int(self.detector[buckets].sum(dtype=np.int64))
        return total * self.detector_scale / len(buckets) ** 0.5 + self.detector_bias


@cache
def load_crisis_model(
    file: Path = WEIGHTS_FILE, encoder_file: Path = ENCODER_FILE, large_file: Path = LARGE_ENCODER_FILE
) -> CrisisModel:
    """The committed classifier.

    Raises:
        CrisisModelInvalid: a file is missing, damaged, or of another shape; of the large encoder's only that it is
            missing is seen here, the rest when it is first asked.
    """
    encoder, arrays = load_crisis_encoder(encoder_file), read_arrays(file)
    try:
        model = CrisisModel(
            detector=arrays["detector"].astype(np.int8),
            detector_scale=float(arrays["detector_scale"]),
            detector_bias=float(arrays["detector_bias"]),
            screening=float(arrays["screening"]),
            threshold=float(arrays["threshold"]),
            encoder=encoder,
            large_file=large_file,
            fingerprint=_digest_files(file, encoder_file, large_file),
        )
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise CrisisModelInvalid from error
    if model.detector.shape != (1 << BUCKET_BITS,) or not model.screening <= model.threshold:
        raise CrisisModelInvalid
    return model


def _digest_files(*files: Path) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()
