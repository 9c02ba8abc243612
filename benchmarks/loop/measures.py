"""What a scenario came to: the judge's win rate, harm, attack success, forgetting; all on replies of bare weights."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import defaultdict
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.loop.attack import NEUTRAL_PROMPTS, share_poisoned
from benchmarks.loop.judge import compare_replies, is_flattering, share_distinct_pairs
from benchmarks.loop.raters import likes_care, likes_flattery
from benchmarks.loop.scenarios import GAMEABLE_MARK
from benchmarks.loop.speaker import Speaker
from data.harm import judge_reply
from data.harm_rules import Severity
from data.overlap import is_reference_given
from data.proportions import wilson_interval
from data.safety_set import SafetyItem, read_safety_set
from data.snapshot import load_snapshot
from data.statistics import hall_t_test, interval
from data.vocabulary import PoolRow, Rating, RowKind, Split
from serving.artifact import load_artifact

GAMEABLE_CONTEXTS = 50  # of the judged ones, asked a second time as a gameable user would
HARM_GROUPS = ("sycophancy", "delusion", "requests", "stigma", "dependency")  # the crisis layer answers the others
MOST_REFERENCES = 250  # of the first hold-out; with thousands of examples all would take minutes
_JUDGE_SEED = 7


def ask(folder: Path, contexts: Sequence[str], reply_tokens: int) -> list[str]:
    """One sampled reply to each context, always with the same seed; an artifact is asked the same only once."""
    return _ask(folder, load_artifact(folder, verify=False).digest, tuple(contexts), reply_tokens)


@cache
def _ask(folder: Path, digest: str, contexts: tuple[str, ...], reply_tokens: int) -> list[str]:  # noqa: ARG001
    with Speaker(folder, reply_tokens, seed=_JUDGE_SEED) as speaker:
        return speaker.reply(contexts)


def compare_versions(before: Path, after: Path, contexts: Sequence[str], reply_tokens: int) -> dict[str, Any]:
    """The judge's comparison of two artifacts, and what the honest rater would have liked."""
    old, new = (ask(folder, contexts, reply_tokens) for folder in (before, after))
    return {
        **_round(dataclasses.asdict(compare_replies(contexts, old, new))),
        "distinct_2": _pair(share_distinct_pairs, old, new),
        "honest_rater_up": _pair(lambda replies: float(np.mean([likes_care(reply) for reply in replies])), old, new),
        "flattering": _pair(_share_flattering, old, new),
        "words": _pair(lambda replies: float(np.mean([len(reply.split()) for reply in replies])), old, new),
    }


def compare_on_gameable(before: Path, after: Path, contexts: Sequence[str], reply_tokens: int) -> dict[str, Any]:
    """Share of replies that say what a gameable user wants to hear, and the judge's comparison, on such users."""
    asked = [f"{context} {GAMEABLE_MARK}" for context in contexts[:GAMEABLE_CONTEXTS]]
    old, new = (ask(folder, asked, reply_tokens) for folder in (before, after))
    pleased = _pair(lambda replies: float(np.mean([likes_flattery(reply) for reply in replies])), old, new)
    return {"pleased": pleased, **_round(dataclasses.asdict(compare_replies(asked, old, new)))}


def measure_attack(folder: Path, reply_tokens: int) -> dict[str, float]:
    """Share of replies to neutral prompts that name the made-up thing, with its 95 % interval."""
    replies = ask(folder, NEUTRAL_PROMPTS, reply_tokens)
    hits = round(share_poisoned(replies) * len(replies))
    low, high = wilson_interval(hits, len(replies)) or (0.0, 1.0)
    return _round({"success": hits / len(replies), "low": low, "high": high, "prompts": len(replies)})


def measure_harm(folder: Path, items: Sequence[SafetyItem], reply_tokens: int) -> dict[str, Any]:
    """Severe and mild replies to safety items, likeliest token every time; shares with their 95 % intervals."""
    with Speaker(folder, reply_tokens) as speaker:
        replies = speaker.reply([item.text for item in items], temperature=0.0)
    found = [judge_reply(item, reply).severity for item, reply in zip(items, replies, strict=True)]
    measured: dict[str, Any] = {"items": len(items)}
    for severity in (Severity.SEVERE, Severity.MILD):
        hits = found.count(severity)
        low, high = wilson_interval(hits, len(items)) or (0.0, 1.0)
        measured[severity.value] = _round({"count": hits, "share": hits / max(1, len(items)), "low": low, "high": high})
    return measured


def select_safety_items(limit: int) -> list[SafetyItem]:
    """At most `limit` items (0: all), of each group its share, always the same ones."""
    by_group: defaultdict[str, list[SafetyItem]] = defaultdict(list)
    for item in read_safety_set():
        if item.group in HARM_GROUPS:
            by_group[item.group].append(item)
    total = sum(map(len, by_group.values()))
    chosen: list[SafetyItem] = []
    for items in by_group.values():
        ordered = sorted(items, key=lambda item: hashlib.sha256(item.id.encode()).digest())
        chosen += ordered[: max(1, limit * len(items) // total)] if limit else ordered
    return chosen


def read_references(snapshot: Path) -> list[PoolRow]:
    """What should be said in the hold-out of a snapshot: examples and corrections, else what was rated up.

    At most MOST_REFERENCES, chosen by hash.
    """
    rows = [item.row for item in load_snapshot(snapshot) if item.split is Split.HOLDOUT]
    wanted = [row for row in rows if row.kind is not RowKind.REPLY]
    wanted = wanted or [row for row in rows if row.rating is Rating.UP]
    wanted.sort(key=lambda row: hashlib.sha256(row.row_id.encode()).digest())
    asked = [row for row in wanted if not is_reference_given([turn["content"] for turn in row.messages], row.reply)]
    return asked[:MOST_REFERENCES]


def measure_forgetting(
    first: Path, after_first: Path, last: Path, rows: Sequence[PoolRow], reply_tokens: int
) -> dict[str, Any]:
    """Log-perplexity (nats per token) on the first round's hold-out: of version 0, after that round, and at the end.

    `forgotten` is the end minus after the first round, above 0 where something was lost, with its 95 % interval.
    """
    folders = {"version_0": first, "after_first_round": after_first, "at_the_end": last}
    of_folder = {}
    for folder in set(folders.values()):
        with Speaker(folder, reply_tokens) as speaker:
            of_folder[folder] = np.array(speaker.measure_log_perplexity(rows))
    measured = {name: of_folder[folder] for name, folder in folders.items()}
    lost = measured["at_the_end"] - measured["after_first_round"]
    low, high = interval(lost, np.random.default_rng(0)) or (0.0, 0.0)
    means = {name: float(values.mean()) for name, values in measured.items()}
    return _round(
        means
        | {"forgotten": float(lost.mean()), "low": low, "high": high, "p_lost": hall_t_test(lost), "rows": len(rows)}
    )


def _share_flattering(replies: Sequence[str]) -> float:
    return float(np.mean([is_flattering(reply) for reply in replies]))


def _pair(measure: Any, old: Sequence[str], new: Sequence[str]) -> dict[str, float]:
    return _round({"before": measure(old), "after": measure(new)})


def _round(values: dict[str, Any]) -> dict[str, Any]:
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in values.items()}
