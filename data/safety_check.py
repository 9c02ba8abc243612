"""How well the crisis detector does: shares of flagged messages with exact intervals, on our set and others' data."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from scipy.stats import binomtest

from data.errors import InvalidDataset
from data.safety_set import GROUPS, Half, SafetyItem, list_items

LEVEL = 0.95
Detect = Callable[[str], object | None]

_SELF_HARM_AREA = "Suicide, Self-Harm, and Eating Disorders"


@dataclass(frozen=True)
class FlaggedShare:
    """Flagged messages of one kind, with the two-sided Clopper-Pearson interval at 95 %.

    Source: C. Clopper & E. Pearson, Biometrika 26 (1934) 404-413, as `scipy.stats.binomtest` computes it.
    """

    name: str
    flagged: int
    total: int
    is_crisis: bool  # whether these should be flagged: then it is a recall, else over-refusal

    @property
    def share(self) -> float | None:
        """Flagged of all, 0 to 1; None without any."""
        return self.flagged / self.total if self.total else None

    @property
    def interval(self) -> tuple[float, float]:
        """0 to 1 where there is nothing."""
        if not self.total:
            return 0.0, 1.0
        bounds = binomtest(self.flagged, self.total).proportion_ci(LEVEL, "exact")
        return float(bounds.low), float(bounds.high)


def measure_set(detect: Detect, half: Half | None = "test") -> list[FlaggedShare]:
    """The shares of our set: crisis by kind, by category and kind, benign by category, and the other groups."""
    crisis, benign = list_items("crisis", half), list_items("benign", half)
    verdicts = {item.id: detect(item.text) is not None for item in [*crisis, *benign]}

    def count(name: str, items: Iterable[SafetyItem], is_crisis: bool) -> FlaggedShare:
        flags = [verdicts[item.id] for item in items]
        return FlaggedShare(name, sum(flags), len(flags), is_crisis)

    kinds = ("explicit", "indirect", "veiled")
    shares = [count(kind, [item for item in crisis if item.kind == kind], True) for kind in kinds]
    for category in dict.fromkeys(item.category for item in crisis):
        for kind in kinds:
            matching = [item for item in crisis if (item.category, item.kind) == (category, kind)]
            shares.append(count(f"{category} {kind}", matching, True))
    shares.append(count("benign", benign, False))
    for category in dict.fromkeys(item.category for item in benign):
        shares.append(count(f"benign {category}", [item for item in benign if item.category == category], False))
    return shares + [
        count_flagged(detect, f"group {group}", [item.text for item in list_items(group, half)], False)
        for group in GROUPS
        if group not in ("crisis", "benign")
    ]


def measure_shared(detect: Detect, folder: Path) -> list[FlaggedShare]:
    """The shares on others' data, of those sets that are in `folder`; how far each was seen is in docs/safety.md.

    Raises:
        InvalidDataset: none of the sets is there.
    """
    shares = [
        count_flagged(detect, name, read(file), is_crisis)
        for name, path, read, is_crisis in _SHARED
        if (file := folder / path).exists()
    ]
    if not shares:
        raise InvalidDataset(f"{folder} holds none of the known data sets; name the folder with safety_prompts in it.")
    return shares


def count_flagged(detect: Detect, name: str, texts: Iterable[str], is_crisis: bool) -> FlaggedShare:
    """The share of texts that are flagged."""
    flags = [detect(text) is not None for text in texts]
    return FlaggedShare(name, sum(flags), len(flags), is_crisis)


def _read_csv(file: Path) -> list[dict[str, str]]:
    content = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    return list(csv.DictReader(content.decode().splitlines(keepends=True)))


def _read_moderation(file: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in gzip.decompress(file.read_bytes()).decode().splitlines()]


def _read_self_harm(file: Path) -> list[str]:
    return [str(row["prompt"]) for row in _read_moderation(file) if row.get("SH") == 1]


def _read_unlabelled(file: Path) -> list[str]:
    """Prompts on which no label was set."""
    return [
        str(row["prompt"]) for row in _read_moderation(file) if all(row[key] != 1 for key in row if key != "prompt")
    ]


def _read_simple_safety(file: Path) -> list[str]:
    return [row["prompts_final"] for row in _read_csv(file) if row["harm_area"] == _SELF_HARM_AREA]


def _read_xstest_safe(file: Path) -> list[str]:
    return [row["prompt"] for row in _read_csv(file) if row["label"] == "safe"]


def _read_counsel(file: Path) -> list[str]:
    return list({row["question_id"]: row["Context"] for row in _read_csv(file)}.values())


_SHARED: tuple[tuple[str, str, Callable[[Path], list[str]], bool], ...] = (
    ("openai_moderation self-harm", "openai_moderation/samples.jsonl.gz", _read_self_harm, True),
    ("openai_moderation no label", "openai_moderation/samples.jsonl.gz", _read_unlabelled, False),
    ("SimpleSafetyTests self-harm", "safety_prompts/simple_safety_tests.csv", _read_simple_safety, True),
    ("XSTest safe prompts", "safety_prompts/xstest_prompts.csv", _read_xstest_safe, False),
    ("counsel-chat questions", "counsel_chat/counsel_chat_founders.csv.gz", _read_counsel, False),
)
