"""Which split a cluster belongs to: by hash, so that a held-out row stays held out for ever."""

from __future__ import annotations

import hashlib

from data.vocabulary import Split

HOLDOUT_SHARE = 0.25
DEV_SHARE = 0.08
DEFAULT_SALT = "ratchet-split-1"  # another salt deals every row anew and so retires the hold-out


def assign_split(cluster: str, salt: str = DEFAULT_SALT) -> Split:
    """The split of every row of `cluster`, the same in each run, whatever else the pool holds."""
    digest = hashlib.sha256(f"{salt}\n{cluster}".encode()).digest()
    uniform = int.from_bytes(digest[:8], "big") / 2**64
    if uniform < HOLDOUT_SHARE:
        return Split.HOLDOUT
    return Split.DEV if uniform < HOLDOUT_SHARE + DEV_SHARE else Split.TRAIN


def context_cluster(context: str) -> str:
    """The cluster of a row without a conversation; contexts that differ in case or spacing only share it."""
    return "context:" + hashlib.sha256(" ".join(context.split()).casefold().encode()).hexdigest()
