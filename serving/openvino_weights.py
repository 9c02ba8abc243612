"""The weights of a model become constants of its graph: as they are, or those of matrix products as int8.

In int8 a weight w of output channel c is round(w / s) * s with s = max |w of c| / 127: symmetric, each channel by
itself. The graph holds Constant(int8) -> Convert -> Multiply(s), which the runtime recognises and keeps so: it reads
int8 and computes in float32. Embeddings that are the output projection too are read from the same int8 numbers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import openvino
from numpy.typing import NDArray
from openvino import opset13
from safetensors import SafetensorError, safe_open

_INPUTS = ("input_ids", "attention_mask", "position_ids", "beam_idx")  # of the graph as exported
_LARGEST = 127


def put_weights_in(model: openvino.Model, file: Path, compute_type: str) -> list[NDArray[Any]]:
    """Constants in the place of the inputs that bear the name of a weight in `file`; `compute_type` as of `StepGraph`.

    Weights are read one by one, since a read holds the interpreter's lock, and an old version may be stepping beside;
    in int8 also because then only one at a time is there in float32.

    Returns:
        What some constants share their memory with; to be kept as long as the model.

    Raises:
        ValueError: the file cannot be read, a weight is missing, or an input is none that a graph of ours has.
    """
    try:
        return _put_weights_in(model, file, compute_type)
    except SafetensorError as error:  # derives from nothing but Exception
        raise ValueError(f"{file} cannot be read as weights ({error}).") from error


def _put_weights_in(model: openvino.Model, file: Path, compute_type: str) -> list[NDArray[Any]]:
    kept = []
    with safe_open(file, "numpy") as weights:
        names = set(weights.keys())
        for parameter in [port.get_node() for port in model.inputs if port.get_any_name() not in _INPUTS]:
            name = parameter.output(0).get_any_name()
            if name not in names:
                raise ValueError(f"The graph wants {name}, which is no weight of the model.")
            weight = weights.get_tensor(name)
            if compute_type == "int8" and _is_of_product(parameter):
                _put_compressed(parameter, weight)
            else:
                kept.append(weight)
                parameter.output(0).replace(openvino.op.Constant(weight, shared_memory=True).output(0))
            model.remove_parameter(parameter)
    model.validate_nodes_and_infer_types()
    return kept


def compress(weight: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """int8 numbers [out, in] and scales [out, 1] of a weight [out, in]; their product is at most half a scale off."""
    largest = np.maximum(weight.max(1, keepdims=True), -weight.min(1, keepdims=True))
    scales = np.where(largest > 0, largest / _LARGEST, 1).astype(np.float32)
    return np.rint(weight / scales).astype(np.int8), scales


def _is_of_product(parameter: openvino.Node) -> bool:
    readers = _list_readers(parameter)
    readers += [reader for node in readers if node.get_type_name() == "Transpose" for reader in _list_readers(node)]
    return any(reader.get_type_name() == "MatMul" for reader in readers)


def _list_readers(node: openvino.Node) -> list[openvino.Node]:
    return [reader.get_node() for reader in node.output(0).get_target_inputs()]


def _put_compressed(parameter: openvino.Node, weight: NDArray[np.float32]) -> None:
    """GPT-2's weights are [in, out] and turned in the graph; turned here, their channels are rows as well."""
    turned = [node for node in _list_readers(parameter) if node.get_type_name() == "Transpose"]
    for node in turned:
        node.output(0).replace(_build_decompression(weight.T).output(0))
    if len(turned) < len(_list_readers(parameter)):
        parameter.output(0).replace(_build_decompression(weight).output(0))


def _build_decompression(weight: NDArray[np.float32]) -> openvino.Node:
    numbers, scales = compress(weight)
    return opset13.multiply(opset13.convert(opset13.constant(numbers), "f32"), opset13.constant(scales))
