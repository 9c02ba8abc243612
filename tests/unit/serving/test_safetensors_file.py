"""Weights are read as they were written, and a broken file is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from serving.safetensors_file import read_safetensors


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "model.safetensors"


def write_header(file: Path, **entry: Any) -> None:
    header = json.dumps({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **entry}}).encode()
    file.write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))


class TestReadSafetensors:
    def test_gives_every_tensor(self, file: Path) -> None:
        tensors = {"a": torch.randn(3, 5), "b.weight": torch.arange(4.0).half(), "empty": torch.zeros(0, 2)}
        save_file(tensors, file, metadata={"format": "pt"})
        read = read_safetensors(file)
        assert set(read) == set(tensors)
        assert all(np.array_equal(read[name], tensor.numpy()) for name, tensor in tensors.items())

    def test_what_is_written_does_not_reach_the_file(self, file: Path) -> None:
        write_header(file)
        read_safetensors(file)["a"][:] = 1
        assert read_safetensors(file)["a"].tolist() == [0, 0]

    @pytest.mark.parametrize(
        "entry",
        [
            {"dtype": "I64"},
            {"shape": [3]},
            {"data_offsets": [4, 12]},
            {"data_offsets": [-8, 0]},
            {"data_offsets": [8, 16]},
            {"shape": None},
        ],
    )
    def test_tells_what_is_wrong(self, file: Path, entry: dict[str, Any]) -> None:
        write_header(file, **entry)
        with pytest.raises(ValueError, match="weight a"):
            read_safetensors(file)
