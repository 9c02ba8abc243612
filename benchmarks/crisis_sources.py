"""The texts that the crisis classifier is trained on, and those that the test sets rule out.

With a crisis and without one: messages by several hands (`crisis_texts/messages*.jsonl`) and patterns
(`crisis_texts/*.txt`, "{a|b}" is a choice). Without one: contexts of `data/samples`, and GoEmotions (Apache-2.0), BYU
Chit-Chat (MIT) and counsel-chat (MIT) without what the rules flag. No text is trained on that shares five words in a
row with the safety set or the blind set, or over 40 % of its letter triples with one text of them.
"""

from __future__ import annotations

import csv
import gzip
import json
import random
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from data.crisis import match_rule
from data.crisis_encoder import CRISIS_CATEGORIES
from data.crisis_features import split_windows
from data.overlap import list_word_runs
from data.safety_set import read_safety_set

SHARED = Path(__file__).parents[2] / "shared" / "data"
TEXTS = Path(__file__).with_name("crisis_texts")
MESSAGES = TEXTS / "messages.jsonl"
LARGE_MESSAGES = TEXTS / "messages_large.jsonl"  # which train the large encoder only
BLIND = (TEXTS / "blind.jsonl", TEXTS / "blind_2.jsonl")  # crisis_blind.py; here to keep training texts away from them
SAMPLES_OUT = ("He checks my phone", "Is it bad I'm relieved when he goes")  # may hint at a violent partner
SAMPLES = Path(__file__).parents[1] / "data" / "samples"
CALM_SAMPLES = ("support.csv", "everyday.csv", "boundaries.csv")  # what is in grave.csv may hint at a crisis
PROMPTS = SAMPLES / "prompts.csv"
SAMPLES_CRISIS, SAMPLES_NONE = 8, 12  # texts drawn from one pattern
TYPO_SHARE = 0.2
COUNSEL_TOPICS_OUT = {"self-harm", "domestic-violence", "eating-disorders", "trauma", "substance-abuse", "addiction"}
SAD_LABELS = {2, 3, 9, 11, 12, 14, 16, 19, 24, 25}  # anger to sadness, by the line in labels.txt
FIRST_PERSON = re.compile(r"\b(?:i|my|me|im|i'm)\b", re.IGNORECASE)
COMMENTS = 2000  # without labels of ours
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


def list_training_texts(seed: int) -> list[Row]:
    """What trains the features and both encoders, those like a text of a test set among them."""
    choose = random.Random(seed)
    return list_messages() + list_own(choose) + list_others(choose) + list_samples()


def list_messages(left_out: str = "", file: Path = MESSAGES) -> list[Row]:
    """Messages written one by one, but for those of one hand."""
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    labels = {label: number for number, label in enumerate(("none", *CRISIS_CATEGORIES))}
    return [
        (row["text"], labels[row["label"]], "messages" if labels[row["label"]] else "messages_none")
        for row in rows
        if row["hand"] != left_out
    ]


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
    contexts = [context for name in CALM_SAMPLES for context in _read_contexts(SAMPLES / name)]
    calm = [context for context in contexts if not context.startswith(SAMPLES_OUT)]
    return [(window, 0, "samples") for context in calm for window in split_windows(context)]


def list_prompts() -> list[str]:
    """The contexts of data/samples/prompts.csv: calm, and not trained on."""
    return _read_contexts(PROMPTS)


def _read_contexts(file: Path) -> list[str]:
    with file.open(newline="") as rows:
        return [row["Context"] for row in csv.DictReader(rows)]


def list_others(choose: random.Random) -> list[Row]:
    """Texts of others, taken for texts without a crisis where no rule flags them."""
    comments = [row for row in read_comments() if FIRST_PERSON.search(row[0])]
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


def list_comments(seed: int) -> list[str]:
    """Comments of GoEmotions, of whatever kind: what they are the teacher says."""
    texts = sorted({text for text, _ in read_comments() if 20 < len(text) < 220})
    return random.Random(seed).sample(texts, COMMENTS)


def read_comments() -> list[tuple[str, str]]:
    """Comment and labels, each line of GoEmotions' training split."""
    with gzip.open(SHARED / "goemotions" / "train.tsv.gz", "rt") as file:
        lines = [line.split("\t")[:2] for line in file.read().splitlines()]
    return [(re.sub(r"\[(?:NAME|RELIGION)\]", "sam", text), labels) for text, labels in lines]


def drop_overlaps(rows: list[Row]) -> list[Row]:
    """The rows that are not like a text of the safety set or of a blind set."""
    items = [text for item in read_safety_set() for text in (item.text, item.neutral) if text]
    items += [json.loads(line)["text"] for file in BLIND for line in file.read_text().splitlines()]
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
