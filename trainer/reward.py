"""The reward model: one number for a reply, learned from pairs with TRL; it never leaves the run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModelForSequenceClassification, PreTrainedModel, PreTrainedTokenizerBase, set_seed
from trl.trainer.reward_config import RewardConfig
from trl.trainer.reward_trainer import RewardTrainer

from data.recipe import Recipe
from trainer.arguments import order_by_length
from trainer.errors import TrainingFailed
from trainer.lora import add_adapters, find_rank, merge_adapters
from trainer.pairs import count_pair_tokens
from trainer.resumable import Resumable
from trainer.resumption import StagePlan, train_stage
from trainer.trunk import freeze_below, install_trunk, remove_trunk
from trainer.trunk_cache import RowStore
from trainer.trunk_owners import NotesOwners

REWARD_FOLDER = "reward"


class _OwnedRewardTrainer(NotesOwners, Resumable, RewardTrainer):
    """RewardTrainer that tells whose the texts are."""


def train_reward(
    base: Path,
    tokenizer: PreTrainedTokenizerBase,
    pairs: list[dict[str, Any]],
    recipe: Recipe,
    folder: Path,
    store: RowStore | None = None,
) -> PreTrainedModel:
    """A reward model: the base with a linear score of the last token, saved to `folder/reward`.

    Loss (Bradley and Terry 1952; Ouyang et al. 2022, arXiv 2203.02155, eq. 1): mean over pairs of
    -log sigmoid(r(x, chosen) - r(x, rejected)). The recipe's `trainable` says which blocks learn beside the score.
    `store` is that of the policy's trunk, which has the same lower blocks.

    Raises:
        TrainingFailed: there is no pair.
    """
    if not pairs:
        raise TrainingFailed(
            f"A reward model needs pairs of a better and a worse reply, and none fits into max_tokens = "
            f"{recipe.max_tokens}; raise it, or set method to auto."
        )
    set_seed(recipe.seed)  # the score begins at random
    model = AutoModelForSequenceClassification.from_pretrained(
        base, num_labels=1, dtype=torch.float32, use_safetensors=True
    )
    model.config.pad_token_id = tokenizer.pad_token_id
    trunk, rank = None, find_rank(recipe.trainable)
    if rank is None:
        trunk = install_trunk(model, freeze_below(model, recipe.trainable), store)
        model.score.requires_grad_(True)
    else:
        model = add_adapters(model, rank)
    lengths = [count_pair_tokens(row, tokenizer) for row in pairs]

    def build(arguments: dict[str, Any]) -> Resumable:
        return _OwnedRewardTrainer(
            model=model,
            processing_class=tokenizer,
            train_dataset=Dataset.from_list(order_by_length(pairs, lengths, recipe.batch_size, recipe.seed)),
            args=RewardConfig(**arguments, train_sampling_strategy="sequential"),
        )

    train_stage(
        StagePlan(
            name="reward",
            model=model,
            build=build,
            recipe=recipe,
            folder=folder,
            epochs=recipe.reward_epochs,
            learning_rate=recipe.reward_learning_rate,
        )
    )
    model = merge_adapters(model)
    remove_trunk(model, trunk)
    model.save_pretrained(folder / REWARD_FOLDER)
    tokenizer.save_pretrained(folder / REWARD_FOLDER)
    return model.eval()


@torch.no_grad()
def score_conversations(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    conversations: Sequence[Sequence[Any]],
    batch_size: int = 8,
) -> list[float]:
    """The reward of each conversation's last turn, higher is better; of no unit, only differences mean something."""
    texts = [str(tokenizer.apply_chat_template(list(turns), tokenize=False)) for turns in conversations]
    ids = [torch.tensor(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts]
    order = sorted(range(len(ids)), key=lambda index: len(ids[index]))
    rewards = [0.0] * len(ids)
    for start in range(0, len(order), batch_size):
        chunk = order[start : start + batch_size]
        for index, reward in zip(chunk, _score(model, [ids[index] for index in chunk]).tolist(), strict=True):
            rewards[index] = reward
    return rewards


def _score(model: PreTrainedModel, ids: list[Tensor]) -> Tensor:
    padded = pad_sequence(ids, batch_first=True, padding_value=model.config.pad_token_id)
    lengths = torch.tensor([len(row) for row in ids])
    mask = (torch.arange(padded.shape[1]) < lengths[:, None]).long()
    device = next(model.parameters()).device
    output = model(input_ids=padded.to(device), attention_mask=mask.to(device), use_cache=False)
    logits: Tensor = output.logits[:, 0].cpu()
    return logits


def measure_accuracy(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, pairs: Sequence[dict[str, Any]], batch_size: int = 8
) -> float | None:
    """Share of pairs whose chosen reply has the higher reward, 0 to 1; a tie counts half. None without pairs."""
    if not pairs:
        return None
    conversations = [[*row["prompt"], *row[side]] for side in ("chosen", "rejected") for row in pairs]
    rewards = score_conversations(model, tokenizer, conversations, batch_size)
    chosen, rejected = rewards[: len(pairs)], rewards[len(pairs) :]
    wins = [(better > worse) + (better == worse) / 2 for better, worse in zip(chosen, rejected, strict=True)]
    return sum(wins) / len(wins)
