"""The tiny model as a sealed base artifact, made once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.orders import TWO_STAGES, write_order
from tests.tiny import build_tiny_gpt2
from trainer.base import prepare_base
from trainer.run import run


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """So small a model gains nothing from a second thread, and loses much where the processor is busy."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def base_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the artifact."""
    folder = tmp_path_factory.mktemp("base") / "artifact"
    prepare_base(str(build_tiny_gpt2(tmp_path_factory.mktemp("tiny"))), folder)
    return folder


@pytest.fixture(scope="session")
def finished_run(base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a run with both stages that nothing interrupted."""
    folder = write_order(tmp_path_factory.mktemp("run"), base_folder, **TWO_STAGES)
    run(folder)
    return folder
