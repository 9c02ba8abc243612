"""The output head on reply tokens only.

On a CPU, TRL 1.16 projects every position of a batch onto the vocabulary, prompts and padding included, and computes
entropies over it at each step (`trl.trainer.utils.add_fused_lm_head`). Only reply tokens carry loss, so this
projects only those; what TRL logs but nobody needs is left at zero.
"""

from __future__ import annotations

import functools
import types
from typing import Any, cast

import torch
from datasets import Dataset
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel, Trainer
from trl.trainer.utils import FusedCausalLMOutput

from trainer.frozen_head import score_tokens
from trainer.lora import Trainable, get_plain


class ProjectsReplies(Trainer):
    """Put before a TRL trainer that has a reference: the reference's pass, too, projects reply tokens only."""

    def _precompute_ref_logps(self, dataset: Dataset, name: str, batch_size: int) -> Dataset:
        add_reply_head(cast(Trainable, self.model))
        return super()._precompute_ref_logps(dataset, name, batch_size)  # type: ignore[misc]


def add_reply_head(model: Trainable) -> None:
    """Make `model(..., labels=..., fused_lm_head=True)` score only positions whose label is not -100.

    Log-probabilities are exact, in float32: log softmax(W h)[label] for each reply token, B × (T - 1), zero elsewhere.
    With adapters, the model inside gets the head.
    """
    plain = get_plain(model)
    original = type(plain).forward

    @functools.wraps(original)  # generation reads the signature
    def forward(
        self: PreTrainedModel,
        *arguments: Any,
        fused_lm_head: bool = False,
        labels: Tensor | None = None,
        num_items_in_batch: Any = None,  # noqa: ARG001 - TRL passes it
        **named: Any,
    ) -> Any:
        if not fused_lm_head or labels is None:
            return original(self, *arguments, labels=labels, **named)
        named["use_cache"] = False
        hidden = self.base_model(*arguments, **named).last_hidden_state[:, :-1]
        return _score_replies(self, hidden, labels[:, 1:])

    plain.forward = types.MethodType(forward, plain)


def _score_replies(model: PreTrainedModel, hidden: Tensor, labels: Tensor) -> FusedCausalLMOutput:
    mask = labels != -100
    chosen = _score_tokens(model.get_output_embeddings(), hidden[mask], labels[mask])
    log_probs = hidden.new_zeros(mask.shape, dtype=torch.float32).masked_scatter(mask, chosen)
    zeros = torch.zeros_like(log_probs)
    return FusedCausalLMOutput(
        loss=-log_probs.sum() / mask.sum().clamp(min=1),
        log_probs=log_probs,
        entropy=zeros,
        mean_logits=zeros,
        is_top1=zeros.bool(),
        label_mask=mask,
    )


def _score_tokens(head: nn.Module, hidden: Tensor, labels: Tensor) -> Tensor:
    weight = cast(Tensor, head.weight)
    is_plain = type(head) is nn.Linear and head.bias is None and not torch.is_autocast_enabled(hidden.device.type)
    if is_plain and not weight.requires_grad and hidden.dtype == weight.dtype == torch.float32:
        return score_tokens(hidden, weight, labels)
    logits: Tensor = head(hidden).float()  # reply tokens × V
    return -functional.cross_entropy(logits, labels, reduction="none")
