"""Train the crisis classifier and write data/crisis_weights.npz; the same seed and data give the same file.

    python benchmarks/crisis_classifier.py

Trained on `benchmarks/crisis_texts/*.txt`, patterns that we wrote ("{a|b}" is a choice), and, as texts without a
crisis, on the contexts of `data/samples/support.csv`, GoEmotions (Apache-2.0), BYU Chit-Chat (MIT) and counsel-chat
(MIT) without what the rules flag. No text is trained on that shares five words in a row with the safety set, or over
40 % of its letter triples with one text of it. The threshold is the one that flags BENIGN_SHARE of the benign texts in
the dev half. The test half is not touched here.
"""

from __future__ import annotations

import csv
import gzip
import json
import random
import re
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import minimize

from data.crisis import match_rule
from data.crisis_features import BUCKET_BITS, list_buckets, split_windows
from data.crisis_model import CRISIS_CATEGORIES, WEIGHTS_FILE
from data.overlap import list_word_runs
from data.safety_set import list_items, read_safety_set

SHARED = Path(__file__).parents[2] / "shared" / "data"
TEXTS = Path(__file__).with_name("crisis_texts")
SAMPLES_OUT = ("He checks my phone", "Is it bad I'm relieved when he goes")  # may hint at a violent partner
SAMPLES = Path(__file__).parents[1] / "data" / "samples" / "support.csv"
SEED = 0
SAMPLES_CRISIS, SAMPLES_NONE = 8, 12  # texts drawn from one pattern
TYPO_SHARE = 0.2
WEIGHTS = {"own": 1.0, "own_none": 3.0, "samples": 3.0, "goemotions": 0.4, "chitchat": 0.4, "counsel_chat": 0.8}
PENALTY = 1e-4
BENIGN_SHARE = 0.075
COUNSEL_TOPICS_OUT = {"self-harm", "domestic-violence", "eating-disorders", "trauma", "substance-abuse", "addiction"}
SAD_LABELS = {2, 3, 9, 11, 12, 14, 16, 19, 24, 25}  # anger to sadness, by the line in labels.txt
FIRST_PERSON = re.compile(r"\b(?:i|my|me|im|i'm)\b", re.IGNORECASE)
RUN_WORDS = 5
MAX_LIKENESS = 0.4
MAX_TRIPLES = 38**3  # letters, digits, space, and a spare one

Row = tuple[str, int, str]  # text, 0 or 1 + index of the category, source
Floats = NDArray[np.float64]


def expand(pattern: str, choose: random.Random) -> str:
    """One text of a pattern."""
    text = re.sub(r"\{([^{}]*)\}", lambda match: choose.choice(match[1].split("|")), pattern)
    return re.sub(r" +", " ", text).strip()


def misspell(text: str, choose: random.Random) -> str:
    """The text with a typing error in every 50 letters."""
    for _ in range(1 + len(text) // 50):
        at = choose.randrange(1, max(2, len(text) - 2))
        letters = text[at : at + 2]
        changed = choose.choice(
            (letters[1:], letters[::-1], letters[:1] + letters, choose.choice("aeinrst") + letters[1:])
        )
        text = text[:at] + changed + text[at + 2 :]
    return text


def list_own(choose: random.Random) -> list[Row]:
    """Our texts: at most so many of each pattern, some of them misspelt as well."""
    rows: list[Row] = []
    for label, name in enumerate(("none", *CRISIS_CATEGORIES)):
        count = SAMPLES_CRISIS if label else SAMPLES_NONE
        for pattern in (TEXTS / f"{name}.txt").read_text().splitlines():
            texts = sorted({expand(pattern, choose) for _ in range(4 * count)})
            choose.shuffle(texts)
            source = "own" if label else "own_none"
            rows += [(text, label, source) for text in texts[:count]]
            rows += [(misspell(text, choose), label, source) for text in texts[:count] if choose.random() < TYPO_SHARE]
    return rows


def list_samples() -> list[Row]:
    """The windows of our sample contexts, which tell of worries and no crisis."""
    with SAMPLES.open(newline="") as file:
        contexts = [row["Context"] for row in csv.DictReader(file)]
    calm = [context for context in contexts if not context.startswith(SAMPLES_OUT)]
    return [(window, 0, "samples") for context in calm for window in split_windows(context)]


def list_others(choose: random.Random) -> list[Row]:
    """Texts of others, taken for texts without a crisis where no rule flags them."""
    with gzip.open(SHARED / "goemotions" / "train.tsv.gz", "rt") as file:
        comments = [line.split("\t")[:2] for line in file.read().splitlines()]
    comments = [[re.sub(r"\[(?:NAME|RELIGION)\]", "sam", text), labels] for text, labels in comments]
    comments = [row for row in comments if FIRST_PERSON.search(row[0])]
    sad = [text for text, labels in comments if SAD_LABELS & {int(label) for label in labels.split(",")}]
    other = sorted({text for text, _ in comments} - set(sad))
    found = [(text, "goemotions") for text in [*sad, *choose.sample(other, 2500)]]
    with gzip.open(SHARED / "chitchat" / "chitchat.jsonl.gz", "rt") as file:
        turns = [text for line in file for _, text in json.loads(line)["messages"]]
    turns = [text for text in turns if 15 < len(text) < 400 and FIRST_PERSON.search(text)]
    found += [(text, "chitchat") for text in choose.sample(turns, 2000)]
    with gzip.open(SHARED / "counsel_chat" / "counsel_chat_2020_scrape.csv.gz", "rt") as file:
        questions = {row["question_id"]: row for row in csv.DictReader(file)}
    for question in questions.values():
        if question["topic"] not in COUNSEL_TOPICS_OUT and not match_rule(question["Context"]):
            sentences = re.split(r"(?<=[.!?])\s+", question["Context"])
            found += [(text, "counsel_chat") for text in sentences if len(text) > 15]
    return [(text, 0, source) for text, source in found if not match_rule(text)]


def drop_overlaps(rows: list[Row]) -> list[Row]:
    """The rows that are not like a text of the safety set."""
    items = [text for item in read_safety_set() for text in (item.text, item.neutral) if text]
    runs = set().union(*(list_word_runs(text, RUN_WORDS) for text in items))
    likeness = measure_likeness([text for text, _, _ in rows], items)
    return [
        row
        for row, like in zip(rows, likeness, strict=True)
        if runs.isdisjoint(list_word_runs(row[0], RUN_WORDS)) and (row[2] == "goemotions" or like <= MAX_LIKENESS)
    ]


def list_triples(text: str) -> frozenset[str]:
    """Every three letters in a row, without case and punctuation."""
    letters = f" {re.sub(r'[^a-z0-9]+', ' ', text.casefold()).strip()} "
    return frozenset(letters[start : start + 3] for start in range(len(letters) - 2))


def measure_likeness(texts: list[str], items: list[str]) -> Floats:
    """Of each text the largest Jaccard index of its triples with those of any item, 0 to 1."""
    numbers: dict[str, int] = {}

    def mark(triples: list[frozenset[str]]) -> sparse.csr_matrix:
        columns = [numbers.setdefault(triple, len(numbers)) for found in triples for triple in sorted(found)]
        ends = np.cumsum([0, *(len(found) for found in triples)])
        return sparse.csr_matrix((np.ones(len(columns)), columns, ends), shape=(len(triples), MAX_TRIPLES))

    own, theirs = [list_triples(text) for text in texts], [list_triples(item) for item in items]
    marked, transposed = mark(own), mark(theirs).T.tocsr()
    own_sizes, their_sizes = (np.array([len(found) for found in side]) for side in (own, theirs))
    largest = np.zeros(len(texts))
    for start in range(0, len(texts), 1000):  # a dense block of all would take hundreds of megabytes
        rows = slice(start, start + 1000)
        common = (marked[rows] @ transposed).toarray()
        largest[rows] = (common / (own_sizes[rows, None] + their_sizes - common)).max(axis=1)
    return largest


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


def choose_threshold(slopes: Floats, bias: float) -> float:
    """The lowest log-odds at which rules and classifier together flag at most BENIGN_SHARE of the dev half's benign."""
    benign = [item.text for item in list_items("benign", "dev")]
    unseen = [text for text in benign if not match_rule(text)]
    scores = sorted((float((build_matrix(split_windows(text)) @ slopes).max()) + bias for text in unseen), reverse=True)
    allowed = int(BENIGN_SHARE * len(benign)) - (len(benign) - len(unseen))
    return (scores[allowed - 1] + scores[allowed]) / 2


def quantise(values: Floats) -> tuple[NDArray[np.int8], float]:
    """The values as int8, and the scale to multiply them by."""
    scale = float(np.abs(values).max()) / 127
    return np.round(values / scale).astype(np.int8), scale


def main() -> int:
    """Train; 0 also when the data is not there, with the reason."""
    if not SHARED.exists():
        print(f"Skipped: {SHARED} is not on this machine.")
        return 0
    choose = random.Random(SEED)
    drawn = list_own(choose) + list_others(choose) + list_samples()
    rows = drop_overlaps(drawn)
    labels = np.array([label for _, label, _ in rows])
    weights = np.array([WEIGHTS[source] for _, _, source in rows])
    matrix = build_matrix([text for text, _, _ in rows])
    scales = sparse.diags(weigh_buckets(matrix, labels > 0, weights))
    slopes, bias = fit((matrix @ scales).tocsr(), (labels > 0).astype(np.int64), weights)
    detector, detector_scale = quantise(np.asarray(scales @ (slopes[:, 1] - slopes[:, 0])))
    detector_bias = float(bias[1] - bias[0])
    crisis = labels > 0
    category_slopes, _ = fit(matrix[crisis], labels[crisis] - 1, weights[crisis])
    categories, categories_scale = quantise(category_slopes)
    threshold = choose_threshold(np.multiply(detector, detector_scale, dtype=np.float64), detector_bias)
    np.savez_compressed(
        WEIGHTS_FILE,
        detector=detector,
        detector_scale=detector_scale,
        detector_bias=detector_bias,
        threshold=threshold,
        categories=categories,
        categories_scale=categories_scale,
    )
    print(f"{len(rows)} texts ({int(crisis.sum())} with a crisis; {len(drawn) - len(rows)} too like the safety set)")
    print(f"threshold {threshold:.3f}; {WEIGHTS_FILE.name} has {WEIGHTS_FILE.stat().st_size:,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
