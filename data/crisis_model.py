"""The crisis classifier: the sum of two log-odds, one of hashed features and one of an encoder.

It sees what the rules do not: crises that are hinted at, or hidden behind a question, a story or a friend. The hashed
features know turns of phrase, the encoder (`data/crisis_encoder.py`) what words mean; together they are better than
either. `benchmarks/crisis_classifier.py` trains both. What on, and how well it does, is written in `docs/safety.md`.
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

from data.crisis_encoder import ENCODER_FILE, CrisisEncoder, CrisisModelInvalid, load_crisis_encoder, read_arrays
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
    detector_scale: float  # the weight of these log-odds beside those of the encoder is in it, and in the bias
    detector_bias: float
    threshold: float  # log-odds from which a window is a signal
    encoder: CrisisEncoder
    fingerprint: str  # of the files that it was read from
    memory: CrisisMemory = field(default_factory=CrisisMemory, init=False, repr=False)

    def score(self, windows: Sequence[str]) -> list[Score]:
        """Of each window the log-odds that it signals a crisis, minus infinity below MIN_WORDS words, and of which."""
        remembered = self.memory.find(windows)
        unseen = [
            window
            for window, score in zip(windows, remembered, strict=True)
            if score is None and len(_WORD.findall(window)) >= MIN_WORDS
        ]
        judged = [
            (self._score_features(window) + log_odds, category)
            for window, (log_odds, category) in zip(unseen, self.encoder.judge(unseen), strict=True)
        ]
        self.memory.remember(unseen, judged)
        fresh = dict(zip(unseen, judged, strict=True))
        return [score or fresh.get(window, _TOO_SHORT) for window, score in zip(windows, remembered, strict=True)]

    def find_categories(self, texts: Sequence[str]) -> list[str | None]:
        """Of each text the category of the window with the highest score, None when none reaches the threshold."""
        windows = [split_windows(text) for text in texts]
        different = list(dict.fromkeys(chain.from_iterable(windows)))
        scores = dict(zip(different, self.score(different), strict=True))
        best = [max((scores[window] for window in found), default=(float("-inf"), "")) for found in windows]
        return [category if score >= self.threshold else None for score, category in best]

    def _score_features(self, window: str) -> float:
        buckets = list_buckets(window)
        total = int(self.detector[buckets].sum(dtype=np.int64))
        return total * self.detector_scale / len(buckets) ** 0.5 + self.detector_bias


@cache
def load_crisis_model(file: Path = WEIGHTS_FILE, encoder_file: Path = ENCODER_FILE) -> CrisisModel:
    """The committed classifier.

    Raises:
        CrisisModelInvalid: a file is missing, damaged, or of another shape.
    """
    encoder, arrays = load_crisis_encoder(encoder_file), read_arrays(file)
    try:
        model = CrisisModel(
            detector=arrays["detector"].astype(np.int8),
            detector_scale=float(arrays["detector_scale"]),
            detector_bias=float(arrays["detector_bias"]),
            threshold=float(arrays["threshold"]),
            encoder=encoder,
            fingerprint=hashlib.sha256(file.read_bytes() + encoder_file.read_bytes()).hexdigest(),
        )
    except (ValueError, TypeError, KeyError) as error:
        raise CrisisModelInvalid from error
    if model.detector.shape != (1 << BUCKET_BITS,):
        raise CrisisModelInvalid
    return model
