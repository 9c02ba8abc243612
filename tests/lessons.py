"""Small sets to learn from, for tests of the trainer's methods."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from data.recipe import Recipe
from data.vocabulary import Message, PoolRow, Rating, RowKind, SnapshotRow, Split
from trainer.rows import build_rows

CONTEXTS = ("I feel alone today.", "I cannot sleep at night.", "My boss shouts at me.", "I lost my job last week.")
WARM, COLD = "That sounds hard. I am here for you.", "Stop it and get over it now."


def build_recipe(**fields: Any) -> Recipe:
    """A recipe that is quick on the tiny model."""
    quick: dict[str, Any] = {
        "trainable": "last:1",
        "sft_epochs": 1,
        "preference_epochs": 1,
        "sft_learning_rate": 1e-3,
        "preference_learning_rate": 1e-3,
        "reward_learning_rate": 5e-3,
        "batch_size": 4,
        "max_tokens": 96,
        "reply_tokens": 8,
        "safety_items": 4,
        "policy_samples": 2,
        "min_up": 1,
        "min_down": 1,
        "min_pairs": 1,
        "precision": "float32",  # the same figures on every machine; what bfloat16 changes has tests of its own
    }
    return Recipe(**quick | fields)


def build_row(
    number: int,
    reply: str,
    rating: Rating | None = None,
    *,
    kind: RowKind = RowKind.REPLY,
    context: str | None = None,
    split: Split = Split.TRAIN,
    is_expert: bool = False,
) -> SnapshotRow:
    """One row of a snapshot; its context is one of a few unless it is named."""
    row = PoolRow(
        row_id=f"{'example' if kind is RowKind.EXAMPLE else 'feedback'}:{number}",
        kind=kind,
        cluster=f"conversation:{number}",
        messages=(Message(role="user", content=context or CONTEXTS[number % len(CONTEXTS)]),),
        reply=reply,
        rating=rating,
        is_expert=is_expert,
    )
    return SnapshotRow(row=row, split=split)


def build_snapshot(count: int = 8) -> list[SnapshotRow]:
    """For each context a warm reply rated up, a cold one rated down, and an example; one is for dev, one held out."""
    rows = []
    for number in range(count):
        split = (Split.DEV, Split.HOLDOUT)[number] if number < 2 else Split.TRAIN
        context = f"Day {number}: {CONTEXTS[number % len(CONTEXTS)]}"  # no run of eight words is in two of them
        for offset, (reply, rating) in enumerate(((WARM, Rating.UP), (COLD, Rating.DOWN))):
            rows.append(build_row(10 * number + offset, reply, rating, context=context, split=split))
        reply = "Tell me more of it." if split is Split.HOLDOUT else f"Tell me more. {WARM}"
        example = build_row(number, reply, kind=RowKind.EXAMPLE, context=context, split=split)
        rows.append(example)
    return rows


def load_model(folder: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The base in float32 and its tokenizer."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder)
    return model, tokenizer


def build_pair_rows(count: int = 8) -> list[dict[str, Any]]:
    """Pairs as the trainers take them, warm over cold, of different lengths."""
    return [
        {
            "prompt": [{"role": "user", "content": f"{CONTEXTS[number % len(CONTEXTS)]} It is day {number}."}],
            "chosen": [{"role": "assistant", "content": WARM + " Tell me more." * (number % 3)}],
            "rejected": [{"role": "assistant", "content": COLD + " Go away." * (number % 2)}],
        }
        for number in range(count)
    ]


def build_rated_rows(tokenizer: PreTrainedTokenizerBase, count: int = 8) -> list[dict[str, Any]]:
    """Rated replies as the trainers take them, up and down by turns."""
    rows = [
        build_row(number, WARM if number % 2 else COLD, Rating.UP if number % 2 else Rating.DOWN).row
        for number in range(count)
    ]
    return build_rows(rows, tokenizer, 96, Counter())


def read_losses(folder: Path) -> list[float]:
    """The losses of each step in metrics.jsonl, of all stages in order."""
    import json

    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [record["loss"] for record in records if "loss" in record]
