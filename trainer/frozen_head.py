"""Log-probabilities of tokens under a frozen output head, and their gradient, without keeping a single logit.

With the head's weights W (V × D) frozen, log p(y | h) = W_y·h - log Σ_v exp(W_v·h) has a gradient in h alone,
W_y - Σ_v p_v W_v, which does not depend on what comes after it but for one factor a token. So it is computed while the
logits are there, and a backward pass costs one product of N × D numbers. Logits are computed as W hᵀ, V × N, into one
buffer: on a CPU that is the faster way round (`docs/log.md`), and memory does not grow with the batch.
"""

from __future__ import annotations

import math
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_TOKENS_AT_ONCE = 640  # at most: 126 MB of logits with 49,152 words; fewer make the matrix product slower


class _FrozenHead(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, hidden: Tensor, weight: Tensor, labels: Tensor, wants_gradient: bool) -> Tensor:
        scores = hidden.new_empty(len(labels))
        gradient = torch.empty_like(hidden) if wants_gradient else None
        parts = max(1, math.ceil(len(labels) / _TOKENS_AT_ONCE))
        step = math.ceil(len(labels) / parts)
        buffer = hidden.new_empty(len(weight) * step)
        for start in range(0, len(labels), step or 1):
            part = slice(start, start + step)
            tokens = len(labels[part])
            logits = buffer[: len(weight) * tokens].view(len(weight), tokens)
            torch.mm(weight, hidden[part].T, out=logits)
            chosen = logits.gather(0, labels[None, part])[0]
            highest = logits.amax(0)
            odds = logits.sub_(highest).exp_()  # of each word, over the likeliest one's
            total = odds.sum(0)
            scores[part] = chosen - highest - total.log()
            if gradient is not None:
                gradient[part] = weight[labels[part]] - (odds.T @ weight) / total[:, None]
        context.save_for_backward(gradient)
        return scores

    @staticmethod
    @once_differentiable  # a second derivative is refused: the first does not know that it depends on `hidden`
    def backward(context: Any, *upstream: Tensor) -> tuple[Tensor, None, None, None]:
        (gradient,) = context.saved_tensors
        return upstream[0][:, None] * gradient, None, None, None


def score_tokens(hidden: Tensor, weight: Tensor, labels: Tensor) -> Tensor:
    """log softmax(hidden Wᵀ)[label] of each token, N numbers, in float32; differentiable once, in `hidden` only.

    Args:
        hidden: what the head reads, N × D, float32.
        weight: of the head, V × D, float32; it gets no gradient.
        labels: N ids below V.
    """
    wants_gradient = torch.is_grad_enabled() and hidden.requires_grad
    return cast(Tensor, _FrozenHead.apply(hidden, weight, labels, wants_gradient))  # type: ignore[no-untyped-call]
