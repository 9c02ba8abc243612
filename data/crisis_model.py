"""The crisis classifier: the sum of two log-odds, one of hashed features and one of an encoder.

It sees what the rules do not: crises that are hinted at, or hidden behind a question, a story or a friend. The hashed
features know turns of phrase, an encoder (`data/crisis_encoder.py`) what words mean; together they are better than
either. There are two encoders: a small one reads every window, and a large one, which takes ten times as long and
finds more, decides about the most alarming of those that the small one is not sure are harmless. They are trained by
`benchmarks/crisis_classifier.py` and `crisis_large.py` there; what on, and how well they do, says `docs/safety.md`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Literal

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

MOST_READ = 4  # windows of one text that the large encoder reads: a long message must not wait for seconds
MOST_PARTS = 64  # of the windows of one text that are too long to be read whole: about half a second
MIN_WORDS = 4  # fewer words (of letters) are left to the rules: they give the classifier too little to go by
WEIGHTS_FILE = Path(__file__).with_name("crisis_weights.npz")
_WORD = re.compile(r"[^\W\d_]+")
_NOTHING: Score = (float("-inf"), "")


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

    def find_categories(self, texts: Sequence[str]) -> list[str | None]:
        """Of each text the category of its score, None when that does not reach the threshold."""
        return [category if score >= self.threshold else None for score, category in self.score(texts)]

    def score(self, texts: Sequence[str]) -> list[Score]:
        """Of each text the log-odds that one of its windows signals a crisis, and which.

        The highest that the large encoder gave, where it was asked; else the highest of the small one, which is below
        the threshold then; minus infinity where no window has MIN_WORDS words.

        Raises:
            CrisisModelInvalid: the large encoder is needed and cannot be loaded.
        """
        windows = [self._list_windows(text) for text in texts]
        small = self._read(chain.from_iterable(windows), "small")
        doubtful = [self._pick_doubtful({window: small[window] for window in found}) for found in windows]
        large = self._read(chain.from_iterable(doubtful), "large")
        best = [max((small[window] for window in found), default=_NOTHING) for found in windows]
        return [
            max((large[window] for window in picked), default=highest)
            for picked, highest in zip(doubtful, best, strict=True)
        ]

    def _list_windows(self, text: str) -> list[str]:
        """The windows of a text, and the parts of those that the small encoder does not read whole.

        The parts come beside their window: the head of it is judged with the features of all its words. Of more than
        MOST_PARTS those with the most spaces are read, for language has them, and a pasted file has few. What fits the
        small encoder fits the large one, too, which knows all its pieces and longer ones.
        """
        windows = split_windows(text)
        parts = [part for window in windows for part in self.encoder.cut(window)]
        return windows + sorted(parts, key=lambda part: part.count(" "), reverse=True)[:MOST_PARTS]

    def _pick_doubtful(self, scores: Mapping[str, Score]) -> list[str]:
        """The windows of one text that the large encoder reads."""
        doubtful = [window for window, (log_odds, _) in scores.items() if log_odds >= self.screening]
        return sorted(doubtful, key=lambda window: scores[window], reverse=True)[:MOST_READ]

    def _read(self, windows: Iterable[str], reader: Literal["small", "large"]) -> dict[str, Score]:
        different = list(dict.fromkeys(windows))
        remembered = dict(zip(different, self.memory.find(different, reader), strict=True))
        unseen = [window for window, score in remembered.items() if score is None and _is_long_enough(window)]
        fresh: dict[str, Score] = {}
        if unseen:
            encoder = self.encoder if reader == "small" else load_crisis_encoder(self.large_file)
            for window, (log_odds, category) in zip(unseen, encoder.judge(unseen), strict=True):
                fresh[window] = (self._score_features(window) + log_odds, category)
            self.memory.remember(fresh, reader)
        return {window: fresh.get(window) or score or _NOTHING for window, score in remembered.items()}

    def _score_features(self, window: str) -> float:
        buckets = list_buckets(window)
        total = int(self.detector[buckets].sum(dtype=np.int64))
        return total * self.detector_scale / len(buckets) ** 0.5 + self.detector_bias


def _is_long_enough(window: str) -> bool:
    return len(_WORD.findall(window)) >= MIN_WORDS


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
