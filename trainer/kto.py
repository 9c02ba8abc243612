"""KTO with TRL: rated replies, up or down, no pairs needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase
from trl.trainer.kto_config import KTOConfig
from trl.trainer.kto_trainer import KTOTrainer

from data.preferences import class_weights
from data.recipe import MIN_MICRO_BATCH, Recipe
from trainer.arguments import order_by_length
from trainer.errors import TrainingFailed
from trainer.lora import Trainable, forget_reference
from trainer.reply_head import ProjectsReplies
from trainer.resumable import Resumable, share_rows
from trainer.resumption import StagePlan, train_stage
from trainer.rows import count_tokens
from trainer.trunk_owners import NotesOwners


class _OwnedKTOTrainer(ProjectsReplies, NotesOwners, Resumable, KTOTrainer):
    """KTOTrainer with what every stage of ours needs."""


def train_kto(
    model: Trainable,
    tokenizer: PreTrainedTokenizerBase,
    rows: list[dict[str, Any]],
    recipe: Recipe,
    folder: Path,
) -> None:
    """Train `model` in place; the model as it comes in is the reference.

    Loss (Ethayarajh et al. 2024, arXiv 2402.01306, eq. 8; mean over rows), r = log p(y|x) - log p_ref(y|x), z the KL
    estimate of the batch: up rows w_up (1 - sigmoid(beta (r - z))), down rows w_down (1 - sigmoid(beta (z - r))).

    Raises:
        TrainingFailed: one kind of rating is missing, so nothing would be told apart.
    """
    ups = sum(row["label"] for row in rows)
    downs = len(rows) - ups
    if not (ups and downs):
        raise TrainingFailed(
            f"KTO needs ratings of both kinds, and {ups} up and {downs} down fit into max_tokens = "
            f"{recipe.max_tokens}; raise it, or set method to sft."
        )
    up_weight, down_weight = class_weights(ups, downs)
    lengths = [count_tokens([*row["prompt"], *row["completion"]], tokenizer) for row in rows]

    def build(arguments: dict[str, Any]) -> Resumable:
        forget_reference(model)
        return _OwnedKTOTrainer(
            model=model,
            processing_class=tokenizer,
            train_dataset=share_rows(order_by_length(rows, lengths, recipe.batch_size, recipe.seed), arguments),
            args=KTOConfig(
                **arguments,
                beta=recipe.beta,
                desirable_weight=up_weight,
                undesirable_weight=down_weight,
                precompute_ref_log_probs=True,
                dataloader_drop_last=len(rows) >= recipe.batch_size,  # a last batch of one has no KL partner
            ),
        )

    train_stage(
        StagePlan(
            name="preference",
            model=model,
            build=build,
            recipe=recipe,
            folder=folder,
            epochs=recipe.preference_epochs,
            learning_rate=recipe.preference_learning_rate,
            smallest=MIN_MICRO_BATCH,
        )
    )
