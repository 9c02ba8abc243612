"""Weights out of a safetensors file, mapped into memory: read when they are used, with nothing but numpy."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_TYPES = {"F32": np.float32, "F16": np.float16}
_HEADER_BYTES = 8  # they tell the length of what follows


def read_safetensors(file: Path) -> dict[str, NDArray[Any]]:
    """Each tensor by its name, as a view; what is written to one does not reach the file.

    Raises:
        ValueError: the file is broken, or holds another type than float32 and float16.
        OSError: there is no such file.
    """
    data = np.memmap(file, np.uint8, "c")  # copy on write: OpenVINO shares only what it might write to
    start = _HEADER_BYTES + int.from_bytes(data[:_HEADER_BYTES].tobytes(), "little")
    header = json.loads(data[_HEADER_BYTES:start].tobytes())
    return {name: _view(data[start:], name, entry) for name, entry in header.items() if name != "__metadata__"}


def _view(data: NDArray[np.uint8], name: str, entry: dict[str, Any]) -> NDArray[Any]:
    try:
        kind, shape, (first, end) = _TYPES[entry["dtype"]], list(entry["shape"]), entry["data_offsets"]
    except (KeyError, TypeError) as error:
        raise ValueError(f"The weight {name} is of a kind that is not read here ({error}).") from error
    if not 0 <= first <= end <= len(data) or end - first != math.prod(shape) * np.dtype(kind).itemsize:
        raise ValueError(f"The weight {name} does not lie within its file.")
    return np.frombuffer(data, np.uint8, end - first, first).view(kind).reshape(shape)
