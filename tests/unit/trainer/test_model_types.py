"""Any causal model of the usual types by name of its folder: prepared, trained, exported, and served alike."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from serving.artifact import load_artifact
from tests.orders import write_order
from tests.tiny import build_tiny_gpt2
from trainer.base import prepare_base
from trainer.run import run

SIZES = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "bos_token_id": 0,
    "eos_token_id": 0,
}
TYPES: dict[str, Callable[[int], PreTrainedModel]] = {
    "llama": lambda vocabulary: LlamaForCausalLM(LlamaConfig(vocab_size=vocabulary, **SIZES)),
    "mistral": lambda vocabulary: MistralForCausalLM(MistralConfig(vocab_size=vocabulary, **SIZES)),
    "qwen2": lambda vocabulary: Qwen2ForCausalLM(Qwen2Config(vocab_size=vocabulary, **SIZES)),
    "padded vocabulary": lambda vocabulary: LlamaForCausalLM(
        LlamaConfig(vocab_size=vocabulary + 40, tie_word_embeddings=True, **SIZES)
    ),
}


@pytest.mark.parametrize("kind", TYPES)
def test_goes_the_whole_way(kind: str, tmp_path: Path) -> None:
    source = build_tiny_gpt2(tmp_path / "source")  # for its tokenizer
    vocabulary = json.loads((source / "config.json").read_text())["vocab_size"]
    torch.manual_seed(0)
    TYPES[kind](vocabulary).save_pretrained(source)
    prepare_base(str(source), tmp_path / "base")
    folder = write_order(tmp_path / "run", tmp_path / "base", examples=16, rated=0, method="sft", sft_epochs=1)
    run(folder)
    report = json.loads((folder / "report.json").read_text())
    assert load_artifact(folder / "artifact").digest == report["digest"]
    perplexity = report["metrics"]["perplexity"]
    assert perplexity["after"] < perplexity["before"]
