"""An OpenVINO model as one step of decoding over a paged cache: packed rows of any length in, logits out."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openvino
from openvino import opset13
from openvino._offline_transformations import paged_attention_transformation

from serving.cache_blocks import BLOCK_TOKENS
from serving.continuous_batch import Slice
from serving.openvino_weights import put_weights_in
from serving.rows import Logits

GRAPH_FILE = Path("openvino", "openvino_model.xml")
_CACHE_BYTES = 2**30  # at most, unless one row needs more: 23,000 tokens of SmolLM2-135M, 14,000 of GPT-2
_WANTED = "wanted_positions"
# With one thread its attention in bfloat16 divides by zero, which ends the process (openvino issue 33300).
_THREADS_FOR_BFLOAT16 = 2


class StepGraph:
    """Weights, compiled for the processor, and a cache for keys and values.

    One step at a time; it runs without the interpreter's lock. `compute_type` is float32; int8, which rounds the
    weights of matrix products (`serving.openvino_weights`); or bfloat16, which rounds all that is multiplied, and the
    cache, and takes two threads at least.

    Attributes:
        block_count: blocks of the cache, enough for one row of `window_tokens`.
        block_bytes: size of each.

    Raises:
        RuntimeError, ValueError, OSError: the folder of the artifact holds no model that can be read.
    """

    def __init__(self, folder: Path, window_tokens: int, threads: int, compute_type: str = "float32") -> None:
        is_rounded = compute_type == "bfloat16"
        threads = max(threads, _THREADS_FOR_BFLOAT16) if is_rounded else threads
        precision = "bf16" if is_rounded else "f32"
        model = openvino.Core().read_model(folder / GRAPH_FILE)
        self._weights = put_weights_in(model, folder / "model.safetensors", compute_type)
        paged_attention_transformation(model)
        _add_wanted_positions(model)
        compiled = openvino.Core().compile_model(
            model,
            "CPU",
            {
                "PERFORMANCE_HINT": "LATENCY",
                "INFERENCE_NUM_THREADS": threads,
                "INFERENCE_PRECISION_HINT": precision,
                "KV_CACHE_PRECISION": precision,
                # Weights only: by itself the runtime rounds what they are multiplied with, too, where the processor has
                # instructions for it, and a version would be another one there than where the gate judged it.
                "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0",
            },
        )
        self._request = compiled.create_infer_request()
        caches = [port for port in compiled.inputs if port.get_any_name().startswith(("key_cache.", "value_cache."))]
        number = np.dtype(np.uint16 if is_rounded else np.float32)  # numpy has no bfloat16; its bits fit
        self.block_bytes = sum(number.itemsize * math.prod(_get_block_shape(port)) for port in caches)
        self.block_count = max(_CACHE_BYTES // self.block_bytes, -(-window_tokens // BLOCK_TOKENS))
        # Zeros, since places beyond what was written are read and weighted by 0; not resident until used.
        self._caches = [np.zeros((self.block_count, *_get_block_shape(port)), number) for port in caches]
        for port, cache in zip(caches, self._caches, strict=True):
            kind = openvino.Type.bf16 if is_rounded else openvino.Type.f32
            self._request.set_tensor(port, openvino.Tensor(cache, openvino.Shape(list(cache.shape)), kind))

    def run(self, slices: Sequence[Slice]) -> Logits:
        """Logits [wanted, vocabulary] of all wanted places, slice by slice in order; fills the cache.

        The array is a view that the next step overwrites.
        """
        logits = self._request.infer(_pack(slices), share_outputs=True)[0]
        return logits.reshape(-1, logits.shape[-1])


@functools.cache
def has_bfloat16() -> bool:
    """Whether this processor has instructions for it, and this process two of its cores.

    Without the instructions the runtime would compute in float32; with one core it would end the process.
    """
    can_compute = "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return can_compute and _count_threads(_THREADS_FOR_BFLOAT16) >= _THREADS_FOR_BFLOAT16


def _count_threads(wanted: int) -> int:
    """Threads that the runtime takes of those `wanted`: no more than it finds physical cores for this process."""
    number = opset13.parameter([1], np.float32)
    smallest = openvino.Model([opset13.add(number, number)], [number])
    compiled = openvino.Core().compile_model(
        smallest, "CPU", {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": wanted}
    )
    return int(compiled.get_property("INFERENCE_NUM_THREADS"))


def _pack(slices: Sequence[Slice]) -> dict[str, Any]:
    lengths = [len(part.token_ids) for part in slices]
    starts = np.cumsum([0, *lengths])
    totals = [part.past + length for part, length in zip(slices, lengths, strict=True)]
    blocks = [part.blocks[: -(-total // BLOCK_TOKENS)] for part, total in zip(slices, totals, strict=True)]
    positions = [np.arange(part.past, total) for part, total in zip(slices, totals, strict=True)]
    wanted = [start + place for part, start in zip(slices, starts, strict=False) for place in part.wanted]
    return {
        "input_ids": np.concatenate([part.token_ids for part in slices]).astype(np.int64),
        "position_ids": np.concatenate(positions).astype(np.int64),
        "past_lens": np.array([part.past for part in slices], np.int32),
        "subsequence_begins": starts.astype(np.int32),
        "block_indices": np.concatenate(blocks).astype(np.int32),
        "block_indices_begins": np.cumsum([0, *map(len, blocks)]).astype(np.int32),
        "max_context_len": np.array(max(totals), np.int32),
        _WANTED: np.array(wanted, np.int64),
    }


def _get_block_shape(port: Any) -> list[int]:
    return [dimension.get_length() for dimension in list(port.get_partial_shape())[1:]]


def _add_wanted_positions(model: openvino.Model) -> None:
    """Project only the places that are asked for onto the vocabulary: the largest matrix of a small model."""
    head = model.outputs[0].get_node().input_value(0).get_node()
    wanted = opset13.parameter(openvino.PartialShape([-1]), openvino.Type.i64, _WANTED)
    wanted.output(0).get_tensor().add_names({_WANTED})
    places = opset13.gather(head.input_value(0), wanted, opset13.constant(0))
    head.input(0).replace_source_output(places.output(0))
    model.add_parameters([wanted])
    model.validate_nodes_and_infer_types()
