"""Preference pairs as TRL's prompt/chosen/rejected rows, within the token limit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from transformers import PreTrainedTokenizerBase

from data.preferences import Pair
from data.vocabulary import Message, PoolRow, RowKind
from trainer.rows import ROW_IDS, count_tokens, fit_row


def build_pair_rows(
    pairs: Iterable[Pair], tokenizer: PreTrainedTokenizerBase, max_tokens: int, dropped: Counter[str]
) -> list[dict[str, Any]]:
    """Rows with `prompt`, `chosen` and `rejected` as messages, and ROW_IDS; both replies follow the same prompt.

    A pair is left out, and counted, when a reply does not fit, or when nothing but the same beginning is left of both.
    """
    built = []
    for pair in pairs:
        fitted = _fit_pair(pair, tokenizer, max_tokens, dropped)
        if fitted is None:
            continue
        prompt, chosen, rejected = fitted
        if chosen == rejected:
            dropped["pair_cut_alike"] += 1
            continue
        row = {"prompt": prompt, "chosen": _as_turn(chosen), "rejected": _as_turn(rejected)}
        built.append({**row, ROW_IDS: [pair.chosen_id, pair.rejected_id]})
    return built


def count_pair_tokens(row: dict[str, Any], tokenizer: PreTrainedTokenizerBase) -> int:
    """Tokens of the prompt with the longer reply."""
    return max(count_tokens([*row["prompt"], *row[side]], tokenizer) for side in ("chosen", "rejected"))


def _fit_pair(
    pair: Pair, tokenizer: PreTrainedTokenizerBase, max_tokens: int, dropped: Counter[str]
) -> tuple[list[Message], str, str] | None:
    """What fits of the prompt before the longer reply, and both replies after it."""
    messages = list(pair.messages)
    longer, shorter = sorted((pair.chosen, pair.rejected), key=len, reverse=True)
    for reply in (longer, shorter):
        fitted = fit_row(_as_pool_row(messages, reply), tokenizer, max_tokens, dropped)
        if fitted is None:
            return None
        messages = fitted[0]
    replies = [
        fit_row(_as_pool_row(messages, reply), tokenizer, max_tokens, Counter())
        for reply in (pair.chosen, pair.rejected)
    ]
    if replies[0] is None or replies[1] is None:
        return None
    return messages, replies[0][1], replies[1][1]


def _as_pool_row(messages: list[Message], reply: str) -> PoolRow:
    return PoolRow(row_id="pair", kind=RowKind.REPLY, cluster="", messages=tuple(messages), reply=reply)


def _as_turn(reply: str) -> list[Message]:
    return [{"role": "assistant", "content": reply}]
