"""From the pool to what was trained on: what left on the way, and why, in words for a person."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Why a row left, in the order of the rules; what is not named here is shown by its own name.
_LEFT = {
    "empty": "no text, or no reply",
    "rater_quarantined": "a rater who keeps disagreeing with experts and others",
    "pushed": "a rare string that raters push from their own prompts",
    "overruled": "a user's rating of a reply that experts rated the other way",
    "duplicate": "the same as an earlier row",
    "crisis": "signals a crisis, which is never trained on",
    "echo": "the reply copies the prompt, or was dictated by it",
    "burst": "a burst: too many ratings of one rater, or of new accounts that say the same",
    "near_duplicate": "nearly the same as an earlier row",
    "rater_cap": "one rater, more rows than one may have",
    "unrated_outside_training": "unrated, and not in the training split",
    "common_context": "held out, but of a context that many conversations share",
    "holdout_overlap": "would give a held-out row away",
}
_SPLITS = {"train": "for training", "dev": "for tuning (dev)", "holdout": "held out"}
# What happened to rows of the snapshot when they became training rows.
_CHANGED = {
    "too_long": "left out: not even a short reply fits into max_tokens",
    "pair_cut_alike": "pairs left out: what fits of both replies is the same",
    "reply_split": "long replies split at sentence ends",
    "split_rows": "more rows from that",
    "reply_cut": "long replies cut at a sentence end",
    "context_cut": "long contexts of which the end was kept",
    "turns_dropped": "oldest turns left out",
    "holdout_too_long": "held-out rows not asked: their last message is too long for the model",
    "like_a_held_out_row": "synthetic variants dropped: too like a held-out row",
}


def build_funnel(manifest: Mapping[str, Any], changed: Mapping[str, int]) -> dict[str, list[dict[str, Any]]]:
    """The way of the rows, from a snapshot's manifest and the trainer's counter.

    Returns:
        `steps`: title, rows that are left, `left` rows that went (None for the pool itself). `splits`: rows of the
        snapshot in each split. `changed`: what was done to training rows; a row that serves two stages counts twice.
        `masked`: how many pieces of personal data of each kind were masked.
    """
    rows = manifest["pool_rows"]
    steps: list[dict[str, Any]] = [{"title": "in the pool", "rows": rows, "left": None}]
    for reason in _sort_reasons(manifest["dropped"], _LEFT):
        left = manifest["dropped"][reason]
        rows -= left
        steps.append({"title": _LEFT.get(reason, reason.replace("_", " ")), "rows": rows, "left": left})
    splits = {split: sum(kinds.values()) for split, kinds in manifest.get("counts", {}).items()}
    return {
        "steps": steps,
        "splits": [{"title": _SPLITS[split], "rows": n} for split, n in sorted(splits.items(), key=_by_split)],
        "changed": [
            {"title": _CHANGED.get(reason, reason.replace("_", " ")), "count": changed[reason]}
            for reason in _sort_reasons(changed, _CHANGED)
        ],
        "masked": [{"title": kind, "count": n} for kind, n in sorted(manifest.get("scrubbed", {}).items())],
    }


def _by_split(item: tuple[str, int]) -> int:
    return list(_SPLITS).index(item[0])


def _sort_reasons(counts: Mapping[str, int], known: Mapping[str, str]) -> list[str]:
    order = list(known)
    found = [reason for reason, count in counts.items() if count]
    return sorted(found, key=lambda reason: (order.index(reason) if reason in known else len(order), reason))
