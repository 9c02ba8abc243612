"""The frozen trunk: with `last:N` the lower blocks never change, so what they say of a text is computed once and kept.

To the trainers the model stays an ordinary causal language model: one module stands in for the lower blocks and
remembers. Exact up to the rounding of a different batch shape.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

_BLOCK_LISTS = ("layers", "h")  # Llama-type and GPT-2-type models name their blocks so


class FrozenTrunk(nn.Module):
    """Stands in for the lower blocks of a model and keeps their output for every text that it has seen.

    Texts are told apart by their token ids without the padding; rows must be padded on the right, so that in a causal
    model no real position sees the padding. A batch with an unseen row runs through the blocks as a whole.
    """

    def __init__(self, backbone: nn.Module, blocks: list[nn.Module]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.hits = self.misses = 0
        self._kept: dict[bytes, Tensor] = {}  # token ids -> T × D
        self._keys: list[tuple[bytes, int]] = []  # of the batch under way: token ids and their number
        self._hook = backbone.register_forward_pre_hook(self._read_tokens, with_kwargs=True)

    def _read_tokens(self, _module: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        tokens: Tensor = named["input_ids"] if "input_ids" in named else arguments[0]
        mask = named.get("attention_mask")
        lengths = mask.sum(-1).tolist() if mask is not None else [tokens.shape[1]] * tokens.shape[0]
        self._keys = [
            (row[:length].to(torch.int32).numpy().tobytes(), length)
            for row, length in zip(tokens.cpu(), lengths, strict=True)
        ]

    def train(self, mode: bool = True) -> FrozenTrunk:  # noqa: ARG002 - the signature is nn.Module's
        """Stay in evaluation mode: dropout in the trunk would make its output depend on the moment."""
        return super().train(False)

    def forward(self, hidden: Tensor, *arguments: Any, **named: Any) -> Tensor:
        """Output of the lower blocks, B × T × D, for the embeddings `hidden` of the same shape; padding is zero."""
        kept = [self._kept.get(key) for key, _ in self._keys]
        if any(row is None for row in kept):
            self.misses += 1
            return self._compute(hidden, *arguments, **named)
        self.hits += 1
        output = torch.zeros_like(hidden)
        for index, row in enumerate(kept):
            if row is not None:  # always: the type checker cannot know
                output[index, : row.shape[0]] = row
        return output

    @torch.no_grad()
    def _compute(self, hidden: Tensor, *arguments: Any, **named: Any) -> Tensor:
        for block in self.blocks:
            hidden = block(hidden, *arguments, **named)
        for row, (key, length) in zip(hidden, self._keys, strict=True):
            self._kept[key] = row[:length].clone()
        return hidden

    def detach_hook(self) -> None:
        """Stop listening to the model."""
        self._hook.remove()


def freeze_below(model: PreTrainedModel, trainable: str) -> int:
    """Leave gradients to the top blocks and the final norm only; returns the number of frozen lower blocks.

    `trainable` is a recipe's field: `last:N`, or `full`, which freezes nothing and returns 0. N at or above the number
    of blocks still freezes the embeddings and the head.
    """
    if trainable == "full":
        model.requires_grad_(True)
        return 0
    blocks = _get_blocks(model)
    boundary = max(0, len(blocks) - int(trainable.removeprefix("last:")))
    model.requires_grad_(False)
    for block in blocks[boundary:]:
        block.requires_grad_(True)
    _get_final_norm(model).requires_grad_(True)
    return boundary


def install_trunk(model: PreTrainedModel, boundary: int) -> FrozenTrunk | None:
    """Replace the blocks below `boundary` by a `FrozenTrunk`; None when there is none to replace."""
    if boundary == 0:
        return None
    backbone, name = _get_backbone(model)
    blocks = list(getattr(backbone, name))
    trunk = FrozenTrunk(backbone, blocks[:boundary])
    setattr(backbone, name, nn.ModuleList([trunk, *blocks[boundary:]]))
    return trunk


def remove_trunk(model: PreTrainedModel, trunk: FrozenTrunk | None) -> None:
    """Put the lower blocks back, so that the model can be saved."""
    if trunk is None:
        return
    backbone, name = _get_backbone(model)
    trunk.detach_hook()
    setattr(backbone, name, nn.ModuleList([*trunk.blocks, *list(getattr(backbone, name))[1:]]))


def _get_backbone(model: PreTrainedModel) -> tuple[nn.Module, str]:
    backbone: nn.Module = model.base_model
    for name in _BLOCK_LISTS:
        if hasattr(backbone, name):
            return backbone, name
    raise NotImplementedError(f"{type(model).__name__} does not name its blocks {' or '.join(_BLOCK_LISTS)}.")


def _get_blocks(model: PreTrainedModel) -> nn.ModuleList:
    backbone, name = _get_backbone(model)
    blocks: nn.ModuleList = getattr(backbone, name)
    return blocks


def _get_final_norm(model: PreTrainedModel) -> nn.Module:
    name = "norm" if hasattr(model.base_model, "norm") else "ln_f"
    norm: nn.Module = getattr(model.base_model, name)
    return norm
