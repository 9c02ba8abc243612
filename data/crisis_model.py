"""The crisis classifier: logistic regression on hashed features, trained by `benchmarks/crisis_classifier.py`.

It sees what the rules do not: crises that are hinted at, or hidden behind a question, a story or a friend. What it was
trained on, and how well it does, is written in `docs/safety.md`.
"""

from __future__ import annotations

import io
import re
import zipfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.crisis_features import BUCKET_BITS, list_buckets, split_windows
from data.errors import RatchetError

CRISIS_CATEGORIES = ("overdose", "self_harm", "suicide", "harm_to_others", "abuse", "eating_disorder")
MIN_WORDS = 4  # fewer words (of letters) are left to the rules: they give the classifier too little to go by
WEIGHTS_FILE = Path(__file__).with_name("crisis_weights.npz")


class CrisisModelInvalid(RatchetError):
    """The weights of the crisis classifier are missing or damaged; restore data/crisis_weights.npz."""


@dataclass(frozen=True, eq=False)
class CrisisModel:
    """Weights as int8 times a scale; a window has the value 1 / sqrt(buckets) in each of its buckets."""

    detector: NDArray[np.int8]  # [buckets]
    detector_scale: float
    detector_bias: float
    threshold: float  # log-odds from which a window is a signal
    categories: NDArray[np.int8]  # [buckets, 6]
    categories_scale: float

    def score(self, window: str) -> float:
        """Log-odds that the window signals a crisis; minus infinity below MIN_WORDS words."""
        if len(re.findall(r"[^\W\d_]+", window)) < MIN_WORDS:
            return float("-inf")
        buckets = list_buckets(window)
        total = int(self.detector[buckets].sum(dtype=np.int64))
        return total * self.detector_scale / len(buckets) ** 0.5 + self.detector_bias

    def find_category(self, text: str) -> str | None:
        """The category of the window with the highest score, None when no window reaches the threshold."""
        score, best = max(((self.score(window), window) for window in split_windows(text)), default=(float("-inf"), ""))
        if score < self.threshold:
            return None
        votes = self.categories[list_buckets(best)].sum(axis=0, dtype=np.int64)
        return CRISIS_CATEGORIES[int(votes.argmax())]


@cache
def load_crisis_model(file: Path = WEIGHTS_FILE) -> CrisisModel:
    """The committed classifier.

    Raises:
        CrisisModelInvalid: the file is missing, damaged, or of another shape.
    """
    try:
        with np.load(io.BytesIO(file.read_bytes()), allow_pickle=False) as arrays:
            model = CrisisModel(
                detector=arrays["detector"],
                detector_scale=float(arrays["detector_scale"]),
                detector_bias=float(arrays["detector_bias"]),
                threshold=float(arrays["threshold"]),
                categories=arrays["categories"],
                categories_scale=float(arrays["categories_scale"]),
            )
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise CrisisModelInvalid from error
    buckets = 1 << BUCKET_BITS
    if model.detector.shape != (buckets,) or model.categories.shape != (buckets, len(CRISIS_CATEGORIES)):
        raise CrisisModelInvalid
    return model
