"""What bfloat16 did to a run: the loss on one batch in both precisions."""

from __future__ import annotations

from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from data.recipe import Recipe
from trainer.arguments import choose_precision


def describe_precision(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, rows: list[dict[str, Any]], recipe: Recipe
) -> dict[str, Any]:
    """`wanted` and `used`; where bfloat16 was used, also `loss_float32`, `loss_bfloat16` and their `difference`."""
    used = choose_precision(recipe.precision)
    facts: dict[str, Any] = {"wanted": recipe.precision, "used": used}
    if used == "bfloat16" and rows:
        facts |= compare_losses(model, tokenizer, rows[: recipe.batch_size])
    return facts


@torch.no_grad()
def compare_losses(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, rows: list[dict[str, Any]]
) -> dict[str, float]:
    """Mean of -log p over the reply tokens of these rows, nats, in float32 and under bfloat16 autocast."""
    exact = _measure_loss(model, tokenizer, rows)
    with torch.autocast(model.device.type, dtype=torch.bfloat16):
        rounded = _measure_loss(model, tokenizer, rows)
    return {"loss_float32": exact, "loss_bfloat16": rounded, "difference": rounded - exact}


def _measure_loss(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, rows: list[dict[str, Any]]) -> float:
    total, tokens = 0.0, 0
    was_training = model.training
    model.eval()
    for row in rows:
        prompt, whole = (_tokenize(turns, tokenizer) for turns in (row["prompt"], row["prompt"] + row["completion"]))
        start = _count_shared(prompt, whole)
        ids = torch.tensor([whole], device=model.device)
        # the class's forward: training leaves one on the model that is always in its own precision
        logits = type(model).forward(model, input_ids=ids, use_cache=False).logits[0, start - 1 : -1].float()
        total += float(torch.nn.functional.cross_entropy(logits, ids[0, start:], reduction="sum"))
        tokens += len(whole) - start
    model.train(was_training)
    return total / tokens


def _tokenize(turns: list[dict[str, str]], tokenizer: PreTrainedTokenizerBase) -> list[int]:
    text = str(tokenizer.apply_chat_template(turns, tokenize=False))
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def _count_shared(first: list[int], second: list[int]) -> int:
    """Tokens at the start of both, and at least one."""
    same = [one == other for one, other in zip(first, second, strict=False)]
    return max(1, same.index(False) if False in same else len(same))
