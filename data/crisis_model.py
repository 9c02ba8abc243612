"""The crisis classifier: the sum of two log-odds, one of hashed features and one of a small encoder.

It sees what the rules do not: crises that are hinted at, or hidden behind a question, a story or a friend. The hashed
features know turns of phrase, the encoder (`data/crisis_encoder.py`) what words mean; together they are better than
either. `benchmarks/crisis_classifier.py` trains both. What on, and how well it does, is written in `docs/safety.md`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.crisis_encoder import ENCODER_FILE, CrisisEncoder, CrisisModelInvalid, load_crisis_encoder, read_arrays
from data.crisis_features import BUCKET_BITS, list_buckets, split_windows

MIN_WORDS = 4  # fewer words (of letters) are left to the rules: they give the classifier too little to go by
WEIGHTS_FILE = Path(__file__).with_name("crisis_weights.npz")


@dataclass(frozen=True, eq=False)
class CrisisModel:
    """Weights as int8 times a scale; a window has the value 1 / sqrt(buckets) in each of its buckets."""

    detector: NDArray[np.int8]  # [buckets]
    detector_scale: float  # the weight of these log-odds beside those of the encoder is in it, and in the bias
    detector_bias: float
    threshold: float  # log-odds from which a window is a signal
    encoder: CrisisEncoder

    def score(self, window: str) -> tuple[float, str]:
        """Log-odds that the window signals a crisis, and of which category; minus infinity below MIN_WORDS words."""
        if len(re.findall(r"[^\W\d_]+", window)) < MIN_WORDS:
            return float("-inf"), ""
        buckets = list_buckets(window)
        total = int(self.detector[buckets].sum(dtype=np.int64))
        log_odds, category = self.encoder.judge(window)
        return total * self.detector_scale / len(buckets) ** 0.5 + self.detector_bias + log_odds, category

    def find_category(self, text: str) -> str | None:
        """The category of the window with the highest score, None when no window reaches the threshold."""
        score, category = max((self.score(window) for window in split_windows(text)), default=(float("-inf"), ""))
        return category if score >= self.threshold else None


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
        )
    except (ValueError, TypeError, KeyError) as error:
        raise CrisisModelInvalid from error
    if model.detector.shape != (1 << BUCKET_BITS,):
        raise CrisisModelInvalid
    return model
