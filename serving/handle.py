"""One loaded version, whole and unchanging; its leases decide when its memory may go."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path

from serving.artifact import load_artifact
from serving.engine import Engine
from serving.engines import EngineChoice, choose_engine, open_engine, resolve_compute_type
from serving.prompt import PromptRenderer


@dataclass
class _Leases:
    lock: threading.Lock = field(default_factory=threading.Lock)
    count: int = 0
    is_retired: bool = False


@dataclass(frozen=True, eq=False)
class ModelHandle:
    """Weights, tokenizer and template of one version; a request takes a handle before its first token."""

    version: int
    digest: str
    folder: Path
    renderer: PromptRenderer
    engine: Engine
    joins_strangers: bool = False  # whether its engine lets requests of different times share steps by itself
    closed: threading.Event = field(default_factory=threading.Event, repr=False)  # set with the engine closed
    _leases: _Leases = field(default_factory=_Leases, repr=False)

    @property
    def leases(self) -> int:
        """How many users the handle has now."""
        return self._leases.count

    def acquire(self) -> None:
        """Take a lease, which keeps the engine open; each needs one `release`.

        Raises:
            RuntimeError: the engine is closed already, which whoever holds a lease never meets.
        """
        with self._leases.lock:
            if self.closed.is_set():
                raise RuntimeError(f"Version {self.version} is unloaded; take the lease through the slot.")
            self._leases.count += 1

    def release(self) -> None:
        """Give a lease back; the last one of a retired handle closes the engine."""
        with self._leases.lock:
            self._leases.count -= 1
            self._close_if_unused()

    def retire(self) -> None:
        """No new request will come: close the engine as soon as no lease is left. Idempotent."""
        with self._leases.lock:
            self._leases.is_retired = True
            self._close_if_unused()

    def _close_if_unused(self) -> None:
        if self._leases.is_retired and self._leases.count == 0 and not self.closed.is_set():
            self.engine.close()
            self.closed.set()


def load_handle(
    folder: Path,
    version: int,
    compute_type: str = "float32",
    threads: int = 2,
    engine: EngineChoice = "auto",
    prefix_cache_bytes: int = 0,
) -> ModelHandle:
    """Verify and load an artifact on `threads` processor threads; see `resolve_compute_type` and `open_engine`.

    Raises:
        ArtifactInvalid: the folder is not a whole artifact.
        RuntimeError, ValueError, OSError: the engine cannot load the model, or is not there.
    """
    artifact = load_artifact(folder)
    renderer = PromptRenderer(artifact)
    compute_type = resolve_compute_type(artifact, compute_type, engine)
    name = choose_engine(artifact, engine, compute_type)
    opened = open_engine(artifact, renderer, name, compute_type, threads=threads, prefix_cache_bytes=prefix_cache_bytes)
    return ModelHandle(version, artifact.digest, folder, renderer, opened, joins_strangers=name == "openvino")
