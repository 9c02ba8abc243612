"""The crisis detector on blind sets: messages by hands that wrote none of its rules, texts or other sets.

    python -m benchmarks.crisis_blind [--set blind blind_2]

Prints what is flagged by kind and category, with exact 95 % intervals, and nothing of the messages. Whoever works on
the detector does not look at these files in `crisis_texts`: once the misses are known a set is blind no longer.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable
from pathlib import Path

from data.crisis import find_crisis
from data.safety_check import FlaggedShare

FOLDER = Path(__file__).with_name("crisis_texts")
BLIND_SETS = ("blind", "blind_2")
KINDS = ("explicit", "indirect", "veiled")


def measure_blind(detect: Callable[[str], object | None], name: str) -> list[FlaggedShare]:
    """Of one of BLIND_SETS: recall by kind, and by category and kind; then the false alarms, in all and by kind."""
    rows = [json.loads(line) for line in (FOLDER / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]
    flags = [(row["label"], row["kind"], detect(row["text"]) is not None) for row in rows]
    labels = sorted({label for label, _, _ in flags} - {"none"})
    calm = sorted({kind for label, kind, _ in flags if label == "none"})
    shares = [
        _count(kind, (flag for label, found, flag in flags if label != "none" and found == kind)) for kind in KINDS
    ]
    for wanted in labels:
        for kind in KINDS:
            found = (flag for label, other, flag in flags if (label, other) == (wanted, kind))
            shares.append(_count(f"{wanted} {kind}", found))
    shares.append(_count("none", (flag for label, _, flag in flags if label == "none"), False))
    return shares + [
        _count(f"none {kind}", (flag for label, other, flag in flags if (label, other) == ("none", kind)), False)
        for kind in calm
    ]


def _count(name: str, flags: Iterable[bool], is_crisis: bool = True) -> FlaggedShare:
    found = list(flags)
    return FlaggedShare(name, sum(found), len(found), is_crisis)


def print_shares(shares: Iterable[FlaggedShare]) -> None:
    """A line for each."""
    for share in shares:
        low, high = share.interval
        print(
            f"{share.name:26} {share.flagged:4}/{share.total:<4} {share.share or 0:6.1%}  "
            f"{low:.1%} to {high:.1%}{'' if share.is_crisis else '  (false alarms)'}"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", nargs="+", choices=BLIND_SETS, default=list(BLIND_SETS))
    for chosen in parser.parse_args().set:
        print(f"{chosen}.jsonl")
        print_shares(measure_blind(find_crisis, chosen))
