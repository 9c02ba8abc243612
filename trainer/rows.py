"""Snapshot rows as TRL's prompt/completion rows, within the token limit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from transformers import PreTrainedTokenizerBase

from data.cleaning import defuse_control_tokens
from data.sentences import cut_at_sentence
from data.vocabulary import Message, PoolRow


def fit_row(
    row: PoolRow, tokenizer: PreTrainedTokenizerBase, max_tokens: int, dropped: Counter[str]
) -> tuple[list[Message], str] | None:
    """Prompt and reply within `max_tokens`, or None when not even a short reply fits; what was done is counted.

    The oldest turns leave first, as in serving; then the reply is cut at a sentence end.
    """
    control_tokens = list_control_tokens(tokenizer)
    messages: list[Message] = [
        {"role": turn["role"], "content": defuse_control_tokens(turn["content"], control_tokens)}
        for turn in row.messages
    ]
    whole_reply = defuse_control_tokens(row.reply, control_tokens)
    count = _token_counter(tokenizer)
    while len(messages) > 1 and count(messages, whole_reply) > max_tokens:
        messages.pop(0 if messages[0]["role"] != "system" or len(messages) == 2 else 1)
        dropped["turns_dropped"] += 1
    if count(messages, whole_reply) <= max_tokens:
        return messages, whole_reply
    reply = cut_at_sentence(whole_reply, lambda text: count(messages, text) <= max_tokens)
    dropped["reply_cut" if reply else "too_long"] += 1
    return (messages, reply) if reply else None


def build_rows(
    rows: Iterable[PoolRow], tokenizer: PreTrainedTokenizerBase, max_tokens: int, dropped: Counter[str]
) -> list[dict[str, Any]]:
    """Rows with `prompt` and `completion` as messages, and `label` (True for up) where there is a rating."""
    built = []
    for row in rows:
        fitted = fit_row(row, tokenizer, max_tokens, dropped)
        if fitted is None:
            continue
        prompt, reply = fitted
        example: dict[str, Any] = {"prompt": prompt, "completion": [{"role": "assistant", "content": reply}]}
        if row.rating is not None:
            example["label"] = row.rating == "up"
        built.append(example)
    return built


def list_control_tokens(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """The tokens that mark turns and ends, which no text of a person may bring along."""
    return [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]


def count_tokens(turns: list[dict[str, str]], tokenizer: PreTrainedTokenizerBase) -> int:
    """Tokens of a whole conversation as the chat template renders it."""
    text = str(tokenizer.apply_chat_template(turns, tokenize=False))
    return len(tokenizer(text, add_special_tokens=False)["input_ids"])


def _token_counter(tokenizer: PreTrainedTokenizerBase) -> Callable[[list[Message], str], int]:
    def count(messages: list[Message], reply: str) -> int:
        turns = [{"role": turn["role"], "content": turn["content"]} for turn in messages]
        turns.append({"role": "assistant", "content": reply})
        return count_tokens(turns, tokenizer)

    return count
