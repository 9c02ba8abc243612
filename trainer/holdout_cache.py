"""What an artifact has answered, kept for the next run that asks the same of it.

    holdout-cache/
    └── 3f…9a.answers    a line with the sha256 of the rest, a line of JSON with the key, a NumPy archive

Production and the anchor stay the same over many runs, and so do their answers, as long as artifact, questions, recipe
and precision do: they are all in the key. A file that is torn, or is not what its name says, counts as absent. The
files hold replies to held-out prompts, so an erasure removes the whole folder (`worker/erasure.py`).
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

LIMIT_FILES = 64  # the least recently used leave first; three to five belong to one artifact
_FORMAT = 1


@dataclass(frozen=True)
class Kept:
    """Texts, or arrays of numbers of different lengths, in the order of what was asked; one of them may be empty."""

    texts: Sequence[str] = ()
    arrays: Sequence[NDArray[np.floating]] = ()


class HoldoutCache:
    """Files in one folder; without a folder nothing is kept."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def find(self, key: Mapping[str, str | int]) -> Kept | None:
        """What was kept under this key; None when there is nothing whole."""
        if self._folder is None:
            return None
        path = self._locate(key)
        try:
            digest, _, body = path.read_bytes().partition(b"\n")
            head, _, archive = body.partition(b"\n")
            if hashlib.sha256(body).hexdigest().encode() != digest or head != _pack_key(key):
                return None
            kept = _unpack(archive)
        except (OSError, ValueError, KeyError, zipfile.BadZipFile):
            return None
        with suppress(OSError):
            os.utime(path)
        return kept

    def keep(self, key: Mapping[str, str | int], kept: Kept) -> None:
        """Write it beside and rename it, so that a process that is killed leaves nothing half.

        A disk that refuses costs only the time of answering again.
        """
        if self._folder is None:
            return
        body = _pack_key(key) + b"\n" + _pack(kept)
        with suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self._folder, suffix=".part", delete=False) as file:
                file.write(hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
            Path(file.name).rename(self._locate(key))
            self._remove_oldest(self._folder)

    def _locate(self, key: Mapping[str, str | int]) -> Path:
        assert self._folder is not None
        return self._folder / f"{hashlib.sha256(_pack_key(key)).hexdigest()}.answers"

    @staticmethod
    def _remove_oldest(folder: Path) -> None:
        files = sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime_ns, reverse=True)
        for path in files[LIMIT_FILES:]:
            path.unlink(missing_ok=True)


def _pack_key(key: Mapping[str, str | int]) -> bytes:
    return json.dumps({**key, "format": _FORMAT}, sort_keys=True).encode()


def _pack(kept: Kept) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        texts=np.frombuffer(json.dumps(list(kept.texts)).encode(), dtype=np.uint8),
        numbers=np.concatenate([np.empty(0, dtype=np.float32), *kept.arrays]) if kept.arrays else np.empty(0),
        lengths=np.array([len(array) for array in kept.arrays], dtype=np.int64),
    )
    return buffer.getvalue()


def _unpack(archive: bytes) -> Kept:
    with np.load(io.BytesIO(archive), allow_pickle=False) as found:
        borders = np.cumsum(found["lengths"])
        arrays = np.split(found["numbers"], borders[:-1]) if len(borders) else []
        return Kept(texts=json.loads(found["texts"].tobytes()), arrays=arrays)
