"""Two tiny versions as real artifacts, and what is loaded from them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.artifact import Artifact, load_artifact
from serving.engine import CTranslate2Engine
from serving.handle import ModelHandle, load_handle
from serving.prompt import PromptRenderer
from tests.engines import GatedEngine
from tests.tiny import build_tiny_gpt2, build_tiny_llama, sharpen
from trainer.base import prepare_base

_BUILDERS = {"gpt2": build_tiny_gpt2, "llama": build_tiny_llama}


@pytest.fixture(scope="module", params=sorted(_BUILDERS))
def tiny(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """The artifact of a tiny model of each type that has a graph; GPT-2's weights are turned, both tie embeddings."""
    root = tmp_path_factory.mktemp(request.param)
    prepare_base(str(sharpen(_BUILDERS[request.param](root / "base"))), root / "artifact")
    return load_artifact(root / "artifact")


@pytest.fixture(scope="session")
def base_folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two models as transformers saves them, with weights so large that replies do not repeat one token."""
    root = tmp_path_factory.mktemp("bases")
    first, second = (sharpen(build_tiny_gpt2(root / f"seed-{seed}", seed=seed)) for seed in (0, 1))
    return first, second


@pytest.fixture(scope="session")
def artifact_folders(base_folders: tuple[Path, Path]) -> tuple[Path, Path]:
    """The artifacts of both models."""
    for folder in base_folders:
        prepare_base(str(folder), folder.with_name(f"{folder.name}-artifact"))
    first, second = (folder.with_name(f"{folder.name}-artifact") for folder in base_folders)
    return first, second


@pytest.fixture(scope="session")
def artifact(artifact_folders: tuple[Path, Path]) -> Artifact:
    """The first artifact."""
    return load_artifact(artifact_folders[0])


@pytest.fixture(scope="session")
def renderer(artifact: Artifact) -> PromptRenderer:
    """The renderer of the first artifact."""
    return PromptRenderer(artifact)


@pytest.fixture(scope="session")
def engine(artifact: Artifact) -> CTranslate2Engine:
    """The engine of the first artifact; nobody closes it."""
    return CTranslate2Engine(artifact.engine_folder)


@pytest.fixture
def handle(artifact_folders: tuple[Path, Path]) -> Iterator[ModelHandle]:
    """The first artifact as version 1."""
    handle = load_handle(artifact_folders[0], version=1)
    yield handle
    handle.retire()


@pytest.fixture
def gated_engine(engine: CTranslate2Engine) -> Iterator[GatedEngine]:
    """Stops before the first token of every batch."""
    gated = GatedEngine(engine)
    yield gated
    gated.gate.set()


@pytest.fixture
def gated_handle(gated_engine: GatedEngine, artifact: Artifact, renderer: PromptRenderer) -> ModelHandle:
    """A handle on the gated engine."""
    return ModelHandle(1, artifact.digest, artifact.folder, renderer, gated_engine)
