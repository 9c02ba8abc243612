"""Adapters: they alone learn, they are added to the weights without a difference, and they are kept beside them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedModel

from serving.artifact import load_artifact
from tests.lessons import build_rated_rows, build_recipe, load_model
from trainer.export import export_artifact
from trainer.kto import train_kto
from trainer.lora import ADAPTER_FOLDER, add_adapters, find_rank, get_plain, merge_adapters

TOKENS = torch.tensor([[5, 6, 7, 8], [9, 10, 11, 12]])


def build_llama() -> PreTrainedModel:
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2}
    return LlamaForCausalLM(LlamaConfig(vocab_size=50, num_hidden_layers=2, **sizes)).eval()


def disturb(adapted: PeftModel) -> None:
    """Give the adapters an effect: they begin with none."""
    for name, value in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(value, std=0.1, generator=torch.Generator().manual_seed(1))


class TestFindRank:
    @pytest.mark.parametrize(("trainable", "rank"), [("lora:8", 8), ("last:8", None), ("full", None)])
    def test_reads_the_recipe(self, trainable: str, rank: int | None) -> None:
        assert find_rank(trainable) == rank


class TestAddAdapters:
    @pytest.mark.parametrize("kind", ["gpt2", "llama"])
    def test_begins_with_no_effect_and_trains_nothing_else(self, base_folder: Path, kind: str) -> None:
        model = build_llama() if kind == "llama" else load_model(base_folder)[0].eval()
        with torch.no_grad():
            expected = model(TOKENS).logits
            adapted = add_adapters(model, 4)
            assert torch.equal(adapted(TOKENS).logits, expected)
        trained = [name for name, value in adapted.named_parameters() if value.requires_grad]
        layers = 14 if kind == "llama" else 12
        assert len(trained) == 2 * layers  # A and B of each linear layer, the head left out
        assert all("lora_" in name for name in trained)

    def test_finds_the_model_inside(self, base_folder: Path) -> None:
        model, _ = load_model(base_folder)
        assert get_plain(add_adapters(model, 2)) is model
        assert get_plain(model) is model


class TestMergeAdapters:
    @pytest.mark.parametrize("kind", ["gpt2", "llama"])
    def test_says_what_the_adapted_model_said(self, base_folder: Path, kind: str) -> None:
        model = build_llama() if kind == "llama" else load_model(base_folder)[0].eval()
        adapted = add_adapters(model, 4)
        disturb(adapted)
        with torch.no_grad():
            plain = get_plain(adapted)
            expected = adapted(TOKENS).logits
            merged = merge_adapters(adapted)
            assert torch.allclose(merged(TOKENS).logits, expected, atol=1e-4)
        assert type(merged) is type(plain)
        assert not any("lora" in name for name in merged.state_dict())

    def test_leaves_a_plain_model_alone(self, base_folder: Path, tmp_path: Path) -> None:
        model, _ = load_model(base_folder)
        assert merge_adapters(model, tmp_path / "adapter") is model
        assert not (tmp_path / "adapter").exists()

    def test_keeps_the_adapter_in_an_ordinary_artifact(self, base_folder: Path, tmp_path: Path) -> None:
        model, tokenizer = load_model(base_folder)
        adapted = add_adapters(model, 4)
        train_kto(adapted, tokenizer, build_rated_rows(tokenizer), build_recipe(), tmp_path)
        merged = merge_adapters(adapted, tmp_path / ADAPTER_FOLDER)
        export_artifact(merged, tokenizer, tmp_path / "artifact", adapter=tmp_path / ADAPTER_FOLDER, base_model="tiny")
        artifact = load_artifact(tmp_path / "artifact")
        assert {"adapter/adapter_config.json", "adapter/adapter_model.safetensors"} <= artifact.manifest["files"].keys()
        assert str(base_folder) not in (artifact.folder / "adapter" / "adapter_config.json").read_text()
        whole = AutoModelForCausalLM.from_pretrained(artifact.folder).eval()
        onto_base = PeftModel.from_pretrained(load_model(base_folder)[0], str(artifact.folder / "adapter")).eval()
        untrained = load_model(base_folder)[0].eval()
        with torch.no_grad():
            expected = whole(TOKENS).logits
            assert torch.allclose(onto_base(TOKENS).logits, expected, atol=1e-4)
            assert not torch.allclose(untrained(TOKENS).logits, expected, atol=1e-4)
