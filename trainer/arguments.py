"""What every TRL trainer of ours shares: one set of arguments from the recipe."""

from __future__ import annotations

import math
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch

from data.recipe import Recipe
from trainer.errors import TrainingFailed
from trainer.processes import count_processes

_LENGTH_STEP = 1.12  # lengths of one class differ by less than this factor, so at most 12 % of a batch is padding


def has_fast_bfloat16() -> bool:
    """Whether bfloat16 pays: on a CPU without AVX-512 BF16 or AMX it is over 100 times slower than float32."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def choose_precision(wanted: str) -> str:
    """`float32` or `bfloat16` for a recipe's `precision`.

    Raises:
        TrainingFailed: bfloat16 is wanted where the hardware is slow at it.
    """
    if wanted == "bfloat16" and not has_fast_bfloat16():
        raise TrainingFailed("This machine is slow at bfloat16; set the recipe's precision to auto or float32.")
    if wanted == "auto":
        return "bfloat16" if has_fast_bfloat16() else "float32"
    return wanted


def build_arguments(
    recipe: Recipe, folder: Path, *, epochs: int, learning_rate: float, parts: int | None = None
) -> dict[str, Any]:
    """Keyword arguments for an `SFTConfig`, `KTOConfig` and their like.

    Args:
        parts: in how many parts, one after the other, each process computes its rows of a step; the recipe's
            `gradient_accumulation` unless memory runs short.
    """
    parts = parts or recipe.gradient_accumulation
    rows_at_once = recipe.batch_size // parts // count_processes()
    return {
        "output_dir": str(folder),
        "per_device_train_batch_size": rows_at_once,
        "per_device_eval_batch_size": rows_at_once,
        "gradient_accumulation_steps": parts,
        "num_train_epochs": epochs,
        "learning_rate": learning_rate,
        "lr_scheduler_type": "linear",  # no warm-up: its first step has the rate 0, and a run may have only a few
        "max_grad_norm": 1.0,
        "weight_decay": 0.01,
        "max_length": recipe.max_tokens,
        "seed": recipe.seed,
        "bf16": choose_precision(recipe.precision) == "bfloat16",
        "use_cpu": not torch.cuda.is_available(),
        "activation_checkpointing": recipe.gradient_checkpointing,
        "save_strategy": "steps",
        "save_steps": recipe.save_steps,
        "include_num_input_tokens_seen": "non_padding",
        "logging_steps": 1,
        "report_to": [],
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
    }


def order_by_length(rows: list[dict[str, Any]], lengths: list[int], batch_size: int, seed: int) -> list[dict[str, Any]]:
    """Rows in batches of like length, the batches in random order: little padding, and still no order to learn.

    Rows that come later in a pool leave the batches of those before them as they are, save the few that fill none in
    their class of length. KTO's KL rows pair neighbours in a batch, so most of them stay the same texts in a later run.
    """
    classes: defaultdict[int, list[int]] = defaultdict(list)
    for index, length in enumerate(lengths):
        classes[int(math.log(max(length, 1)) / math.log(_LENGTH_STEP))].append(index)
    batches, left = [], []
    for _, members in sorted(classes.items()):
        whole = len(members) // batch_size * batch_size
        batches += [[rows[i] for i in members[start : start + batch_size]] for start in range(0, whole, batch_size)]
        left += members[whole:]
    left.sort(key=lambda i: lengths[i])
    batches += [[rows[i] for i in left[start : start + batch_size]] for start in range(0, len(left), batch_size)]
    short = [batches.pop()] if batches and len(batches[-1]) < batch_size else []
    order = torch.randperm(len(batches), generator=torch.Generator().manual_seed(seed)).tolist()
    return [row for batch in [*(batches[i] for i in order), *short] for row in batch]
