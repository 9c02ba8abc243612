"""A model's graph for OpenVINO, traced without optimum; its weights stay where they are, in `model.safetensors`.

The graph is one step of decoding with a cache that the runtime keeps. Each weight is an input of it with the name that
the weight has in the file, and becomes a constant when the graph is loaded (`serving.openvino_graph`).
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

MODEL_TYPES = ("gpt2", "llama")
_INPUTS = ("input_ids", "attention_mask", "position_ids")
_TRACED_ROWS, _TRACED_PAST, _TRACED_NEW = 2, 3, 2  # of the example; all are free in the graph
_SMALLEST_WEIGHT = 1024  # numbers; below, constants of the graph may look alike


def can_export(model: PreTrainedModel) -> bool:
    """Whether OpenVINO is installed, and the model of a type whose graph is known to be right."""
    return model.config.model_type in MODEL_TYPES and importlib.util.find_spec("openvino") is not None


def export_openvino(model: PreTrainedModel, artifact: Path, folder: Path) -> None:
    """Write the graph of `model` into `folder`; see `can_export`.

    `artifact` holds the weights as saved.
    """
    import openvino
    from openvino._offline_transformations import apply_make_stateful_transformation

    states = [f"{kind}.{layer}" for layer in range(model.config.num_hidden_layers) for kind in ("key", "value")]
    graph = _convert(model, len(states))
    _name(graph, states, _get_state_shape(model))
    _add_beam_index(graph, len(states))
    apply_make_stateful_transformation(graph, {f"past.{state}": f"present.{state}" for state in states})
    _start_empty(graph)
    _take_weights_out(graph, load_file(artifact / "model.safetensors"))
    graph.validate_nodes_and_infer_types()
    _number(graph)
    folder.mkdir(parents=True)
    openvino.save_model(graph, folder / "openvino_model.xml", compress_to_fp16=False)


class _Step(nn.Module):
    """The model with its cache as plain inputs and outputs, as tracing wants it."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, position_ids: Tensor, *past: Tensor
    ) -> tuple[Tensor, ...]:
        """Logits [rows, new, vocabulary], and keys and values [rows, heads, past + new, size] of each layer."""
        cache, layers = DynamicCache(), []
        for keys, values in zip(past[::2], past[1::2], strict=True):
            layer = DynamicLayer()
            layer.lazy_initialization(keys, values)
            layer.keys, layer.values = keys, values
            layers.append(layer)
        cache.layers.extend(layers)
        output = self.model(
            input_ids=input_ids,
            attention_mask=_build_mask(attention_mask, input_ids.shape[1]),
            position_ids=position_ids,
            past_key_values=cache,
            use_cache=True,
        )
        states: list[Any] = [state for layer in layers for state in (layer.keys, layer.values)]
        return output.logits, *states


def _build_mask(attention_mask: Tensor, new: int) -> Tensor:
    """[rows, 1, new, past + new]: 0 where a token may look, the smallest number where not."""
    places = torch.arange(attention_mask.shape[1])
    may_look = places[None, :] <= places[attention_mask.shape[1] - new :, None]
    may_look = may_look[None, None] & attention_mask[:, None, None, :].bool()
    return torch.zeros(1).masked_fill(~may_look, torch.finfo(torch.float32).min)


def _get_state_shape(model: PreTrainedModel) -> tuple[int, int]:
    """Heads and size of each in the cache."""
    config = model.config
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    return heads, getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads


def _convert(model: PreTrainedModel, state_count: int) -> Any:
    """The traced model; by the front end itself, since `openvino.convert_model` reports its use to its makers."""
    from openvino._offline_transformations import apply_moc_transformations
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    heads, size = _get_state_shape(model)
    example = (
        torch.ones(_TRACED_ROWS, _TRACED_NEW, dtype=torch.long),
        torch.ones(_TRACED_ROWS, _TRACED_PAST + _TRACED_NEW, dtype=torch.long),
        torch.arange(_TRACED_PAST, _TRACED_PAST + _TRACED_NEW).repeat(_TRACED_ROWS, 1),
        *(torch.zeros(_TRACED_ROWS, heads, _TRACED_PAST, size) for _ in range(state_count)),
    )
    with _traceable(model), torch.no_grad():
        trace: Any = torch.jit.trace  # untyped
        traced = trace(_Step(model), example, check_trace=False)
        front_end = FrontEndManager().load_by_framework("pytorch")
        decoder = TorchScriptPythonDecoder(traced, example_input=example)  # named, or it goes before it is read
        graph = front_end.convert(front_end.load(decoder))
    apply_moc_transformations(graph, cf=False, smart_reshape=True)
    return graph


@contextmanager
def _traceable(model: PreTrainedModel) -> Iterator[None]:
    """Without dropout, with the attention that the runtime knows, and silent about what tracing cannot follow."""
    was_training, attention = model.training, model.config._attn_implementation
    model.eval()
    model.set_attn_implementation("sdpa")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    model.set_attn_implementation(attention)
    model.train(was_training)


def _name(graph: Any, states: list[str], state_shape: tuple[int, int]) -> None:
    """Names and free sizes for all inputs, names for all outputs."""
    import openvino

    heads, size = state_shape
    for place, (port, name) in enumerate(
        zip(graph.inputs, [*_INPUTS, *(f"past.{state}" for state in states)], strict=True)
    ):
        port.get_tensor().set_names({name})
        parameter = port.get_node()
        parameter.set_friendly_name(name)
        is_state = place >= len(_INPUTS)
        parameter.set_partial_shape(openvino.PartialShape([-1, heads, -1, size] if is_state else [-1, -1]))
        parameter.set_element_type(openvino.Type.f32 if is_state else openvino.Type.i64)
    for port, name in zip(graph.outputs, ["logits", *(f"present.{state}" for state in states)], strict=True):
        port.get_tensor().set_names({name})
    graph.validate_nodes_and_infer_types()


def _add_beam_index(graph: Any, state_count: int) -> None:
    """Each state is gathered by row first: the shape in which OpenVINO recognises a cache."""
    import openvino
    from openvino import opset13

    beam = opset13.parameter(openvino.PartialShape([-1]), openvino.Type.i32, "beam_idx")
    beam.output(0).get_tensor().add_names({"beam_idx"})
    for port in graph.inputs[len(_INPUTS) : len(_INPUTS) + state_count]:
        readers = port.get_target_inputs()
        gathered = opset13.gather(port, beam, opset13.constant(0))
        for reader in readers:
            reader.replace_source_output(gathered.output(0))
    graph.add_parameters([beam])
    graph.validate_nodes_and_infer_types()


def _start_empty(graph: Any) -> None:
    """A state begins without tokens, for as many rows as there are."""
    from openvino import opset13

    rows = opset13.gather(opset13.shape_of(graph.input("input_ids"), "i64"), opset13.constant([0]), opset13.constant(0))
    for node in graph.get_ops():
        if node.get_type_name() == "ReadValue":
            _, heads, _, size = node.get_output_partial_shape(0)
            rest = np.array([heads.get_length(), 0, size.get_length()], np.int64)
            shape = opset13.concat([rows, opset13.constant(rest)], axis=0)
            node.set_arguments([opset13.broadcast(opset13.constant(np.float32(0)), shape)])


def _take_weights_out(graph: Any, weights: dict[str, np.ndarray]) -> None:
    """An input in the place of every constant that the file of weights holds, found by its numbers."""
    import openvino
    from openvino import opset13

    large = {name: weight for name, weight in weights.items() if weight.size >= _SMALLEST_WEIGHT}
    names = {_fingerprint(weight): name for name, weight in large.items()}
    turned = {_fingerprint(weight.T): name for name, weight in large.items() if weight.ndim == 2}
    added: dict[str, Any] = {}
    constants = [node for node in graph.get_ops() if node.get_type_name() == "Constant"]
    for node in constants:
        mark = _fingerprint(node.data)
        name = names.get(mark) or turned.get(mark)
        if name is None or node.get_element_type() != openvino.Type.f32:
            continue
        if name not in added:
            added[name] = opset13.parameter(openvino.PartialShape(weights[name].shape), openvino.Type.f32, name)
            added[name].output(0).get_tensor().set_names({name})
        source = added[name] if mark in names else opset13.transpose(added[name], opset13.constant([1, 0]))
        for reader in node.output(0).get_target_inputs():
            reader.replace_source_output(source.output(0))
    graph.add_parameters(list(added.values()))


def _number(graph: Any) -> None:
    """Names by place, since those that OpenVINO makes up count on; the same weights must give the same files."""
    from openvino._offline_transformations import apply_fused_names_cleanup

    apply_fused_names_cleanup(graph)
    graph.set_friendly_name("model")
    for place, node in enumerate(graph.get_ordered_ops()):
        is_input = node.get_type_name() == "Parameter"  # OpenVINO knows some of them by name
        node.set_friendly_name(node.output(0).get_any_name() if is_input else f"node_{place}")


def _fingerprint(weight: np.ndarray) -> tuple[Any, ...]:
    return weight.shape, hash(np.ascontiguousarray(weight).tobytes())
