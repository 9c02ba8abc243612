"""Supervised fine-tuning with TRL on examples, corrections and up-rated replies; loss on the reply only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer
from trl.trainer.utils import disable_dropout_in_model

from data.recipe import Recipe
from trainer.arguments import build_arguments
from trainer.progress import ProgressCallback
from trainer.reply_head import add_reply_head


def train_supervised(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: list[dict[str, Any]],
    dev_rows: list[dict[str, Any]],
    recipe: Recipe,
    folder: Path,
) -> None:
    """Train `model` in place.

    Loss: mean over reply tokens of -log p(token | what stands before it), each batch weighted by its tokens.
    """
    arguments = build_arguments(
        recipe, folder / "sft", epochs=recipe.sft_epochs, learning_rate=recipe.sft_learning_rate
    )
    disable_dropout_in_model(model)  # the trunk is kept without it, so the top goes without it too
    trainer = SFTTrainer(
        model=model,
        processing_class=tokenizer,
        train_dataset=Dataset.from_list(rows),
        eval_dataset=Dataset.from_list(dev_rows) if dev_rows else None,
        args=SFTConfig(
            **arguments,
            eval_strategy="epoch" if dev_rows else "no",
            train_sampling_strategy="group_by_length",
        ),
        callbacks=[ProgressCallback("supervised", folder / "metrics.jsonl")],
    )
    add_reply_head(model)
    trainer.train()
