"""Shortages: what went wrong because memory or disk ran out, which another attempt may not meet again."""

from __future__ import annotations

import errno
from collections.abc import Iterator

_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
# Libraries in C++ and Rust tell a full disk in words: safetensors, and torch's writer of files.
_DISK_WORDS = ("No space left on device", "File too large", "Disk quota exceeded", "PytorchStreamWriter failed writing")
_MEMORY_WORDS = ("can't allocate memory", "CUDA out of memory", "std::bad_alloc")

FULL_DISK = "The disk is full; free some space where RATCHET_VAR lies, then start a new run."
NO_MEMORY = "Memory ran out; lower batch_size or max_tokens, train fewer blocks, or end what else runs here."


def describe_shortage(error: BaseException) -> str | None:
    """One sentence with the remedy, or None when neither disk nor memory was short."""
    for each in _list_causes(error):
        if isinstance(each, MemoryError) or _says(each, _MEMORY_WORDS):
            return NO_MEMORY
        if (isinstance(each, OSError) and each.errno in _DISK) or _says(each, _DISK_WORDS):
            return FULL_DISK
    return None


def _list_causes(error: BaseException) -> Iterator[BaseException]:
    """The error, and those that it came of, nearest first."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__  # type: ignore[assignment]


def _says(error: BaseException, words: tuple[str, ...]) -> bool:
    return any(word in str(error) for word in words)
