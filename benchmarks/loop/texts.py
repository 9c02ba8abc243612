"""What is talked about: contexts to be rated, others that only the judge sees, and examples."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from data.crisis import find_crises
from demo import EXAMPLES, SAMPLES

LONGEST_CHARACTERS = 500  # a context: about 120 tokens, so that a reply fits beside it


@dataclass(frozen=True)
class Texts:
    """No context of `judged` is in `rated` or among the examples."""

    rated: list[str]
    judged: list[str]
    examples: list[tuple[str, str]]  # context and response

    def draw(self, count: int, cycle: int) -> list[str]:
        """`count` contexts of one cycle; each cycle goes on where the one before ended, round and round."""
        return [self.rated[(cycle * count + number) % len(self.rated)] for number in range(count)]


def read_texts(path: Path | None, judged: int) -> Texts:
    """Our prompts, and the contexts of `path` (a CSV with the column Context, gzipped or not) where one is given.

    Contexts that signal a crisis are left out: the model does not answer them by itself. The order is by hash.

    Raises:
        ValueError: so few contexts are left that none would be rated.
    """
    contexts = [row["Context"] for row in _read_csv(SAMPLES / "prompts.csv")]
    if path is not None:
        contexts += [row["Context"] for row in _read_csv(path)]
    short = _order(context for context in contexts if context.strip() and len(context) <= LONGEST_CHARACTERS)
    fit = [context for context, crisis in zip(short, find_crises(short), strict=True) if crisis is None]
    if len(fit) <= judged:
        raise ValueError(f"{len(fit)} contexts are too few to judge {judged} and rate others; lower --judged.")
    examples = [(row["Context"], row["Response"]) for name in EXAMPLES for row in _read_csv(SAMPLES / name)]
    hidden = set(fit[:judged])
    return Texts(fit[judged:], fit[:judged], [pair for pair in examples if pair[0] not in hidden])


def _order(contexts: Iterable[str]) -> list[str]:
    different = dict.fromkeys(" ".join(context.split()) for context in contexts)
    return sorted(different, key=lambda text: hashlib.sha256(text.encode()).digest())


def _read_csv(path: Path) -> list[dict[str, str]]:
    content = path.read_bytes()
    text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode("utf-8-sig")
    return [row for row in csv.DictReader(io.StringIO(text)) if row["Context"]]
