"""The hold-out of a snapshot: pinned by the ids of its rows, and kept from whatever is trained on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from data.errors import InvalidDataset
from data.overlap import list_word_runs
from data.vocabulary import PoolRow, RowKind, SnapshotRow, Split

MIN_CLUSTERS_TO_DECIDE = 100  # conversations below which the gate promotes nothing: its t is too liberal on skew


@dataclass(frozen=True)
class HoldoutCheck:
    """What was compared with what, for the report; nothing was shared, else there would be an error."""

    holdout_rows: int
    other_rows: int  # of training and dev
    word_runs: int  # different runs of eight words in held-out contexts and references


def digest_holdout(rows: Iterable[SnapshotRow]) -> str:
    """sha256 over the sorted ids of the held-out rows, a line each: the same rows in any order give the same."""
    ids = sorted(item.row.row_id for item in rows if item.split is Split.HOLDOUT)
    return hashlib.sha256("\n".join(ids).encode()).hexdigest()


def check_holdout(rows: Sequence[SnapshotRow], digest: str | None) -> HoldoutCheck:
    """Make sure that the hold-out is the one that was pinned, and that no other row gives a row of it away.

    A row gives away what shares its id, or a run of eight words with a held-out context or reference reply. A served
    reply is no reference: its stock phrases are in half of the pool.

    Args:
        digest: of the manifest; None for a snapshot from before it was kept, whose hold-out is not pinned.

    Raises:
        InvalidDataset: the hold-out is another, or a training or dev row gives one of its rows away.
    """
    if digest is not None and digest_holdout(rows) != digest:
        raise InvalidDataset("The hold-out is not the one that the manifest pins; collect the snapshot again.")
    held_out = [item.row for item in rows if item.split is Split.HOLDOUT]
    others = [item.row for item in rows if item.split is not Split.HOLDOUT]
    ids = {row.row_id for row in held_out}
    runs = {run for row in held_out for text in _list_hidden(row) for run in list_word_runs(text)}
    for row in others:
        if row.row_id in ids:
            raise InvalidDataset(f"The row {row.row_id} is held out and trained on; collect the snapshot again.")
        if any(not runs.isdisjoint(list_word_runs(text)) for text in _list_said(row)):
            raise InvalidDataset(
                f"The row {row.row_id} shares a run of eight words with a held-out row, so it would give that row "
                "away; collect the snapshot again."
            )
    return HoldoutCheck(holdout_rows=len(held_out), other_rows=len(others), word_runs=len(runs))


def _list_hidden(row: PoolRow) -> list[str]:
    return [row.context] if row.kind is RowKind.REPLY else [row.context, row.reply]


def _list_said(row: PoolRow) -> list[str]:
    """All that a row says, save its system message, which many rows share."""
    texts = [message["content"] for message in row.messages if message["role"] != "system"] + [row.reply]
    return texts if row.original is None else [*texts, row.original]
