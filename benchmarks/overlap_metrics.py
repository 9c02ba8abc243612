"""What the metrics that compare a reply with a reference see: its length, or whether it answers the question.

    python -m benchmarks.overlap_metrics

No model is asked. Of data sets in which one prompt has several answers, one answer is the reference and another the
reply, both cut to the same number of words. Then the reply is cut by the guard's margin of the length, which the gate
allows; and the reference is replaced by that of another prompt, which nothing should allow. Each fall is given beside
the margin of its metric in the default recipe.
"""

from __future__ import annotations

import csv
import gzip
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from benchmarks.provenance import describe_origin, save_json
from data.recipe import Margins

SHARED = Path(__file__).parents[2] / "shared" / "data"
RESULT = Path(__file__).with_name("results") / "overlap_metrics.json"
SHORTEST_WORDS, MOST_WORDS, MOST_PAIRS = 20, 45, 400
MARGINS = {"chrf": Margins().chrf, "chrf_beta_2": Margins().chrf, "rouge_l": Margins().rouge_l, "bleu": Margins().bleu}

Pair = tuple[str, str]  # a reply and a reference to the same prompt


def read_counsel_chat(path: Path) -> Iterator[Pair]:
    """Two therapists' answers to one question."""
    answers: dict[str, list[str]] = {}
    with gzip.open(path, "rt", encoding="utf-8-sig", newline="") as file:
        for row in csv.DictReader(file):
            answers.setdefault(row["Context"], []).append(row["Response"])
    return ((several[0], several[1]) for several in answers.values() if len(several) > 1)


def read_pandalm(path: Path) -> Iterator[Pair]:
    """Two small models' answers to one instruction."""
    return ((str(row["response1"]), str(row["response2"])) for row in _read_lines(path))


def read_qa_feedback(path: Path) -> Iterator[Pair]:
    """A model's and a person's answer to one question."""
    return ((row["prediction 1"], row["gold"]) for row in _read_lines(path))


SOURCES: dict[str, tuple[str, Callable[[Path], Iterator[Pair]]]] = {
    "counsel_chat": ("counsel_chat_2020_scrape.csv.gz", read_counsel_chat),
    "pandalm_pairs": ("pairs_3_annotators.jsonl.gz", read_pandalm),
    "qa_feedback": ("dev_feedback.jsonl.gz", read_qa_feedback),
}


def measure(pairs: Sequence[Pair]) -> dict[str, dict[str, float]]:
    """Of each metric its mean, and what it loses, with standard errors, when the reply is shorter or off the matter."""
    share = 1 - Margins().reply_words
    replies = [reply for reply, _ in pairs]
    references = [reference for _, reference in pairs]
    shorter = [_cut(reply, round(len(reply.split()) * share)) for reply in replies]
    elsewhere = [*references[1:], *references[:1]]
    found = {}
    for name, score in build_metrics().items():
        whole = np.array([score(*pair) for pair in zip(replies, references, strict=True)])
        cut = np.array([score(*pair) for pair in zip(shorter, references, strict=True)])
        off = np.array([score(*pair) for pair in zip(replies, elsewhere, strict=True)])
        found[name] = {
            "mean": float(whole.mean()),
            "margin": MARGINS[name],
            **_describe("shorter", whole - cut),
            **_describe("off_the_matter", whole - off),
        }
    return found


def build_metrics() -> dict[str, Callable[[str, str], float]]:
    """The metrics by name, each of a reply and a reference."""
    rouge = RougeScorer(["rougeL"], use_stemmer=True)
    bleu = BLEU(effective_order=True)
    chrf = {name: CHRF(beta=beta) for name, beta in (("chrf", 1), ("chrf_beta_2", 2))}
    return {
        "chrf": lambda reply, reference: chrf["chrf"].sentence_score(reply, [reference]).score,
        "chrf_beta_2": lambda reply, reference: chrf["chrf_beta_2"].sentence_score(reply, [reference]).score,
        "rouge_l": lambda reply, reference: rouge.score(reference, reply)["rougeL"].fmeasure,
        "bleu": lambda reply, reference: bleu.sentence_score(reply, [reference]).score,
    }


def main() -> int:
    """Run the benchmark over the data sets that are there; 0 also when none is, with the reason."""
    figures: dict[str, Any] = {}
    for name, (file, read) in SOURCES.items():
        path = SHARED / name / file
        if not path.exists():
            print(f"Skipped: {name} is not on this machine.")
            continue
        pairs = [pair for pair in map(_align, read(path)) if len(pair[0].split()) >= SHORTEST_WORDS][:MOST_PAIRS]
        figures[name] = {"pairs": len(pairs), "metrics": measure(pairs)}
        print(f"{name}: {len(pairs)} pairs\n  {'':<12} {'mean':>7} {'shorter':>8} {'off the matter':>15} {'margin':>7}")
        for metric, row in figures[name]["metrics"].items():
            print(
                f"  {metric:<12} {row['mean']:>7.3f} {row['shorter']:>8.3f} {row['off_the_matter']:>15.3f} "
                f"{row['margin']:>7.3g}"
            )
    if figures:
        save_json(RESULT, describe_origin("python -m benchmarks.overlap_metrics") | {"data": figures})
    return 0


def _align(pair: Pair) -> Pair:
    words = min(MOST_WORDS, *(len(text.split()) for text in pair))
    return _cut(pair[0], words), _cut(pair[1], words)


def _cut(text: str, words: int) -> str:
    return " ".join(text.split()[:words])


def _describe(name: str, falls: np.ndarray[Any, Any]) -> dict[str, float]:
    return {name: float(falls.mean()), f"{name}_error": float(falls.std(ddof=1) / len(falls) ** 0.5)}


def _read_lines(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        yield from map(json.loads, file)


if __name__ == "__main__":
    sys.exit(main())
