"""How near training comes to the roof: the arithmetic of an epoch over what a bare matrix product reaches here.

Counted are the matrix products of linear layers, 2 operations for each weight and token forward, and backward 2 for the
gradient of the input and 2 for that of the weight. Attention itself, norms and activations are left out, as are what
gradient checkpointing computes again, padding, and everything before the first epoch.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import nn
from transformers import PreTrainedModel

from trainer.trunk import get_blocks

_SIZE = 2048  # of the bare matrix product: the caches no longer help
_REPEATS = 5


@dataclass(frozen=True)
class LinearWeights:
    """How many weights a token meets."""

    block: int  # of one block
    blocks: int
    head: int  # of the projection onto the vocabulary


def count_linear_weights(model: PreTrainedModel) -> LinearWeights:
    """The linear weights of a causal language model whose blocks are alike."""
    blocks = get_blocks(model)
    head = model.get_output_embeddings()
    return LinearWeights(
        block=sum(weight.numel() for weight in blocks[0].parameters() if weight.dim() == 2),
        blocks=len(blocks),
        head=head.weight.numel() if isinstance(head, nn.Linear) else 0,
    )


def count_epoch_flops(
    method: str, weights: LinearWeights, trained_blocks: int | None, tokens: int, reply_tokens: int, *, is_ours: bool
) -> float:
    """Operations of one epoch.

    Args:
        method: `sft`, `kto` or `dpo`.
        trained_blocks: the top blocks that are trained; None: everything.
        tokens, reply_tokens: of all sequences of the epoch, both sides of a pair.
        is_ours: kept blocks are not computed, the head sees reply tokens only, the reference was asked once before.
    """
    top = weights.blocks if trained_blocks is None else trained_blocks
    head_backward = 2 if trained_blocks is None else 1  # tied to the embedding, which `last:N` does not train
    computed = top if is_ours else weights.blocks
    head_tokens = reply_tokens if is_ours else tokens
    forward = 2.0 * (tokens * computed * weights.block + head_tokens * weights.head)
    backward = 4.0 * tokens * top * weights.block + 2.0 * head_backward * head_tokens * weights.head
    # KTO asks what the policy thinks of replies put with other prompts; a live reference is asked for the same again.
    policy_forwards = 2 if method == "kto" else 1
    reference_forwards = 0 if is_ours or method == "sft" else policy_forwards
    return forward * (policy_forwards + reference_forwards) + backward


def measure_matrix_product_gflops() -> float:
    """What a bare float32 matrix product reaches here, in GFLOP/s."""
    left, right = torch.randn(_SIZE, _SIZE), torch.randn(_SIZE, _SIZE)
    seconds = []
    for _ in range(_REPEATS):
        started_s = time.perf_counter()
        torch.mm(left, right)
        seconds.append(time.perf_counter() - started_s)
    return 2 * _SIZE**3 / min(seconds) / 1e9
