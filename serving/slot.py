"""The place of the version that answers now, and the swap to another without a dropped request."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from data.vocabulary import Message
from serving.engine import Sampling
from serving.errors import FAILURES, EngineUnavailable, ModelNotReady, SwapFailed, SwapPostponed
from serving.handle import ModelHandle, load_handle

LoadHandle = Callable[[Path, int, str, int], ModelHandle]  # see `load_handle`, the usual one

_WARM_UP: tuple[list[Message], ...] = tuple(
    [{"role": "user", "content": text}]
    for text in ("Hello, how are you?", "I cannot sleep.", "What can I do about my worries before an exam?")
)
_CANARY_REPLY = "Thank you for telling me."
_CANARY_TOKENS = 8


@dataclass(frozen=True)
class SwapReport:
    """What took over, and how long it took."""

    version: int
    digest: str
    load_s: float  # verifying every file and loading the weights
    check_s: float  # warming up and the canary


class ModelSlot:
    """Holds at most one current version; may be used from many threads."""

    def __init__(self, compute_type: str = "float32", threads: int = 2, load: LoadHandle = load_handle) -> None:
        self._load = load
        self._compute_type = compute_type
        self._threads = threads
        self._current: ModelHandle | None = None
        self._flip = threading.Lock()
        self._one_swap = threading.Lock()

    @property
    def current(self) -> ModelHandle | None:
        """The version that new requests get; None before the first swap."""
        return self._current

    @contextmanager
    def lease(self) -> Iterator[ModelHandle]:
        """Pin the current version for the body of the `with`.

        Raises:
            ModelNotReady: nothing is loaded.
        """
        with self._flip:  # so that it is not closed between reading and pinning
            handle = self._current
            if handle is None:
                raise ModelNotReady
            handle.acquire()
        try:
            yield handle
        finally:
            handle.release()

    def swap(self, folder: Path, version: int) -> SwapReport:
        """Load a version beside the old one, try it out, and let it take over.

        Requests that hold the old one end on it; it is closed after the last of them. Takes seconds, and for
        that time the memory of both. A second swap waits for the first.

        Raises:
            SwapFailed: the artifact is broken, or its model does not load or answer; nothing has changed.
            SwapPostponed: the same, but only for now: the remote engine does not have the version yet.
        """
        with self._one_swap, ExitStack() as undo:
            started_s = time.monotonic()
            try:
                handle = self._load(folder, version, self._compute_type, self._threads)
                undo.callback(handle.retire)
                loaded_s = time.monotonic()
                _try_out(handle)
            except EngineUnavailable as error:
                raise SwapPostponed(
                    f"Version {version} cannot take over yet ({error}); the old one goes on answering."
                ) from error
            except FAILURES as error:
                raise SwapFailed(
                    f"Version {version} could not take over ({error}); the old one goes on answering."
                ) from error
            undo.pop_all()
            self._replace(handle)
            return SwapReport(version, handle.digest, loaded_s - started_s, time.monotonic() - loaded_s)

    def close(self) -> None:
        """Unload the current version once its last request has ended."""
        with self._one_swap:
            self._replace(None)

    def _replace(self, handle: ModelHandle | None) -> None:
        with self._flip:
            old, self._current = self._current, handle
        if old is not None:
            old.retire()


def _try_out(handle: ModelHandle) -> None:
    """Warm the engine up, and ask it for something that any sound model can give.

    Raises:
        ValueError: no token came, or a log-probability is not finite.
    """
    prompts = [handle.renderer.render(messages) for messages in _WARM_UP]
    reply = handle.renderer.tokenize_reply(_WARM_UP[0], _CANARY_REPLY)
    [scores] = handle.engine.score(prompts[:1], [reply])
    if not all(math.isfinite(score) for score in scores):
        raise ValueError("its scores are not finite numbers")
    generations = handle.engine.generate(prompts, Sampling(max_tokens=_CANARY_TOKENS))
    if not any(generation.token_ids for generation in generations):
        raise ValueError("its canary reply is empty")
