"""Log-probabilities of held-out replies through the kept trunk, for artifacts that share the base's lower blocks.

Candidate, production and base then differ in their top blocks only, so the lower ones say of each held-out text what
they said before: in this evaluation, and in those of later runs. The head is asked for reply tokens only. What is
served is the engine's model, so a sample of every artifact's scores is compared with the engine's before any is used.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from transformers import AutoModelForCausalLM, PreTrainedModel

from serving.artifact import Artifact
from trainer.reply_head import add_reply_head
from trainer.trunk import install_trunk
from trainer.trunk_cache import RowStore, pack_tokens

BATCH_TOKENS = 1024  # padding included; bounds the logits as the engine's does
TOLERANCE_NATS = 1e-3  # between a token's score here and the engine's
_BLOCK = re.compile(r"(?:^|\.)(?:layers|h)\.(\d+)\.")
_TOP = re.compile(r"(?:^|\.)(?:norm|ln_f|lm_head)\.")  # final norm and head
_NUMBERLESS = frozenset(  # of config.json; they say nothing of what is computed
    {"_name_or_path", "transformers_version", "use_cache", "pad_token_id", "bos_token_id", "eos_token_id"}
)


@dataclass(frozen=True)
class KnownTrunk:
    """The lower blocks of the base, what a run keeps of their output, and where they end."""

    base: Artifact
    boundary: int  # number of lower blocks, at least 1
    store: RowStore


@dataclass(frozen=True)
class Text:
    """Tokens of one held-out reply and of the prompt before it."""

    row_id: str
    prompt: list[str]
    reply: list[str]


class TrunkScorer:
    """Scores replies with one artifact; the store is the run's and stays open.

    Raises:
        OSError: the artifact's weights cannot be read.
    """

    def __init__(self, artifact: Artifact, trunk: KnownTrunk) -> None:
        self._model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
            artifact.folder, dtype=torch.float32, use_safetensors=True
        ).eval()
        install_trunk(self._model, trunk.boundary, trunk.store)
        add_reply_head(self._model)
        self._store = trunk.store
        self._ids = read_token_ids(artifact)

    def note(self, texts: Sequence[Text]) -> None:
        """Tell the store whose these texts are, so that it keeps them for later runs."""
        owners: defaultdict[bytes, set[str]] = defaultdict(set)
        for text in texts:
            owners[pack_tokens([self._ids[token] for token in [*text.prompt, *text.reply]])].add(text.row_id)
        self._store.note(owners)

    def score(self, prompts: Sequence[list[str]], replies: Sequence[list[str]]) -> list[NDArray[np.float64]]:
        """Natural log-probability of each reply token given all tokens before it, as `Engine.score`."""
        ids = [[self._ids[token] for token in [*p, *r]] for p, r in zip(prompts, replies, strict=True)]
        scores = [np.empty(0)] * len(ids)
        for chunk in chunk_by_tokens([len(row) for row in ids]):
            values = self._score_batch([ids[index] for index in chunk], [len(prompts[index]) for index in chunk])
            for index, value in zip(chunk, values, strict=True):
                scores[index] = value
        return scores

    @torch.inference_mode()
    def _score_batch(self, rows: list[list[int]], starts: list[int]) -> list[NDArray[np.float64]]:
        width = max(map(len, rows))
        tokens, mask = (torch.zeros(len(rows), width, dtype=torch.long) for _ in range(2))
        labels = torch.full_like(tokens, -100)
        for index, (row, start) in enumerate(zip(rows, starts, strict=True)):
            tokens[index, : len(row)] = torch.tensor(row)
            mask[index, : len(row)] = 1
            labels[index, start : len(row)] = tokens[index, start : len(row)]
        output = self._model(input_ids=tokens, attention_mask=mask, labels=labels, fused_lm_head=True)
        found = output.log_probs.double().numpy()  # B × (T - 1)
        return [found[i, start - 1 : len(row) - 1] for i, (row, start) in enumerate(zip(rows, starts, strict=True))]


def read_token_ids(artifact: Artifact) -> dict[str, int]:
    """The id of each token in the engine's own vocabulary."""
    words = json.loads((artifact.engine_folder / "vocabulary.json").read_text())
    return {word: index for index, word in enumerate(words)}


def shares_trunk(artifact: Artifact, trunk: KnownTrunk) -> bool:
    """Whether configuration, embeddings and lower blocks are the base's, number by number."""
    if artifact.digest == trunk.base.digest:
        return True
    if _read_config(artifact.folder) != _read_config(trunk.base.folder):
        return False
    return digest_trunk(artifact.folder, trunk.boundary) == digest_trunk(trunk.base.folder, trunk.boundary)


def digest_trunk(folder: Path, boundary: int) -> str:
    """sha256 over the names, types, shapes and bytes of all tensors below `boundary`; the final norm is above."""
    digests: dict[str, str] = {}
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 - it is no mapping
                block = _BLOCK.search(name)
                is_above = int(block[1]) >= boundary if block else _TOP.search(name) is not None
                if not is_above:
                    digests[name] = _digest_tensor(tensors.get_tensor(name))
    return hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest()


def _digest_tensor(tensor: torch.Tensor) -> str:
    digest = hashlib.sha256(f"{tensor.dtype} {tuple(tensor.shape)} ".encode())
    digest.update(tensor.contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _read_config(folder: Path) -> dict[str, Any]:
    config = json.loads((folder / "config.json").read_text())
    return {name: value for name, value in config.items() if name not in _NUMBERLESS}


def chunk_by_tokens(lengths: list[int]) -> Iterator[list[int]]:
    """Indices in chunks of like length, of at most BATCH_TOKENS with padding (one row may have more)."""
    chunk: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda index: lengths[index]):
        if chunk and (len(chunk) + 1) * lengths[index] > BATCH_TOKENS:
            yield chunk
            chunk = []
        chunk.append(index)
    if chunk:
        yield chunk
