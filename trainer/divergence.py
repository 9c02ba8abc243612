"""How far the candidate has moved from the base: an estimate of their KL divergence."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from data.recipe import Recipe
from data.vocabulary import SnapshotRow, Split
from trainer.reply_head import add_reply_head
from trainer.rows import build_rows
from trainer.sampling import count_reply_tokens, sample_replies, select_prompts, tokenize_prompt

PROMPTS = 24  # as many as take seconds
TOKENS = 48
ROWS_AT_ONCE = 8


def measure_kl(
    candidate: PreTrainedModel,
    base_folder: Path,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[SnapshotRow],
    recipe: Recipe,
) -> dict[str, Any] | None:
    """`estimate_kl` on PROMPTS prompts of the dev split, or of the hold-out where no row is for dev."""
    split = Split.DEV if any(item.split is Split.DEV for item in rows) else Split.HOLDOUT
    fitting = build_rows((item.row for item in rows if item.split is split), tokenizer, recipe.max_tokens, Counter())
    prompts = select_prompts((row["prompt"] for row in fitting), tokenizer, recipe, PROMPTS)
    base = AutoModelForCausalLM.from_pretrained(base_folder, dtype=torch.float32, use_safetensors=True)
    return estimate_kl(
        candidate,
        base,
        tokenizer,
        [tokenize_prompt(prompt, tokenizer) for prompt in prompts],
        reply_tokens=count_reply_tokens(recipe),
        seed=recipe.seed,
    )


def estimate_kl(
    candidate: PreTrainedModel,
    base: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    *,
    reply_tokens: int,
    seed: int,
) -> dict[str, Any] | None:
    """KL(candidate || base) in nats for each reply token, over `prompts` (token ids).

    With one reply y_i drawn from the candidate for each prompt x_i,
        KL = sum_i d_i / sum_i |y_i|,  d_i = sum_t log p_candidate(y_it | x_i, y_i<t) - log p_base(y_it | x_i, y_i<t),
    which is above or below zero by chance but right on average up to the ratio. `standard_error` is that of a ratio:
    sqrt(n / (n - 1) sum_i (d_i - KL |y_i|)^2) / sum_i |y_i|. None without prompts.
    """
    if not prompts:
        return None
    sampled = sample_replies(candidate, tokenizer, prompts, tokens=min(TOKENS, reply_tokens), seed=seed)
    replies = [group[0] for group in sampled]
    differences = [
        own - other
        for own, other in zip(
            _sum_log_probs(candidate, prompts, replies), _sum_log_probs(base, prompts, replies), strict=True
        )
    ]
    lengths = [len(reply) for reply in replies]
    tokens, n = sum(lengths), len(replies)
    divergence = sum(differences) / tokens
    squares = sum((d - divergence * length) ** 2 for d, length in zip(differences, lengths, strict=True))
    error = math.sqrt(n / (n - 1) * squares) / tokens if n > 1 else None
    return {"nats_per_token": divergence, "standard_error": error, "replies": n, "tokens": tokens}


@torch.no_grad()
def _sum_log_probs(
    model: PreTrainedModel, prompts: Sequence[Sequence[int]], replies: Sequence[Sequence[int]]
) -> list[float]:
    """log p(reply | prompt) in nats for each row, the end token included where it was said."""
    add_reply_head(model)
    model.eval()
    device = next(model.parameters()).device
    sums: list[float] = []
    for start in range(0, len(prompts), ROWS_AT_ONCE):
        rows = list(zip(prompts, replies, strict=True))[start : start + ROWS_AT_ONCE]
        ids = _pad([[*prompt, *reply] for prompt, reply in rows], 0)
        labels = _pad([[*[-100] * len(prompt), *reply] for prompt, reply in rows], -100)
        mask = _pad([[1] * (len(prompt) + len(reply)) for prompt, reply in rows], 0)
        output = model(
            input_ids=ids.to(device), attention_mask=mask.to(device), labels=labels.to(device), fused_lm_head=True
        )
        sums.extend(output.log_probs.double().sum(-1).tolist())
    return sums


def _pad(rows: list[list[int]], value: int) -> Tensor:
    return pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=value)
