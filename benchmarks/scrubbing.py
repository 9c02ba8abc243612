"""Recall and precision of scrubbing on synthetic sentences with exact spans (presidio-research, MIT).

    python benchmarks/scrubbing.py

Recall counts a span as found when no letter or digit of it is left, whatever the mask says; `touched` when any is
masked. Precision counts a mask as right when it covers some of a span of its own kind.
"""

from __future__ import annotations

import gzip
import json
import os
import platform
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from data.scrubbing import PersonalKind, find_personal_spans

SOURCE = Path(__file__).parents[2] / "shared" / "data" / "pii_presidio" / "synth_dataset_v2.jsonl.gz"
RESULT = Path(__file__).with_name("results") / "scrubbing.json"
KINDS = {  # of the data set; what it marks besides (organisations, ages, dates, places, plain links) is not sought
    "EMAIL_ADDRESS": PersonalKind.EMAIL,
    "IBAN_CODE": PersonalKind.IBAN,
    "CREDIT_CARD": PersonalKind.CARD,
    "US_SSN": PersonalKind.SSN,
    "IP_ADDRESS": PersonalKind.IP,
    "PHONE_NUMBER": PersonalKind.PHONE,
    "STREET_ADDRESS": PersonalKind.ADDRESS,
    "PERSON": PersonalKind.NAME,
}


def measure(samples: list[dict[str, Any]]) -> dict[str, dict[str, float | int | None]]:
    """The figures of each kind."""
    counts: Counter[tuple[PersonalKind, str]] = Counter()
    for sample in samples:
        text, found = sample["full_text"], find_personal_spans(sample["full_text"])
        masked = {position for span in found for position in range(span.start, span.end)}
        true: dict[PersonalKind, set[int]] = {kind: set() for kind in PersonalKind}
        for span in sample["spans"]:
            kind = KINDS.get(span["entity_type"])
            if kind is None:
                continue
            positions = range(span["start_position"], span["end_position"])
            true[kind].update(positions)
            left = [position for position in positions if text[position].isalnum() and position not in masked]
            counts[kind, "spans"] += 1
            counts[kind, "whole"] += not left
            counts[kind, "touched"] += not masked.isdisjoint(positions)
        for mask in found:
            counts[mask.kind, "masks"] += 1
            counts[mask.kind, "right"] += not true[mask.kind].isdisjoint(range(mask.start, mask.end))
    return {
        kind.value: {
            "spans": counts[kind, "spans"],
            "recall": _divide(counts[kind, "whole"], counts[kind, "spans"]),
            "touched": _divide(counts[kind, "touched"], counts[kind, "spans"]),
            "masks": counts[kind, "masks"],
            "precision": _divide(counts[kind, "right"], counts[kind, "masks"]),
        }
        for kind in KINDS.values()
    }


def main() -> int:
    """Run the benchmark; 0 also when the data set is not there, with the reason."""
    if not SOURCE.exists():
        print(f"Skipped: {SOURCE.name} is not on this machine.")
        return 0
    with gzip.open(SOURCE, "rt") as file:
        samples = [json.loads(line) for line in file]
    started_s = time.monotonic()
    kinds = measure(samples)
    seconds = time.monotonic() - started_s
    print(f"{'kind':<8} {'spans':>6} {'recall':>7} {'touched':>8} {'masks':>6} {'precision':>10}")
    for kind, row in kinds.items():
        shares = {name: "-" if row[name] is None else f"{row[name]:.3f}" for name in ("recall", "touched", "precision")}
        print(
            f"{kind:<8} {row['spans']:>6} {shares['recall']:>7} {shares['touched']:>8} {row['masks']:>6} "
            f"{shares['precision']:>10}"
        )
    _save(kinds, len(samples), seconds)
    return 0


def _divide(part: int, whole: int) -> float | None:
    return round(part / whole, 3) if whole else None


def _save(kinds: dict[str, Any], samples: int, seconds: float) -> None:
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    result = {
        "machine": f"{os.cpu_count()} processors, {platform.machine()}",
        "commit": commit.stdout.strip(),
        "command": "python benchmarks/scrubbing.py",
        "data": SOURCE.name,
        "samples": samples,
        "seconds": round(seconds, 2),
        "kinds": kinds,
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main())
