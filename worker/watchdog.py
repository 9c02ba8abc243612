"""A watchdog: ends what has shown no sign of life for too long."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self


class Watchdog:
    """Calls `on_silence` once, in a thread of its own, when `hear` was not called for `silence_s` seconds."""

    def __init__(self, silence_s: float, on_silence: Callable[[], None]) -> None:
        self._silence_s, self._on_silence = silence_s, on_silence
        self._heard_s = time.monotonic()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self.has_fired = False

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed.set()
        self._thread.join()

    def hear(self) -> None:
        """Note a sign of life."""
        self._heard_s = time.monotonic()

    def _watch(self) -> None:
        while (left_s := self._heard_s + self._silence_s - time.monotonic()) > 0:
            if self._closed.wait(left_s):
                return
        self.has_fired = True
        self._on_silence()
