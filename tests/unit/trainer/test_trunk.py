"""The trunk is exact, remembers, leaves the reference alone and can be taken out again."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedModel

from trainer.trunk import find_trunk, freeze_below, install_trunk, name_plainly, remove_trunk
from trainer.trunk_cache import MemoryStore, pack_tokens

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
        assert (trunk.store.misses, trunk.store.hits) == (2, 2)
        assert torch.allclose(first, expected, atol=1e-5)
        assert torch.allclose(second, expected, atol=1e-5)

    def test_remembers_a_text_whatever_its_padding(self, model: PreTrainedModel) -> None:
        trunk = install_trunk(model, freeze_below(model, "last:1"))
        assert trunk is not None
        compute_logits(model)
        alone = model(input_ids=TOKENS[1:, :3], use_cache=False).logits
        assert trunk.store.hits == 1
        padded = model(input_ids=TOKENS[1:], attention_mask=MASK[1:], use_cache=False).logits[:, :3]
        assert torch.allclose(alone, padded, atol=1e-5)

    def test_computes_only_the_rows_that_it_has_not_seen(self, model: PreTrainedModel) -> None:
        expected = compute_logits(model)
        trunk = install_trunk(model, freeze_below(model, "last:1"))
        assert trunk is not None
        model(input_ids=TOKENS[:1], use_cache=False)
        computed_rows: list[int] = []
        trunk.blocks[0].register_forward_hook(lambda _block, given, _output: computed_rows.append(given[0].shape[0]))
        assert torch.allclose(compute_logits(model), expected, atol=1e-5)
        assert computed_rows == [1]
        assert (trunk.store.misses, trunk.store.hits) == (2, 1)

    def test_generates_as_ever(self, model: PreTrainedModel) -> None:
        settings = {"max_new_tokens": 5, "do_sample": False, "pad_token_id": 0}
        expected = model.generate(TOKENS[:1], **settings)
        trunk = install_trunk(model, freeze_below(model, "last:1"))
        assert trunk is not None
        compute_logits(model)
        assert torch.equal(model.generate(TOKENS[:1], **settings), expected)
        assert trunk.store.hits == 0

    @pytest.mark.parametrize("mask", [[[0, 1, 1, 1]], [[1, 0, 1, 1]]])
    def test_keeps_nothing_of_rows_that_are_not_padded_on_the_right(
        self, model: PreTrainedModel, mask: list[list[int]]
    ) -> None:
        named = {"input_ids": TOKENS[:1], "attention_mask": torch.tensor(mask), "use_cache": False}
        expected = model(**named).logits
        trunk = install_trunk(model, freeze_below(model, "last:1"))
        assert trunk is not None
        found = [model(**named).logits for _ in range(2)]
        assert all(torch.equal(logits, expected) for logits in found)
        assert trunk.store.summarise() == {"hits": 0, "misses": 0, "rows": 0, "bytes": 0}

    def test_keeps_nothing_of_embeddings_without_tokens_or_positions_of_one_s_own(self, model: PreTrainedModel) -> None:
        trunk = install_trunk(model, freeze_below(model, "last:1"))
        assert trunk is not None
        model(inputs_embeds=model.get_input_embeddings()(TOKENS), use_cache=False)
        model(input_ids=TOKENS[:1], position_ids=torch.tensor([[0, 1, 0, 1]]), use_cache=False)
        assert trunk.store.summarise() == {"hits": 0, "misses": 0, "rows": 0, "bytes": 0}

    def test_keeps_float32_whatever_autocast_says(self, model: PreTrainedModel) -> None:
        trunk = install_trunk(model, freeze_below(model, "last:1"))
        assert trunk is not None
        with torch.autocast("cpu", dtype=torch.bfloat16):
            compute_logits(model)
        under_autocast = trunk.store.find(pack_tokens(TOKENS[0].tolist()))
        trunk.store = MemoryStore()
        compute_logits(model)
        plain = trunk.store.find(pack_tokens(TOKENS[0].tolist()))
        assert under_autocast is not None and plain is not None
        assert torch.equal(under_autocast, plain)

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


class TestFindTrunk:
    def test_finds_it_while_it_is_installed(self, model: PreTrainedModel) -> None:
        assert find_trunk(model) is None
        trunk = install_trunk(model, freeze_below(model, "last:1"))
        assert find_trunk(torch.nn.Sequential(model)) is trunk
        remove_trunk(model, trunk)
        assert find_trunk(model) is None


class TestNamePlainly:
    @pytest.mark.parametrize("with_trunk", [True, False])
    def test_names_the_state_as_without_a_trunk(self, model: PreTrainedModel, with_trunk: bool) -> None:
        expected = {name: value.clone() for name, value in model.state_dict().items()}
        if with_trunk:
            install_trunk(model, freeze_below(model, "last:1"))
        found = name_plainly(model)
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], expected[name]) for name in expected)


class TestFreezeBelow:
    def test_counts_the_frozen_blocks(self) -> None:
        assert [freeze_below(build_llama(), f"last:{n}") for n in (1, 3, 4, 9)] == [3, 1, 0, 0]
