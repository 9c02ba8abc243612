"""What the training stages learn from: rows to imitate, rated rows with class weights, and pairs."""

from __future__ import annotations

import hashlib
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
    rejected_id: str  # of a correction whose original was left out: the correction's own
    is_expert: bool = False  # a reviewer prefers it


def select_supervised(rows: Iterable[SnapshotRow], replay_share: float = 1.0, seed: int = 0) -> list[SnapshotRow]:
    """The training rows to imitate: examples and corrections that nobody rated down, and up-rated replies.

    Of the imported examples, `replay_share` (0 to 1) is there, the same ones for the same `seed`; rows that come later
    change nothing for those before. An expert's row is there EXPERT_COPIES times.
    """
    return [
        item
        for item in _select_training(rows)
        if item.row.rating is Rating.UP or (item.row.rating is None and item.row.kind is not RowKind.REPLY)
        if item.row.kind is not RowKind.EXAMPLE or draw_share(item.row.row_id, seed) < replay_share
        for _ in range(EXPERT_COPIES if item.row.is_expert else 1)
    ]


def draw_share(name: str, seed: int) -> float:
    """A number from 0 to below 1 that depends on `name` and `seed` alone, evenly spread over names."""
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return int.from_bytes(digest[:6]) / 2**48


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


def build_pairs(rows: Iterable[SnapshotRow], split: Split = Split.TRAIN) -> list[Pair]:
    """The preference pairs in one split: correction over its original, up-rated over down-rated.

    Within one context each rated reply is used at least once, in max(ups, downs) pairs, not their product: a
    common greeting must not outweigh everything else. Siblings (several replies to one question) have one context. A
    reply rated both up and down is left out, unless an expert rated it: then the expert's word counts.
    """
    chosen = [item.row for item in rows if item.split is split]
    return [*_pair_corrections(chosen), *_pair_ratings(chosen)]


def repeat_experts(pairs: Iterable[Pair]) -> list[Pair]:
    """The pairs for training: an expert's is there EXPERT_COPIES times."""
    return [pair for pair in pairs for _ in range(EXPERT_COPIES if pair.is_expert else 1)]


def count_contexts(pairs: Iterable[Pair]) -> int:
    """How many different conversations the pairs continue."""
    return len({_key_context(pair.messages) for pair in pairs})


def _pair_corrections(rows: Sequence[PoolRow]) -> Iterator[Pair]:
    """The rating of the original may have been dropped (two raters said the same), so the correction brings it."""
    by_id = {row.row_id: row for row in rows}
    for row in rows:
        if row.kind is not RowKind.CORRECTION:
            continue
        rated = by_id.get(row.row_id.replace("correction:", "feedback:"))
        original = rated.reply if rated else row.original
        if original is not None and original != row.reply:
            yield _build_pair(row, original, rated.row_id if rated else row.row_id, is_expert=row.is_expert)


def _pair_ratings(rows: Sequence[PoolRow]) -> Iterator[Pair]:
    contexts: defaultdict[tuple[tuple[str, str], ...], list[PoolRow]] = defaultdict(list)
    for row in rows:
        if row.rating is not None:
            contexts[_key_context(row.messages)].append(row)
    for group in contexts.values():
        chosen, rejected = _settle(group)
        if chosen and rejected:
            for turn in range(max(len(chosen), len(rejected))):
                better, worse = chosen[turn % len(chosen)], rejected[turn % len(rejected)]
                is_expert = better.is_expert or worse.is_expert
                yield _build_pair(better, worse.reply, worse.row_id, is_expert=is_expert)


def _settle(group: Sequence[PoolRow]) -> tuple[list[PoolRow], list[PoolRow]]:
    """One row for each better and each worse reply of a context, in the order of first ratings."""
    by_reply: defaultdict[str, list[PoolRow]] = defaultdict(list)
    for row in group:
        by_reply[row.reply].append(row)
    better: list[PoolRow] = []
    worse: list[PoolRow] = []
    for rated in by_reply.values():
        voices = [row for row in rated if row.is_expert] or rated
        if len({row.rating for row in voices}) == 1:
            (better if voices[0].rating is Rating.UP else worse).append(voices[0])
    return better, worse


def _key_context(messages: Iterable[Message]) -> tuple[tuple[str, str], ...]:
    return tuple((message["role"], message["content"]) for message in messages)


def _build_pair(chosen: PoolRow, rejected: str, rejected_id: str, *, is_expert: bool) -> Pair:
    return Pair(
        messages=chosen.messages,
        chosen=chosen.reply,
        rejected=rejected,
        cluster=chosen.cluster,
        chosen_id=chosen.row_id,
        rejected_id=rejected_id,
        is_expert=is_expert,
    )
