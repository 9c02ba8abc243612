"""What the trunk keeps: in memory for one run, or in files for every later run.

A row is the trunk's output for one text, T × D numbers in float32, exact; its key is the sha256 of the base model's
digest, the boundary, the type of the numbers and the token ids. One file for each row (`data/trunk_index.py`) and not
one large file: a row that is erased or leaves gives its bytes back at once, and nothing is ever rewritten. With 16,000
rows it costs what one file would (docs/adr/0005).
"""

from __future__ import annotations

import hashlib
import logging
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data.trunk_index import Held, TrunkIndex

TOKEN_BYTES = 4
MEMORY_BYTES = 2**30  # what a run without a cache on disk may remember

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrunkCacheOrder:
    """Where rows are kept across runs; with `limit_bytes` 0 they are kept for the run only."""

    folder: Path
    limit_bytes: int


def pack_tokens(token_ids: Sequence[int]) -> bytes:
    """Token ids as int32, so that equal texts are equal bytes."""
    return np.asarray(token_ids, dtype=np.int32).tobytes()


class RowStore(ABC):
    """Rows by their packed token ids; every trunk of one run asks the same store."""

    def __init__(self) -> None:
        self.hits = self.misses = 0  # rows that were asked for and were there, or had to be computed

    def find(self, tokens: bytes) -> Tensor | None:
        """The kept row, T × D; None when there is none."""
        row = self._find(tokens)
        self.hits += row is not None
        self.misses += row is None
        return row

    def summarise(self) -> dict[str, int]:
        """For the report: rows asked for, and what is kept now, of all runs and bases."""
        rows, n_bytes = self.measure()
        return {"hits": self.hits, "misses": self.misses, "rows": rows, "bytes": n_bytes}

    @abstractmethod
    def _find(self, tokens: bytes) -> Tensor | None: ...

    @abstractmethod
    def note(self, owners: Mapping[bytes, Iterable[str]]) -> None:
        """Tell which rows of the snapshot own each text; one without an owner does not outlive the run."""

    @abstractmethod
    def keep(self, rows: Mapping[bytes, Tensor]) -> None:
        """Keep these as far as there is room."""

    @abstractmethod
    def measure(self) -> tuple[int, int]:
        """How many rows are kept, and their bytes."""

    @abstractmethod
    def close(self) -> None:
        """Let go of files."""


class MemoryStore(RowStore):
    """Rows in memory, at most `limit_bytes` of them: those that come first stay."""

    def __init__(self, limit_bytes: int = MEMORY_BYTES) -> None:
        super().__init__()
        self._limit_bytes, self._bytes = limit_bytes, 0
        self._rows: dict[bytes, Tensor] = {}

    def note(self, owners: Mapping[bytes, Iterable[str]]) -> None:
        """Nothing outlives the run, so nobody asks for owners."""

    def _find(self, tokens: bytes) -> Tensor | None:
        return self._rows.get(tokens)

    def keep(self, rows: Mapping[bytes, Tensor]) -> None:
        """See `RowStore`."""
        for tokens, row in rows.items():
            if tokens not in self._rows and self._bytes + row.nbytes <= self._limit_bytes:
                self._rows[tokens] = row.detach().cpu().clone()
                self._bytes += row.nbytes

    def measure(self) -> tuple[int, int]:
        """See `RowStore`."""
        return len(self._rows), self._bytes

    def close(self) -> None:
        """Nothing to let go of."""


class DiskStore(RowStore):
    """Rows in memory-mapped files that outlive the run; a disk that refuses ends the keeping, never the run.

    Erasure finds a file through the rows that own it, so what belongs to no row (text that the model wrote itself while
    it trained) is remembered in memory only.
    """

    def __init__(self, order: TrunkCacheOrder, base_digest: str, boundary: int, dtype: torch.dtype) -> None:
        super().__init__()
        self._index = TrunkIndex(order.folder)
        self._limit_bytes = order.limit_bytes
        self._prefix = f"{base_digest}\n{boundary}\n{dtype}\n".encode()
        self._ownerless = MemoryStore()
        self._noted: set[bytes] = set()  # keys whose owners are in the index
        self._held: dict[bytes, Held] = {}
        self._verified: set[bytes] = set()  # the checksum is computed once in a run
        self._is_broken = False

    def note(self, owners: Mapping[bytes, Iterable[str]]) -> None:
        """See `RowStore`."""
        keyed = {self._build_key(tokens): set(row_ids) for tokens, row_ids in owners.items()}
        known = {key: row_ids for key, row_ids in keyed.items() if row_ids}
        if known and not self._is_broken:
            self._attempt(lambda: self._announce(known))

    def _find(self, tokens: bytes) -> Tensor | None:
        key = self._build_key(tokens)
        if key not in self._noted:
            return self._ownerless.find(tokens)
        held = self._held.get(key)
        if held is None:
            return None
        row = self._read(key, held, len(tokens) // TOKEN_BYTES)
        if row is None:
            del self._held[key]
            self._attempt(lambda: self._index.discard(key))
        return row

    def keep(self, rows: Mapping[bytes, Tensor]) -> None:
        """See `RowStore`."""
        contents = {}
        for tokens, row in rows.items():
            key = self._build_key(tokens)
            if key not in self._noted:
                self._ownerless.keep({tokens: row})
            elif key not in self._held:
                contents[key] = row.detach().to("cpu", torch.float32).contiguous().numpy().tobytes()
        if contents and not self._is_broken:
            self._attempt(lambda: self._admit(contents))

    def measure(self) -> tuple[int, int]:
        """See `RowStore`; over all runs and bases."""
        return (0, 0) if self._is_broken else self._index.measure()

    def close(self) -> None:
        """See `RowStore`."""
        self._index.close()

    def _build_key(self, tokens: bytes) -> bytes:
        return hashlib.sha256(self._prefix + tokens).digest()

    def _announce(self, owners: Mapping[bytes, set[str]]) -> None:
        self._held |= self._index.announce(owners)
        self._noted.update(owners)

    def _admit(self, contents: Mapping[bytes, bytes]) -> None:
        admitted = self._index.admit(contents, self._limit_bytes)
        self._held |= admitted
        self._verified.update(admitted)

    def _read(self, key: bytes, held: Held, n_tokens: int) -> Tensor | None:
        """The row out of its file; None when the file is gone, torn or foreign.

        The first time in a run it is read as a whole, for its checksum; from then on it is mapped.
        """
        path = self._index.locate(key)
        content: NDArray[np.float32]
        try:
            if key in self._verified:
                content = np.memmap(path, dtype=np.float32, mode="c")  # a change would stay in memory
            else:
                content = np.fromfile(path, dtype=np.float32)
        except (OSError, ValueError):  # ValueError: there is nothing to map
            return None
        if content.nbytes != held.n_bytes or content.size % n_tokens:
            return None
        if key not in self._verified and not held.matches(content.view(np.uint8).data):
            return None
        self._verified.add(key)
        return torch.from_numpy(content.reshape(n_tokens, -1))

    def _attempt(self, action: Callable[[], None]) -> None:
        try:
            action()
        except (sqlite3.Error, OSError) as error:
            self._is_broken = True
            _log.warning("The trunk cache is left out from here on, because its disk refuses: %s", error)


def open_store(order: TrunkCacheOrder | None, base_digest: str, boundary: int, dtype: torch.dtype) -> RowStore:
    """Where the trunk of this base keeps its rows: on disk where the order allows it, else in memory."""
    if order is None or order.limit_bytes <= 0:
        return MemoryStore()
    try:
        return DiskStore(order, base_digest, boundary, dtype)
    except (sqlite3.Error, OSError) as error:
        _log.warning("The trunk cache cannot be used; this run goes on without it: %s", error)
        return MemoryStore()
