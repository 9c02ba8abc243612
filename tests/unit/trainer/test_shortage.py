"""A shortage is known from the error, or from what that came of, in whichever library's words."""

from __future__ import annotations

import errno

import pytest
from safetensors import SafetensorError

from trainer.shortage import FULL_DISK, NO_MEMORY, describe_shortage


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), FULL_DISK),
        (OSError(errno.EFBIG, "File too large"), FULL_DISK),
        (SafetensorError("I/O error: No space left on device (os error 28)"), FULL_DISK),
        (RuntimeError("PytorchStreamWriter failed writing file data/0"), FULL_DISK),
        (MemoryError(), NO_MEMORY),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."), NO_MEMORY),
        (OSError(errno.ENOENT, "No such file or directory"), None),
        (RuntimeError("shapes do not match"), None),
    ],
)
def test_tells_what_was_short(error: Exception, sentence: str | None) -> None:
    assert describe_shortage(error) == sentence


def test_looks_at_what_the_error_came_of() -> None:
    error = RuntimeError("could not save")
    error.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    assert describe_shortage(error) == FULL_DISK
