"""What the training stages learn from: rows to imitate, rated rows with class weights, and pairs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from data.vocabulary import Message, PoolRow, Rating, RowKind, SnapshotRow, Split

EXPERT_COPIES = 2  # how often what a reviewer wrote or approved counts where others' words count once
MAX_CLASS_RATIO = 4 / 3  # Ethayarajh et al. 2024, arXiv 2402.01306, eq. 8


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two replies to the same messages, of which raters prefer `chosen`."""

    messages: tuple[Message, ...]
    chosen: str
    rejected: str
    cluster: str
    chosen_id: str  # row_id of the pool row
    rejected_id: str


def select_supervised(rows: Iterable[SnapshotRow]) -> list[SnapshotRow]:
    """The training rows to imitate: examples and corrections that nobody rated down, and up-rated replies.

    An expert's row is there EXPERT_COPIES times.
    """
    return [
        item
        for item in _select_training(rows)
        if item.row.rating is Rating.UP or (item.row.rating is None and item.row.kind is not RowKind.REPLY)
        for _ in range(EXPERT_COPIES if item.row.is_expert else 1)
    ]


def select_rated(rows: Iterable[SnapshotRow]) -> list[SnapshotRow]:
    """The training rows that carry a rating."""
    return [item for item in _select_training(rows) if item.row.rating is not None]


def _select_training(rows: Iterable[SnapshotRow]) -> list[SnapshotRow]:
    return [item for item in rows if item.split is Split.TRAIN]


def class_weights(n_up: int, n_down: int) -> tuple[float, float]:
    """KTO's weights (lambda_D of up-rated, lambda_U of down-rated rows) for so many rows of each.

    They bring lambda_D n_up / (lambda_U n_down) into [1, 4/3] (Ethayarajh et al. 2024, eq. 8), to the nearer
    bound; the larger class keeps 1.0.

    Raises:
        ValueError: a class is empty, so no weight could balance it.
    """
    if n_up < 1 or n_down < 1:
        raise ValueError(f"Both classes need rows; there are {n_up} up and {n_down} down.")
    ratio = n_up / n_down
    return (1 / ratio, 1.0) if ratio < 1 else (1.0, max(1.0, ratio / MAX_CLASS_RATIO))


def build_pairs(rows: Iterable[SnapshotRow]) -> list[Pair]:
    """The preference pairs in the training split: correction over its original, up-rated over down-rated.

    Within one context each rated reply is used at least once, in max(ups, downs) pairs, not their product: a
    common greeting must not outweigh everything else. A reply rated both up and down is left out.
    """
    training = [item.row for item in _select_training(rows)]
    return [*_pair_corrections(training), *_pair_ratings(training)]


def _pair_corrections(rows: Sequence[PoolRow]) -> Iterator[Pair]:
    by_id = {row.row_id: row for row in rows}
    for row in rows:
        original = by_id.get(row.row_id.replace("correction:", "feedback:"))
        if row.kind is RowKind.CORRECTION and original and original.reply != row.reply:
            yield _build_pair(row, original)


def _pair_ratings(rows: Sequence[PoolRow]) -> Iterator[Pair]:
    contexts: defaultdict[tuple[tuple[str, str], ...], list[PoolRow]] = defaultdict(list)
    for row in rows:
        contexts[tuple((message["role"], message["content"]) for message in row.messages)].append(row)
    for group in contexts.values():
        ups = {row.reply: row for row in group if row.rating is Rating.UP}
        downs = {row.reply: row for row in group if row.rating is Rating.DOWN}
        chosen = [row for reply, row in ups.items() if reply not in downs]
        rejected = [row for reply, row in downs.items() if reply not in ups]
        if chosen and rejected:
            for turn in range(max(len(chosen), len(rejected))):
                yield _build_pair(chosen[turn % len(chosen)], rejected[turn % len(rejected)])


def _build_pair(chosen: PoolRow, rejected: PoolRow) -> Pair:
    return Pair(
        messages=chosen.messages,
        chosen=chosen.reply,
        rejected=rejected.reply,
        cluster=chosen.cluster,
        chosen_id=chosen.row_id,
        rejected_id=rejected.row_id,
    )
