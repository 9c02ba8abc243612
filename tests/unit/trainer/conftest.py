"""The tiny model as a sealed base artifact, made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tiny import build_tiny_gpt2
from trainer.base import prepare_base


@pytest.fixture(scope="session")
def base_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the artifact."""
    folder = tmp_path_factory.mktemp("base") / "artifact"
    prepare_base(str(build_tiny_gpt2(tmp_path_factory.mktemp("tiny"))), folder)
    return folder
