"""Export: a trained model becomes the artifact that is served and evaluated."""

from __future__ import annotations

import gc
import importlib.util
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ctranslate2.converters import TransformersConverter
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from serving.artifact import move_artifact, seal_artifact
from trainer.openvino_export import can_export, export_openvino

_LIBRARIES = ("torch", "transformers", "trl", "ctranslate2", "tokenizers")


def list_library_versions() -> dict[str, str]:
    """Versions of the libraries that decide what comes out of a run."""
    names = (*_LIBRARIES, "openvino") if importlib.util.find_spec("openvino") else _LIBRARIES
    return {name: version(name) for name in names}


def export_artifact(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    *,
    adapter: Path | None = None,
    **facts: Any,
) -> str:
    """Write safetensors, tokenizer, CTranslate2 model and manifest, and return the digest.

    `adapter` is a folder whose files are kept as `adapter/` too; the model already has what it adds.

    Everything is written to a sibling folder, flushed to disk and renamed, so `folder` is either whole or absent.
    """
    staged = folder.with_name(folder.name + ".staged")
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir(parents=True)
    model.config._name_or_path = ""  # a path of this machine does not belong into the artifact
    model.save_pretrained(staged)
    tokenizer.save_pretrained(staged)
    with _without_older_objects():
        TransformersConverter(str(staged)).convert(str(staged / "ctranslate2"))
    if can_export(model):
        export_openvino(model, staged, staged / "openvino")
    if adapter is not None:
        shutil.copytree(adapter, staged / adapter.name)
    digest = seal_artifact(staged, libraries=list_library_versions(), **facts)
    move_artifact(staged, folder)
    return digest


@contextmanager
def _without_older_objects() -> Iterator[None]:
    """Garbage is looked for among what is made within: the converter asks for it after each block.

    Each time it would look through all that torch and transformers made, which took longer than the rest of an export.
    """
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
