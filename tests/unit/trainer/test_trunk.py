"""The trunk is exact, remembers, leaves the reference alone and can be taken out again."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedModel

from trainer.trunk import freeze_below, install_trunk, remove_trunk

TOKENS = torch.tensor([[5, 6, 7, 8], [9, 10, 11, 0]])
MASK = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])


def build_llama() -> PreTrainedModel:
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2}
    return LlamaForCausalLM(LlamaConfig(vocab_size=50, num_hidden_layers=4, **sizes)).eval()


@pytest.fixture(params=["gpt2", "llama"])
def model(request: pytest.FixtureRequest, base_folder: Path) -> PreTrainedModel:
    if request.param == "llama":
        return build_llama()
    loaded: PreTrainedModel = AutoModelForCausalLM.from_pretrained(base_folder).eval()
    return loaded


def compute_logits(model: PreTrainedModel) -> torch.Tensor:
    logits: torch.Tensor = model(input_ids=TOKENS, attention_mask=MASK, use_cache=False).logits[MASK.bool()]
    return logits


class TestInstallTrunk:
    def test_changes_no_result_whether_computed_or_remembered(self, model: PreTrainedModel) -> None:
        expected = compute_logits(model)
        trunk = install_trunk(model, freeze_below(model, "last:1"))
        assert trunk is not None
        first, second = compute_logits(model), compute_logits(model)
        assert (trunk.misses, trunk.hits) == (1, 1)
        assert torch.allclose(first, expected, atol=1e-5)
        assert torch.allclose(second, expected, atol=1e-5)

    def test_remembers_a_text_whatever_its_padding(self, model: PreTrainedModel) -> None:
        trunk = install_trunk(model, freeze_below(model, "last:1"))
        assert trunk is not None
        compute_logits(model)
        alone = model(input_ids=TOKENS[1:, :3], use_cache=False).logits
        assert trunk.hits == 1
        padded = model(input_ids=TOKENS[1:], attention_mask=MASK[1:], use_cache=False).logits[:, :3]
        assert torch.allclose(alone, padded, atol=1e-5)

    def test_has_nothing_to_do_for_full_training(self, model: PreTrainedModel) -> None:
        assert install_trunk(model, freeze_below(model, "full")) is None

    def test_gives_gradients_to_the_top_only(self, model: PreTrainedModel) -> None:
        install_trunk(model, freeze_below(model, "last:1"))
        model.train()
        compute_logits(model).sum().backward()
        with_gradient = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
        assert with_gradient
        assert all(".1." in name or "norm" in name or "ln_f" in name for name in with_gradient)


class TestRemoveTrunk:
    def test_gives_back_the_same_weights_under_the_same_names(self, model: PreTrainedModel) -> None:
        expected = {name: value.clone() for name, value in model.state_dict().items()}
        trunk = install_trunk(model, freeze_below(model, "last:2"))
        compute_logits(model)
        remove_trunk(model, trunk)
        found = model.state_dict()
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], expected[name]) for name in expected)


class TestFreezeBelow:
    def test_counts_the_frozen_blocks(self) -> None:
        assert [freeze_below(build_llama(), f"last:{n}") for n in (1, 3, 4, 9)] == [3, 1, 0, 0]
