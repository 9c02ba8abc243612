"""Weights in int8: those of every matrix product, rounded by channel, and kept so by the runtime."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.pytorch_utils import Conv1D

from serving.artifact import Artifact
from serving.engine import Engine
from serving.engines import open_engine
from serving.prompt import PromptRenderer
from tests.engine_contract import GREEDY

if importlib.util.find_spec("openvino") is None:
    pytest.skip("openvino is not installed", allow_module_level=True)

import openvino

from serving.openvino_weights import compress, put_weights_in


@pytest.fixture(scope="module")
def renderer(tiny: Artifact) -> PromptRenderer:
    return PromptRenderer(tiny)


@pytest.fixture(scope="module")
def texts(renderer: PromptRenderer) -> tuple[list[list[str]], list[list[str]]]:
    """Prompts and replies to them."""
    chats = [[{"role": "user", "content": text}] for text in ("Hi", "I can't sleep and I worry.", "more " * 30)]
    prompts = [renderer.render(chat) for chat in chats]  # type: ignore[arg-type]
    return prompts, [renderer.tokenize_reply(chat, "Take a slow walk 🌿.") for chat in chats]  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def engine(tiny: Artifact, renderer: PromptRenderer) -> Iterator[Engine]:
    engine = open_engine(tiny, renderer, "openvino", "int8", seed=1)
    yield engine
    engine.close()


class TestEngine:
    def test_scores_are_those_of_transformers_with_rounded_weights(
        self, tiny: Artifact, engine: Engine, renderer: PromptRenderer, texts: tuple[list[list[str]], list[list[str]]]
    ) -> None:
        model = AutoModelForCausalLM.from_pretrained(tiny.folder).eval()
        exact = _score(model, renderer, *texts)
        round_weights(model)
        rounded = _score(model, renderer, *texts)
        found = [np.array(scores) for scores in engine.score(*texts)]
        for scores, expected, otherwise in zip(found, rounded, exact, strict=True):
            assert scores == pytest.approx(expected, abs=1e-3, rel=1e-4)
            assert np.abs(expected - otherwise).max() > 2e-3  # or the test could not tell the two apart

    def test_a_row_alone_gets_the_tokens_it_gets_among_others(
        self, engine: Engine, texts: tuple[list[list[str]], list[list[str]]]
    ) -> None:
        together = engine.generate(texts[0], GREEDY)
        assert [engine.generate([prompt], GREEDY)[0] for prompt in texts[0]] == together


class TestPutWeightsIn:
    def test_the_runtime_keeps_every_product_in_int8(self, tiny: Artifact) -> None:
        model = openvino.Core().read_model(tiny.openvino_graph)
        kept = put_weights_in(model, tiny.folder / "model.safetensors", "int8")
        compiled = openvino.Core().compile_model(model, "CPU")
        facts = [node.get_rt_info() for node in compiled.get_runtime_model().get_ops()]
        precisions = [
            fact["runtimePrecision"].astype(str) for fact in facts if fact["layerType"].astype(str) == "FullyConnected"
        ]
        layers, products = (3, 4) if "c_attn" in tiny.openvino_graph.read_text() else (3, 7)
        assert precisions == ["i8"] * (layers * products + 1)
        assert all(weight.ndim == 1 or len(weight) == 256 for weight in kept)  # biases, norms and GPT-2's positions

    def test_refuses_a_file_that_holds_no_weights(self, tiny: Artifact, tmp_path: Path) -> None:
        file = tmp_path / "model.safetensors"
        file.write_bytes(b"{}")
        with pytest.raises(ValueError, match="cannot be read as weights"):
            put_weights_in(openvino.Core().read_model(tiny.openvino_graph), file, "float32")


class TestCompress:
    def test_is_off_by_half_a_scale_at_most(self) -> None:
        weight = (
            np.random.default_rng(1).normal(size=(20, 50)).astype(np.float32) * np.arange(20, dtype=np.float32)[:, None]
        )
        numbers, scales = compress(weight)
        assert (np.abs(numbers * scales - weight) <= scales / 2 + 1e-6).all()
        assert np.abs(numbers[1:]).max(1).tolist() == [127] * 19

    def test_a_channel_of_zeros_stays_zeros(self) -> None:
        numbers, scales = compress(np.zeros((2, 3), np.float32))
        assert not (numbers * scales).any()


def round_weights(model: PreTrainedModel) -> None:
    """To 255 steps between the largest and its negative, by output channel, in torch."""
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, torch.nn.Linear | Conv1D):
                inputs_axis = 0 if isinstance(module, Conv1D) else 1
                scale = module.weight.abs().amax(inputs_axis, keepdim=True) / 127
                module.weight.copy_((module.weight / scale).round() * scale)


@torch.no_grad()
def _score(
    model: PreTrainedModel, renderer: PromptRenderer, prompts: list[list[str]], replies: list[list[str]]
) -> list[np.ndarray]:
    scores = []
    for prompt, reply in zip(prompts, replies, strict=True):
        ids = torch.tensor([renderer.list_ids(prompt + reply)])
        logs = model(ids).logits.log_softmax(-1)[0, :-1]
        scores.append(logs.gather(1, ids[0, 1:, None])[-len(reply) :, 0].numpy())
    return scores
