"""Which engine an artifact is answered with, and how it is opened."""

from __future__ import annotations

import importlib.util
from typing import Literal

from serving.artifact import Artifact
from serving.engine import CTranslate2Engine, Engine
from serving.prompt import PromptRenderer

EngineName = Literal["ctranslate2", "openvino"]
EngineChoice = Literal["auto", "ctranslate2", "openvino"]

_MAX_PARALLEL_BATCHES = 2
EXACT, ROUNDED = "float32", "int8"  # compute types that both engines know
BFLOAT16 = "bfloat16"  # with OpenVINO where the processor has instructions for it; CTranslate2 asks its own library
AUTO = "auto"  # as a compute type: what each version's manifest says
_OPENVINO_COMPUTE_TYPES = (EXACT, ROUNDED, BFLOAT16)


def choose_engine(artifact: Artifact, choice: EngineChoice = "auto", compute_type: str = "float32") -> EngineName:
    """The engine that answers; `auto` takes the faster one of those that can (`docs/adr/0006-two-engines.md`).

    Raises:
        ValueError: OpenVINO is asked for and cannot answer; the message says what is missing.
    """
    if choice == "ctranslate2":
        return choice
    obstacle = _find_obstacle(artifact, compute_type)
    if choice == "openvino" and obstacle:
        raise ValueError(f"OpenVINO cannot answer: {obstacle}")
    return "ctranslate2" if obstacle else "openvino"


def resolve_compute_type(artifact: Artifact, choice: str, engine: EngineChoice = "auto") -> str:
    """The compute type that an artifact is answered in; `auto` takes what its manifest says.

    That was measured with OpenVINO. CTranslate2 rounds more in int8, which nobody judged, so there it is float32, as it
    is on a processor without bfloat16 for a version that was judged in it.
    """
    if choice != AUTO:
        return choice
    chosen = artifact.compute_type
    return EXACT if engine == "ctranslate2" or _find_obstacle(artifact, chosen) else chosen


def can_round_to_bfloat16() -> bool:
    """Whether OpenVINO is installed, and this processor has instructions for bfloat16 and two cores for us."""
    if importlib.util.find_spec("openvino") is None:
        return False
    from serving.openvino_graph import has_bfloat16  # an extra, and half a second to import

    return has_bfloat16()


def _find_obstacle(artifact: Artifact, compute_type: str) -> str:
    if importlib.util.find_spec("openvino") is None:
        return "it is not installed; run `pip install .[openvino]` in the checkout."
    if not artifact.openvino_graph.exists():
        return f"{artifact.folder} has no graph for it; OpenVINO must be installed where versions are trained, too."
    if compute_type not in _OPENVINO_COMPUTE_TYPES:
        return f"it computes in {', '.join(_OPENVINO_COMPUTE_TYPES)} here, not in {compute_type}."
    if compute_type == BFLOAT16 and not can_round_to_bfloat16():
        return "it wants instructions for bfloat16 and two cores; set the compute type to float32, int8 or auto."
    return ""


def open_engine(
    artifact: Artifact,
    renderer: PromptRenderer,
    name: EngineName,
    compute_type: str = "float32",
    *,
    threads: int = 2,
    batches: int = _MAX_PARALLEL_BATCHES,
    seed: int | None = None,
    prefix_cache_bytes: int = 0,
) -> Engine:
    """Load the model on `threads` processor threads.

    Args:
        batches: what CTranslate2 generates side by side, sharing the threads; OpenVINO has one batch for all.
        seed: of what OpenVINO samples; CTranslate2 takes its own from `seed_engine`.
        prefix_cache_bytes: what OpenVINO may keep of earlier prompts and replies; CTranslate2 keeps nothing.

    Raises:
        RuntimeError, ValueError, OSError: the engine cannot load the model.
    """
    if name == "openvino":
        from serving.openvino_engine import OpenVINOEngine  # an extra, and half a second to import

        end_id = renderer.end_id
        window = renderer.window_tokens
        return OpenVINOEngine(
            artifact.folder,
            end_id,
            window,
            renderer.list_ids,
            compute_type,
            threads=threads,
            seed=seed,
            prefix_cache_bytes=prefix_cache_bytes,
        )
    batches = min(threads, batches)
    return CTranslate2Engine(
        artifact.engine_folder, compute_type, intra_threads=threads // batches, inter_threads=batches
    )
