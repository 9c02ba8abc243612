"""Supervised fine-tuning with TRL on examples, corrections and up-rated replies; loss on the reply only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import PreTrainedTokenizerBase
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer
from trl.trainer.utils import disable_dropout_in_model

from data.recipe import Recipe
from trainer.errors import TrainingFailed
from trainer.lora import Trainable
from trainer.reply_head import add_reply_head
from trainer.resumable import Resumable
from trainer.resumption import StagePlan, train_stage
from trainer.trunk_owners import NotesOwners


class _OwnedSFTTrainer(NotesOwners, Resumable, SFTTrainer):
    """SFTTrainer that tells the trunk whose its texts are."""


def train_supervised(
    model: Trainable,
    tokenizer: PreTrainedTokenizerBase,
    rows: list[dict[str, Any]],
    dev_rows: list[dict[str, Any]],
    recipe: Recipe,
    folder: Path,
    *,
    epochs: int | None = None,
    learning_rate: float | None = None,
    phase: str = "supervised",
) -> None:
    """Train `model` in place, for the epochs and rate of the recipe's first stage unless others are named.

    Loss: mean over reply tokens of -log p(token | what stands before it), each batch weighted by its tokens.

    Raises:
        TrainingFailed: there is no row.
    """
    if not rows:
        raise TrainingFailed(
            f"There is nothing to imitate that fits into max_tokens = {recipe.max_tokens}; raise it, add examples, or "
            "set sft_epochs to 0."
        )
    disable_dropout_in_model(model)  # the trunk is kept without it, so the top goes without it too

    def build(arguments: dict[str, Any]) -> Resumable:
        trainer = _OwnedSFTTrainer(
            model=model,
            processing_class=tokenizer,
            train_dataset=Dataset.from_list(rows),
            eval_dataset=Dataset.from_list(dev_rows) if dev_rows else None,
            args=SFTConfig(
                **arguments,
                eval_strategy="epoch" if dev_rows else "no",
                train_sampling_strategy="group_by_length",
            ),
        )
        add_reply_head(model)
        return trainer

    train_stage(
        StagePlan(
            name=phase,
            model=model,
            build=build,
            recipe=recipe,
            folder=folder,
            epochs=recipe.sft_epochs if epochs is None else epochs,
            learning_rate=recipe.sft_learning_rate if learning_rate is None else learning_rate,
        )
    )
