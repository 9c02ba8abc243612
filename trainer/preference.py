"""Preference tuning with TRL's KTO: rated replies, up or down, no pairs needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from trl.trainer.kto_config import KTOConfig
from trl.trainer.kto_trainer import KTOTrainer

from data.preferences import class_weights
from data.recipe import Recipe
from trainer.arguments import build_arguments, order_by_length
from trainer.progress import ProgressCallback
from trainer.reply_head import add_reply_head
from trainer.rows import count_tokens


class _ReplyHeadKTOTrainer(KTOTrainer):
    """KTOTrainer whose reference pass, too, projects reply tokens only."""

    def _precompute_ref_logps(self, dataset: Dataset, name: str, batch_size: int) -> Dataset:
        assert isinstance(self.model, PreTrainedModel)
        add_reply_head(self.model)
        return super()._precompute_ref_logps(dataset, name, batch_size)


def train_preference(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: list[dict[str, Any]],
    recipe: Recipe,
    folder: Path,
) -> None:
    """Train `model` in place; the model as it comes in is the reference.

    Loss (Ethayarajh et al. 2024, arXiv 2402.01306, eq. 8; mean over rows), r = log p(y|x) - log p_ref(y|x), z the KL
    estimate of the batch: up rows w_up (1 - sigmoid(beta (r - z))), down rows w_down (1 - sigmoid(beta (z - r))).
    """
    up_weight, down_weight = class_weights(sum(row["label"] for row in rows), sum(not row["label"] for row in rows))
    arguments = build_arguments(
        recipe, folder / "kto", epochs=recipe.preference_epochs, learning_rate=recipe.preference_learning_rate
    )
    lengths = [count_tokens([*row["prompt"], *row["completion"]], tokenizer) for row in rows]
    trainer = _ReplyHeadKTOTrainer(
        model=model,
        processing_class=tokenizer,
        train_dataset=Dataset.from_list(order_by_length(rows, lengths, recipe.batch_size, recipe.seed)),
        args=KTOConfig(
            **arguments,
            beta=recipe.beta,
            desirable_weight=up_weight,
            undesirable_weight=down_weight,
            precompute_ref_log_probs=True,
            dataloader_drop_last=len(rows) >= recipe.batch_size,  # a last batch of one has no KL partner
        ),
        callbacks=[ProgressCallback("preference", folder / "metrics.jsonl")],
    )
    trainer.train()
