"""DPO with TRL: pairs of a better and a worse reply to the same messages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer

from data.recipe import Recipe
from trainer.arguments import order_by_length
from trainer.errors import TrainingFailed
from trainer.lora import Trainable, forget_reference
from trainer.pairs import count_pair_tokens
from trainer.reply_head import ProjectsReplies
from trainer.resumable import Resumable, share_rows
from trainer.resumption import StagePlan, train_stage
from trainer.trunk_owners import NotesOwners


class _OwnedDPOTrainer(ProjectsReplies, NotesOwners, Resumable, DPOTrainer):
    """DPOTrainer with what every stage of ours needs."""


def train_dpo(
    model: Trainable,
    tokenizer: PreTrainedTokenizerBase,
    pairs: list[dict[str, Any]],
    recipe: Recipe,
    folder: Path,
) -> None:
    """Train `model` in place; the model as it comes in is the reference.

    With d = beta ((log p(c|x) - log p_ref(c|x)) - (log p(r|x) - log p_ref(r|x))) for chosen c and rejected r, sums over
    reply tokens, mean over pairs:
    `sigmoid` -log sigmoid(d) (Rafailov et al. 2023, arXiv 2305.18290, eq. 7);
    `robust`, e = label_smoothing: (-(1 - e) log sigmoid(d) + e log sigmoid(-d)) / (1 - 2 e), without bias when a
    share e of the pairs is the wrong way round (Chowdhury et al. 2024, arXiv 2403.00409, eq. 12).

    Raises:
        TrainingFailed: there is no pair.
    """
    if not pairs:
        raise TrainingFailed(
            f"DPO needs pairs of a better and a worse reply, and none fits into max_tokens = {recipe.max_tokens}; "
            "raise it, or set method to auto."
        )
    lengths = [count_pair_tokens(row, tokenizer) for row in pairs]

    def build(arguments: dict[str, Any]) -> Resumable:
        forget_reference(model)
        return _OwnedDPOTrainer(
            model=model,
            processing_class=tokenizer,
            train_dataset=share_rows(order_by_length(pairs, lengths, recipe.batch_size, recipe.seed), arguments),
            args=DPOConfig(
                **arguments,
                beta=recipe.beta,
                loss_type=[recipe.dpo_loss],
                label_smoothing=recipe.label_smoothing,
                precompute_ref_log_probs=True,
                train_sampling_strategy="sequential",  # in batches of like length already
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
        )
    )
