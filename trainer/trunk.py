"""The frozen trunk: with `last:N` the lower blocks never change, so what they say of a text is computed once and kept.

To the trainers the model stays an ordinary causal language model: one module stands in for the lower blocks and
remembers. Every text runs through them alone and without padding. So what is kept is the same to the bit in whatever
batch the text is met first, also by a run that goes on after a kill; on a CPU that is faster than a padded batch too.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import Cache, PreTrainedModel

from trainer.trunk_cache import TOKEN_BYTES, MemoryStore, RowStore, pack_tokens

_BLOCK_LISTS = ("layers", "h")  # Llama-type and GPT-2-type models name their blocks so


class FrozenTrunk(nn.Module):
    """Stands in for the lower blocks of a model and keeps their output for every text that it has seen.

    Texts are told apart by their token ids without the padding; rows must be padded on the right, so that in a causal
    model no real position sees the padding. Of a batch only the rows that were never seen run through the blocks.
    What cannot be kept (generation with a cache of keys and values, left or no plain padding) is computed as ever.
    """

    def __init__(self, backbone: nn.Module, blocks: list[nn.Module], store: RowStore) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self._lower = (_shorten(backbone, blocks),)  # in a tuple, or its parameters would count as ours
        self.store = store
        self._keys: list[bytes] | None = None  # token ids of the rows of the batch under way
        self._hook = backbone.register_forward_pre_hook(self._read_tokens, with_kwargs=True)

    def _read_tokens(self, _module: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        tokens: Tensor | None = named.get("input_ids", arguments[0] if arguments else None)
        mask: Tensor | None = named.get("attention_mask")
        self._keys = None
        if tokens is None or named.get("position_ids") is not None or not _is_right_padding(mask):
            return
        lengths = mask.sum(-1).tolist() if mask is not None else [tokens.shape[1]] * tokens.shape[0]
        self._keys = [
            pack_tokens(row[:length].tolist()) for row, length in zip(tokens.cpu(), map(int, lengths), strict=True)
        ]

    def train(self, mode: bool = True) -> FrozenTrunk:  # noqa: ARG002 - the signature is nn.Module's
        """Stay in evaluation mode: dropout in the trunk would make its output depend on the moment."""
        return super().train(False)

    def forward(self, hidden: Tensor, *arguments: Any, **named: Any) -> Tensor:
        """Output of the lower blocks, B × T × D, for the embeddings `hidden` of the same shape; padding is zero."""
        keys = self._keys
        if keys is None or any(isinstance(value, Cache) for value in (*arguments, *named.values())):
            return self._run(hidden, *arguments, **named)
        output = torch.zeros_like(hidden, requires_grad=False)
        missing = [index for index, key in enumerate(keys) if not self._fill(output[index], key)]
        if missing:
            computed = {keys[index]: self._compute(keys[index], hidden) for index in missing}
            for index in missing:
                output[index, : len(keys[index]) // TOKEN_BYTES] = computed[keys[index]]
            self.store.keep(computed)
        return output

    @torch.no_grad()
    def _compute(self, key: bytes, like: Tensor) -> Tensor:
        """Output of the lower blocks for one text, T × D, in the blocks' own precision whatever autocast says."""
        tokens = torch.from_numpy(np.frombuffer(key, dtype=np.int32).astype(np.int64)).to(like.device)
        with torch.autocast(like.device.type, enabled=False):
            row: Tensor = self._lower[0](input_ids=tokens[None], use_cache=False).last_hidden_state[0]
        return row

    def _fill(self, output: Tensor, key: bytes) -> bool:
        row = self.store.find(key)
        if row is not None:
            output[: row.shape[0]] = row
        return row is not None

    @torch.no_grad()
    def _run(self, hidden: Tensor, *arguments: Any, **named: Any) -> Tensor:
        """In the blocks' own precision whatever autocast says: what is kept must not depend on a run's settings."""
        with torch.autocast(hidden.device.type, enabled=False):
            for block in self.blocks:
                hidden = block(hidden, *arguments, **named)
        return hidden

    def detach_hook(self) -> None:
        """Stop listening to the model."""
        self._hook.remove()


def _is_right_padding(mask: Tensor | None) -> bool:
    return mask is None or (mask.dim() == 2 and bool((mask[:, 1:] <= mask[:, :-1]).all()))


def _shorten(backbone: nn.Module, blocks: list[nn.Module]) -> nn.Module:
    """The backbone with these blocks only, the same ones, and without the final norm, dropout and hooks."""
    lower = copy.copy(backbone)
    left_out = {id(_find_final_norm(backbone))}
    lower._modules = {
        name: nn.Identity() if id(module) in left_out or isinstance(module, nn.Dropout) else module
        for name, module in backbone._modules.items()
    }
    lower._forward_pre_hooks = OrderedDict()
    setattr(lower, _find_block_list(backbone), nn.ModuleList(blocks))
    return lower


def freeze_below(model: PreTrainedModel, trainable: str) -> int:
    """Leave gradients to the top blocks and the final norm only; returns the number of frozen lower blocks.

    `trainable` is a recipe's field: `last:N`, or `full`, which freezes nothing and returns 0. N at or above the number
    of blocks still freezes the embeddings and the head.
    """
    if trainable == "full":
        model.requires_grad_(True)
        return 0
    blocks = get_blocks(model)
    boundary = max(0, len(blocks) - int(trainable.removeprefix("last:")))
    model.requires_grad_(False)
    for block in blocks[boundary:]:
        block.requires_grad_(True)
    _get_final_norm(model).requires_grad_(True)
    return boundary


def install_trunk(model: PreTrainedModel, boundary: int, store: RowStore | None = None) -> FrozenTrunk | None:
    """Replace the blocks below `boundary` by a `FrozenTrunk`; None when there is none to replace.

    Without a `store` rows are remembered in memory as long as the trunk lives.
    """
    if boundary == 0:
        return None
    backbone, name = _get_backbone(model)
    blocks = list(getattr(backbone, name))
    trunk = FrozenTrunk(backbone, blocks[:boundary], store or MemoryStore())
    setattr(backbone, name, nn.ModuleList([trunk, *blocks[boundary:]]))
    return trunk


def remove_trunk(model: PreTrainedModel, trunk: FrozenTrunk | None) -> None:
    """Put the lower blocks back, so that the model can be saved."""
    if trunk is None:
        return
    backbone, name = _get_backbone(model)
    trunk.detach_hook()
    setattr(backbone, name, nn.ModuleList([*trunk.blocks, *list(getattr(backbone, name))[1:]]))


def name_plainly(model: PreTrainedModel) -> dict[str, Tensor]:
    """The model's state under the names that it has without a trunk."""
    state: dict[str, Tensor] = model.state_dict()
    trunk = find_trunk(model)
    if trunk is None:
        return state
    prefix = f"{model.base_model_prefix}.{_get_backbone(model)[1]}."

    def rename(key: str) -> str:
        if not key.startswith(prefix):
            return key
        index, rest = key.removeprefix(prefix).split(".", 1)
        if index == "0":
            return prefix + rest.removeprefix("blocks.")
        return f"{prefix}{int(index) - 1 + len(trunk.blocks)}.{rest}"

    return {rename(key): value for key, value in state.items()}


def find_trunk(model: nn.Module) -> FrozenTrunk | None:
    """The trunk that is installed in `model`, wrapped or not."""
    return next((module for module in model.modules() if isinstance(module, FrozenTrunk)), None)


def _get_backbone(model: PreTrainedModel) -> tuple[nn.Module, str]:
    backbone: nn.Module = model.base_model
    return backbone, _find_block_list(backbone)


def _find_block_list(backbone: nn.Module) -> str:
    for name in _BLOCK_LISTS:
        if hasattr(backbone, name):
            return name
    raise NotImplementedError(f"{type(backbone).__name__} does not name its blocks {' or '.join(_BLOCK_LISTS)}.")


def get_blocks(model: PreTrainedModel) -> nn.ModuleList:
    """The transformer blocks, from the lowest to the highest."""
    backbone, name = _get_backbone(model)
    blocks: nn.ModuleList = getattr(backbone, name)
    return blocks


def _get_final_norm(model: PreTrainedModel) -> nn.Module:
    return _find_final_norm(model.base_model)


def _find_final_norm(backbone: nn.Module) -> nn.Module:
    norm: nn.Module = getattr(backbone, "norm" if hasattr(backbone, "norm") else "ln_f")
    return norm
