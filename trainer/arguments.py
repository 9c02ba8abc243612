"""What every TRL trainer of ours shares: one set of arguments from the recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from data.recipe import Recipe


def has_fast_bfloat16() -> bool:
    """Whether bfloat16 pays: on a CPU without AVX-512 BF16 or AMX it is over 100 times slower than float32."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def build_arguments(recipe: Recipe, folder: Path, *, epochs: int, learning_rate: float) -> dict[str, Any]:
    """Keyword arguments for an `SFTConfig` or `KTOConfig`."""
    return {
        "output_dir": str(folder),
        "per_device_train_batch_size": recipe.batch_size,
        "per_device_eval_batch_size": recipe.batch_size,
        "num_train_epochs": epochs,
        "learning_rate": learning_rate,
        "lr_scheduler_type": "cosine",
        "warmup_steps": 0.05,  # below 1: the share of all steps
        "max_grad_norm": 1.0,
        "weight_decay": 0.01,
        "max_length": recipe.max_tokens,
        "seed": recipe.seed,
        "bf16": has_fast_bfloat16(),
        "use_cpu": not torch.cuda.is_available(),
        "gradient_checkpointing": False,  # saves memory that models of this size do not need
        "save_strategy": "no",
        "logging_steps": 1,
        "report_to": [],
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
    }


def order_by_length(rows: list[dict[str, Any]], lengths: list[int], batch_size: int, seed: int) -> list[dict[str, Any]]:
    """Rows in batches of like length, the batches in random order: little padding, and still no order to learn."""
    by_length = [rows[i] for i in sorted(range(len(rows)), key=lambda i: lengths[i])]
    batches = [by_length[i : i + batch_size] for i in range(0, len(rows), batch_size)]
    short = [batches.pop()] if batches and len(batches[-1]) < batch_size else []
    order = torch.randperm(len(batches), generator=torch.Generator().manual_seed(seed)).tolist()
    return [row for batch in [*(batches[i] for i in order), *short] for row in batch]
