"""Snapshot rows as TRL's prompt/completion rows, within the token limit.

Context and reply become one sequence by the chat template; TRL pads it on the right and masks the padding in attention
and loss. What does not fit is split (rows to imitate) or cut (rated rows: one thumb, one row), and counted:

    turns_dropped   oldest turns left out, as in serving
    context_cut     the last turn alone was too long: its last sentences stay
    reply_split     replies made into several rows, and `split_rows`, how many rows more
    reply_cut       replies of which only the beginning is learned
    too_long        rows left out, because not even a short reply fits

A later part of a split reply is learned as the answer to "Go on.": context, the end of what was said so far as the
assistant's own turn, `GO_ON`, the next sentences. So each row is a conversation as serving renders it; a middle part as
the answer to the context itself would teach the model to begin in the middle.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from transformers import PreTrainedTokenizerBase

from data.augmentation import find_origin
from data.cleaning import defuse_control_tokens
from data.sentences import cut_at_sentence, keep_last_sentences
from data.vocabulary import Message, PoolRow, SnapshotRow, Split

GO_ON: Message = {"role": "user", "content": "Go on."}

_Count = Callable[[Sequence[Message], str], int]  # tokens of a prompt with a reply
_Fitted = tuple[list[Message], str]  # prompt and reply

ROW_IDS = "row_ids"  # column: the snapshot rows that a row is made of; whose the trunk's kept texts are, for erasure


def fit_row(row: PoolRow, tokenizer: PreTrainedTokenizerBase, max_tokens: int, dropped: Counter[str]) -> _Fitted | None:
    """Prompt and reply within `max_tokens`, or None when not even a short reply fits; what was done is counted.

    The oldest turns leave first, as in serving; then the reply is cut at a sentence end.
    """
    messages, whole_reply = _defuse(row, tokenizer)
    count = _token_counter(tokenizer)
    while len(messages) > 1 and count(messages, whole_reply) > max_tokens:
        _drop_oldest(messages, dropped)
    if count(messages, whole_reply) <= max_tokens:
        return messages, whole_reply
    reply = cut_at_sentence(whole_reply, lambda text: count(messages, text) <= max_tokens)
    dropped["reply_cut" if reply else "too_long"] += 1
    return (messages, reply) if reply else None


def split_row(
    row: PoolRow, tokenizer: PreTrainedTokenizerBase, max_tokens: int, dropped: Counter[str]
) -> list[_Fitted]:
    """Prompt and reply, or several that cover a long reply, each within `max_tokens`; what was done is counted.

    A prompt gets at most three quarters of the limit; the end of what was said so far, half of what the prompt leaves.
    """
    messages, reply = _defuse(row, tokenizer)
    count = _token_counter(tokenizer)
    if count(messages, reply) <= max_tokens:
        return [(messages, reply)]
    _fit_prompt(messages, count, max_tokens * 3 // 4, dropped)
    parts = _split_reply(messages, reply, count, max_tokens)
    if sum(len(part.split()) for _, part in parts) < len(reply.split()):
        dropped["reply_cut" if parts else "too_long"] += 1
    if len(parts) > 1:
        dropped["reply_split"] += 1
        dropped["split_rows"] += len(parts) - 1
    return parts


def build_rows(
    rows: Iterable[PoolRow],
    tokenizer: PreTrainedTokenizerBase,
    max_tokens: int,
    dropped: Counter[str],
    *,
    split_long: bool = False,
) -> list[dict[str, Any]]:
    """Rows with `prompt` and `completion` as messages, ROW_IDS, and `label` (True for up) where there is a rating.

    ROW_IDS names the snapshot row behind each, of which a synthetic variant or a part of a long reply was made.
    """
    built = []
    for row in rows:
        fitted = fit_row(row, tokenizer, max_tokens, dropped) if not split_long else None
        parts = split_row(row, tokenizer, max_tokens, dropped) if split_long else [fitted] if fitted else []
        for prompt, reply in parts:
            example: dict[str, Any] = {
                "prompt": prompt,
                "completion": [{"role": "assistant", "content": reply}],
                ROW_IDS: [find_origin(row.row_id)],
            }
            if row.rating is not None:
                example["label"] = row.rating == "up"
            built.append(example)
    return built


def lower_rows(rows: Iterable[SnapshotRow]) -> list[SnapshotRow]:
    """The rows with all their texts in lower case; held-out rows stay as they are, for they measure what is served."""
    return [item if item.split is Split.HOLDOUT else replace(item, row=_lower(item.row)) for item in rows]


def _lower(row: PoolRow) -> PoolRow:
    messages = tuple(Message(role=turn["role"], content=turn["content"].lower()) for turn in row.messages)
    original = row.original.lower() if row.original is not None else None
    return replace(row, messages=messages, reply=row.reply.lower(), original=original)


def _defuse(row: PoolRow, tokenizer: PreTrainedTokenizerBase) -> _Fitted:
    """Turns and reply of a row, without control tokens that would forge a turn."""
    control_tokens = list_control_tokens(tokenizer)
    messages: list[Message] = [
        {"role": turn["role"], "content": defuse_control_tokens(turn["content"], control_tokens)}
        for turn in row.messages
    ]
    return messages, defuse_control_tokens(row.reply, control_tokens)


def _drop_oldest(messages: list[Message], dropped: Counter[str]) -> None:
    messages.pop(0 if messages[0]["role"] != "system" or len(messages) == 2 else 1)
    dropped["turns_dropped"] += 1


def _fit_prompt(messages: list[Message], count: _Count, limit_tokens: int, dropped: Counter[str]) -> None:
    """Bring the prompt within the limit in place, if that can be: the oldest turns leave, then the oldest sentences."""
    while len(messages) > 1 and count(messages, "") > limit_tokens:
        _drop_oldest(messages, dropped)
    if count(messages, "") > limit_tokens:
        role = messages[-1]["role"]
        content = keep_last_sentences(
            messages[-1]["content"], lambda text: count([{"role": role, "content": text}], "") <= limit_tokens
        )
        messages[-1] = {"role": role, "content": content}
        dropped["context_cut"] += 1


def _split_reply(messages: list[Message], reply: str, count: _Count, max_tokens: int) -> list[_Fitted]:
    """Parts of the reply from its beginning, as far as they fit."""
    parts: list[_Fitted] = []
    prompt, rest = messages, reply
    said_tokens = (max_tokens - count(messages, "")) // 2
    while messages[-1]["content"] and rest:
        turns = prompt
        part = cut_at_sentence(rest, lambda text: count(turns, text) <= max_tokens)  # noqa: B023 - asked at once
        if not part:
            break
        parts.append((prompt, part))
        rest = rest[len(part) :].lstrip()
        limit_tokens = count(messages, "") + said_tokens
        said = keep_last_sentences(part, lambda text: count([*messages, _say(text), GO_ON], "") <= limit_tokens)  # noqa: B023
        if not said:
            break
        prompt = [*messages, _say(said), GO_ON]
    return parts


def _say(text: str) -> Message:
    return {"role": "assistant", "content": text}


def list_control_tokens(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """The tokens that mark turns and ends, which no text of a person may bring along."""
    return [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]


def count_tokens(turns: list[dict[str, str]], tokenizer: PreTrainedTokenizerBase) -> int:
    """Tokens of a whole conversation as the chat template renders it."""
    text = str(tokenizer.apply_chat_template(turns, tokenize=False))
    return len(tokenizer(text, add_special_tokens=False)["input_ids"])


def _token_counter(tokenizer: PreTrainedTokenizerBase) -> _Count:
    def count(messages: Sequence[Message], reply: str) -> int:
        turns = [{"role": turn["role"], "content": turn["content"]} for turn in messages]
        turns.append({"role": "assistant", "content": reply})
        return count_tokens(turns, tokenizer)

    return count
